"""``mahtai train --from-cases``: learn on from approved corrections, score, and promote only what is better."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mahtai import __version__
from mahtai.db.engine import Database
from mahtai.db.migrate import upgrade
from mahtai.errors import MahtaiError
from mahtai.inference.prediction import choose_device
from mahtai.models.bundle import SegmentationBundle, read_bundle
from mahtai.models.catalogue import Catalogue
from mahtai.models.network import build_network, load_weights
from mahtai.models.serving import ServingError
from mahtai.models.versions import ModelVersions, NotPromoted, write_comparison
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.keyring import open_keyring
from mahtai.settings import Settings
from mahtai.training.approved import ApprovedCase, ApprovedCases
from mahtai.training.case_studies import read_case, training_case
from mahtai.training.datasets import Case, check_training_cases, load_case, require_for_training, sequence_file
from mahtai.training.loop import SegmentationTrainer
from mahtai.training.new_version import write_version
from mahtai.training.plan import NoApprovedCase, NotTrainable, Plan, require_trainable
from mahtai.training.promotion import Decision
from mahtai.training.scoring import TestCase, approved_tests, compare_versions, published_tests
from mahtai.training.screening import Screening, check_apart
from mahtai.training.settings import TrainingSettings
from mahtai.training.splits import split
from mahtai.training.training_folder import TrainingFolder
from mahtai.volumes.formats import read_volume
from mahtai.volumes.store import BlobStore

Report = Callable[[str, float], None]


@dataclass(frozen=True)
class Outcome:
    """What a training made.

    Attributes:
        version: its name.
        promoted: whether it serves now.
        decision: and why.
    """

    version: str
    promoted: bool
    decision: Decision


@dataclass(frozen=True)
class Machine:
    """What the training may use. ``steps`` stops it sooner, for a trial."""

    device: str = "auto"
    threads: int | None = None
    workers: int = 1
    steps: int | None = None


def train_from_cases(settings: Settings, folder: TrainingFolder, machine: Machine, report: Report) -> Outcome:
    """Do what was ordered, or go on with it.

    Args:
        report: told the stage and the fraction of it that is done.

    Raises:
        MahtaiError: with what to do; the folder says it too.
    """
    with folder.held():
        try:
            if machine.threads:
                torch.set_num_threads(machine.threads)
            with _opened(settings) as (database, store):
                outcome = _Run(settings, database, store, folder, machine, report).perform()
        except MahtaiError as error:
            folder.finish("failed", reason=error.reason, hint=error.hint)
            raise
        except Exception as error:
            reason = (
                f"The training met an unexpected error ({type(error).__name__}). The model that serves is untouched."
            )
            folder.finish("failed", reason=reason, hint="Send the server's log to those who look after MahtAI.")
            raise
        folder.finish(
            "succeeded", version=outcome.version, promoted=outcome.promoted, reason=outcome.decision.reason, hint=""
        )
    return outcome


class _Run:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: BlobStore,
        folder: TrainingFolder,
        machine: Machine,
        report: Report,
    ) -> None:
        self._order = folder.order
        self._data = None if self._order.data is None else Path(self._order.data)
        self._folder = folder
        self._machine = machine
        self._tell = report
        self._approved = ApprovedCases(database)
        self._store = store
        self._catalogue = Catalogue(settings.models_path, settings.versions_dir)
        self._versions = ModelVersions(self._catalogue, settings.versions_dir)

    def perform(self) -> Outcome:
        plan, parent = self._plan()
        recipe = TrainingSettings.for_fine_tuning(parent.folder)
        torch.manual_seed(recipe.seed)
        screening = Screening(self._approved.held_out(), self._store)
        cases = self._cases(plan, parent, screening)
        rehearsal = self._rehearsal(screening)
        self._folder.log(
            "training",
            parent={"version": plan.parent, "sha256": plan.parent_sha256},
            cases=[case.as_json() for case in _used(plan.cases, cases)],
            rehearsal=[case.name for case in rehearsal],
            recipe=recipe.as_json(),
            program=__version__,
            python=platform.python_version(),
            cores=os.cpu_count(),
        )
        weights = self._train(parent, recipe, cases, rehearsal)
        return self._judge(plan, parent, weights, cases, rehearsal, recipe)

    def _plan(self) -> tuple[Plan, SegmentationBundle]:
        known = Plan.read(self._folder.path)
        if known is not None:
            parent = require_trainable(self._catalogue.exact(known.model, known.parent_sha256))
            return known.still_allowed(self._approved, parent), parent
        parent = require_trainable(self._catalogue.get(self._order.model))
        plan = Plan.make(parent, self._approved)
        plan.write(self._folder.path)
        return plan, parent

    def _cases(self, plan: Plan, parent: SegmentationBundle, screening: Screening) -> list[Case]:
        """Read what may be learnt from; what cannot be used is left out, and the log says why."""
        check_apart(plan.cases, plan.tests)
        found = []
        for number, case in enumerate(plan.cases):
            self._stage("reading cases", number / len(plan.cases))
            try:
                read = read_case(case, parent, self._store)
                reason = screening.why_not(case, read.study)
                if reason is None:
                    found.append(training_case(case, read, parent))
            except MahtaiError as error:
                reason = error.reason
            remarks = [reason] if reason is not None else list(read.remarks)
            for remark in remarks:
                self._folder.log("remark", case=case.id, left_out=reason is not None, remark=remark)
        if not found:
            raise NoApprovedCase(
                "None of the approved cases could be learnt from.",
                "The training's log says of each why. Nothing was trained.",
            )
        require_for_training(found)
        return found

    def _rehearsal(self, screening: Screening) -> list[Case]:
        """Published cases of the train split, so that what was learnt before is not forgotten."""
        if self._data is None:
            return []
        folders = [self._data / name for name in split()["train"] if (self._data / name).is_dir()]
        if not folders:
            raise NotTrainable(
                f"{self._data} holds no case of the published train split.",
                "--data is the folder that holds one folder a case; leave it out to train on approved cases alone.",
            )
        check_training_cases(folders)
        found = []
        for number, path in enumerate(folders):
            self._stage("reading cases to rehearse", number / len(folders))
            reason = screening.why_not_voxels(np.asarray(read_volume(sequence_file(path, "t1c")).array))
            if reason is None:
                found.append(load_case(path))
            else:
                self._folder.log("remark", case=path.name, left_out=True, remark=reason)
        require_for_training(found)
        return found

    def _train(
        self, parent: SegmentationBundle, recipe: TrainingSettings, cases: list[Case], rehearsal: list[Case]
    ) -> Path:
        network = build_network(parent)
        load_weights(network, parent)
        trainer = SegmentationTrainer(network, recipe, choose_device(self._machine.device), self._folder.path)
        trainer.resume()
        self._stage("training", 0.0)
        trainer.run(
            cases,
            self._order.minutes,
            workers=self._machine.workers,
            on_progress=lambda fraction, text: self._tell("training", fraction),
            step_limit=self._machine.steps,
            rehearsal=rehearsal,
        )
        return trainer.weights

    def _judge(
        self,
        plan: Plan,
        parent: SegmentationBundle,
        weights: Path,
        cases: Sequence[Case],
        rehearsal: Sequence[Case],
        recipe: TrainingSettings,
    ) -> Outcome:
        """Make a version of the weights, compare it with the one that serves now, and let it serve if it is better."""
        number = self._versions.next_number(parent.id)
        lineage = {
            "parent": {"version": plan.parent, "sha256": plan.parent_sha256},
            "training": self._folder.id,
            "asked_by": self._order.who,
            "cases": [case.as_json() for case in _used(plan.cases, cases)],
            "rehearsal": [case.name for case in rehearsal],
            "recipe": recipe.as_json(),
            "minutes": self._order.minutes,
        }
        self._folder.log("version", number=number)
        log = self._folder.path / "train_log.jsonl"
        made = write_version(self._folder.path / "candidate", parent, number, weights, lineage, log)
        candidate = read_bundle(made)
        current = require_trainable(self._catalogue.get(parent.id))
        assert isinstance(candidate, SegmentationBundle)
        tests = [*approved_tests(plan.tests, parent, self._store), *self._published_tests(plan)]
        comparison, decision = compare_versions(
            candidate, current, tests, self._machine.device, lambda fraction: self._stage("scoring", fraction)
        )
        write_comparison(made, comparison)
        published = self._versions.publish(made, f"training {self._folder.id}")
        if decision.promote:
            try:
                self._versions.promote(published.version_name, "the rule")
            except (NotPromoted, ServingError) as error:  # somebody promoted another version meanwhile
                decision = replace(decision, promote=False, reason=f"{decision.reason} {error.reason}")
        return Outcome(published.version_name, decision.promote, decision)

    def _published_tests(self, plan: Plan) -> list[TestCase]:
        return [] if self._data is None else published_tests(self._data, plan.tests, self._store)

    def _stage(self, stage: str, fraction: float) -> None:
        self._folder.log("stage", stage=stage, fraction=round(fraction, 3))
        self._tell(stage, fraction)


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Database, BlobStore]]:
    """The tables of the data folder, in the form that this program needs, and the blobs."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    keyring = open_keyring(settings)
    database = Database(settings.database_url, None if keyring is None else Columns(keyring))
    try:
        upgrade(database)
        yield database, BlobStore(settings.blobs_dir, keyring)
    finally:
        database.close()


def _used(planned: Sequence[ApprovedCase], read: Sequence[Case]) -> list[ApprovedCase]:
    names = {case.name for case in read}
    return [case for case in planned if f"case {case.number}" in names]


def score_version(
    settings: Settings, name: str, data: Path | None, device: str, report: Report
) -> tuple[dict[str, Any], Decision]:
    """Compare a version with the one that serves now, on the test cases that are approved now; the result is kept.

    Raises:
        MahtaiError: one of them cannot be used.
    """
    catalogue = Catalogue(settings.models_path, settings.versions_dir)
    candidate = require_trainable(catalogue.get(name))
    current = require_trainable(catalogue.get(candidate.id))
    with _opened(settings) as (database, store):
        cases = ApprovedCases(database).for_tests(candidate.task, candidate.kind)
    tests = approved_tests(cases, candidate, store)
    tests += published_tests(data, cases, store) if data is not None else []
    found, decision = compare_versions(candidate, current, tests, device, lambda part: report("scoring", part))
    if candidate.number:
        write_comparison(candidate.folder, found)
    return found, decision
