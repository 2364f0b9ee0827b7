"""NRRD files that are damaged, lie about themselves or want to exhaust the memory: refused in words, nothing else."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nrrd_bytes import DATA, header

from MahtAILib.client.nrrd import NrrdError, decode, encode

Encoding = Literal["raw", "gzip"]
AFFINE = np.array([[0.8, 0.1, 0.0, -81.25], [-0.1, 0.8, 0.2, 12.5], [0.0, -0.2, 4.0, 40.0625], [0, 0, 0, 1]])


def voxels(shape: tuple[int, ...] = (5, 6, 7)) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 100, shape).astype(np.int16)


BAD_HEADERS: dict[str, tuple[dict[str, str | None], str]] = {
    "no space": ({"space": None}, "where left and right are"),
    "only a space dimension": ({"space": None, "space dimension": "3"}, "where left and right are"),
    "an unknown space": ({"space": "scanner-xyz"}, "where left and right are"),
    "no directions": ({"space directions": None}, "lacks “space directions”"),
    "no origin": ({"space origin": None}, "lacks “space origin”"),
    "two directions": ({"space directions": "(1,0,0) (0,1,0)"}, "2 vectors for 3 axes"),
    "an axis without direction": ({"space directions": "none (1,0,0) (0,1,0)"}, "has no direction"),
    "a zero direction": ({"space directions": "(0,0,0) (0,1,0) (0,0,1)"}, "no length"),
    "directions in a plane": ({"space directions": "(1,0,0) (0,1,0) (1,1,0)"}, "in one plane"),
    "NaN in a direction": ({"space directions": "(nan,0,0) (0,1,0) (0,0,1)"}, "finite numbers"),
    "infinity in the origin": ({"space origin": "(0,inf,0)"}, "finite numbers"),
    "an overflow in the origin": ({"space origin": "(0,1e999,0)"}, "finite numbers"),
    "a far-away origin": ({"space origin": "(0,1e300,0)"}, "kilometre"),
    "words for vectors": ({"space directions": "right back up"}, "not a list of vectors"),
    "two numbers a vector": ({"space origin": "(1,2)"}, "three finite numbers"),
    "two origins": ({"space origin": "(1,2,3) (1,2,3)"}, "one vector"),
    "2 dimensions": ({"dimension": "2", "sizes": "2 3"}, "2 dimensions"),
    "5 dimensions": ({"dimension": "5"}, "5 dimensions"),
    "a dimension in words": ({"dimension": "three"}, "not a whole number"),
    "a time axis": (
        {"dimension": "4", "sizes": "2 3 4 5", "space directions": "(1,0,0) (0,1,0) (0,0,1) none"},
        "time series",
    ),
    "a time axis in front": (
        {
            "dimension": "4",
            "sizes": "2 3 4 5",
            "space directions": "none (1,0,0) (0,1,0) (0,0,1)",
            "kinds": "time domain domain domain",
        },
        "time series",
    ),
    "a zero size": ({"sizes": "2 0 4"}, "above 0"),
    "a negative size": ({"sizes": "2 -3 4"}, "above 0"),
    "a size too few": ({"sizes": "2 3"}, "3 whole numbers"),
    "a size of a hundred digits": ({"sizes": f"2 3 {'9' * 100}"}, "3 whole numbers"),
    "no type": ({"type": None}, "lacks “type”"),
    "an unknown type": ({"type": "quaternion"}, "not supported"),
    "blocks": ({"type": "block"}, "not supported"),
    "no byte order": ({"endian": None}, "lacks “endian”"),
    "a mixed byte order": ({"endian": "middle"}, "little or big"),
    "voxels as text": ({"encoding": "ascii"}, "not supported"),
    "voxels elsewhere": ({"data file": "volume.raw"}, "in another file"),
    "skipped bytes": ({"byte skip": "-1"}, "not supported"),
    "a field of its own making": ({"colour": "red"}, "no field"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_a_bad_header_is_refused_with_what_is_wrong(case: str) -> None:
    changes, message = BAD_HEADERS[case]
    with pytest.raises(NrrdError, match=message):
        decode(header(**changes) + DATA)


@pytest.mark.parametrize(
    "data", [b"", b"NRRD", b"NRRD0009\n\n", b"\x89PNG\r\n\x1a\n", b"<html><body>Login</body></html>"]
)
def test_what_is_no_nrrd_is_called_so(data: bytes) -> None:
    with pytest.raises(NrrdError, match="not a NRRD file"):
        decode(data)


def test_a_header_that_never_ends_is_refused() -> None:
    with pytest.raises(NrrdError, match="does not end"):
        decode(header()[:-1])


def test_a_field_given_twice_is_refused() -> None:
    with pytest.raises(NrrdError, match="“sizes” twice"):
        decode(header().replace(b"encoding", b"sizes: 9 9 9\nencoding") + DATA)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_a_file_cut_off_anywhere_is_refused(encoding: Encoding) -> None:
    data = encode(voxels(), AFFINE, {"key": "value"}, encoding=encoding)
    for end in range(len(data)):
        with pytest.raises(NrrdError):
            decode(data[:end])


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_a_file_that_goes_on_after_its_voxels_is_refused(encoding: Encoding) -> None:
    with pytest.raises(NrrdError, match="goes on after|more voxels"):
        decode(encode(voxels(), np.eye(4), encoding=encoding) + b"\0")


def test_compressed_voxels_that_unpack_to_more_than_claimed_are_refused() -> None:
    with pytest.raises(NrrdError, match="more voxels"):
        decode(header(encoding="gzip") + gzip.compress(DATA + b"\0"))


def test_compressed_voxels_with_a_flipped_bit_are_refused() -> None:
    data = bytearray(encode(voxels(), np.eye(4), encoding="gzip"))
    data[-6] ^= 1  # in the checksum
    with pytest.raises(NrrdError, match="damaged"):
        decode(data)


def _peak_bytes_of_refusal(data: bytes, message: str) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(NrrdError, match=message):
            decode(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_claim_of_20_gigavoxels_is_refused_without_allocating() -> None:
    claim = header(sizes="2000 2000 5000", encoding="gzip") + gzip.compress(DATA)
    assert _peak_bytes_of_refusal(claim, "20,000,000,000 voxels") < 1_000_000


def test_a_claim_that_the_compressed_bytes_cannot_fill_is_refused_without_allocating() -> None:
    claim = header(sizes="1000 1000 1000", encoding="gzip") + gzip.compress(DATA)
    assert _peak_bytes_of_refusal(claim, "cannot unpack to so many") < 1_000_000


def test_a_bomb_stops_at_what_the_header_claims() -> None:
    bomb = header(sizes="100 100 100", encoding="gzip") + gzip.compress(bytes(200_000_000))
    assert _peak_bytes_of_refusal(bomb, "more voxels") < 20_000_000


def test_a_limit_of_the_caller_counts_components_too() -> None:
    data = encode(voxels((3, 2, 2, 2)), np.eye(4))
    decode(data, max_voxels=24)
    with pytest.raises(NrrdError, match="at most 23"):
        decode(data, max_voxels=23)


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((4, 4)),
        np.full((4, 4), np.nan),
        np.eye(3),
        np.ones((4, 4)),
        np.diag([1.0, 0, 1, 1]),
        np.diag([1.0, 1, 1, 2]),
    ],
)
def test_a_matrix_that_places_nothing_is_not_written(matrix: np.ndarray) -> None:
    with pytest.raises(NrrdError):
        encode(voxels(), matrix)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2)), np.zeros((0, 2, 2)), np.zeros((2, 2, 2), complex), np.empty((2, 2, 2), object)]
)
def test_an_array_that_is_no_volume_is_not_written(array: np.ndarray) -> None:
    with pytest.raises(NrrdError):
        encode(array, np.eye(4))


def test_a_hostile_line_of_vectors_costs_no_time() -> None:
    with pytest.raises(NrrdError, match="not a list of vectors"):
        decode(header(space_directions="( ) " * 100_000 + "x") + DATA)


WHOLE = encode(voxels((2, 3, 4)), AFFINE, {"key": "value"}, encoding="gzip")
HEADER_WORDS = st.sampled_from(
    b"NRRD0004|sizes: |2 3 4|9999999999 9999999999 9|type: |short|block|encoding: |gzip|raw|hex|endian: |little|\n|:="
    b"|space: |left-posterior-superior|space directions: |none |(1,0,0) |(nan,0,0) |(|)|space origin: |dimension: |4|3"
    b"|kinds: |\\|\r\n|\xff|\0|data file: x|-1|\n\n|:".split(b"|")
)


def _only_nrrd_error(data: bytes) -> None:
    try:
        volume = decode(data, max_voxels=100_000)
    except NrrdError:
        return
    assert 0 < volume.array.size <= 100_000
    assert np.isfinite(volume.ijk_to_ras).all()


@given(st.lists(HEADER_WORDS, max_size=40), st.binary(max_size=64))
@settings(max_examples=400, deadline=None, derandomize=True)
@example([], b"")
def test_no_header_however_odd_raises_anything_but_nrrd_error(words: list[bytes], tail: bytes) -> None:
    _only_nrrd_error(b"NRRD0004\n" + b"".join(words) + b"\n\n" + tail)


@given(st.data())
@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_no_damage_to_a_good_file_raises_anything_but_nrrd_error(draw: st.DataObject) -> None:
    data = bytearray(WHOLE)
    for _ in range(draw.draw(st.integers(1, 4))):
        start = draw.draw(st.integers(0, len(data)))
        data[start : start + draw.draw(st.integers(0, 4))] = draw.draw(st.one_of(HEADER_WORDS, st.binary(max_size=4)))
    _only_nrrd_error(bytes(data))
