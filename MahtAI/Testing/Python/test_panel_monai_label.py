"""The panel with a MONAI Label server beside ours: its models in the list, one volume out, a version on our server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader

from MahtAILib.client.cases import label_content
from MahtAILib.client.segmentation import decode
from MahtAILib.scene.provenance import ACCEPTED, ATTRIBUTE, read_provenance
from MahtAILib.scene.segments_out import take_segments
from one_channel_bundle import write_one_channel_bundle
from server_process import ServerProcess, free_port
from studies import FAST, synthetic_study
from tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that speaks MONAI Label's protocol, with a model that takes one volume."""
    root = tmp_path_factory.mktemp("other")
    write_one_channel_bundle(root / "models" / "single")
    process = ServerProcess(root / "server", (root / "models",)).start()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Our own server, for everything else."""
    root = tmp_path_factory.mktemp("ours")
    write_tiny_bundle(root / "models" / "tiny", missing_channels_ok=True)
    process = ServerProcess(root / "server", (root / "models",)).start()
    yield process
    process.kill()


@pytest.fixture
def reader(
    qt_app: SlicerContext, ours: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reader]:
    """The panel is open, with a study in it and no server."""
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(ours.root / "config"))
    reader = Reader(qt_app)
    for name in ("register", "brain_mask", "check_sequences"):
        reader.panel.parameters().set(name, FAST[name])
    reader.load_study(synthetic_study(80))
    yield reader
    reader.leave()


def use(reader: Reader, address: str) -> None:
    """Type the address of a MONAI Label server and press Use."""
    ui = reader.ui("server")
    ui.monaiLabelLineEdit.text = address
    ui.monaiLabelButton.click()
    spin(lambda: not reader.panel.monai_label.is_asking, 30, "an answer of the MONAI Label server")


def facade_of(process: ServerProcess) -> str:
    return f"{process.url}/monailabel/{process.token}"


def models(reader: Reader) -> list[str]:
    """What the list of models offers."""
    box = reader.ui("ai").modelComboBox
    return [str(box.itemText(number)) for number in range(box.count)]


def choose(reader: Reader, name: str) -> None:
    """Choose a model from the list."""
    box = reader.ui("ai").modelComboBox
    box.setCurrentIndex(models(reader).index(name))


def listed(process: ServerProcess) -> str:
    return f"single · MONAI Label, 127.0.0.1:{process.port}"


def test_its_models_are_listed_as_such_beside_ours(reader: Reader, ours: ServerProcess, other: ServerProcess) -> None:
    reader.connect(ours.url)
    own = models(reader)
    use(reader, facade_of(other))
    assert models(reader) == [*own, listed(other)]
    assert "1 models" in reader.said("server", "monaiLabelLabel")
    assert reader.panel.model() == "tiny"  # ours stays chosen
    choose(reader, listed(other))
    assert "one volume only" in reader.said("ai", "modelLabel")
    assert reader.panel.model() == ""  # nothing of it is sent ahead to ours
    use(reader, "")
    assert models(reader) == own and reader.said("server", "monaiLabelLabel") == ""


def test_its_result_comes_into_the_scene_and_is_saved_on_our_server(
    reader: Reader, ours: ServerProcess, other: ServerProcess
) -> None:
    reader.connect(ours.url)
    use(reader, facade_of(other))
    choose(reader, listed(other))
    reader.run()
    assert reader.said("ai", "runStateLabel").startswith("Done")
    node = reader.panel.review.node
    origin = read_provenance(node)
    assert origin is not None and (origin.server, origin.job, origin.inputs) == (other.url, "", {})
    assert origin.model == f"single (MONAI Label at 127.0.0.1:{other.port})"
    with other.client() as client:
        stored = client.get("/v1/cases").json()["cases"]
    assert stored == []  # nothing of the study became a case there
    shown = take_segments(node, reader.panel.study.reference_geometry()).segmentation
    reader.save()
    (version,) = reader.panel.versions.versions
    document = version.document
    assert document["inference"] is None and document["model"] is None and version.number == 1
    saved = decode(label_content(reader.panel.server.connection, document["case"], version))
    assert saved.provenance["Model"] == origin.model and saved.provenance["Status"] == ACCEPTED
    for segment in saved.segments:
        assert np.array_equal(saved.mask(segment.id), shown.mask(segment.id))
    assert any(saved.mask(segment.id).any() for segment in saved.segments)
    with ours.client() as client:
        assert set(client.get(f"/v1/cases/{document['case']}").json()["volumes"]) == {"t1c", "t1", "t2", "flair"}


def test_it_works_with_one_volume_and_without_our_server(
    reader: Reader, other: ServerProcess, qt_app: SlicerContext
) -> None:
    for slot in ("t1", "t2", "flair"):
        reader.panel.study.choose(slot, None)
    use(reader, facade_of(other))
    assert models(reader) == ["choose a model", listed(other)]
    reader.run()
    assert "no connection" in reader.said("ai", "runStateLabel")
    choose(reader, listed(other))
    reader.run()
    assert reader.said("ai", "runStateLabel").startswith("Done")


def test_the_secret_in_the_address_stays_in_its_private_file(reader: Reader, other: ServerProcess) -> None:
    use(reader, facade_of(other))
    choose(reader, listed(other))
    reader.run()
    panel = reader.panel
    assert other.token not in json.dumps(panel.settings.addresses()) + panel.settings.text("MonaiLabelAddress")
    assert other.token not in str(panel.review.node.GetAttribute(ATTRIBUTE))
    assert other.token in (panel.settings.folder / "server-tokens.json").read_text("utf-8")
    assert panel.settings.text("MonaiLabelAddress") == other.url
    # next time the address alone is enough
    use(reader, "")
    use(reader, other.url)
    assert listed(other) in models(reader)


def test_a_volume_leaves_this_computer_only_after_the_reader_agreed(
    reader: Reader, ours: ServerProcess, other: ServerProcess, dialogs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    reader.connect(ours.url)
    use(reader, facade_of(other))
    monkeypatch.setattr(reader.panel.monai_label.server, "is_local", False)
    choose(reader, listed(other))
    dialogs.answer(qt.QMessageBox.No, text=f"To: {other.url}\n")
    reader.ui("ai").runButton.click()
    assert "Nothing was sent" in reader.said("ai", "runStateLabel")
    dialogs.answer(qt.QMessageBox.Yes, text="the voxels of T1c and where")
    reader.run()
    assert reader.said("ai", "runStateLabel").startswith("Done")
    # our own server was asked nothing, and its models need no consent for that one
    choose(reader, next(name for name in models(reader) if "MONAI Label" not in name))
    reader.run()
    assert reader.said("ai", "runStateLabel").startswith("Done")


def test_a_server_that_is_none_is_named(reader: Reader, ours: ServerProcess, other: ServerProcess) -> None:
    use(reader, ours.url)
    assert "⚠" in reader.said("server", "monaiLabelLabel") and "MONAI Label server" in reader.said(
        "server", "monaiLabelLabel"
    )
    use(reader, f"http://127.0.0.1:{free_port()}")
    assert "No server is running at" in reader.said("server", "monaiLabelLabel")
    use(reader, "ftp://x")
    assert "not a server address" in reader.said("server", "monaiLabelLabel")
    assert models(reader) == []
    use(reader, facade_of(other))
    assert listed(other) in models(reader)


def test_a_run_can_be_cancelled(reader: Reader, other: ServerProcess) -> None:
    use(reader, facade_of(other))
    choose(reader, listed(other))
    reader.ui("ai").runButton.click()
    reader.ui("ai").cancelButton.click()
    reader.wait_for_run()
    assert "Cancelled" in reader.said("ai", "runStateLabel")
    assert reader.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
