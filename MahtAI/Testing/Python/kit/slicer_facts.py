"""What product code may touch of Slicer's widgets: the list in ``slicer_widgets.json``, and its recording.

A *touch* is a class and a member: a property (``text``), a signal or slot (``clicked`` or ``clicked(bool)``) or
another attribute (``addItem``). Only code of the extension itself is held to the list, tests are not.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

KIT = Path(__file__).resolve().parent
REPOSITORY = KIT.parents[3]
MODULE = REPOSITORY / "MahtAI"
LIST = KIT / "slicer_widgets.json"
KINDS = ("properties", "signals", "slots", "other_attributes")
RECORD_TO = "MAHTAI_KIT_RECORD"
RECORD_FROM = "MAHTAI_KIT_FACTS"

Classes = dict[str, dict[str, Any]]


class NotInFactsError(AttributeError):
    """Product code touched something that Slicer lacks, or that is not on the list yet."""


def members_named(entry: dict[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """(kind, exact name) of each member called so; a signature finds itself, a bare name all its overloads."""
    for kind in KINDS:
        for member in entry.get(kind, ()):
            if member == name or ("(" not in name and member.startswith(name + "(")):
                yield kind, member
    if "error" in entry and "(" in name:  # the facts have no signatures for a class that could not be made bare
        yield from members_named(entry, name.partition("(")[0])


class Facts:
    """Members of Slicer's classes; with ``recorded``, every touch that they have is kept there."""

    def __init__(self, classes: Classes, known: set[str], recorded: set[tuple[str, str]] | None = None) -> None:
        self.classes = classes
        self.known = known
        self.recorded = recorded

    def find(self, class_name: str, name: str, is_widget: bool = True) -> list[tuple[str, str, str]]:
        """(class that lists it, kind, exact name) of each overload; what all widgets have is listed at QWidget."""
        owners = ("QWidget", class_name) if is_widget else (class_name,)
        for owner in owners:
            found = [(owner, *member) for member in members_named(self.classes.get(owner, {}), name)]
            if found:
                return found
        return []

    def touch(self, class_name: str, name: str, is_widget: bool = True) -> None:
        """Let it pass, or say what is wrong.

        Raises:
            NotInFactsError: the class is one that the facts describe and they lack the member.
        """
        if class_name not in self.known:
            return
        self.use(class_name)
        found = self.find(class_name, name, is_widget)
        if not found:
            raise NotInFactsError(_advice(f"{class_name}.{name}"))
        if self.recorded is not None:
            self.recorded.update((owner, member) for owner, _, member in found)

    def use(self, class_name: str) -> None:
        """Let product code use a class, which has to be on the list if the facts describe it.

        Raises:
            NotInFactsError: it is not, or it is one of Slicer's own that the facts lack.
        """
        if class_name not in self.classes and (class_name in self.known or not class_name.startswith("Q")):
            raise NotInFactsError(_advice(class_name))
        if self.recorded is not None and class_name in self.known:
            self.recorded.add((class_name, ""))


def _advice(what: str) -> str:
    return (
        f"{what} is not in the list of what the panel uses of Slicer. If Slicer has it, add it: "
        f"python MahtAI/Testing/Python/kit/update_slicer_widgets.py FACTS '{what}' (FACTS = slicer-api.json)"
    )


def read_list() -> Facts:
    """The list beside this file, or all facts while a run is being recorded."""
    if RECORD_TO not in os.environ:
        data = json.loads(LIST.read_text(encoding="utf-8"))
        return Facts(data["classes"], set(data["known_classes"]))
    classes = json.loads(Path(os.environ[RECORD_FROM]).read_text(encoding="utf-8"))["classes"]
    recorded: set[tuple[str, str]] = set()
    atexit.register(_write_record, recorded)
    return Facts(classes, set(classes), recorded)


def _write_record(recorded: set[tuple[str, str]]) -> None:
    with Path(os.environ[RECORD_TO]).open("a", encoding="utf-8") as file:
        file.writelines(f"{class_name}.{member}\n" for class_name, member in sorted(recorded))


FACTS = read_list()
_product_files: dict[str, bool] = {}


def is_product_code(frame: FrameType) -> bool:
    """Whether the frame runs a file of the extension (MahtAI.py or below MahtAILib)."""
    name = frame.f_code.co_filename
    if name not in _product_files:
        path = Path(name)
        _product_files[name] = path == MODULE / "MahtAI.py" or MODULE / "MahtAILib" in path.parents
    return _product_files[name]


class FactsChecked:
    """Base of stand-ins that are no Qt objects: product code may touch only what is on the list."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and is_product_code(sys._getframe(1)):
            FACTS.touch(type(self).__name__, name)
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if is_product_code(sys._getframe(1)):
            FACTS.touch(type(self).__name__, name)
        super().__setattr__(name, value)
