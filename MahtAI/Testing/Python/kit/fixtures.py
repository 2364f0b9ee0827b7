"""Fixtures of the scene and panel tests; conftest imports them by name. Slicer and Qt load when one is used."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .dialogs import Dialogs
    from .scene_context import SlicerContext

__all__ = ["dialogs", "qt_app", "slicer_context"]


@pytest.fixture
def slicer_context(tmp_path: Path) -> Iterator[SlicerContext]:
    """An empty real scene with its logics; no Qt."""
    from .scene_context import make_context

    with make_context(tmp_path) as context:
        yield context


@pytest.fixture
def qt_app(slicer_context: SlicerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlicerContext]:
    """Slicer with its Qt shell: ``import qt, ctk`` work, settings are the test's own.

    The test fails if a slot raised (or logged an exception), or a dialog came up (or did not) unlike the test said.
    """
    monkeypatch.setitem(os.environ, "QT_QPA_PLATFORM", os.environ.get("QT_QPA_PLATFORM", "offscreen"))
    from . import install

    install()
    from PySide6 import QtCore, QtWidgets

    from .dialogs import DIALOGS
    from .event_loop import SLOT_ERRORS, LoggedErrors, collect_slot_error
    from .scripted_module import LOADED, unload_module

    formats, scopes = QtCore.QSettings.Format, QtCore.QSettings.Scope
    QtCore.QSettings.setDefaultFormat(formats.IniFormat)
    QtCore.QSettings.setPath(formats.IniFormat, scopes.UserScope, str(tmp_path / "settings"))
    monkeypatch.setattr(sys, "excepthook", collect_slot_error)
    logged = LoggedErrors(logging.ERROR)
    logging.getLogger().addHandler(logged)
    DIALOGS.reset()
    SLOT_ERRORS.clear()
    window = QtWidgets.QMainWindow()  # without one, slicer.util shows no error
    window.setObjectName("qSlicerMainWindow")
    yield slicer_context
    for module in list(LOADED):
        unload_module(module)
    logging.getLogger().removeHandler(logged)
    problems = DIALOGS.problems() + [f"a slot raised {error!r}" for error in SLOT_ERRORS]
    DIALOGS.reset()
    SLOT_ERRORS.clear()
    for widget in QtWidgets.QApplication.topLevelWidgets():
        widget.deleteLater()
    QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
    QtWidgets.QApplication.processEvents()
    assert not problems, "\n".join(problems)


@pytest.fixture
def dialogs(qt_app: SlicerContext) -> Dialogs:
    """Answers for the dialogs that the test expects: see ``kit.dialogs``."""
    from .dialogs import DIALOGS

    return DIALOGS
