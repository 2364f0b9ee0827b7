"""The header of a NRRD file: parsed strictly.

Implements what medical volumes use of the NRRD file format, versions 1 to 5
(https://teem.sourceforge.net/nrrd/format.html): attached data, three spatial axes, and at most one
axis of components in front of them, as layered segmentations have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_HEADER_BYTES = 4 * 2**20
"""A header that has not ended by then is none; 300 segments with terminology take 0.3 MB."""

_C_TYPE_NAMES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPE_CODES = {name: code for code, names in _C_TYPE_NAMES.items() for name in names.split("|")}
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
_ENDIANS = {"little": "<", "big": ">"}
_AXES_TO_RAS = {
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
}
_FIELD_NAME = re.compile(
    r"dimension|type|block ?size|encoding|endian|content|min|max|old ?min|old ?max|data ?file|line ?skip|byte ?skip"
    r"|number|sample ?units|space|space (dimension|units|origin|directions)|measurement frame|sizes|spacings"
    r"|thicknesses|axis ?mins|axis ?maxs|centers|centerings|labels|units|kinds"
)
_MAGIC = re.compile(rb"NRRD000[1-5]\r?\n")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_VECTORS = re.compile(r"(?:\s*(?:none|\([^()]*\)))+\s*")
_VECTOR = re.compile(r"none|\(([^()]*)\)")
_LONGEST_MM = 1e6
_SHORTEST_MM = 1e-6
_SMALLEST_VOLUME_RATIO = 1e-6


class NrrdError(ValueError):
    """The bytes are no NRRD volume that can be trusted, or the array cannot be written as one."""


@dataclass(frozen=True, eq=False)
class NrrdHeader:
    """What a NRRD file says about its voxels.

    Attributes:
        sizes: of all axes, fastest first: (I, J, K), or (components, I, J, K).
        dtype: as stored, with its byte order.
        encoding: ``raw`` or ``gzip``.
        ijk_to_ras: 4×4 float64, voxel index → RAS in mm, whatever space the file is written in.
        fields: the custom ``key:=value`` pairs.
        data_offset: where the voxel data begin, in bytes from the start of the file.
    """

    sizes: tuple[int, ...]
    dtype: np.dtype[np.generic]
    encoding: str
    ijk_to_ras: NDArray[np.float64]
    fields: dict[str, str]
    data_offset: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j and k."""
        return self.sizes[-3], self.sizes[-2], self.sizes[-1]

    @property
    def components(self) -> int | None:
        """Length of the component axis in front of i, or None where a voxel is one number."""
        return self.sizes[0] if len(self.sizes) == 4 else None

    @property
    def voxels(self) -> int:
        """How many numbers the file claims to hold (components count)."""
        return math.prod(self.sizes)

    @property
    def data_bytes(self) -> int:
        """Size of the uncompressed voxel data that the header claims."""
        return self.voxels * self.dtype.itemsize


def read_header(data: bytes | bytearray | memoryview) -> NrrdHeader:
    """Parse the header at the start of ``data``; the voxels need not be there.

    Raises:
        NrrdError: not a NRRD header, one that contradicts itself, or one of a kind not supported here
            (detached data, time series, no patient orientation, other encodings or types).
    """
    view = memoryview(data).cast("B")[:MAX_HEADER_BYTES]
    if _MAGIC.match(view) is None:
        raise NrrdError("This is not a NRRD file (version 1 to 5): its first line is not NRRD0001 … NRRD0005.")
    end = _BLANK_LINE.search(view)
    if end is None:
        raise NrrdError("The NRRD header does not end: the file is cut off, or its voxels are in another file.")
    values, fields = _parse_lines(_text(bytes(view[: end.start()])).split("\n")[1:])
    _refuse_what_is_elsewhere(values)
    dimension = _integer(values, "dimension")
    if dimension not in (3, 4):
        raise NrrdError(f"The NRRD file has {dimension} dimensions; a volume has 3 (or 4 with layers in front).")
    sizes = _sizes(values, dimension)
    return NrrdHeader(
        sizes=sizes,
        dtype=_dtype(values),
        encoding=_encoding(values),
        ijk_to_ras=_ijk_to_ras(values, dimension),
        fields=fields,
        data_offset=end.end(),
    )


def check_matrix(ijk_to_ras: NDArray[np.float64]) -> None:
    """Refuse a matrix that cannot place voxels in space.

    Raises:
        NrrdError: not 4×4, not finite, not affine, absurd lengths, or axes that lie in one plane.
    """
    if ijk_to_ras.shape != (4, 4) or not np.isfinite(ijk_to_ras).all():
        raise NrrdError("The voxel-to-patient matrix must be 4×4 with finite numbers.")
    if not np.array_equal(ijk_to_ras[3], (0, 0, 0, 1)):
        raise NrrdError("The voxel-to-patient matrix must end with the row 0 0 0 1.")
    if np.abs(ijk_to_ras[:3]).max() > _LONGEST_MM:
        raise NrrdError("The volume's position or voxel size is larger than a kilometre.")
    lengths = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    if lengths.min() < _SHORTEST_MM:
        raise NrrdError("A voxel axis has no length: the space directions are wrong.")
    if abs(np.linalg.det(ijk_to_ras[:3, :3] / lengths)) < _SMALLEST_VOLUME_RATIO:
        raise NrrdError("The voxel axes lie in one plane: the space directions are wrong.")


