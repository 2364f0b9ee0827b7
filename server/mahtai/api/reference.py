"""The API's description as a page to read: plain HTML, because a hospital's server has no way to a CDN."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color-scheme: light dark }
code { font-size: 0.95em } h3 { margin: 2rem 0 0.3rem } p { margin: 0.3rem 0 } pre { white-space: pre-wrap }
"""


@router.get("/docs", response_class=HTMLResponse)
async def reference(request: Request) -> HTMLResponse:
    """All calls with what they do and answer. Where nobody signs in it needs no token."""
    document = request.app.openapi()
    calls = [
        _call(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    info = document["info"]
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])} API</title>"
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        '<p>For programs: <a href="/openapi.json">openapi.json</a></p>' + "".join(calls)
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"})


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    answers = ", ".join(
        f"{status} {escape(response.get('description', ''))}" for status, response in operation["responses"].items()
    )
    parameters = "".join(
        f"<p><code>{escape(parameter['name'])}</code> ({escape(parameter['in'])}) "
        f"{escape(parameter.get('description', ''))}</p>"
        for parameter in operation.get("parameters", ())
    )
    return (
        f"<h3><code>{method.upper()} {escape(path)}</code></h3><p>{escape(operation.get('description', ''))}</p>"
        f"{parameters}<p>Answers: {answers}</p>"
    )
