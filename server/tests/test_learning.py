"""Learning on from approved cases: labels by meaning, the whole loop, what cannot be used, going on after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from learning_kit import SHAPE, Clinic, affine, clinic, encoded, label_file, phantom_study
from mahtai.cases.case import NewCase
from mahtai.cli import main
from mahtai.errors import MahtaiError
from mahtai.training.approved import ApprovedCases
from mahtai.training.case_studies import read_case, training_case
from mahtai.training.datasets import Case
from mahtai.training.from_cases import Machine, Outcome, score_version, train_from_cases
from mahtai.training.loop import PatchStream, SegmentationTrainer
from mahtai.training.plan import NoApprovedCase, NotTrainable
from mahtai.training.reference_labels import labels_on, reference_labels
from mahtai.training.settings import TrainingSettings
from mahtai.training.training_folder import TrainingFolder, TrainingRuns, all_trainings
from mahtai.volumes.geometry import Geometry
from MahtAILib.client import nrrd
from MahtAILib.client.segmentation import TERMINOLOGY_TAG, Segment, Segmentation, encode
from tiny_bundle import write_tiny_bundle
from tiny_landmark_bundle import write_landmark_bundle

TASK = "brain-tumour"
NECROSIS = "Segmentation category and type~SCT^49755003^Morph~SCT^6574001^Necrosis~^^~Anatomic~^^~^^"


@pytest.fixture
def where(tmp_path: Path) -> Clinic:
    """A data folder with the model ``tiny``."""
    return clinic(tmp_path)


def learn(where: Clinic, folder: TrainingFolder | None = None, steps: int = 6) -> Outcome:
    """A real, short training."""
    machine = Machine(device="cpu", threads=2, workers=0, steps=steps)
    return train_from_cases(where.settings, folder or where.order(), machine, lambda stage, fraction: None)


def log_of(folder: TrainingFolder, event: str) -> list[dict[str, Any]]:
    """Lines of the log of one kind."""
    lines = (folder.path / "train_log.jsonl").read_text("utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line.get("event") == event]


def box(first: int, last: int) -> np.ndarray:
    """A cube on the phantoms' grid."""
    mask = np.zeros(SHAPE, bool)
    mask[first:last, first:last, first:last] = True
    return mask


def segmentation(*parts: tuple[Segment, np.ndarray]) -> Segmentation:
    """Overlapping segments, each in a layer of its own."""
    layers = np.stack([mask.astype(np.uint8) * segment.label_value for segment, mask in parts])
    segments = tuple(replace(segment, layer=number) for number, (segment, _) in enumerate(parts))
    return Segmentation(segments, layers, Geometry(SHAPE, affine()))


def test_segments_are_told_by_meaning_and_lie_over_each_other_as_in_a_result() -> None:
    # in another order than the model's, with other values, overlapping; one told by its code alone
    found, unknown = reference_labels(
        segmentation(
            (Segment("ET", "Enhancing", 7), box(16, 20)),
            (Segment("Segment_3", "Nekrose", 9, tags={TERMINOLOGY_TAG: NECROSIS}), box(14, 22)),
            (Segment("ed", "Oedema", 1), box(10, 26)),
            (Segment("Segment_9", "Vessel", 2), box(30, 34)),
            (Segment("Segment_8", "Empty", 2), np.zeros(SHAPE, bool)),
        )
    )
    assert unknown == ["Vessel"]
    expected = np.zeros(SHAPE, np.uint8)
    for (first, last), value in (((10, 26), 2), ((14, 22), 1), ((16, 20), 3)):
        expected[box(first, last)] = value
    assert np.array_equal(found, expected)


def test_regions_saved_as_segments_mean_what_they_say() -> None:
    parts = ((Segment("wt", "Whole", 1), box(10, 26)), (Segment("tc", "Core", 1), box(14, 22)))
    found, unknown = reference_labels(segmentation((Segment("et", "ET", 1), box(16, 20)), *parts))
    assert not unknown and [int((found == value).sum()) for value in (1, 2, 3)] == [8**3 - 4**3, 16**3 - 8**3, 4**3]


