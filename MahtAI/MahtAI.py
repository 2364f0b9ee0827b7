"""MahtAI in Slicer: the module, its panel, its self-test. What it does is in ``MahtAILib``; here it is wired up."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class MahtAI(ScriptedLoadableModule):
    """The module as Slicer's module list sees it. Nothing heavy happens here: it is run at every start of Slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "MahtAI"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SegmentEditor", "Markups"]
        self.parent.contributors = ["MahtAI developers"]
        self.parent.helpText = _(
            "Segments brain tumours in T1, T1c, T2 and FLAIR, and places landmarks in lateral cephalograms with live "
            "measurements and a tracing, by an inference server on this computer or in the hospital. The result can "
            "be corrected, and each correction is kept as a new version. Research software, not a medical device."
        )
        self.parent.acknowledgementText = _("The networks are built with MONAI and PyTorch.")
        slicer.app.connect("startupCompleted()", make_known)


def make_known():
    """Offer the sample study in the module Sample Data, and the layouts to scenes that were saved with them."""
    from MahtAILib.scene.layout import register_image_layout, register_layout
    from MahtAILib.scene.sample_data import register

    register(Path(__file__).resolve().parent / "Resources" / "Icons")
    if slicer.app.layoutManager() is not None:
        layout_node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        register_layout(layout_node)
        register_image_layout(layout_node)


class MahtAIWidget(ScriptedLoadableModuleWidget):
    """Hosts the panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.panel = None

    def setup(self):
        """Build the panel when it is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        from MahtAILib.local_server import installation_folder
        from MahtAILib.panel.panel import Panel
        from MahtAILib.panel.settings import Settings

        settings = Settings(installation_folder().parent / "panel")
        self.panel = Panel(self.layout, slicer.mrmlScene, settings, MahtAILogic().dicom_value)

    def enter(self):
        """The reader opened the panel."""
        if self.panel is not None:
            self.panel.enter()

    def exit(self):
        """The reader went to another module."""
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self):
        """Slicer quits, or the module is loaded anew."""
        if self.panel is not None:
            self.panel.close()
            self.panel = None

    def onReload(self):
        """For developers: the library is loaded anew with the module."""
        import sys

        was_open = self.panel is not None and self.panel.is_open
        self.cleanup()
        for name in [name for name in sys.modules if name.split(".")[0] == "MahtAILib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        if was_open:
            slicer.modules.MahtAIWidget.enter()


class MahtAILogic(ScriptedLoadableModuleLogic):
    """What the library needs from the application."""

    def dicom_value(self, instance_uid, tag):
        """Value of a tag such as ``0008,103e`` from Slicer's DICOM database; empty where it is not known."""
        database = getattr(slicer, "dicomDatabase", None)
        if database is None or not database.isOpen:
            return ""
        return database.instanceValue(instance_uid, tag)


class MahtAITest(ScriptedLoadableModuleTest):
    """The self-test, for "Reload and Test" in a real Slicer and for ``ctest``."""

    def runTest(self):
        """Run all steps; those that need a server say so where there is none."""
        from MahtAILib.self_test import run_self_test

        run_self_test(self)
