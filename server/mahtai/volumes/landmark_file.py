"""Landmark files of the client's format, with errors that the server answers with."""

from __future__ import annotations

from mahtai.errors import MahtaiError
from MahtAILib.client.markups import SUFFIX, LandmarkFile, MarkupsError, decode_markups

__all__ = ["SUFFIX", "LandmarkFile", "LandmarkFileError", "decode_landmarks", "looks_like_json"]


class LandmarkFileError(MahtaiError):
    """A ``.mrk.json`` that cannot be used."""

    kind = "landmarks"
    title = "The list of landmarks cannot be used"
    status = 422


def looks_like_json(head: bytes) -> bool:
    """Whether a file that begins so may be a ``.mrk.json``; no volume does."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def decode_landmarks(data: bytes) -> LandmarkFile:
    """Read a ``.mrk.json`` of Slicer's or ours.

    Raises:
        LandmarkFileError: damaged, no list of points, or points that cannot be.
    """
    try:
        return decode_markups(data)
    except MarkupsError as error:
        raise LandmarkFileError(error.reason, error.hint) from error