def test_labels_go_to_another_grid_where_they_are() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[box(10, 30)] = 2
    labels[box(14, 26)] = 3
    fine = np.array(affine())
    fine[:3, :3] /= 2
    fine[:3, 3] = (affine() @ [-0.25, -0.25, -0.25, 1])[:3]
    moved = labels_on(labels, Geometry(SHAPE, affine()), Geometry(tuple(2 * n for n in SHAPE), fine))
    assert int((moved > 0).sum()) == pytest.approx(8 * 20**3, rel=0.06)
    assert int((moved == 3).sum()) == pytest.approx(8 * 12**3, rel=0.1)
    flipped = np.array(affine())
    flipped[:, 0] *= -1
    flipped[:3, 3] = (affine() @ [SHAPE[0] - 1, 0, 0, 1])[:3]
    exact = labels_on(labels, Geometry(SHAPE, affine()), Geometry(SHAPE, flipped))
    assert np.array_equal(exact.numpy(), labels[::-1])


def test_a_clinical_study_is_prepared_as_an_inference_does(where: Clinic) -> None:
    """T1 on another grid, and T2 missing: the case that reaches the trainer lies on the model's grid all the same."""
    study, truth = phantom_study(3)
    coarse = np.array(affine())
    coarse[:, 2] *= 2
    volumes = {"t1c": where.put(encoded(study["t1c"])), "flair": where.put(encoded(study["flair"]))}
    volumes["t1"] = where.put(nrrd.encode(np.ascontiguousarray(study["t1"][:, :, ::2]), coarse))
    case, _ = where.cases.create(NewCase("Clinical", TASK, volumes))
    where.draw(case, "train")
    where.approve(case, label_file(truth))
    bundle = where.catalogue.get("tiny")
    (approved,) = ApprovedCases(where.database).for_training(TASK, "segmentation")
    made = training_case(approved, read_case(approved, bundle, where.store), bundle)  # type: ignore[arg-type]
    assert made.split == "train" and made.spacing_mm == (2.0, 2.0, 2.0)
    assert made.image.shape == (4, *made.label.shape)
    t1c, t1, t2, _ = made.image.float()
    assert not t2.any()  # the model learns to do without
    inside = (t1c != 0) & (t1 != 0)
    assert float(np.corrcoef(t1c[inside], t1[inside])[0, 1]) > 0.3
    # the enhancing rim is the brightest thing in T1c: image and label lie on each other
    assert float(t1c[made.label == 3].mean()) > float(t1c[(made.label == 0) & (t1c != 0)].mean()) + 1


def test_the_loop_learns_makes_a_version_and_promotes_it_by_the_rule(where: Clinic) -> None:
    for seed in (1, 2):
        where.case(seed, "train")
    tests = [where.case(seed, "test") for seed in range(10, 15)]
    parent = where.catalogue.get("tiny")
    folder = where.order()
    outcome = learn(where, folder, steps=30)
    version = where.catalogue.get(outcome.version)
    assert outcome.version == "tiny@1" and version.version == "0.0.1+cases.1"
    before, after = load_file(parent.require_weights()), load_file(version.require_weights())
    assert any(not np.array_equal(before[name], after[name]) for name in before)

    shown = where.versions.list("tiny")[1]
    assert shown.lineage is not None and shown.lineage["parent"]["sha256"] == parent.sha256
    assert [case["split"] for case in shown.lineage["cases"]] == ["train", "train"]
    assert all(len(case["content"]) == 64 and case["version"] for case in shown.lineage["cases"])
    (comparison,) = shown.comparisons
    assert comparison["against"]["sha256"] == parent.sha256
    assert {test["case"] for test in comparison["tests"]} == {case.id for case in tests}
    assert {test["label"] for test in comparison["tests"]} == {case.approved for case in tests}
    # the pointer says what the rule said
    assert where.catalogue.get("tiny").number == int(outcome.promoted) == int(outcome.decision.promote)
    recipe = log_of(folder, "training")[0]["recipe"]
    assert recipe["learning_rate"] == 0.003 and len(recipe["phases"]) == 1 and recipe["seed"] == 7
    assert (version.folder / "docs" / "train_log.jsonl").is_file()
    assert folder.state == "succeeded" and folder.end == {
        "state": "succeeded",
        "version": "tiny@1",
        "promoted": outcome.promoted,
        "reason": outcome.decision.reason,
        "hint": "",
    }


