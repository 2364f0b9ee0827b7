"""A data folder with approved cases of small phantoms, and a model that can learn from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update

from mahtai.cases.case import Case, NewCase
from mahtai.cases.intake import Intake
from mahtai.cases.label_version import LabelDraft
from mahtai.cases.labels import Labels
from mahtai.cases.patients import Patients
from mahtai.cases.person import Person
from mahtai.cases.reviews import NewReview, Reviews
from mahtai.cases.studies import Cases
from mahtai.db.engine import Database
from mahtai.db.migrate import upgrade
from mahtai.db.tables import CaseRow, PatientRow
from mahtai.demo.phantom import make_phantom
from mahtai.models.catalogue import Catalogue
from mahtai.models.versions import ModelVersions
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.keyring import open_keyring
from mahtai.settings import Settings
from mahtai.training.training_folder import TrainingFolder
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.segmentation_file import encode_segmentation
from mahtai.volumes.store import BlobStore
from mahtai.volumes.terminology import segments_of_task
from MahtAILib.client import nrrd
from tiny_bundle import write_tiny_bundle

TASK = "brain-tumour"
SHAPE = (44, 54, 42)
SPACING_MM = 4.0

READER, REVIEWER = Person("reader", "annotator"), Person("reviewer", "radiologist")

Change = Callable[[NDArray[np.int16]], NDArray[np.int16]]

RECIPE = {
    "phases": [
        {"share": 0.4, "spacing_mm": 4.0, "patch": [24, 24, 24], "batch": 1},
        {"share": 0.6, "spacing_mm": 4.0, "patch": [24, 24, 24], "batch": 1},
    ],
    "warmup_steps": 1,
    "seed": 7,
    "fine_tuning": {"learning_rate": 0.003},
}


def affine() -> NDArray[np.float64]:
    """IJK-to-RAS of the phantoms: LPS, centred."""
    matrix = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return matrix


def write_model(models: Path, name: str = "tiny") -> Path:
    """A tiny bundle that can be trained."""
    folder = write_tiny_bundle(models / name, missing_channels_ok=True)
    (folder / "configs" / "train.json").write_text(json.dumps(RECIPE), "utf-8")
    return folder


@dataclass
class Clinic:
    """A server's data folder with the services that make cases, without a server.

    Attributes:
        settings: that the training gets, too.
    """

    settings: Settings

    def __post_init__(self) -> None:
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        keyring = open_keyring(self.settings)
        self.database = Database(self.settings.database_url, None if keyring is None else Columns(keyring))
        upgrade(self.database)
        self.store = BlobStore(self.settings.blobs_dir, keyring)
        self.intake = Intake(self.settings, self.database, self.store)
        self.cases = Cases(self.database, self.intake, Patients(self.store, self.settings.data_dir))
        self.labels = Labels(self.database, self.store)
        self.reviews = Reviews(self.database, second_reader=True)

    @property
    def catalogue(self) -> Catalogue:
        """As a server of this folder has it."""
        return Catalogue(self.settings.models_path, self.settings.versions_dir)

    @property
    def versions(self) -> ModelVersions:
        """The versions of its models."""
        return ModelVersions(self.catalogue, self.settings.versions_dir)

    def put(self, data: bytes) -> str:
        """Upload a file."""
        return self.intake.take_bytes(data)

    def case(
        self,
        seed: int,
        split: str | None = None,
        patient: str | None = None,
        change: Change = lambda voxels: voxels,
        label: bytes | None = None,
        approve: bool = True,
        channels: tuple[str, ...] = ("t1c", "t1", "t2", "flair"),
    ) -> Case:
        """A case of the phantom with this seed, labelled, and approved by a second reader.

        Args:
            split: draw it by hand; None leaves the draw to the server.
            change: of the voxels of each volume.
            label: a file; the truth by default.
        """
        study, truth = phantom_study(seed)
        volumes = {name: self.put(encoded(change(study[name]))) for name in channels}
        digest = hashlib.sha256(repr((seed, split, patient)).encode()).hexdigest()[:8]
        case, _ = self.cases.create(NewCase(f"Study {seed} {digest}", TASK, volumes, patient=patient))
        if split is not None:
            self.draw(case, split)
        if approve:
            self.approve(case, label if label is not None else label_file(change_labels(truth, change)))
        return self.cases.get(case.id)

    def draw(self, case: Case, split: str) -> None:
        """Put a case's patient into a part of the split."""
        of_case = select(CaseRow.patient).where(CaseRow.id == case.id).scalar_subquery()
        with self.database.write() as session:
            session.execute(update(PatientRow).where(PatientRow.number == of_case).values(split=split, drawn_by="test"))

    def approve(self, case: Case, label: bytes) -> str:
        """Save, submit and approve a label; the id of the version."""
        draft = LabelDraft(
            "segmentation", self.put(label), READER.name, READER.role, None, None, None, None, submit=True
        )
        version, _ = self.labels.add(case.id, draft)
        self.reviews.review(case.id, NewReview(version.id, "approve"), REVIEWER)
        return version.id

    def order(self, model: str = "tiny", minutes: float = 5.0, data: Path | None = None) -> TrainingFolder:
        """A training that was asked for."""
        return TrainingFolder.create(self.settings.trainings_dir, model, minutes, "test", data)


def clinic(root: Path, **more: str) -> Clinic:
    """A new one, with the model ``tiny``; ``root`` may be that of a ``ServerProcess`` that was not started yet.

    Args:
        more: ``MAHTAI_*`` variables, without the prefix in lower case.
    """
    write_model(root / "shipped")
    variables = {"MAHTAI_DATA_DIR": str(root / "data"), "MAHTAI_CONFIG_DIR": str(root / "config")}
    variables |= {f"MAHTAI_{name.upper()}": value for name, value in more.items()}
    return Clinic(Settings.from_environment({**variables, "MAHTAI_MODELS_PATH": str(root / "shipped")}))


def phantom_study(seed: int) -> tuple[dict[str, NDArray[np.int16]], NDArray[np.uint8]]:
    """Voxels by channel, and the true labels; every seed is another patient."""
    place = np.random.default_rng(seed).uniform(-20, 20, 3)
    lesion = (28.0 + place[0] / 4, 15.0 + place[1], 15.0 + place[2])
    made = make_phantom(SHAPE, affine(), lesion_ras_mm=lesion, lesion_radius_mm=30.0, seed=seed)
    return dict(made.channels), made.labels


def encoded(voxels: NDArray[np.int16]) -> bytes:
    """A volume's file."""
    return nrrd.encode(np.ascontiguousarray(voxels), affine())


def change_labels(truth: NDArray[np.uint8], change: Change) -> NDArray[np.uint8]:
    """The same change of the labels; those that a crop cuts off are gone."""
    kept = change(truth.astype(np.int16) + 1)
    return np.where(kept > 0, kept - 1, 0).astype(np.uint8)


def label_file(labels: NDArray[np.uint8]) -> bytes:
    """A ``.seg.nrrd`` of NCR, ED and ET."""
    return encode_segmentation(labels, Geometry(labels.shape, affine()), segments_of_task(TASK))
