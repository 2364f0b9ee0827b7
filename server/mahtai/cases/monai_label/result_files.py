"""Labelmaps as files, in the format that a client of the MONAI Label protocol asks for."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mahtai.errors import MahtaiError
from MahtAILib.client import nrrd
from MahtAILib.client.geometry import Geometry

_TYPES = ("uint8", "int16", "uint16", "int32", "float32")
_ENDINGS = (".nrrd", ".nii.gz", ".nii")


class ResultFileError(MahtaiError):
    """A kind of file that is not written here."""

    kind = "result-file"
    title = "The result cannot be written so"
    status = 422


class ResultWriter:
    """Writes labelmaps as ``params`` (``result_extension``, ``result_dtype``) want them.

    Raises:
        ResultFileError: in a way that is not known here.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.ending = str(params.get("result_extension") or ".nrrd")
        self._type = str(params.get("result_dtype") or "uint8")
        for wanted, known in ((self.ending, _ENDINGS), (self._type, _TYPES)):
            if wanted not in known:
                raise ResultFileError(f"A result is not written as {wanted[:20]!r}.", f"Ask for {', '.join(known)}.")

    def write(self, labelmap: NDArray[np.uint8], geometry: Geometry) -> bytes:
        """The file of a labelmap [i, j, k]."""
        array = labelmap.astype(self._type, copy=False)
        if self.ending == ".nrrd":
            return nrrd.encode(array, geometry.ijk_to_ras, encoding="gzip")
        import nibabel  # late, for the sake of a quick start

        image = nibabel.Nifti1Image(array, geometry.ijk_to_ras)
        image.header.set_xyzt_units("mm")
        data = bytes(image.to_bytes())
        return data if self.ending == ".nii" else gzip.compress(data, 1, mtime=0)
