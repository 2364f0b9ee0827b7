"""Encrypted files: what was written comes back, from any position, and every kind of damage is found."""

from __future__ import annotations

import io
import random
import secrets
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mahtai.security.at_rest.envelope import (
    HEADER_BYTES,
    MAGIC,
    Header,
    SealBroken,
    SealingWriter,
    UnsealingReader,
    open_sealed,
    seal_bytes,
    seal_stream,
    sealed_key_id,
    unseal_bytes,
)
from mahtai.security.at_rest.keys import GivenKeys, UnknownDataKey

KEY, ID, PLACE = secrets.token_bytes(32), "0123456789abcdef", "blob/one"
KEYS = GivenKeys(ID, {ID: KEY})
CHUNK, TAG = 1 << 20, 16
SIZES = (0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 12_345)


def sealed(data: bytes, place: str = PLACE) -> bytes:
    """An encrypted file."""
    return seal_bytes(data, KEY, ID, place)


def unsealed(content: bytes, place: str = PLACE) -> bytes:
    """Its plain bytes."""
    return unseal_bytes(content, KEYS.key, place)


def refused(content: bytes, place: str = PLACE) -> None:
    """Nothing of it is handed out as if it were whole."""
    with pytest.raises((SealBroken, UnknownDataKey)):
        unsealed(content, place)


def chunks(content: bytes) -> list[bytes]:
    """The header, and each chunk as it lies on the disk."""
    body = content[HEADER_BYTES:]
    return [content[:HEADER_BYTES], *(body[at : at + CHUNK + TAG] for at in range(0, len(body), CHUNK + TAG))]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_comes_back_and_nothing_of_it_is_on_the_disk(size: int, tmp_path: Path) -> None:
    data = secrets.token_bytes(size)
    content = sealed(data)
    assert content.startswith(MAGIC) and unsealed(content) == data
    assert Header.parse(content[:HEADER_BYTES]).plain_size(len(content)) == size
    assert not any(data[at : at + 16] in content for at in range(0, max(size - 16, 0), 100_003))
    file = tmp_path / "file"
    file.write_bytes(content)
    assert sealed_key_id(file) == ID
    with open_sealed(file, KEYS.key, PLACE) as stream:
        assert stream.read() == data
        for at in (0, size // 3, max(size - 7, 0), size, size + 5):
            assert stream.seek(at) == at and stream.read(20) == data[at : at + 20]
        assert stream.seek(-min(size, 9), io.SEEK_END) == size - min(size, 9) and stream.read() == data[-9:]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 700_000), max_size=8), st.data())
def test_it_does_not_matter_in_which_pieces_it_is_written_or_read(pieces: list[int], data: st.DataObject) -> None:
    whole = random.Random(1).randbytes(sum(pieces))
    sink, at = io.BytesIO(), 0
    with SealingWriter(sink, KEY, ID) as writer:
        for piece in pieces:
            assert writer.write(memoryview(whole)[at : at + piece]) == piece
            at += piece
        writer.place = PLACE
    reader = io.BufferedReader(UnsealingReader(io.BytesIO(sink.getvalue()), KEYS.key, PLACE))
    for _ in range(5):
        start = data.draw(st.integers(0, len(whole)))
        count = data.draw(st.integers(0, len(whole)))
        reader.seek(start)
        assert reader.read(count) == whole[start : start + count]


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 7), st.sampled_from((0, 1, 100, 5000)))
def test_a_bit_that_has_changed_anywhere_is_found(at: int, bit: int, size: int) -> None:
    content = bytearray(sealed(bytes(size)))
    content[at % len(content)] ^= 1 << bit
    refused(bytes(content))


def test_every_single_bit_of_the_header_counts() -> None:
    content = sealed(b"some content")
    for at in range(HEADER_BYTES * 8):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << (at % 8)
        refused(bytes(changed))


