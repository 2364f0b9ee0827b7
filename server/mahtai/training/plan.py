"""What a training from cases is to do: decided once at its start and kept, so that it can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mahtai.errors import MahtaiError
from mahtai.models.bundle import Bundle, SegmentationBundle
from mahtai.training.approved import ApprovedCase, ApprovedCases
from mahtai.training.datasets import REGIONS
from mahtai.training.screening import check_apart
from mahtai.training.trainer import write_json

FILE_NAME = "plan.json"


class NoApprovedCase(MahtaiError):
    """There is nothing to learn from."""

    kind = "no-approved-case"
    title = "There is no approved case to learn from"
    status = 409


class NotTrainable(MahtaiError):
    """A model that cannot be trained from cases."""

    kind = "not-trainable"
    title = "This model cannot be trained from cases"
    status = 422


@dataclass(frozen=True)
class Plan:
    """A training.

    Attributes:
        parent: name and identity of the version whose weights it starts from.
        parent_sha256: which it must still have.
        cases: to learn from. tests: to be scored on.
    """

    model: str
    parent: str
    parent_sha256: str
    cases: tuple[ApprovedCase, ...]
    tests: tuple[ApprovedCase, ...]

    @classmethod
    def make(cls, bundle: Bundle, approved: ApprovedCases) -> Plan:
        """From what is approved now.

        Raises:
            NotTrainable: the model has no such training.
            NoApprovedCase: none of the train split.
        """
        require_trainable(bundle)
        cases = approved.for_training(bundle.task, bundle.kind)
        tests = approved.for_tests(bundle.task, bundle.kind)
        if not cases:
            raise NoApprovedCase(
                f"No approved label of a {bundle.task} case may be learnt from. Nothing was trained.",
                "Correct cases, submit them, and have a second reader approve them. Only cases whose split is "
                f"train are learnt from{_of_tests(tests)}.",
            )
        check_apart(cases, tests)
        return cls(bundle.id, bundle.version_name, bundle.sha256, tuple(cases), tuple(tests))

    def still_allowed(self, approved: ApprovedCases, bundle: Bundle) -> Plan:
        """The same plan without cases that may not be used any more: their patients turned out to be held out.

        Raises:
            NoApprovedCase: none is left.
        """
        held_out = approved.held_out().patients
        train = {case.patient for case in approved.for_training(bundle.task, bundle.kind)} - held_out
        test = {case.patient for case in approved.for_tests(bundle.task, bundle.kind)}
        left = tuple(case for case in self.cases if case.patient in train)
        if not left:
            raise NoApprovedCase("None of the training's cases may be learnt from any more.", "Start a new training.")
        return replace(self, cases=left, tests=tuple(case for case in self.tests if case.patient in test))

    def write(self, folder: Path) -> None:
        """Keep it in the training's folder."""
        write_json(folder / FILE_NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Plan | None:
        """The plan of a training that was begun before; None for a new one."""
        path = folder / FILE_NAME
        if not path.is_file():
            return None
        content: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        cases, tests = (tuple(ApprovedCase(**case) for case in content[name]) for name in ("cases", "tests"))
        return cls(content["model"], content["parent"], content["parent_sha256"], cases, tests)


def require_trainable(bundle: Bundle) -> SegmentationBundle:
    """The bundle, if it can learn from cases.

    Raises:
        NotTrainable: saying why not.
        MissingWeights: there is nothing to start from.
    """
    if not isinstance(bundle, SegmentationBundle):
        raise NotTrainable(
            f"{bundle.name} places landmarks. Landmark models cannot be trained from cases yet.",
            "Train it on a folder of images: mahtai train BUNDLE --data FOLDER.",
        )
    values = {label.id: label.label_value for label in bundle.labels}
    fits = bundle.output_names == tuple(region.lower() for region in REGIONS) and bundle.activation == "sigmoid"
    if not fits or any(values.get(name) != value for name, value in (("ncr", 1), ("ed", 2), ("et", 3))):
        raise NotTrainable(
            f"{bundle.name} does not predict {', '.join(REGIONS)} in this order, which is all that can be trained.",
            "Choose a brain tumour model such as brats_segresnet.",
        )
    if not (bundle.folder / "configs" / "train.json").is_file():
        raise NotTrainable(f"{bundle.name} has no configs/train.json.", "Write one; brats_segresnet's is an example.")
    bundle.require_weights()
    return bundle


def _of_tests(tests: list[ApprovedCase]) -> str:
    return f" ({len(tests)} approved ones are held out for tests)" if tests else ""