def test_a_case_that_was_approved_later_does_not_change_an_old_comparison(where: Clinic) -> None:
    where.case(1, "train")
    first = where.case(10, "test")
    outcome = learn(where)
    assert not outcome.promoted and "at least 5 test cases" in outcome.decision.reason
    later = [where.case(seed, "test") for seed in range(11, 15)]
    old = where.versions.list("tiny")[1].comparisons
    assert [test["case"] for test in old[0]["tests"]] == [first.id]
    found, decision = score_version(where.settings, "tiny@1", None, "cpu", lambda stage, fraction: None)
    assert decision.cases == 5 and len(found["tests"]) == 5
    new = where.versions.list("tiny")[1].comparisons
    assert len(new) == 2 and new[0] == old[0]
    assert {test["case"] for test in new[1]["tests"]} == {first.id, *(case.id for case in later)}


def test_what_cannot_be_used_is_left_out_and_said(where: Clinic) -> None:
    good = where.case(1, "train")
    vessel = (Segment("Segment_1", "Vessel", 4), box(4, 8))
    labelled = segmentation((Segment("ed", "Oedema", 2), box(12, 20)), vessel)
    partly = where.case(2, "train", label=encode(labelled))
    broken = where.case(3, "train")
    where.store.path(broken.volumes["t1"]).unlink()
    folder = where.order()
    learn(where, folder)
    remarks = {line["case"]: (line["left_out"], line["remark"]) for line in log_of(folder, "remark")}
    assert set(remarks) == {partly.id, broken.id}
    assert remarks[partly.id] == (False, "the segment Vessel means nothing to tiny and was left out")
    assert remarks[broken.id][0] is True
    used = {case["case"] for case in log_of(folder, "training")[0]["cases"]}
    assert used == {good.id, partly.id}


