"""Slicer's Qt shell for tests: PySide6 with PythonQt's manners, and strict stand-ins over a real MRML scene.

Tests only (PySide6 is LGPL and never shipped). A panel test:

    from kit.event_loop import StallMeter, spin
    from kit.scripted_module import load_module

    def test_a_click_runs_the_model(qt_app, dialogs):
        import qt, slicer                                       # the stand-ins, once qt_app is there

        module = load_module("MahtAI/MahtAI.py")                # as at Slicer's start, with startupCompleted
        module.widgetRepresentation().enter()                   # as when the reader opens the panel
        panel = slicer.modules.MahtAIWidget
        dialogs.answer(qt.QMessageBox.Yes, text="leaves this computer")
        with StallMeter() as meter:
            panel.ui.runButton.click()
            spin(lambda: panel.ui.progressBar.value == 100, timeout_s=30)
        assert meter.longest_s < 0.1

A conftest has ``from kit.fixtures import dialogs, qt_app, slicer_context``. ``slicer_context`` alone (a scene test)
imports no Qt. ``kit.brush.paint(panel.ui.segmentEditorWidget.logic, ...)`` is a stroke of the reader's brush.

What product code touches of Slicer's widgets has to be in ``slicer_widgets.json``; ``update_slicer_widgets.py`` writes
it. A misspelt property, an unknown signal, a missing slot, Qt touched outside the main thread, an unexpected dialog
and an exception inside a slot (or one that was caught and logged) fail the test; a test that expects one of the
latter looks at ``kit.event_loop.SLOT_ERRORS`` and clears it.

The kit proves nothing about PythonQt's conversions, the real widgets or their looks: that is for the self-tests in a
real Slicer.
"""

from __future__ import annotations

import sys


def install() -> None:
    """Make ``qt``, ``ctk``, the q* classes of ``slicer`` and its scripted-module classes importable; once."""
    if "qt" in sys.modules:
        return
    import slicer
    from PySide6 import QtWidgets

    if QtWidgets.QApplication.instance() is None:
        application = QtWidgets.QApplication(["Slicer"])
        application.setApplicationName("Slicer")
        application.setOrganizationName("NA-MIC")
        _keep.append(application)
    from . import dialogs, mrml_widgets, pythonqt, qt_modules, scripted_module, segment_editor

    pythonqt.patch_all()
    dialogs.intercept()
    qt_modules.install()
    scripted_module.install()
    for module in (mrml_widgets, segment_editor, scripted_module):
        for name in [name for name in vars(module) if name.startswith(("qMRML", "qSlicer"))]:
            setattr(slicer, name, getattr(module, name))
    slicer.qSlicerScriptedLoadableModule = scripted_module.ModuleParent


_keep: list[object] = []
