"""Multipart bodies, cut anywhere, damaged, or made to fill the memory."""

from __future__ import annotations

import itertools

import pytest

from MahtAILib.client.multipart import MAX_PARTS, MultipartBody, MultipartError, MultipartReader, Part, PartHeader

PARTS = [
    Part("params", [b'{"a": ', b'"\r\n--"}'], "application/json"),
    Part("file", [bytes(range(256)) * 20, memoryview(b"\r\n--mahtai-\r\n\r\n")], "application/octet-stream", "x.nrrd"),
    Part("empty", [], "text/plain"),
]
CONTENTS = [("params", None, b'{"a": "\r\n--"}'), ("empty", None, b"")]


def read(content_type: str, pieces: list[bytes]) -> list[tuple[str, str | None, bytes]]:
    """All parts of a body that comes in these pieces."""
    reader, found = MultipartReader(content_type), list[tuple[PartHeader, bytearray]]()
    for event in itertools.chain.from_iterable(map(reader.feed, pieces)):
        if isinstance(event, PartHeader):
            found.append((event, bytearray()))
        else:
            found[-1][1].extend(event)
    reader.finish()
    return [(header.name, header.file_name, bytes(content)) for header, content in found]


def whole(body: MultipartBody) -> bytes:
    data = b"".join(bytes(piece) for piece in body)
    assert len(data) == len(body)
    return data


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 64, 1000, 1 << 20])
def test_a_body_is_the_same_wherever_it_is_cut(size: int) -> None:
    body = MultipartBody(PARTS)
    data = b"what comes before is nobody's\r\n" + whole(body) + b"nor what comes after"
    found = read(body.content_type, [data[start : start + size] for start in range(0, len(data), size)])
    assert [found[0], found[2]] == CONTENTS
    assert found[1] == ("file", "x.nrrd", bytes(range(256)) * 20 + b"\r\n--mahtai-\r\n\r\n")


def test_a_body_can_be_sent_twice() -> None:
    body = MultipartBody(PARTS)
    assert whole(body) == whole(body)


@pytest.mark.parametrize(
    ("head", "name", "file_name"),
    [
        (b'form-data; name="file"; filename="/tmp/a b/T1.nii.gz"', "file", "T1.nii.gz"),
        (b'form-data; name="file"; filename="C:\\Users\\x\\T1.nii.gz"', "file", "T1.nii.gz"),
        (b'form-data; name="file"; filename="a"b".nrrd"', "file", 'a"b".nrrd'),
        (b"form-data; name=file; filename=x.nrrd", "file", "x.nrrd"),
        (b"form-data; name=\"file\"; filename*=utf-8''Gr%C3%B6%C3%9Fe.nrrd", "file", "Größe.nrrd"),
        ('form-data; name="file"; filename="Größe.nrrd"'.encode(), "file", "Größe.nrrd"),
        (b'form-data; filename="x.nrrd"; name="file"', "file", "x.nrrd"),
        (b'form-data; name="params"', "params", None),
    ],
)
def test_the_names_of_a_part(head: bytes, name: str, file_name: str | None) -> None:
    data = b"--x\r\nContent-Disposition: " + head + b"\r\nContent-Type: text/plain\r\n\r\nhere\r\n--x--"
    assert read("multipart/form-data; boundary=x", [data]) == [(name, file_name, b"here")]


HEAD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        HEAD,
        HEAD + b"text",
        HEAD + b"text\r\n--x",
        HEAD + b"text\r\n--x\r\n",
        HEAD + b"text\r\n--xy\r\n",
        b"--x\r\nContent-Type: text/plain\r\n\r\ntext\r\n--x--",
        b"--x\r\n" + b"A: b\r\n" * 10_000,
        b"--x" + b" " * 10_000,
        HEAD.join([b""] + [b"\r\n"] * (MAX_PARTS + 1)) + b"--x--",
    ],
)
def test_what_is_no_whole_form_is_refused(data: bytes) -> None:
    with pytest.raises(MultipartError):
        read("multipart/form-data; boundary=x", [data])
    with pytest.raises(MultipartError):
        read("multipart/form-data; boundary=x", [data[start : start + 7] for start in range(0, len(data), 7)])


@pytest.mark.parametrize(
    "content_type", ["", "text/plain; boundary=x", "multipart/form-data", "multipart/x; boundary="]
)
def test_what_is_no_form_at_all_is_refused(content_type: str) -> None:
    with pytest.raises(MultipartError):
        MultipartReader(content_type)


def test_no_more_is_held_than_came_last() -> None:
    reader = MultipartReader("multipart/form-data; boundary=x")
    list(reader.feed(HEAD))
    for _ in range(100):
        list(reader.feed(bytes(1 << 16)))
        assert len(reader._buffer) < 64