def test_nothing_approved_is_said_with_what_to_do(where: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    where.case(1, "train", approve=False)
    where.case(2, "test")
    folder = where.order()
    with pytest.raises(NoApprovedCase) as caught:
        learn(where, folder)
    assert "second reader" in caught.value.hint and "1 approved ones are held out" in caught.value.hint
    assert folder.state == "failed" and folder.end is not None and folder.end["reason"] == caught.value.reason
    monkeypatch.setenv("MAHTAI_DATA_DIR", str(where.settings.data_dir))
    monkeypatch.setenv("MAHTAI_MODELS_PATH", str(where.settings.models_path[0]))
    result = CliRunner().invoke(main, ["train", "tiny", "--from-cases"])
    assert result.exit_code == 1 and "may be learnt from" in result.output


def test_models_that_cannot_learn_from_cases_say_why(where: Clinic) -> None:
    models = where.settings.models_path[0]
    write_landmark_bundle(models / "points")
    write_tiny_bundle(models / "without_recipe")
    where.case(1, "train")
    for model, why in (("points", "cannot be trained from cases yet"), ("without_recipe", "no configs/train.json")):
        with pytest.raises(NotTrainable, match=why) as caught:
            learn(where, where.order(model))
        assert caught.value.hint


def test_a_training_that_was_killed_goes_on_with_the_same_cases(where: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    where.case(1, "train")
    folder = where.order()
    step = SegmentationTrainer.next_loss

    def killed(self: SegmentationTrainer, batches: Any) -> Any:
        if self.step == 3:
            self.save()
            raise KeyboardInterrupt
        return step(self, batches)

    monkeypatch.setattr(SegmentationTrainer, "next_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        learn(where, folder)
    assert folder.state == "interrupted"
    monkeypatch.setattr(SegmentationTrainer, "next_loss", step)
    where.case(2, "train")  # approved meanwhile: it belongs to the next training
    assert learn(where, folder).version == "tiny@1"
    assert folder.state == "succeeded"
    first, second = log_of(folder, "training")
    assert [case["case"] for case in first["cases"]] == [case["case"] for case in second["cases"]]
    assert log_of(folder, "end")[-1]["step"] == 6


def test_a_patient_who_turns_out_to_be_held_out_is_not_gone_on_with(
    where: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, lost = where.case(1, "train"), where.case(2, "train")
    folder = where.order()
    monkeypatch.setattr(SegmentationTrainer, "run", lambda self, *given, **named: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        learn(where, folder)
    monkeypatch.undo()
    where.draw(lost, "none")
    learn(where, folder)
    assert [case["case"] for case in log_of(folder, "training")[-1]["cases"]] == [kept.id]


def test_one_training_at_a_time(where: Clinic) -> None:
    where.case(1, "train")
    first, second = where.order(), where.order()
    with first.held(), pytest.raises(TrainingRuns, match="running already"):
        assert first.state == "running"
        learn(where, second)
    assert first.state == second.state == "interrupted"
    assert {folder.id for folder in all_trainings(where.settings.trainings_dir)} == {first.id, second.id}


@pytest.mark.parametrize("name", ["..", "../..", "x", "", "a" * 36, "0" * 400, "\0", "é"])
def test_an_id_of_a_training_leads_nowhere_else(where: Clinic, name: str) -> None:
    with pytest.raises(MahtaiError, match="no training of this id"):
        _ = TrainingFolder(where.settings.trainings_dir, name).order


def test_published_train_cases_are_rehearsed(where: Clinic, shared_data: Path) -> None:
    where.case(1, "train")
    data = where.settings.data_dir.parent / "published"
    data.mkdir()
    for name in ("Brats18_CBICA_ABM_1", "Brats18_CBICA_AME_1"):
        (data / name).symlink_to(shared_data / "brats" / name)
    folder = where.order(data=data)
    learn(where, folder, steps=2)
    assert log_of(folder, "rehearsal")[0]["names"] == ["Brats18_CBICA_ABM_1", "Brats18_CBICA_AME_1"]
    empty = where.settings.data_dir.parent / "empty"
    empty.mkdir()
    with pytest.raises(NotTrainable, match="holds no case of the published train split"):
        learn(where, where.order(data=empty))


def test_rehearsed_cases_make_up_their_share_of_the_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    def case(name: str) -> Case:
        return Case(name, torch.rand(4, 8, 8, 8).half(), torch.zeros(8, 8, 8, dtype=torch.uint8), (1, 1, 1), "train")

    recipe = TrainingSettings.from_bundle(Path(__file__).resolve().parents[2] / "models" / "brats_segresnet")
    monkeypatch.setattr("mahtai.training.loop.training_patch", lambda case, *rest: case.name)
    new, known = [case("new 1")], [case(f"known {number}") for number in range(20)]
    drawn = list(islice(PatchStream(new, recipe.phases[0], recipe, 0, known), 1000))
    assert 430 < drawn.count("new 1") < 570
    assert set(drawn) == {one.name for one in (*new, *known)}
    alone = list(islice(PatchStream(known, recipe.phases[0], recipe, 0), 40))
    assert sorted(alone) == sorted(2 * [one.name for one in known])


def test_fine_tuning_takes_smaller_steps_and_no_coarse_phase() -> None:
    folder = Path(__file__).resolve().parents[2] / "models" / "brats_segresnet"
    whole, fine = TrainingSettings.from_bundle(folder), TrainingSettings.for_fine_tuning(folder)
    assert fine.learning_rate == pytest.approx(whole.learning_rate / 5)
    assert [phase.patch for phase in fine.phases] == [phase.patch for phase in whole.phases[1:]]
    assert sum(phase.share for phase in fine.phases) == pytest.approx(1)
    assert whole.from_scratch and not fine.from_scratch


def test_a_short_run_moves_a_trained_network_little(where: Clinic) -> None:
    """The averaged weights begin at the parent's; those of a network from scratch are forgotten at once."""
    where.case(1, "train")
    parent = load_file(where.catalogue.get("tiny").require_weights())
    folder = where.order()
    learn(where, folder, steps=4)
    made = load_file(where.catalogue.get("tiny@1").require_weights())
    learnt = torch.load(folder.path / "checkpoint.pt", weights_only=True)["network"]
    name = "convInit.conv.weight"
    moved, whole = ((one[name] - parent[name]).norm() for one in (made, learnt))
    assert 0 < float(moved) < 0.01 * float(whole)
