"""Bundles that place landmarks: read, told apart from those that segment, checked, and refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from mahtai.inference.options import LandmarkOptions, OptionError, parse_landmark_options, parse_options_of
from mahtai.models.bundle import BundleError, LandmarkBundle, SegmentationBundle, read_bundle
from mahtai.models.catalogue import Catalogue
from mahtai.models.check import check
from mahtai.models.network import build_network, load_weights, trial_forward
from server_process import ServerProcess
from tiny_bundle import write_tiny_bundle
from tiny_landmark_bundle import OWN, write_landmark_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> LandmarkBundle:
    found = read_bundle(write_landmark_bundle(tmp_path / "points"))
    assert isinstance(found, LandmarkBundle)
    return found


def test_a_landmark_bundle_is_read(bundle: LandmarkBundle) -> None:
    assert (bundle.kind, bundle.task, bundle.landmark_set, bundle.state) == (
        "landmarks",
        "cephalometry",
        "isbi19",
        "ready",
    )
    assert [(channel.id, channel.name) for channel in bundle.channels] == [("ceph", "Lateral cephalogram")]
    assert bundle.output_names[:3] == ("S", "N", "Or")
    assert bundle.trial_shapes == ((1, 1, 640, 512), (1, 19, 160, 128))


def test_a_bundle_without_landmark_set_segments(tmp_path: Path) -> None:
    assert isinstance(read_bundle(write_tiny_bundle(tmp_path / "tiny")), SegmentationBundle)


def test_our_own_model_is_read() -> None:
    own = read_bundle(OWN)
    assert isinstance(own, LandmarkBundle)
    assert (own.id, own.task, own.landmark_set) == ("ceph_mahtnet", "cephalometry", "isbi19")
    assert [channel.id for channel in own.channels] == ["ceph"]
    assert own.network_def["landmarks"] == 19


def test_its_network_is_built_loaded_and_tried(bundle: LandmarkBundle) -> None:
    network = load_weights(build_network(bundle), bundle)
    assert trial_forward(network, bundle, "cpu").window == (640, 512)


def test_the_check_of_models_runs_it(bundle: LandmarkBundle) -> None:
    findings = check(bundle, "cpu")
    assert all(finding.ok for finding in findings)
    assert "640 × 512 pixels" in findings[-1].text


def test_the_calibration_belongs_to_the_identity(bundle: LandmarkBundle) -> None:
    before = bundle.sha256
    catalogue = Catalogue((bundle.folder.parent,))
    assert catalogue.get("points").sha256 == before
    path = bundle.folder / "configs" / "calibration.json"
    path.write_text(path.read_text() + " ")
    assert catalogue.get("points").sha256 != before


def spoil_order(metadata: dict[str, Any], network: dict[str, Any]) -> None:
    words = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    words[0], words[1] = words[1], words[0]


def spoil_count(metadata: dict[str, Any], network: dict[str, Any]) -> None:
    network["landmarks"] = 38


def spoil_set(metadata: dict[str, Any], network: dict[str, Any]) -> None:
    metadata["mahtai"]["landmark_set"] = "elbow7"


def spoil_size(metadata: dict[str, Any], network: dict[str, Any]) -> None:
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = ["32*n", "32*n"]


def spoil_channels(metadata: dict[str, Any], network: dict[str, Any]) -> None:
    metadata["network_data_format"]["inputs"]["image"]["num_channels"] = 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoil_order, "not the landmarks of"),
        (spoil_count, "38 in the network"),
        (spoil_set, "'elbow7', which MahtAI does not know"),
        (spoil_size, "which size its inputs have"),
        (spoil_channels, "has 3"),
    ],
)
def test_a_bundle_that_contradicts_itself_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    folder = write_landmark_bundle(tmp_path / "bad", change, weights=False)
    with pytest.raises(BundleError, match=said) as caught:
        read_bundle(folder)
    assert caught.value.hint


def test_the_api_tells_the_landmarks_with_their_definitions(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_landmark_bundle(models / "points")
    write_tiny_bundle(models / "tiny")
    server = ServerProcess(tmp_path / "server", (models,)).start()
    try:
        with server.client() as client:
            _check_api(client)
    finally:
        server.kill()


def _check_api(client: httpx.Client) -> None:
    listed = {model["id"]: model for model in client.get("/v1/models").json()["models"]}
    assert (listed["points"]["kind"], listed["tiny"]["kind"]) == ("landmarks", "segmentation")
    told = client.get("/v1/models/points").json()
    assert (told["task"], told["landmark_set"], told["regions"], told["spacing_mm"]) == (
        "cephalometry",
        "isbi19",
        [],
        None,
    )
    assert told["landmarks"][0]["id"] == "S"
    assert told["landmarks"][0]["definition"]
    assert "/" not in json.dumps(told["channels"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, "auto"),
        ({"mm_per_unit": "unknown"}, "unknown"),
        ({"mm_per_unit": "0.10"}, "0.1"),
        ({"mm_per_unit": 1}, "1.0"),
    ],
)
def test_a_scale_is_a_word_or_a_number(given: dict[str, Any], kept: str) -> None:
    assert parse_landmark_options(given) == LandmarkOptions(mm_per_unit=kept)


@pytest.mark.parametrize("value", ["nan", "-0.1", "0", "inf", "wide", "", True, None, [0.1], 10**400])
def test_what_is_no_scale_is_refused(value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        parse_landmark_options({"mm_per_unit": value})
    assert "a positive number or one of: auto, unknown" in caught.value.hint


def test_options_belong_to_the_kind_of_the_model() -> None:
    with pytest.raises(OptionError, match="no option register"):
        parse_options_of("landmarks", {"register": "off"})
    with pytest.raises(OptionError, match="no option mm_per_unit"):
        parse_options_of("segmentation", {"mm_per_unit": "auto"})
    assert parse_options_of("landmarks", {"orientation": "as shown"}).as_json()["orientation"] == "as shown"
