"""Images of the MONAI Label protocol: every volume of every case under an id that stays its own.

An image that such a client uploads is a case of its own, under the id that the client chose. A volume of any
other case is called ``case-NUMBER-SLOT``. No id ever comes to mean another image.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select

from mahtai.cases.case import Case, Filter, KeyReused, NewCase
from mahtai.cases.case_rows import keyed
from mahtai.cases.intake import Intake
from mahtai.cases.person import Person
from mahtai.cases.studies import Cases
from mahtai.cases.visibility import for_person
from mahtai.db.engine import Database
from mahtai.db.tables import CaseRow, CaseSourceRow
from mahtai.errors import MahtaiError
from mahtai.models.vocabulary import channel_in
from mahtai.volumes.store import StoredBlob
from mahtai.volumes.volume import Volume
from MahtAILib.client import nrrd

UNNAMED_SLOT = "image"
"""Of an image whose name does not tell which sequence it is."""

LONGEST_ID = 200

_KEY = "monailabel-"
_SOURCE = "monai_label_image"
_DERIVED = re.compile(r"case-([1-9]\d{0,8})-(.+)")
_PAGE = 1000
_GZIP_MAGIC = b"\x1f\x8b"
_FOR_EVERYBODY = ("nrrd", "nifti")


class UnknownImage(MahtaiError):
    """There is no image of that id."""

    kind = "unknown-image"
    title = "There is no such image"
    status = 404


class ImageIdError(MahtaiError):
    """An id that no image can have."""

    kind = "image-id"
    title = "The image's id cannot be used"
    status = 422


class ImageTaken(MahtaiError):
    """The id stands for another image."""

    kind = "image-taken"
    title = "The image's id is taken"
    status = 409


@dataclass(frozen=True)
class Image:
    """A volume of a case.

    Attributes:
        id: for clients. slot: the sequence, or ``UNNAMED_SLOT``.
    """

    id: str
    case: Case
    slot: str

    @property
    def sha256(self) -> str:
        """Of its file."""
        return self.case.volumes[self.slot]

    @property
    def is_reference(self) -> bool:
        """Whether the labels of its case lie on its grid."""
        return self.slot == self.case.reference


@dataclass(frozen=True)
class ImageFile:
    """A file that every client of the protocol can read; ``name`` is safe on any disk."""

    name: str
    stored: StoredBlob
    sha256: str


class Images:
    """The images of this server's cases. Safe to use from several threads."""

    def __init__(self, database: Database, cases: Cases, intake: Intake) -> None:
        self._database = database
        self._cases = cases
        self._intake = intake

    def find(self, image_id: str, person: Person) -> Image:
        """An image by its id, if it is for this person.

        Raises:
            ImageIdError: no image can be called so.
            UnknownImage: none is.
        """
        clean = clean_id(image_id)
        theirs = for_person(person)
        with self._database.read() as session:
            made = [row.id for _, row in keyed(session, _key(clean)) if row is not None]
            own = session.scalar(select(CaseRow.id).where(CaseRow.id.in_(made), theirs).order_by(CaseRow.number))
            derived = _DERIVED.fullmatch(clean) if own is None else None
            if derived is not None:
                own = session.scalar(select(CaseRow.id).where(CaseRow.number == int(derived[1]), theirs))
        if own is not None:
            case = self._cases.get(own)
            slot = case.reference if derived is None else derived[2]
            # an uploaded image has one name only, the one that its client chose
            if slot in case.volumes and (derived is None or case.id not in self._uploaded([case])):
                return Image(clean, case, slot)
        raise UnknownImage(
            f"There is no image {clean!r} on this server.", "Upload it first, or ask for the next sample."
        )

    def all(self, person: Person) -> list[Image]:
        """Every image of the cases on the list that are for this person, the oldest first."""
        found: list[Case] = []
        while page := self._cases.list(Filter(limit=_PAGE, before=found[-1].number if found else None), person):
            found += page
        uploaded = self._uploaded(found)
        return [image for case in reversed(found) for image in _images_of(case, uploaded)]

    def shown(self, case: Case) -> Image:
        """The image of a case that its labels belong to."""
        uploaded = self._uploaded([case])
        return next(image for image in _images_of(case, uploaded) if image.is_reference)

    def add(self, image_id: str, sha256: str, task: str, person: Person) -> Image:
        """Make an image of an uploaded volume; the same image again under the same id is the one that there is.

        Raises:
            ImageIdError: no image can be called so.
            ImageTaken: another image is; neither was changed.
            CaseError: the volume is no scan.
        """
        clean = clean_id(image_id)
        try:
            known = self.find(clean, person)
        except UnknownImage:
            return self._make(clean, sha256, task, person)
        if not self._same(known.sha256, sha256):
            raise _taken(clean)
        return known

    def file(self, image: Image) -> ImageFile:
        """The image's file, as NRRD where its own format is not for everybody."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", image.id).strip("._")[:100] or "image"
        record, stored = self._intake.get(image.sha256)
        if record.format in _FOR_EVERYBODY:
            return ImageFile(stem + self.ending(image), stored, image.sha256)
        volume = _read(stored)
        sha256 = self._intake.take_bytes(nrrd.encode(volume.array, volume.geometry.ijk_to_ras, encoding="gzip"))
        return ImageFile(f"{stem}.nrrd", self._intake.get(sha256)[1], sha256)

    def ending(self, image: Image) -> str:
        """Ending of the name of the image's file."""
        record, stored = self._intake.get(image.sha256)
        if record.format != "nifti":
            return ".nrrd"
        with stored.open() as stream:
            return ".nii.gz" if stream.read(2) == _GZIP_MAGIC else ".nii"

    def _make(self, image_id: str, sha256: str, task: str, person: Person) -> Image:
        if _DERIVED.fullmatch(image_id):
            raise ImageIdError(
                f"Ids such as {image_id!r} are this server's own.", "Choose another id. Nothing was stored."
            )
        slot = channel_in(image_id) or UNNAMED_SLOT
        wanted = NewCase(image_id, task, {slot: sha256}, _key(image_id), source={_SOURCE: image_id})
        try:
            case, _ = self._cases.create(wanted, person)
        except KeyReused as error:  # somebody else took the id in this very moment
            raise _taken(image_id) from error
        return Image(image_id, case, slot)

    def _same(self, first: str, second: str) -> bool:
        """Whether two files hold the same voxels in the same place; a file that is written anew has another hash."""
        if first == second:
            return True
        here, there = (_read(self._intake.get(sha256)[1]) for sha256 in (first, second))
        return here.geometry.same_grid(there.geometry) and np.array_equal(here.array, there.array)

    def _uploaded(self, cases: list[Case]) -> Mapping[str, str]:
        """Case id → the id that its client chose, for those that came this way."""
        wanted = {case.id for case in cases}
        query = select(CaseSourceRow.case_id, CaseSourceRow.source).join(CaseRow, CaseRow.id == CaseSourceRow.case_id)
        query = query.where(CaseRow.client_key.startswith(_KEY))
        if len(wanted) == 1:
            query = query.where(CaseRow.id.in_(wanted))
        with self._database.read() as session:
            found = session.execute(query).all()
        return {case: str(source[_SOURCE]) for case, source in found if case in wanted and _SOURCE in source}


