"""The description of the API: FastAPI's, with our problem documents, token and files in it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from mahtai.api.problems import MEDIA_TYPE, Problem
from mahtai.security.permissions import CALLS

DESCRIPTION = """
Inference server of MahtAI. Upload volumes by their SHA-256, ask for an inference, fetch the segmentation,
save corrected label versions.

Every call but the signs of life and signing in needs `Authorization: Bearer <token>`. On one computer the token lies in
the file `token` of the server's settings folder; in a hospital it is the access token of a session (`POST /v1/sign-in`)
or one that an account made for a program (`POST /v1/account/tokens`). Errors are problem documents (RFC 9457) with a
`hint`.
""".strip()

_BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

FILE: dict[int | str, dict[str, Any]] = {200: {"description": "The file.", "content": _BINARY}}
FILE_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": _BINARY}}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'event: progress\ndata: {"id": "…", "state": "running", "stage": "predicting"}\n\n',
            }
        },
    }
}
_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
_PROBLEM_CONTENT = {MEDIA_TYPE: {"schema": _PROBLEM_REF}}
_VALIDATION_REF = {"$ref": "#/components/schemas/HTTPValidationError"}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declares that a call can answer with a problem document of these statuses."""
    return {status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses}


def install(app: FastAPI) -> None:
    """Make ``app.openapi()`` say how it really is."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _corrected(
                get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _corrected(document: dict[str, Any]) -> dict[str, Any]:
    components = document["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            call = CALLS.get(f"{method.upper()} {path}")
            if call is not None and call.is_open:
                operation["security"] = []
            elif call is not None:  # the gate answers before the call does
                for status in (401, 403):
                    operation["responses"].setdefault(
                        str(status), {"description": HTTPStatus(status).phrase, "content": _PROBLEM_CONTENT}
                    )
            for response in operation["responses"].values():
                _name_problem(response)
    return document


def _name_problem(response: dict[str, Any]) -> None:
    """Problem documents have a media type of their own, and our validation errors are such documents too."""
    content = response.get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if schema in (_PROBLEM_REF, _VALIDATION_REF):
        response["content"] = _PROBLEM_CONTENT
