#!/usr/bin/env python3
"""Renew ``slicer_widgets.json``, the list of what the panel uses of Slicer's widgets.

    python update_slicer_widgets.py FACTS [QLabel.text ctkX.y ...]   add these members
    python update_slicer_widgets.py FACTS --record                   run the tests, keep only what they used

Both take in what .ui files and sources name (``ui.runButton.text``, ``qt.QMessageBox.Yes``). FACTS is
``slicer-api.json``, read from a running Slicer; what it lacks is refused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kit import slicer_facts  # noqa: E402
from kit.slicer_facts import KINDS, LIST, Facts, NotInFactsError  # noqa: E402
from kit.sources import SOURCES, UI_FILES, members_in, ui_classes  # noqa: E402
from kit.ui_file import read_ui  # noqa: E402

NOT_THE_PANEL = ("test_kit", "test_kit_stand_ins", "test_slicer_widgets")


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    if not arguments:
        print(__doc__)
        return 2
    source, *added = arguments
    facts = json.loads(Path(source).read_text(encoding="utf-8"))
    try:
        touched = _recorded(source) if added == ["--record"] else _listed() | set(added)
        _write(facts, touched | _named_in_sources(facts))
    except (NotInFactsError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _listed() -> set[str]:
    classes = json.loads(LIST.read_text(encoding="utf-8"))["classes"] if LIST.exists() else {}
    members = {
        f"{name}.{member}" for name, entry in classes.items() for kind in KINDS for member in entry.get(kind, ())
    }
    return members | set(classes)


def _recorded(source: str) -> set[str]:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "touched.txt"
        recording = {slicer_facts.RECORD_TO: str(record), slicer_facts.RECORD_FROM: str(Path(source).resolve())}
        command = [sys.executable, "-m", "pytest", "-c", "server/pyproject.toml", "--rootdir", "."]
        subprocess.run(
            [*command, "MahtAI/Testing/Python"],
            cwd=slicer_facts.REPOSITORY,
            env={**os.environ, **recording},
            check=True,
        )
        return {line.rstrip(".") for line in record.read_text(encoding="utf-8").splitlines()}


def _named_in_sources(facts: dict) -> set[str]:
    touches = [touch for path in UI_FILES for touch in read_ui(path).touches()]
    touches += [touch for path in SOURCES for touch in members_in(path)]
    members = {f"{name}.{member}" for name, member in touches if name in facts["classes"]}
    return members | set(ui_classes().values())


def _write(facts: dict, touched: set[str]) -> None:
    everything = Facts(facts["classes"], set(facts["classes"]))
    classes: dict[str, dict] = {}
    for touch in sorted(touched):
        class_name, _, member = touch.partition(".")
        everything.use(class_name)
        classes.setdefault(class_name, {"error": "no signatures"} if "error" in facts["classes"][class_name] else {})
        is_widget = "setVisible(bool)" in facts["classes"][class_name].get("slots", ())
        if member:
            everything.touch(class_name, member, is_widget)
        for owner, kind, exact in everything.find(class_name, member, is_widget) if member else ():
            entry = classes.setdefault(owner, {}).setdefault(kind, {} if kind == "properties" else [])
            if kind == "properties":
                entry[exact] = facts["classes"][owner][kind][exact]
            elif exact not in entry:
                entry.append(exact)
    data = {
        "slicer": facts["slicer"],
        "qt": facts["qt"],
        "note": "What MahtAI uses of Slicer's widgets. Made by update_slicer_widgets.py; do not edit.",
        "known_classes": sorted(facts["classes"]),
        "classes": {name: classes[name] for name in sorted(classes)},
    }
    LIST.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    members = sum(len(entry.get(kind, ())) for entry in classes.values() for kind in KINDS)
    print(f"{len(classes)} classes, {members} members in {LIST.name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
