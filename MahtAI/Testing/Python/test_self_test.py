"""The self-test for a real Slicer runs headless as well, with a real server started by the panel itself."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import pytest
from kit.scene_context import SlicerContext
from panel_kit import MODULE

from server_process import free_port

STEPS = 12
"""That need no server."""


def run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    from kit.scripted_module import load_module, unload_module

    parent = load_module(MODULE)
    from MahtAILib.self_test import run_self_test

    try:
        return run_self_test(unittest.TestCase())
    finally:
        unload_module(parent)


def test_without_a_server_all_steps_that_need_none_pass(qt_app: SlicerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAHTAI_SERVER_PYTHON", raising=False)
    assert len(run(monkeypatch)) == STEPS


def test_with_a_server_s_environment_the_panel_starts_it_and_runs_the_model(
    qt_app: SlicerContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAHTAI_SERVER_PYTHON", sys.executable)
    monkeypatch.setenv("MAHTAI_PORT", str(free_port()))
    monkeypatch.setenv("MAHTAI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(tmp_path / "config"))
    done = run(monkeypatch)
    assert "model_corrects_around_a_stroke" in done and len(done) == STEPS + 2
