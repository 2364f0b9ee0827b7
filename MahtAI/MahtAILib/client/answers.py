"""Reading what a server answers: whole, and never more than there should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import requests

from MahtAILib.client.background import Task
from MahtAILib.client.diagnosis import not_mahtai
from MahtAILib.client.errors import ConnectionLostError
from MahtAILib.client.refusals import MAX_PROBLEM_BYTES, explain_answer

_MAX_JSON_BYTES = 16 * 2**20
_READ_CHUNK = 2**16


def require_success(response: requests.Response) -> None:
    """Pass an answer whose status says that all is well; its body is not read.

    Raises:
        ClientError: the one of its kinds that says what the server refused, and why.
    """
    if not 200 <= response.status_code < 300:
        problem = explain_answer(response, _beginning(response))
        if problem is not None:
            raise problem


def read_document(response: requests.Response, url: str) -> Any:
    """The JSON of an answer; None for an empty one.

    Raises:
        NotMahtAIError: it is no JSON.
    """
    body = read_body(response, url, _MAX_JSON_BYTES)
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError as error:
        raise not_mahtai(url, "its answer is not JSON") from error


def read_body(
    response: requests.Response,
    url: str,
    max_bytes: int,
    on_bytes: Callable[[int], None] | None = None,
    task: Task | None = None,
) -> bytes:
    """The body of an answer; ``on_bytes`` is called with the number of bytes that are there.

    Raises:
        NotMahtAIError: it goes on after ``max_bytes``.
        ConnectionLostError: it ends before the length that was announced.
        CancelledError: ``task`` was stopped.
    """
    body = bytearray()
    for piece in response.iter_content(_READ_CHUNK):
        body += piece
        if len(body) > max_bytes:
            raise not_mahtai(url, "its answer is far larger than it should be")
        if on_bytes is not None:
            on_bytes(len(body))
        if task is not None:
            task.check()
    announced = response.headers.get("Content-Length", "")
    # older versions of urllib3 take a body that ends too early for a whole one
    if announced.isdigit() and "Content-Encoding" not in response.headers and len(body) < int(announced):
        raise ConnectionLostError("The connection broke in the middle of an answer. Nothing was lost.", "Try again.")
    return bytes(body)


def _beginning(response: requests.Response) -> bytes:
    """Enough of an error's body to read what it says; what follows is of no interest."""
    body = bytearray()
    for piece in response.iter_content(_READ_CHUNK):
        body += piece
        if len(body) >= MAX_PROBLEM_BYTES:
            break
    return bytes(body)
