"""No voxel of a held-out patient in any batch: by construction, by check, and watched in a real run.

Every held-out study carries a watermark that survives cropping, mirroring, resampling and z-scoring: its T2 rises
with its T1, which no real one does. A spy looks for it in every batch that the network is given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sqlalchemy import select, update
from torch import Tensor

import learning_kit
from learning_kit import Clinic, clinic, encoded, label_file, phantom_study
from mahtai.cases.case import Case, NewCase
from mahtai.db.tables import CaseRow
from mahtai.inference.intensity import zscore_foreground
from mahtai.inference.options import Options
from mahtai.training import case_studies, from_cases
from mahtai.training.approved import ApprovedCase, ApprovedCases
from mahtai.training.datasets import Case as TrainingCase
from mahtai.training.from_cases import Machine, train_from_cases
from mahtai.training.loop import PatchStream, SegmentationTrainer
from mahtai.training.screening import Histogram, Screening
from mahtai.training.settings import TrainingSettings
from mahtai.training.splits import SplitError, split
from mahtai.training.training_folder import TrainingFolder
from mahtai.volumes.formats import read_volume
from mahtai.volumes.segmentation_file import encode_segmentation
from mahtai.volumes.terminology import segments_of_task

STEPS = 24
MACHINE = Machine(device="cpu", threads=1, workers=0, steps=STEPS)
PLAIN = {
    "synthetic_lesion": 0.0,
    "drop_one_sequence": 0.0,
    "drop_two_sequences": 0.0,
    "intensity_scale": 0.0,
    "intensity_shift": 0.0,
    "gamma": 0.0,
    "bias_field": 0.0,
    "thick_slices": 0.0,
    "blur": 0.0,
    "noise": 0.0,
}
"""Augmentation that leaves the watermark in."""

WATERMARK = 0.8
"""Correlation of T1 and T2 in a patch from which on it shows a watermarked study."""

Volume = NDArray[np.int16]


def marked_study(seed: int) -> tuple[dict[str, Volume], NDArray[np.uint8]]:
    """A phantom with the watermark."""
    study, truth = phantom_study(seed)
    noise = np.random.default_rng(seed).normal(0, 50, study["t1"].shape)
    study["t2"] = np.where(study["t1"] > 0, np.clip(study["t1"] + noise, 1, None), 0).astype(np.int16)
    return study, truth


def is_marked(image: Tensor) -> bool:
    """Whether a patch, channels × X × Y × Z, shows a watermarked study."""
    brain = (image != 0).all(0)
    return int(brain.sum()) > 50 and float(torch.corrcoef(image[1:3, brain])[0, 1]) > WATERMARK


class Spy:
    """Sees every batch that the network is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patches: list[Tensor] = []
        look = SegmentationTrainer.next_loss

        def next_loss(trainer: SegmentationTrainer, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
            image, label = next(batches)
            self.patches.extend(image)
            return look(trainer, iter([(image, label)]))

        monkeypatch.setattr(SegmentationTrainer, "next_loss", next_loss)

    @property
    def marked(self) -> int:
        """Batches with a held-out study in them."""
        return sum(is_marked(patch) for patch in self.patches)


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    """A server whose model trains without changing intensities, and does not take the watermark for swapped slots."""
    monkeypatch.setattr(case_studies, "Options", partial(Options, check_sequences="off"))
    monkeypatch.setitem(learning_kit.RECIPE, "augmentation", PLAIN)
    return clinic(tmp_path)


def make_case(
    where: Clinic,
    study: dict[str, Volume],
    truth: NDArray[np.uint8],
    patient: str | None = None,
    change: Callable[[Volume], Volume] = lambda voxels: voxels,
) -> Case:
    """An approved case of these voxels."""
    volumes = {name: where.put(encoded(change(voxels))) for name, voxels in study.items()}
    case, _ = where.cases.create(NewCase(f"Study of {patient}", learning_kit.TASK, volumes, patient=patient))
    where.approve(case, label_file(learning_kit.change_labels(truth, change)))
    return where.cases.get(case.id)


def crop(voxels: Volume) -> Volume:
    """Half of the brain is cut off."""
    kept = np.zeros_like(voxels)
    kept[:, :, 18:] = voxels[:, :, 18:]
    return kept


def give_to(where: Clinic, case: Case, owner: Case) -> None:
    """Somebody with access to the tables says that a case is another patient's."""
    with where.database.write() as session:
        theirs = session.scalar(select(CaseRow.patient).where(CaseRow.id == owner.id))
        assert theirs is not None
        session.execute(update(CaseRow).where(CaseRow.id == case.id).values(patient=theirs))


def trained(where: Clinic) -> TrainingFolder:
    """A real run on what is approved."""
    folder = where.order()
    train_from_cases(where.settings, folder, MACHINE, lambda stage, fraction: None)
    return folder


def plan_of(folder: TrainingFolder) -> dict[str, Any]:
    """What was learnt from, as the log says it."""
    lines = [json.loads(line) for line in (folder.path / "train_log.jsonl").read_text("utf-8").splitlines()]
    return {line["event"]: line for line in lines if "event" in line} | {
        "remarks": [line for line in lines if line.get("event") == "remark"]
    }


def test_no_batch_holds_a_held_out_patient_under_whatever_name(
    hospital: Clinic, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = [hospital.case(seed, "train") for seed in (1, 2)]
    # the patients who are held out, and everything that might bring them in by another door
    held_out = make_case(hospital, *marked_study(10), patient="Mrs Test")
    hospital.draw(held_out, "test")
    validation = make_case(hospital, *marked_study(11))
    hospital.draw(validation, "validation")
    unused = make_case(hospital, *marked_study(12))
    hospital.draw(unused, "none")
    same_patient = make_case(hospital, *marked_study(13), patient="mrs  test")
    renamed = make_case(hospital, *marked_study(10), patient="Somebody Else")
    mirrored = make_case(hospital, *marked_study(11), change=lambda voxels: voxels[::-1])
    cropped = make_case(hospital, *marked_study(10), patient="Cropped", change=crop)
    hospital.draw(cropped, "train")
    disguised = make_case(hospital, *marked_study(12))
    give_to(hospital, disguised, learnt[0])
    published = [
        hospital.put((shared_data / "brats" / split()["test"][0] / f"{name}.nii.gz").read_bytes())
        for name in ("t1c", "t1")
    ]
    foreign, _ = hospital.cases.create(
        NewCase("Foreign", learning_kit.TASK, dict(zip(("t1c", "t1"), published, strict=True)))
    )
    assert foreign.split == "test"  # known by its fingerprint; and if the tables said otherwise:
    grid = read_volume(hospital.store.path(published[0])).geometry
    nothing = encode_segmentation(np.zeros(grid.shape, np.uint8), grid, segments_of_task(learning_kit.TASK))
    hospital.approve(foreign, nothing)
    hospital.draw(foreign, "train")
    unapproved = hospital.case(3, "train", approve=False)
    removed = hospital.case(4, "train")
    hospital.cases.remove(removed.id, learning_kit.READER)

    for case, part in ((same_patient, "test"), (mirrored, "validation")):
        assert hospital.cases.get(case.id).split == part
    assert hospital.cases.get(renamed.id).split in ("test", "none")

    spy = Spy(monkeypatch)
    folder = trained(hospital)
    seen = plan_of(folder)
    assert len(spy.patches) == STEPS and spy.marked == 0
    assert {case["case"] for case in seen["training"]["cases"]} == {case.id for case in learnt}
    left_out = {line["case"]: line["remark"] for line in seen["remarks"] if line["left_out"]}
    assert set(left_out) == {cropped.id, disguised.id, foreign.id}
    assert "held out" in left_out[foreign.id]
    assert "is a part of" in left_out[cropped.id] and "held out" in left_out[disguised.id]
    assert unapproved.id not in str(seen["training"])


def test_the_spy_would_have_seen_them(hospital: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all doors taken out, the watermark is in the batches: the test above can fail."""
    hospital.case(1, "train")
    hospital.draw(make_case(hospital, *marked_study(10)), "test")
    find = ApprovedCases.for_tests

    def everything(self: ApprovedCases, task: str, kind: Any) -> list[ApprovedCase]:
        return [replace(case, split="train", patient=-case.number) for case in find(self, task, kind)]

    monkeypatch.setattr(ApprovedCases, "for_training", everything)
    monkeypatch.setattr(Screening, "why_not", lambda self, case, study: None)
    spy = Spy(monkeypatch)
    trained(hospital)
    assert spy.marked > STEPS / 2


def test_each_door_alone_keeps_a_test_case_out(hospital: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital.case(1, "train")
    hospital.draw(make_case(hospital, *marked_study(10)), "test")
    tests = ApprovedCases(hospital.database).for_tests(learning_kit.TASK, "segmentation")
    monkeypatch.setattr(ApprovedCases, "for_training", lambda self, task, kind: tests)
    spy = Spy(monkeypatch)
    with pytest.raises(SplitError, match="held out"):  # the check of the plan
        trained(hospital)
    monkeypatch.setattr("mahtai.training.plan.check_apart", lambda training, tests: None)
    monkeypatch.setattr(from_cases, "check_apart", lambda training, tests: None)
    monkeypatch.setattr(Screening, "why_not", lambda self, case, study: None)
    with pytest.raises(SplitError, match="held out"):  # the trainer's own door
        trained(hospital)
    assert not spy.patches


def test_the_stream_of_batches_takes_the_train_split_only() -> None:
    image = zscore_foreground(torch.rand(4, 8, 8, 8))
    case = TrainingCase("case 1", image.half(), torch.zeros(8, 8, 8, dtype=torch.uint8), (1, 1, 1), "train")
    recipe = TrainingSettings.from_bundle(Path(__file__).resolve().parents[2] / "models" / "brats_segresnet")
    PatchStream([case], recipe.phases[0], recipe, 0)
    for part in ("test", "validation", "none", ""):
        for cases, rehearsal in (([case, replace(case, split=part)], []), ([case], [replace(case, split=part)])):
            with pytest.raises(SplitError):
                PatchStream(cases, recipe.phases[0], recipe, 0, rehearsal)


def test_a_crop_is_a_part_of_its_scan_and_of_no_other(shared_data: Path) -> None:
    names = split()["train"][:4]
    scans = [np.asarray(read_volume(shared_data / "brats" / name / "t1c.nii.gz").array) for name in names]
    wholes = [Histogram.of(scan) for scan in scans]
    parts = [Histogram.of(scan[:, 60:190, ::-1]) for scan in scans]
    found = [[part.is_part_of(whole) for whole in wholes] for part in parts]
    assert found == [[row == column for column in range(4)] for row in range(4)]
    assert not wholes[0].is_part_of(parts[0])
