"""Refusals as pages, for calls that a browser makes by itself."""

from __future__ import annotations

from html import escape

from fastapi.responses import HTMLResponse

from mahtai.errors import MahtaiError

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = "body { font: 16px/1.5 system-ui, sans-serif; max-width: 36rem; margin: 4rem auto; padding: 0 1rem; \
color-scheme: light dark }"


def problem_page(error: MahtaiError) -> HTMLResponse:
    """A page that says why not, and what to do."""
    text = "".join(f"<p>{escape(part)}</p>" for part in (error.reason, error.hint) if part)
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>MahtAI</title><style>{_STYLE}</style>"
        f"<h1>{escape(error.title)}</h1>{text}"
    )
    return HTMLResponse(page, error.status, headers=HEADERS)
