"""Two versions of a model on the same test cases, through the pipeline that serves readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mahtai.errors import MahtaiError
from mahtai.inference.options import Options
from mahtai.inference.prediction import LoadedModel, choose_device, load_model
from mahtai.inference.segmentation import Stopwatch, predict_prepared, restore
from mahtai.models.bundle import SegmentationBundle
from mahtai.training.approved import ApprovedCase
from mahtai.training.case_studies import LabelledStudy, prepared, read_case
from mahtai.training.datasets import contiguous_labels, sequence_file
from mahtai.training.metrics import score_case
from mahtai.training.promotion import Decision, decide
from mahtai.training.splits import split
from mahtai.volumes.fingerprint import fingerprint
from mahtai.volumes.formats import read_volume
from mahtai.volumes.store import BlobStore


@dataclass(frozen=True)
class TestCase:
    """A case that versions are compared on.

    Attributes:
        id: of the case, or its name in the published split.
        label: id of the approved version, or ``published``.
        read: the study with its reference.
    """

    __test__ = False  # its name is no sign to pytest

    id: str
    label: str
    read: Callable[[], LabelledStudy]


def approved_tests(cases: Sequence[ApprovedCase], bundle: SegmentationBundle, store: BlobStore) -> list[TestCase]:
    """Of this server."""
    return [TestCase(case.id, case.version, partial(read_case, case, bundle, store)) for case in cases]


def published_tests(data: Path, approved: Sequence[ApprovedCase], store: BlobStore) -> list[TestCase]:
    """Those of the published split's test list that a folder holds, with their expert references.

    Args:
        approved: test cases that are there already: one of the same T1c is left out, so that none counts twice.
    """
    known = {
        fingerprint(read_volume(store.read_bytes(case.volumes["t1c"])).array)
        for case in approved
        if "t1c" in case.volumes
    }
    folders = [data / name for name in split()["test"] if (data / name).is_dir()]
    return [
        TestCase(folder.name, "published", partial(_read_folder, folder))
        for folder in folders
        if not known or fingerprint(read_volume(sequence_file(folder, "t1c")).array) not in known
    ]


def compare_versions(
    candidate: SegmentationBundle,
    current: SegmentationBundle,
    tests: Sequence[TestCase],
    device: str,
    report: Callable[[float], None] = lambda fraction: None,
) -> tuple[dict[str, Any], Decision]:
    """Score both on every test case and decide; see ``promotion``.

    A case that one of them cannot read is left out for both.

    Returns:
        JSON with the fixed list of cases and labels, every score, and the decision; and the decision.
    """
    models = [load_model(bundle, choose_device(device)) for bundle in (candidate, current)]
    scores: tuple[dict[str, dict[str, float]], ...] = ({}, {})
    left_out = {}
    for number, test in enumerate(tests):
        report(number / len(tests))
        try:
            found = list(_scores(test, models))
        except MahtaiError as error:
            left_out[test.id] = error.reason
            continue
        for kept, one in zip(scores, found, strict=True):
            kept[test.id] = one
    decision = decide(*scores)
    used = [{"case": test.id, "label": test.label} for test in tests if test.id in scores[0]]
    return {
        "candidate": candidate.identity,
        "against": {**current.identity, "name": current.version_name},
        "tests": used,
        "left_out": left_out,
        "dice": {"candidate": scores[0], "against": scores[1]},
        "mean": {"candidate": _means(scores[0]), "against": _means(scores[1])},
        "decision": asdict(decision),
    }, decision


def _scores(test: TestCase, models: Sequence[LoadedModel[SegmentationBundle]]) -> Iterator[dict[str, float]]:
    """Dice by region of each model; the study is prepared once, because versions prepare it alike."""
    read = test.read()
    study, record = prepared(read, models[0].bundle, models[0].device)
    for model in models:
        options = Options()
        with torch.inference_mode():
            probabilities = predict_prepared(study, model, options, lambda stage, fraction: None, lambda: False)
            result = restore(probabilities, study, model, options, record, lambda stage, fraction: None, Stopwatch())
        found = score_case(result.labelmap, read.labels, result.geometry.spacing_mm)
        yield {region: round(score.dice, 4) for region, score in found.items()}


def _means(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    regions = sorted({region for case in scores.values() for region in case})
    return {region: round(float(np.mean([case[region] for case in scores.values()])), 4) for region in regions}


def _read_folder(folder: Path) -> LabelledStudy:
    study = {name: read_volume(sequence_file(folder, name)) for name in ("t1c", "t1", "t2", "flair")}
    labels = contiguous_labels(np.asarray(read_volume(sequence_file(folder, "seg")).array))
    return LabelledStudy(folder.name, study, "t1c", labels)