def test_a_bit_that_has_changed_in_a_large_file_is_found_wherever_it_is() -> None:
    content = bytearray(sealed(secrets.token_bytes(2 * CHUNK + 99)))
    chance = random.Random(2)
    for _ in range(200):
        at, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        content[at] ^= bit
        refused(bytes(content))
        content[at] ^= bit
    assert len(unsealed(bytes(content))) == 2 * CHUNK + 99


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3 * CHUNK))
def test_a_file_that_is_cut_off_anywhere_is_found_before_a_byte_is_read(length: int) -> None:
    whole = _LARGE[:length]
    if len(whole) < len(_LARGE):
        with pytest.raises(SealBroken):
            UnsealingReader(io.BytesIO(whole), KEYS.key, PLACE)


_LARGE = seal_bytes(bytes(2 * CHUNK + 77), KEY, ID, PLACE)


def test_dropped_moved_doubled_and_foreign_chunks_are_found() -> None:
    head, first, second, third, last = chunks(sealed(secrets.token_bytes(3 * CHUNK + 10)))
    other_head, other_first, *_ = chunks(sealed(secrets.token_bytes(3 * CHUNK + 10)))
    assert unsealed(head + first + second + third + last)
    for wrong in (
        [head, first, second, third],
        [head, first, second],
        [head, first],
        [head],
        [head, second, first, third, last],
        [head, first, third, second, last],
        [head, second, third, last],
        [head, first, second, third, third, last],
        [head, other_first, second, third, last],
        [other_head, first, second, third, last],
        [head, first, second, third, last, last],
        [head, last],
    ):
        refused(b"".join(wrong))


@pytest.mark.parametrize("more", [b"x", bytes(16), bytes(17), bytes(CHUNK), bytes(CHUNK + TAG)])
def test_what_was_appended_is_found(more: bytes) -> None:
    for size in (0, 10, CHUNK, CHUNK + 5):
        refused(sealed(bytes(size)) + more)


def test_a_file_of_another_place_or_another_key_is_refused() -> None:
    content = sealed(b"one", "blob/one")
    refused(content, "blob/two")
    refused(content, "")
    with pytest.raises(SealBroken):
        unseal_bytes(content, lambda key_id: secrets.token_bytes(32), "blob/one")
    with pytest.raises(UnknownDataKey):
        unseal_bytes(seal_bytes(b"one", KEY, "ffff", "blob/one"), KEYS.key, "blob/one")


def test_what_is_no_encrypted_file_at_all_is_refused() -> None:
    for content in (b"", b"NRRD0004", MAGIC, MAGIC + bytes(100), secrets.token_bytes(500)):
        refused(content)


def test_the_same_content_never_looks_the_same() -> None:
    data = bytes(100_000)
    first, second = sealed(data), sealed(data)
    assert len(first) == len(second)
    same = sum(a == b for a, b in zip(first[HEADER_BYTES:], second[HEADER_BYTES:], strict=True))
    assert same < len(data) / 100  # of random bytes one in 256 is the same by chance


def test_a_writer_that_was_interrupted_leaves_no_whole_file() -> None:
    for size in (0, 10, CHUNK, 2 * CHUNK + 5):
        sink = io.BytesIO()
        with pytest.raises(KeyboardInterrupt), SealingWriter(sink, KEY, ID, PLACE) as writer:
            writer.write(bytes(size))
            raise KeyboardInterrupt
        refused(sink.getvalue())
        forgotten = SealingWriter(sink := io.BytesIO(), KEY, ID, PLACE)
        forgotten.write(bytes(size))
        del forgotten
        refused(sink.getvalue())


def test_a_stream_is_encrypted_without_being_held_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    source = tmp_path / "source"
    source.write_bytes(bytes(40 * CHUNK))
    tracemalloc.start()
    with source.open("rb") as stream, (tmp_path / "sealed").open("wb") as sink:
        seal_stream(stream, sink, KEY, ID, PLACE)
    with open_sealed(tmp_path / "sealed", KEYS.key, PLACE) as reader:
        read = sum(len(piece) for piece in iter(lambda: reader.read(CHUNK), b""))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == 40 * CHUNK and peak < 12 * CHUNK


def test_keys_cross_a_pipe_and_are_never_shown() -> None:
    assert GivenKeys.from_json(KEYS.as_json()) == KEYS
    assert KEY.hex() not in repr(KEYS) and repr(KEY) not in repr(KEYS)
