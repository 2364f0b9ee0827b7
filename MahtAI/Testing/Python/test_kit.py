"""The Qt kit is as strict as Slicer's PythonQt, and stricter where that would hide a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.slicer_facts import MODULE, NotInFactsError


def in_the_panel(source: str) -> Callable[..., Any]:
    """``def f(...)`` as if it stood in a file of the panel."""
    names: dict[str, Any] = {}
    exec(compile(source, str(MODULE / "MahtAILib" / "panel" / "of_a_test.py"), "exec"), names)
    return names["f"]


# PythonQt's manners


def test_properties_are_attributes(qt_app):
    import qt

    button = qt.QPushButton("one")
    assert button.text == "one"
    button.text = "two"
    assert button.text == "two"
    button.setText("three")
    assert (button.text, button.isEnabled(), button.enabled) == ("three", True, True)
    with pytest.raises(TypeError):
        button.text()


def test_a_misspelt_attribute_fails_when_read_and_when_set(qt_app):
    import qt

    button = qt.QPushButton()
    with pytest.raises(AttributeError):
        button.txet  # noqa: B018
    with pytest.raises(AttributeError, match="does not exist"):
        button.txet = "x"


def test_a_slot_cannot_be_overwritten_and_a_read_only_property_not_set(qt_app):
    import qt

    with pytest.raises(AttributeError, match="cannot be overwritten"):
        qt.QPushButton().click = None
    with pytest.raises(AttributeError, match="not writable"):
        qt.QComboBox().count = 3
    with pytest.raises(AttributeError):
        qt.QTimer().singleShot = True


def test_a_subclass_keeps_its_own_attributes(qt_app):
    import qt

    class Section(qt.QWidget):
        def __init__(self, parent: Any = None) -> None:
            super().__init__(parent)
            self.state = {"a": 1}
            self.toolTip = "a tip"

    section = Section()
    assert (section.state, section.toolTip) == ({"a": 1}, "<p>a tip</p>")
    with pytest.raises(AttributeError):
        section.show = 3


def test_constructors_take_no_keywords(qt_app):
    import qt

    with pytest.raises(ValueError, match="text"):
        qt.QPushButton(text="x")


def test_none_becomes_a_text_as_in_pythonqt(qt_app):
    import qt

    label = qt.QLabel()
    label.text = None
    assert label.text == "None"


def test_enums_work_both_ways(qt_app):
    import qt

    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight
    assert label.alignment == qt.Qt.AlignmentFlag.AlignRight


def test_a_combo_box_has_its_data_as_a_property_and_an_item_its_text_as_a_method(qt_app):
    import qt

    box, table = qt.QComboBox(), qt.QTableWidget(1, 1)
    box.addItem("a", {"key": 1})
    item = qt.QTableWidgetItem("cell")
    item.setData(qt.Qt.UserRole, {"key": 2})
    table.setItem(0, 0, item)
    assert (box.currentData, table.item(0, 0).text()) == ({"key": 1}, "cell")
    assert table.item(0, 0).data(qt.Qt.UserRole) == {"key": 2}


def test_widgets_are_of_the_classes_of_qt(qt_app):
    import qt

    layout = qt.QVBoxLayout()
    layout.addWidget(qt.QPushButton("x"))
    parent = qt.QWidget()
    parent.setLayout(layout)
    assert [type(child) for child in parent.children() if child is not layout] == [qt.QPushButton]


def test_the_module_qt_has_no_names_of_pyside(qt_app):
    import qt

    with pytest.raises(AttributeError):
        qt.Signal  # noqa: B018


# signals


def test_signals_call_functions_with_what_they_take(qt_app):
    import qt

    button, heard = qt.QPushButton(), []
    button.setCheckable(True)
    assert button.connect("clicked()", lambda: heard.append("no argument")) is True
    button.connect("clicked(bool)", heard.append)
    button.clicked.connect(lambda: heard.append("by attribute"))
    button.toggled.connect(lambda on: heard.append(("toggled", on)))
    button.click()
    assert sorted(map(str, heard)) == sorted(map(str, ["no argument", True, "by attribute", ("toggled", True)]))


def test_a_connection_keeps_its_function_alive_until_it_is_undone(qt_app):
    import qt

    class Listener:
        heard = 0

        def hear(self) -> None:
            Listener.heard += 1

    button, listener = qt.QPushButton(), Listener()
    button.connect("clicked()", Listener().hear)
    button.connect("clicked()", listener.hear)
    assert button.disconnect("clicked()", listener.hear)
    assert not button.disconnect("clicked()", listener.hear)
    button.click()
    assert Listener.heard == 1


@pytest.mark.parametrize("signature", ["cilcked()", "clicked", "clicked(int)", "text()"])
def test_an_unknown_signal_fails_loudly(qt_app, signature):
    import qt

    with pytest.raises(AttributeError, match="PythonQt would return False"):
        qt.QPushButton().connect(signature, print)


def test_an_error_in_a_slot_reaches_the_test(qt_app):
    import qt
    from kit.event_loop import spin

    def fails() -> None:
        raise ZeroDivisionError

    qt.QTimer.singleShot(0, fails)
    with pytest.raises(ZeroDivisionError):
        spin(lambda: False, timeout_s=5)


def test_spinning_says_what_never_came(qt_app):
    from kit.event_loop import spin

    with pytest.raises(TimeoutError, match=r"after 0.02 s .*the answer"):
        spin(lambda: False, timeout_s=0.02, what="the answer")


def test_the_stall_meter_sees_a_blocked_event_loop(qt_app):
    import time

    import qt
    from kit.event_loop import StallMeter, spin

    done = []

    def block() -> None:
        end = time.perf_counter() + 0.1
        while time.perf_counter() < end:
            pass
        done.append(True)

    with StallMeter() as meter:
        qt.QTimer.singleShot(5, block)
        spin(lambda: done)
    assert 0.1 <= meter.longest_s < 1


# what the panel may touch


def test_the_panel_may_use_what_is_on_the_list(qt_app):
    f = in_the_panel("import qt\ndef f():\n    b = qt.QPushButton()\n    b.text = 'x'\n    return b.text")
    assert f() == "x"


@pytest.mark.parametrize(
    "line",
    [
        "qt.QPushButton().autoRepeatDelay",
        "qt.QPushButton().isFlat()",
        "qt.QPushButton().connect('destroyed(QObject*)', print)",
        "qt.QMdiArea().viewMode; qt.QDockWidget()",
        "ctk.ctkPathLineEdit().minimumContentsLength",
        "slicer.app.layoutManager().threeDWidget(0)",
        "slicer.qMRMLNodeComboBox().setNodeTypes([])",
        "setattr(qt.QLabel(), 'indent', 3)",
    ],
)
def test_the_panel_may_touch_nothing_else(qt_app, line):
    f = in_the_panel(f"import qt, ctk, slicer\ndef f():\n    {line}")
    with pytest.raises(NotInFactsError, match=r"update_slicer_widgets\.py FACTS '(Q|ctk|q)\w+"):
        f()


def test_the_panel_touches_qt_on_the_main_thread_only(qt_app):
    import threading

    import qt

    label, errors = qt.QLabel(), []
    f = in_the_panel("def f(label):\n    label.text = 'x'")

    def work() -> None:
        try:
            f(label)
        except AssertionError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work, name="a worker")
    thread.start()
    thread.join()
    assert errors == ["QLabel.text was touched in a worker"]


def test_a_shortcut_is_known_although_the_facts_have_no_signatures_of_it(qt_app):
    f = in_the_panel(
        "import qt\ndef f(slot):\n"
        "    w = qt.QWidget()\n    s = qt.QShortcut(qt.QKeySequence('N'), w)\n"
        "    s.connect('activated()', slot)\n    s.activated.connect(slot)\n    return w, s"
    )
    heard = []
    _, shortcut = f(lambda: heard.append(1))
    shortcut.activated.emit()
    assert heard == [1, 1]


# dialogs


def test_a_dialog_gets_the_answer_of_the_test(qt_app, dialogs):
    import qt
    import slicer

    dialogs.answer(qt.QMessageBox.Yes, text="really")
    dialogs.answer("/a/file.nrrd", text="Open")
    assert slicer.util.confirmYesNoDisplay("Do you really want it?")
    assert qt.QFileDialog.getOpenFileName(None, "Open", "", "*.nrrd") == "/a/file.nrrd"
    assert [shown.kind for shown in dialogs.shown] == ["ctkMessageBox", "QFileDialog.getOpenFileName"]


def test_an_unexpected_dialog_fails_instead_of_waiting(qt_app, dialogs):
    import slicer

    with pytest.raises(AssertionError, match="unexpected dialog"):
        slicer.util.errorDisplay("It broke")
    assert "It broke" in dialogs.problems()[0]
    dialogs.reset()


def test_a_dialog_that_never_came_is_a_problem(qt_app, dialogs):
    dialogs.answer(True, text="consent")
    assert "consent" in dialogs.problems()[0]
    dialogs.reset()


def test_an_answer_can_act_in_a_dialog(qt_app, dialogs):
    import qt

    dialog = qt.QDialog()
    line = qt.QLineEdit(dialog)
    dialogs.answer(lambda shown: line.setText("typed"))
    assert dialog.exec_() == qt.QDialog.Accepted
    assert line.text == "typed"


# .ui files

UI = """<ui version="4.0"><class>Root</class><widget class="qMRMLWidget" name="Root">
 <layout class="QVBoxLayout" name="layout"><item><widget class="{widget}" name="box">
  <property name="{property}"><bool>true</bool></property></widget></item></layout></widget>
 <connections><connection><sender>Root</sender><signal>{signal}</signal><receiver>box</receiver>
  <slot>{slot}</slot></connection></connections></ui>"""
GOOD = {
    "widget": "qMRMLNodeComboBox",
    "property": "noneEnabled",
    "signal": "mrmlSceneChanged(vtkMRMLScene*)",
    "slot": "setMRMLScene(vtkMRMLScene*)",
}


def load_ui(folder: Path, **other: str) -> Any:
    import slicer

    path = folder / "test.ui"
    path.write_text(UI.format(**{**GOOD, **other}))
    return slicer.util.loadUI(str(path))


def test_a_ui_file_is_loaded_with_its_connections(qt_app, tmp_path):
    import slicer

    root = load_ui(tmp_path)
    ui = slicer.util.childWidgetVariables(root)
    root.setMRMLScene(slicer.mrmlScene)
    assert ui.box.noneEnabled
    assert ui.box.mrmlScene() is slicer.mrmlScene


@pytest.mark.parametrize(
    "fault",
    [
        {"widget": "qMRMLNodeCombo"},
        {"property": "nonEnabled"},
        {"signal": "sceneChanged(vtkMRMLScene*)"},
        {"slot": "setMRMLScene()"},
    ],
)
def test_a_fault_in_a_ui_file_is_found(qt_app, tmp_path, fault):
    with pytest.raises(NotInFactsError):
        load_ui(tmp_path, **fault)