def _text(header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")  # older writers put names down in the encoding of their computer


def _parse_lines(lines: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    values: dict[str, str] = {}
    fields: dict[str, str] = {}
    for line in lines:
        line = line.removesuffix("\r")
        if line.startswith("#"):
            continue
        name, is_custom, value = parse_line(line)
        if is_custom:
            fields[name] = value
        elif name in values:
            raise NrrdError(f"The NRRD header says “{name}” twice.")
        else:
            values[name] = value
    return values, fields


def parse_line(line: str) -> tuple[str, bool, str]:
    """The name in a line of the header, whether it is a custom key, and its value.

    Raises:
        NrrdError: the line is neither a field nor a ``key:=value`` pair.
    """
    name, colon, value = line.partition(":")
    if colon and not value.startswith("=") and _FIELD_NAME.fullmatch(name.lower()):
        return name.lower(), False, value.strip()
    key, separator, value = line.partition(":=")
    if not separator or not key:
        raise NrrdError(f"The NRRD header has a line that is no field: {line[:60]!r}.")
    return _unescape(key), True, _unescape(value)


def _unescape(text: str) -> str:
    return re.sub(r"\\(n|\\)", lambda found: "\n" if found[1] == "n" else "\\", text)


def _refuse_what_is_elsewhere(values: Mapping[str, str]) -> None:
    if "data file" in values or "datafile" in values:
        raise NrrdError("The voxels are in another file (a detached header, .nhdr). Save as one .nrrd file.")
    for name in ("line skip", "lineskip", "byte skip", "byteskip"):
        if values.get(name, "0") != "0":
            raise NrrdError(f"“{name}” is not supported: voxels must follow the header at once.")


def _required(values: Mapping[str, str], name: str) -> str:
    if name not in values:
        raise NrrdError(f"The NRRD header lacks “{name}”.")
    return values[name]


def _integer(values: Mapping[str, str], name: str) -> int:
    text = _required(values, name)
    if re.fullmatch(r"\d{1,12}", text, re.ASCII) is None:
        raise NrrdError(f"“{name}” in the NRRD header is not a whole number: {text[:40]!r}.")
    return int(text)


def _sizes(values: Mapping[str, str], dimension: int) -> tuple[int, ...]:
    words = _required(values, "sizes").split()
    if len(words) != dimension or not all(re.fullmatch(r"0*[1-9]\d{0,11}", word, re.ASCII) for word in words):
        raise NrrdError(f"“sizes” in the NRRD header must be {dimension} whole numbers above 0.")
    return tuple(int(word) for word in words)


def _dtype(values: Mapping[str, str]) -> np.dtype[np.generic]:
    name = " ".join(_required(values, "type").lower().split())
    if name not in _TYPE_CODES:
        raise NrrdError(f"Voxel type {name[:40]!r} is not supported.")
    code = _TYPE_CODES[name]
    if code[1] == "1":
        return np.dtype(code)
    endian = _required(values, "endian").lower()
    if endian not in _ENDIANS:
        raise NrrdError(f"“endian” in the NRRD header must be little or big, not {endian[:40]!r}.")
    return np.dtype(_ENDIANS[endian] + code)


def _encoding(values: Mapping[str, str]) -> str:
    name = _required(values, "encoding").lower()
    if name not in _ENCODINGS:
        raise NrrdError(f"Encoding {name[:40]!r} is not supported. Save the volume with raw or gzip encoding.")
    return _ENCODINGS[name]


def _ijk_to_ras(values: Mapping[str, str], dimension: int) -> NDArray[np.float64]:
    space = values.get("space", "").lower()
    if space not in _AXES_TO_RAS:
        said = f"says {space[:40]!r}" if space else "does not say"
        raise NrrdError(
            f"The NRRD header {said} where left and right are: “space” must be left-posterior-superior, "
            "right-anterior-superior or left-anterior-superior."
        )
    directions = _parse_vectors(_required(values, "space directions"), "space directions")
    if len(directions) != dimension:
        raise NrrdError(f"“space directions” has {len(directions)} vectors for {dimension} axes.")
    if dimension == 4:
        kind = (values.get("kinds", "").lower().split() or ["list"])[0]
        if directions[0] is not None or kind == "time":
            raise NrrdError("The file is a time series or has four spatial axes; one volume is expected.")
        directions = directions[1:]
    origins = _parse_vectors(_required(values, "space origin"), "space origin")
    vectors = [*directions, *origins]
    if len(vectors) != 4:
        raise NrrdError("“space origin” must be one vector.")
    matrix = np.eye(4)
    for column, vector in enumerate(vectors):
        if vector is None:
            raise NrrdError("A spatial axis of the NRRD file has no direction.")
        matrix[:3, column] = np.multiply(vector, _AXES_TO_RAS[space])
    check_matrix(matrix)
    return matrix + 0.0  # no -0.0


def _parse_vectors(text: str, name: str) -> list[tuple[float, float, float] | None]:
    if _VECTORS.fullmatch(text) is None:
        raise NrrdError(f"“{name}” in the NRRD header is not a list of vectors: {text[:60]!r}.")
    return [None if found[0] == "none" else _parse_vector(found[1], name) for found in _VECTOR.finditer(text)]


def _parse_vector(text: str, name: str) -> tuple[float, float, float]:
    words = [word.strip() for word in text.split(",")]
    if len(words) != 3 or not all(_NUMBER.fullmatch(word) for word in words):
        raise NrrdError(f"“{name}” in the NRRD header must hold three finite numbers a vector, not ({text[:60]}).")
    x, y, z = (float(word) for word in words)
    return x, y, z
