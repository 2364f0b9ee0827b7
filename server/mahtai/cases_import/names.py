"""Names of files and folders: fit to be shown, and what they say about who the patient is."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

LONGEST = 200
"""Characters that the server takes for a name."""

_BRATS_2023 = re.compile(r"(brats-[a-z]+-\d{4,6})-\d{3}", re.IGNORECASE)
"""BraTS 2023 and later: BraTS-GLI-00001-000 is the first examination of patient 00001."""

_SESSION_WORD = (
    r"(ses|session|visit|timepoint|time|tp|tpt|scan|exam|examination|study|baseline|follow[ _-]?up|fu|week|month|day"
    r"|year|pre[ _-]?op|post[ _-]?op)"
)
_SESSION = re.compile(
    rf"{_SESSION_WORD}([ _.-]+\w{{1,12}}|\d\w{{0,12}})?|(19|20)\d\d([ _.-]?\d\d){{0,2}}([ _.-]\w{{1,12}})?",
    re.IGNORECASE,
)
"""Names that stand for an examination, not for a patient."""

_SESSION_AT_END = re.compile(rf"(.+?)[ _.-]{_SESSION_WORD}[ _.-]?\w{{1,12}}", re.IGNORECASE)

_KIND = re.compile(
    r"anat|mri?|mr|dicoms?|dcm|nifti|nii|nrrd|images?(tr|ts)?|img|imgs|scans?|series|volumes?|data|raw|train(ing)?|test(ing)?"
    r"|val(idation)?|hgg|lgg|structural|images?_structural|preproc\w*|processed|derivatives|t1\w*|t2\w*|flair"
    r"|ceph(s|alo\w*)?|lat|lateral\w{0,6}|x-?ray|radiograph|profile?",
    re.IGNORECASE,
)
"""Names that stand for a kind of data."""

_ANYBODY = re.compile(
    r"(case|patient|pat|subject|subj|sub|sbj|study|scan|image|img|p|s)?[ _.-]*\d{0,4}[a-z]?", re.IGNORECASE
)
"""Names that another data set is likely to have too."""

_NO_PATIENT_ID = re.compile(
    r"[0 _.^-]*|.*anon.*|.*unknown.*|.*de-?ident.*|none|n/?a|id|patient|test|removed", re.IGNORECASE
)


def readable(text: str, longest: int = LONGEST) -> str:
    """Text on one line that any terminal and any database takes; two that differ stay different."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    clean = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in whole)
    if len(clean) <= longest:
        return clean
    digest = hashlib.sha256(whole.encode("utf-8")).hexdigest()[:12]
    return f"{clean[: longest - 13]}…{digest}"


def shown(path: Path, root: Path) -> str:
    """A path as the reader is shown it: below the folder that is imported."""
    below = os.path.relpath(path, root)
    return readable(root.name or str(root) if below == "." else below.replace(os.sep, "/"), 500)


def patient_of_folder(folder: Path, root: Path, beginning: str = "") -> str:
    """What the patient of a study is called by the folders that it lies in.

    The innermost folder that does not stand for an examination or a kind of data; for a name that many data sets
    have (``case 7``), with the folder round it. Rather one patient too few than the same one twice: a patient's
    cases must not be torn between training and test.

    Args:
        root: the folder that is imported; those above it are not looked at.
        beginning: with which the names of the study's files begin, where one folder holds the studies of several.
    """
    below = () if folder == root else folder.relative_to(root).parts
    parts = [root.resolve().name or "root", *below]
    telling = [place for place, part in enumerate(parts) if _may_be_a_patient(part, place)] or [0]
    if beginning:
        return _whole_name(beginning, [parts[place] for place in telling])
    return _whole_name(parts[telling[-1]], [parts[place] for place in telling[:-1]] or parts[: telling[-1]])


def patient_of_picture(path: Path, root: Path, is_collection: bool) -> str:
    """What the patient of a radiograph is called: by its own name where many lie together, else by its folder.

    Args:
        is_collection: whether the folder holds too many images to be one patient's.
    """
    if is_collection or not (_KIND.fullmatch(path.stem) or _ANYBODY.fullmatch(path.stem)):
        return patient_of_folder(path.parent, root, path.stem)
    return patient_of_folder(path.parent, root)


def patient_of_dicom(identifier: str, issuer: str) -> str:
    """Number and issuer of a patient; empty where the number was taken out."""
    identifier = identifier.strip()
    if _NO_PATIENT_ID.fullmatch(identifier):
        return ""
    return readable(f"{identifier}^^^{issuer.strip()}" if issuer.strip() else identifier)


def _may_be_a_patient(folder: str, place: int) -> bool:
    """Whether a folder so many levels below the imported one's parent can be named after a patient."""
    is_count = place > 1 and re.fullmatch(r"\d{1,3}", folder)  # the first, second, … examination
    return not (is_count or _SESSION.fullmatch(folder) or _KIND.fullmatch(folder))


def _whole_name(name: str, round_it: Sequence[str]) -> str:
    """A patient's name without the examination; one that could be anybody's with the nearest folder that is not."""
    for examination in (_BRATS_2023, _SESSION_AT_END):
        if found := examination.fullmatch(name):
            name = found[1]
    if _ANYBODY.fullmatch(name) and round_it:
        name = f"{next((part for part in reversed(round_it) if not _ANYBODY.fullmatch(part)), round_it[-1])}/{name}"
    return readable(name)
