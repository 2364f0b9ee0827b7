"""What the panel uses of Slicer's widgets, compared with what a running Slicer said that it has."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest
from kit.slicer_facts import FACTS, KINDS, LIST, REPOSITORY, members_named
from kit.sources import SOURCES, UI_FILES, members_in
from kit.ui_file import read_ui

LISTED = json.loads(LIST.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def slicer_api() -> dict[str, Any]:
    """All that was read from a running Slicer; a test that needs it is skipped with this reason where it is absent."""
    path = Path(os.environ.get("MAHTAI_SLICER_API", REPOSITORY.parent / "shared" / "facts" / "slicer-api.json"))
    if not path.is_file():
        pytest.skip(f"needs slicer-api.json of shared/facts, which is not at {path} (set MAHTAI_SLICER_API)")
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_list_is_of_the_slicer_that_was_asked(slicer_api):
    assert (LISTED["slicer"], LISTED["qt"]) == (slicer_api["slicer"], slicer_api["qt"])
    assert LISTED["known_classes"] == sorted(slicer_api["classes"])


@pytest.mark.parametrize("class_name", LISTED["classes"])
def test_each_listed_member_exists_in_slicer_and_is_of_the_same_kind(slicer_api, class_name):
    known = slicer_api["classes"][class_name]
    for kind in KINDS:
        for member in LISTED["classes"][class_name].get(kind, ()):
            assert member in known[kind], f"{class_name}.{member}"
    for name, description in LISTED["classes"][class_name].get("properties", {}).items():
        assert known["properties"][name] == description


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.name)
def test_each_class_property_signal_and_slot_of_a_ui_file_is_on_the_list(path):
    ui = read_ui(path)
    for class_name in ui.classes.values():
        FACTS.use(class_name)
    for class_name, member in ui.touches():
        FACTS.touch(class_name, member)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_each_widget_member_that_a_source_names_is_on_the_list(path):
    for class_name, member in members_in(path):
        FACTS.touch(class_name, member)


OF_THE_KIT = ("resizeEvent", "staticMetaObject")


def test_the_stand_ins_have_no_member_that_slicer_lacks(slicer_api, qt_app):
    from kit import ctk_widgets, layout_manager, mrml_widgets, segment_editor

    for module in (ctk_widgets, layout_manager, mrml_widgets, segment_editor):
        for name, stand_in in inspect.getmembers(module, inspect.isclass):
            entry = slicer_api["classes"].get(name)
            if entry is None or stand_in.__module__ != module.__name__:
                continue
            made = [
                member
                for member in vars(stand_in)
                if not member.startswith("_") and member not in ("resizeEvent", "staticMetaObject")
            ]
            lacking = [member for member in made if not list(members_named(entry, member))]
            assert not lacking, f"{name}: {lacking}"