def clean_id(text: str) -> str:
    """An id in the form in which it is kept.

    Raises:
        ImageIdError: empty, too long, or of characters that no name has.
    """
    clean = unicodedata.normalize("NFC", text)
    if not clean.strip() or len(clean) > LONGEST_ID or not clean.isprintable():
        raise ImageIdError(
            f"An image's id has 1 to {LONGEST_ID} characters that can be shown; this one does not.",
            "Choose another id. Nothing was stored.",
        )
    if "/" in clean or "\\" in clean or clean.strip(". ") == "":
        raise ImageIdError("An image's id is a name, no path.", "Leave slashes out of it. Nothing was stored.")
    return clean


def _key(image_id: str) -> str:
    return _KEY + hashlib.sha256(image_id.encode()).hexdigest()[:48]


def _images_of(case: Case, uploaded: Mapping[str, str]) -> list[Image]:
    if case.id in uploaded:
        return [Image(uploaded[case.id], case, case.reference)]
    return [Image(f"case-{case.number}-{slot}", case, slot) for slot in case.volumes]


def _read(stored: StoredBlob) -> Volume:
    from mahtai.volumes.formats import read_volume  # late, for the sake of a quick start

    return read_volume(stored.read_bytes())


def _taken(image_id: str) -> ImageTaken:
    return ImageTaken(
        f"{image_id!r} is the name of another image on this server. Nothing was overwritten, and nothing was stored.",
        "Give the image another name (in Slicer: rename the volume), then send it again.",
    )
