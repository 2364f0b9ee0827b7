"""Reading bundles: the zoo's layout as it is, nothing of it run, and a reason for every bad one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_kit import INFERENCE, write_bundle
from mahtai.models.bundle import BundleError, MissingWeights, read_bundle
from mahtai.models.catalogue import Catalogue, UnknownModel
from mahtai.models.checksums import checksum_file
from mahtai.volumes.terminology import segments_of_task

OWN_MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "glioma")


def test_a_bundle_in_the_layout_of_the_zoo_is_read_unchanged(zoo: Path) -> None:
    bundle = read_bundle(zoo)
    assert (bundle.id, bundle.name, bundle.version) == ("glioma", "Glioma regions", "9.8.7")
    assert [channel.id for channel in bundle.channels] == ["t1c", "t1", "t2", "flair"]
    assert bundle.channels[0].name == "T1 with contrast"
    assert [region.id for region in bundle.regions] == ["tc", "wt", "et"]
    assert [region.name for region in bundle.regions] == ["Tumour core", "Whole tumour", "Enhancing tumour"]
    assert bundle.labels == segments_of_task("brain-tumour")
    assert (bundle.task, bundle.activation, bundle.orientation) == ("brain-tumour", "sigmoid", "LPS")
    assert (bundle.roi_size, bundle.overlap, bundle.spacing_mm) == ((48, 56, 40), 0.5, (1.0, 1.0, 1.0))
    assert bundle.network_def["in_channels"] == 4
    assert bundle.weights_path == zoo / "models" / "model.pt"
    assert (bundle.licence, bundle.state, bundle.missing_channels_ok) == ("Apache-2.0", "ready", False)
    assert bundle.card.startswith("# A model card")
    assert bundle.metrics == {"mean_dice": 0.1}


def test_a_yaml_configuration_is_read_like_json(zoo: Path) -> None:
    expected = read_bundle(zoo)
    (zoo / "configs" / "inference.json").unlink()
    (zoo / "configs" / "inference.yaml").write_text(yaml.safe_dump(INFERENCE), "utf-8")
    assert read_bundle(zoo).network_def == expected.network_def


def test_safetensors_are_preferred_to_a_checkpoint(zoo: Path) -> None:
    (zoo / "models" / "model.safetensors").write_bytes(b"")
    weights = read_bundle(zoo).weights_path
    assert weights is not None
    assert weights.name == "model.safetensors"


def test_the_identity_changes_with_weights_and_configuration(zoo: Path) -> None:
    first = read_bundle(zoo).sha256
    assert read_bundle(zoo).sha256 == first
    with (zoo / "models" / "model.pt").open("ab") as stream:
        stream.write(b"x")
    second = read_bundle(zoo).sha256
    (zoo / "configs" / "metadata.json").write_text((zoo / "configs" / "metadata.json").read_text() + " ")
    third = read_bundle(zoo).sha256
    assert len({first, second, third}) == 3


def test_what_the_api_tells_of_a_model_names_no_path_of_this_computer(zoo: Path) -> None:
    told = json.dumps(read_bundle(zoo).as_json())
    assert str(zoo.parent) not in told
    assert "C113842" in told


def test_own_words_of_a_bundle_win(tmp_path: Path) -> None:
    def change(metadata: dict[str, Any], inference: dict[str, Any]) -> None:
        metadata["mahtai"] = {
            "task": "something",
            "spacing_mm": [1, 1, 2],
            "orientation": "ras",
            "roi_size": [64, 64, 32],
            "overlap": 0.25,
            "activation": "softmax",
            "missing_channels_ok": True,
            "licence": "CC0",
            "channels": {"t1c": {"name": "Contrast"}},
            "labels": [{"id": "x", "name": "X", "label_value": 7, "color_rgb": [1, 2, 3]}],
        }

    bundle = read_bundle(write_bundle(tmp_path / "own", change))
    assert (bundle.task, bundle.spacing_mm, bundle.orientation) == ("something", (1.0, 1.0, 2.0), "RAS")
    assert (bundle.roi_size, bundle.overlap, bundle.activation) == ((64, 64, 32), 0.25, "softmax")
    assert (bundle.missing_channels_ok, bundle.licence) == (True, "CC0")
    assert (bundle.channels[0].name, bundle.labels[0].label_value) == ("Contrast", 7)


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["T1ce", "T1n", "T2w", "T2-FLAIR"], ["t1c", "t1", "t2", "flair"]),
        (["t1Gd", "T1-weighted", "T2", "t2f"], ["t1c", "t1", "t2", "flair"]),
        (["FLAIR", "ADC map", "T2", "T1"], ["flair", "adc-map", "t2", "t1"]),
    ],
)
def test_sequences_are_known_by_their_usual_names(tmp_path: Path, words: list[str], ids: list[str]) -> None:
    def change(metadata: dict[str, Any], inference: dict[str, Any]) -> None:
        metadata["network_data_format"]["inputs"]["image"]["channel_def"] = dict(enumerate(words))

    assert [channel.id for channel in read_bundle(write_bundle(tmp_path / "m", change)).channels] == ids


def test_a_model_of_another_task_gets_a_segment_for_each_output(tmp_path: Path) -> None:
    def change(metadata: dict[str, Any], inference: dict[str, Any]) -> None:
        metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "background", "1": "Spleen", "2": "x"}
        inference["postprocessing"]["transforms"] = [{"_target_": "AsDiscreted", "argmax": True}]

    bundle = read_bundle(write_bundle(tmp_path / "m", change))
    assert (bundle.task, bundle.activation) == ("other", "softmax")
    assert [(label.id, label.label_value) for label in bundle.labels] == [("spleen", 1), ("x", 2)]


# --- bad bundles ------------------------------------------------------------------------------


def network(**values: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda metadata, inference: inference["network_def"].update(values)


def config(**values: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda metadata, inference: inference.update(values)


def outputs(metadata: dict[str, Any]) -> dict[str, Any]:
    return dict(metadata["network_data_format"]["outputs"])["pred"]


PROBE = "$__import__('pathlib').Path('ran').touch()"
BAD_BUNDLES: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], str]] = {
    "an expression as an argument": (network(in_channels=PROBE), "holds an expression .* refused and not run"),
    "an expression as the network": (config(network_def=PROBE), "holds an expression"),
    "an import in the network": (network(act="$import os; os.system('touch ran')"), "holds an expression"),
    "a reference to an expression": (
        lambda m, i: i.update(evil=PROBE, network_def={**i["network_def"], "norm": "@evil"}),
        "network_def::norm holds an expression",
    ),
    "a macro": (network(norm="%other.json::norm"), "holds a macro"),
    "a class of Python's own": (network(_target_="os.system"), "'os.system' is not one of MONAI's or MahtAI's"),
    "a class of the bundle's scripts": (network(_target_="scripts.net.Net"), "refused and not imported"),
    "a class of MONAI that is no network": (network(_target_="monai.bundle.ConfigParser"), "refused and not imported"),
    "a way round through a module": (network(_target_="monai.networks.nets.os.system "), "refused and not imported"),
    "a package with a similar name": (network(_target_="monai.networks.netsevil.X"), "refused and not imported"),
    "another object inside": (network(act={"_target_": "os.system", "command": "touch ran"}), "another object"),
    "a switch of MONAI's": (network(_mode_="callable"), "uses _mode_"),
    "no network": (lambda m, i: [i.pop(key) for key in ("network_def", "network")], "defines no network"),
    "a network without class": (lambda m, i: i["network_def"].pop("_target_"), "names no network class"),
    "a reference to nothing": (network(in_channels="@nothing"), "refers to @nothing"),
    "references in a circle": (config(channels_in="@also", also="@channels_in"), "in a circle"),
    "references that multiply": (
        lambda m, i: i.update({f"x{n}": [f"@x{n + 1}"] * 9 for n in range(9)}, x9=1) or network(act="@x0")(m, i),
        "has no end",
    ),
    "fewer inputs than named": (network(in_channels=3), "names 4 input channels, but the network has 3"),
    "more outputs than named": (network(out_channels=4), "names 3 output channels, but the network has 4"),
    "another number in the metadata": (lambda m, i: outputs(m).update(num_channels=5), "has 5 \\(num_channels\\)"),
    "a sequence twice": (
        lambda m, i: m["network_data_format"]["inputs"]["image"]["channel_def"].update({"1": "T1 CE"}),
        "same name",
    ),
    "no channels": (lambda m, i: m.pop("network_data_format"), "not complete: KeyError"),
    "channels without names": (lambda m, i: outputs(m).pop("channel_def"), "not complete"),
    "a width of 10³⁰": (network(init_filters=10**30), "holds 1e\\+30, which is no size"),
    "no inputs": (lambda m, i: m["network_data_format"]["inputs"].clear(), "not complete"),
    "no activation": (config(postprocessing={}), "overlap \\(sigmoid\\) or exclude"),
    "no spacing": (lambda m, i: m.pop("image_classes"), "which voxel spacing"),
    "no window": (config(inferer={"_target_": "SimpleInferer"}), "which window"),
    "an overlap of one": (lambda m, i: i["inferer"].update(overlap=1.0), "overlap of 1.0"),
    "an unknown orientation": (lambda m, i: m.update(mahtai={"orientation": "RRS"}), "'RRS' is not an orientation"),
    "labels without names": (lambda m, i: m.update(mahtai={"labels": [{"id": "x"}]}), "not complete"),
    "extras that are no mapping": (lambda m, i: m.update(mahtai=[1]), "not complete"),
}


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bad_bundle_is_refused_with_reason_and_hint_and_nothing_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    change, said = BAD_BUNDLES[name]
    folder = write_bundle(tmp_path / "bad", change, weights=False)
    with pytest.raises(BundleError, match=said) as caught:
        read_bundle(folder)
    assert caught.value.status == 422
    assert caught.value.hint
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("metadata.json", b"{", "metadata.json of the model bad is damaged"),
        ("inference.json", b"[1, 2]", "does not hold a description"),
        ("inference.json", b"\xff\xfe\x00", "cannot be read"),
        ("inference.json", b" " * (9 << 20), "larger than any"),
        ("inference.json", b"[" * 100_000, "damaged"),
    ],
)
def test_a_damaged_configuration_is_refused(tmp_path: Path, file: str, content: bytes, said: str) -> None:
    folder = write_bundle(tmp_path / "bad", weights=False)
    (folder / "configs" / file).write_bytes(content)
    with pytest.raises(BundleError, match=said):
        read_bundle(folder)


@pytest.mark.parametrize("file", ["metadata.json", "inference.json"])
def test_a_missing_configuration_is_named(tmp_path: Path, file: str) -> None:
    folder = write_bundle(tmp_path / "bad", weights=False)
    (folder / "configs" / file).unlink()
    with pytest.raises(BundleError, match=f"bad has no configs/{file}"):
        read_bundle(folder)


def test_missing_weights_are_told_with_where_to_get_them(tmp_path: Path) -> None:
    bundle = read_bundle(write_bundle(tmp_path / "empty", weights=False))
    assert bundle.state == "weights missing"
    with pytest.raises(MissingWeights, match="weights of Glioma regions .* are missing") as caught:
        bundle.require_weights()
    assert "mahtai models pull empty" in caught.value.hint


# --- the catalogue ----------------------------------------------------------------------------


def test_the_catalogue_lists_what_can_be_read_and_tells_what_cannot(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b")
    write_bundle(tmp_path / "a", weights=False)
    write_bundle(tmp_path / "broken", BAD_BUNDLES["no network"][0])
    write_bundle(tmp_path / ".pull-c-1234")
    (tmp_path / "notes").mkdir()
    catalogue = Catalogue([tmp_path / "absent", tmp_path])
    assert [bundle.id for bundle in catalogue.list()] == ["a", "b"]
    assert catalogue.get("b").state == "ready"
    [(folder, problem)] = catalogue.problems()
    assert folder.name == "broken"
    with pytest.raises(BundleError, match="defines no network"):
        catalogue.get("broken")
    assert "no network" in problem.reason


def test_an_unknown_model_is_answered_with_the_names_that_there_are(tmp_path: Path) -> None:
    write_bundle(tmp_path / "glioma", weights=False)
    with pytest.raises(UnknownModel, match="no model 'meningioma'") as caught:
        Catalogue([tmp_path]).get("meningioma")
    assert (caught.value.status, caught.value.hint) == (404, "There are: glioma.")
    with pytest.raises(UnknownModel, match="mahtai models pull"):
        Catalogue([]).get("x")


def test_the_first_folder_wins_where_two_have_the_same_model(tmp_path: Path) -> None:
    write_bundle(tmp_path / "user" / "m", lambda m, i: m.update(version="2"), weights=False)
    write_bundle(tmp_path / "shipped" / "m", lambda m, i: m.update(version="1"), weights=False)
    catalogue = Catalogue([tmp_path / "user", tmp_path / "shipped"])
    assert [bundle.version for bundle in catalogue.list()] == ["2"]


def test_the_catalogue_notices_models_that_come_change_and_go(tmp_path: Path) -> None:
    catalogue = Catalogue([tmp_path])
    assert catalogue.list() == []
    folder = write_bundle(tmp_path / "m", weights=False)
    before = catalogue.get("m")
    assert catalogue.get("m") is before
    (folder / "models" / "model.pt").write_bytes(b"weights")
    assert catalogue.get("m").state == "ready"
    (folder / "configs" / "metadata.json").unlink()
    assert catalogue.list() == []


def test_reading_models_does_not_load_torch(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", weights=False)
    program = (
        "import sys; from pathlib import Path; from mahtai.models.catalogue import Catalogue;"
        "import mahtai.models.pull, mahtai.volumes.formats, mahtai.volumes.store, mahtai.volumes.segmentation_file;"
        f"assert Catalogue([Path({str(tmp_path)!r})]).get('m').as_json();"
        "print([name for name in ('torch', 'monai', 'SimpleITK') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert answer.stdout.strip() == "[]"


# --- our own models ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["brats_segresnet", "brats_unetr"])
def test_our_own_bundles_say_the_same_as_the_tables(name: str) -> None:
    bundle = read_bundle(OWN_MODELS / name)
    assert [channel.id for channel in bundle.channels] == ["t1c", "t1", "t2", "flair"]
    assert [region.id for region in bundle.regions] == ["tc", "wt", "et"]
    assert bundle.labels == segments_of_task("brain-tumour")
    assert bundle.missing_channels_ok
    assert all(channel.description for channel in bundle.channels)


@pytest.mark.parametrize("name", ["brats_segresnet", "ceph_mahtnet"])
def test_our_weights_are_those_of_their_checksums(name: str) -> None:
    weights = read_bundle(OWN_MODELS / name).require_weights()
    assert checksum_file(weights).is_file()


def test_our_segresnet_has_the_definition_of_the_zoos() -> None:
    definition = read_bundle(OWN_MODELS / "brats_segresnet").network_def
    assert definition == {
        "_target_": "SegResNet",
        "spatial_dims": 3,
        "init_filters": 16,
        "in_channels": 4,
        "out_channels": 3,
        "blocks_down": [1, 2, 2, 4],
        "blocks_up": [1, 1, 1],
        "dropout_prob": 0.2,
    }


def test_the_unetr_recipe_without_weights_says_how_to_train_it() -> None:
    bundle = read_bundle(OWN_MODELS / "brats_unetr")
    assert bundle.recipe
    if bundle.weights_path is None:
        assert bundle.state == "recipe, no weights"
        with pytest.raises(MissingWeights, match="is a recipe") as caught:
            bundle.require_weights()
        assert "`mahtai train`" in caught.value.hint
