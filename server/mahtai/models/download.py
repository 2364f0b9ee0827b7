"""Fetch one file and make sure that it is the one that was meant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import requests

from mahtai.errors import MahtaiError
from mahtai.models.registry import RemoteFile

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0

_BLOCK = 1 << 18


class DownloadError(MahtaiError):
    """The file could not be fetched."""

    kind = "download"
    title = "The model could not be fetched"
    status = 503


class WrongContent(DownloadError):
    """Something was fetched, but not what the registry pins."""

    kind = "download-wrong-content"
    title = "The fetched model is not the right one"


def download(file: RemoteFile, target: Path, progress: Callable[[int], None] = lambda count: None) -> None:
    """Write ``file`` to ``target``; on any error ``target`` is removed again.

    Args:
        progress: told the number of bytes that have come since the last call.

    Raises:
        DownloadError: no connection, cut off, or the server refuses.
        WrongContent: another size or hash than pinned.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with requests.get(file.url, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)) as response:
            if response.status_code != 200:
                raise DownloadError(
                    f"{_host(file)} answers {response.status_code} ({response.reason}) for {_name(file)}.",
                    "Try again later, or get the model another way and use `mahtai models pull --file`.",
                )
            with target.open("wb") as stream:
                _receive(response, file, stream.write, progress)
        verify(file, target)
    except requests.RequestException as error:
        target.unlink(missing_ok=True)
        raise DownloadError(
            f"{_host(file)} cannot be reached, or the connection broke off ({type(error).__name__}). Nothing was kept.",
            f"Check the internet connection (a hospital's proxy goes into HTTPS_PROXY). Or fetch {file.url} "
            "on another computer and use `mahtai models pull --file`.",
        ) from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _receive(
    response: requests.Response, file: RemoteFile, write: Callable[[bytes], object], progress: Callable[[int], None]
) -> None:
    received = 0
    for block in response.iter_content(_BLOCK):
        received += len(block)
        if received > file.bytes:
            raise WrongContent(
                f"{_host(file)} sends more than the {file.bytes:,} bytes that {_name(file)} has.",
                "It is not the file that MahtAI pins. Do not use it; tell the makers of MahtAI.",
            )
        write(block)
        progress(len(block))
    if received < file.bytes:
        raise DownloadError(
            f"The connection broke off: {received:,} of {file.bytes:,} bytes of {_name(file)} came. Nothing was kept.",
            "Try again.",
        )


def verify(file: RemoteFile, path: Path) -> None:
    """Compare a file with what the registry pins.

    Raises:
        WrongContent: SHA-256 or the published SHA-1 differ.
    """
    sha256 = hashlib.sha256()
    # SHA-1 is what the publisher states; it adds to the SHA-256 and guards nothing by itself
    sha1 = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha256.update(block)
            sha1.update(block)
    wrong_sha1 = file.published_sha1 is not None and sha1.hexdigest() != file.published_sha1
    if sha256.hexdigest() != file.sha256 or wrong_sha1:
        raise WrongContent(
            f"{_name(file)} has the SHA-256 {sha256.hexdigest()[:16]}…, but {file.sha256[:16]}… was expected. "
            "It was removed.",
            "Somebody changed the file on the way or at its source. Do not use it; try again from another network.",
        )


def _host(file: RemoteFile) -> str:
    return file.url.partition("://")[2].partition("/")[0] or "the computer"


def _name(file: RemoteFile) -> str:
    return file.path or file.url.rpartition("/")[2]
