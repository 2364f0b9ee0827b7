"""Errors as RFC 9457 problem documents, with a hint that a radiologist can act on."""

from __future__ import annotations

import logging
import math
from datetime import datetime
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from mahtai.cases.case import CaseHeld
from mahtai.errors import MahtaiError
from mahtai.jobs.inference import VolumeMissing

PROBLEM_TYPES = "https://mahtai.org/problems/"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 3

_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_HINTS = {
    400: "Send the request again; if it happens again, update the program that sends it.",
    404: "Check the address. The calls of this server are described at /docs.",
    405: "The calls of this server are described at /docs.",
}

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": f"{PROBLEM_TYPES}volume-missing",
                "title": "A volume is not on the server",
                "status": 422,
                "detail": "The server does not have the volume for flair.",
                "hint": "Upload it first; nothing was started.",
                "instance": "/v1/inferences",
                "missing": ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
            }
        }
    )

    type: str = Field(description=f"`{PROBLEM_TYPES}` and a slug that never changes.")
    title: str = Field(description="The cause, the same for every occurrence.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened this time, for the reader.")
    hint: str = Field(description="What the reader can do about it.")
    instance: str = Field(description="Path of the request.")
    missing: list[str] | None = Field(None, description="SHA-256 of volumes to upload (`volume-missing` only).")
    holder: str | None = Field(None, description="Who works on the case (`case-held` only).")
    held_until: datetime | None = Field(None, description="Until when, unless they go on (`case-held` only).")


def problem_body(kind: str, title: str, status: int, detail: str, hint: str, instance: str) -> dict[str, Any]:
    """The members of a problem document."""
    return {
        "type": PROBLEM_TYPES + kind,
        "title": title,
        "status": status,
        "detail": detail,
        "hint": hint,
        "instance": instance,
    }


def problem_response(error: MahtaiError, instance: str) -> JSONResponse:
    """An error that a reader may see, as an answer."""
    body = problem_body(error.kind, error.title, error.status, error.reason, error.hint, instance)
    if isinstance(error, VolumeMissing):
        body["missing"] = list(error.sha256)
    if isinstance(error, CaseHeld):
        body |= {"holder": error.holder, "held_until": error.held_until.isoformat().replace("+00:00", "Z")}
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="MahtAI"'
    wait_s = getattr(error, "wait_s", None)
    if wait_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    return _answer(body, headers)


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document."""
    app.add_exception_handler(MahtaiError, _mahtai_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected_error)


def _answer(body: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    headers = dict(headers or {})
    if body["status"] in _BUSY:
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return JSONResponse(body, body["status"], headers=headers, media_type=MEDIA_TYPE)


def _mahtai_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MahtaiError)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("%s: %s", error.kind, error.title)
    return problem_response(error, request.url.path)


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # the offending input is not repeated: it may hold anything
    faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:5]]
    body = problem_body(
        "invalid-request",
        "The request is not as it should be",
        422,
        f"{'; '.join(faults)}."[:1000],
        "The program that sent it and this server do not understand each other; update the older one.",
        request.url.path,
    )
    return _answer(body)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = str(error.detail)
    if detail == status.phrase:
        detail = {
            404: "There is nothing at this address.",
            405: f"{request.method} is not possible at this address.",
        }.get(status, f"{status.phrase}.")
    kind = status.phrase.lower().replace(" ", "-")
    body = problem_body(kind, status.phrase, status, detail, _HINTS.get(status, ""), request.url.path)
    return _answer(body, dict(error.headers or {}))


def _unexpected_error(request: Request, error: Exception) -> Response:
    return unexpected(request.url.path)


def unexpected(instance: str) -> Response:
    """The answer where the program has failed; its log says how."""
    body = problem_body(
        "server-fault",
        "The server met an unexpected error",
        500,
        "The server met an error that it was not made for. What was saved before is safe.",
        "Try again. If it happens again, send the server's log to those who look after MahtAI.",
        instance,
    )
    return _answer(body)
