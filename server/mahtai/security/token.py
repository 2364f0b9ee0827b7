"""The local token: made at the first start, readable by its user only, wanted with every request."""

from __future__ import annotations

import hmac
import re
import secrets
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.volumes.durable import create_once

FILE_NAME = "token"

_FORM = re.compile(r"[A-Za-z0-9_-]{32,}")


class TokenError(MahtaiError):
    """The token file cannot be made or does not hold a token."""

    kind = "token-file"
    title = "The server's token cannot be used"
    status = 500


def load_or_create(config_dir: Path) -> str:
    """The token of this user's server; made with 256 random bits when there is none yet.

    Raises:
        TokenError: the folder cannot be written or the file holds something else.
    """
    path = config_dir / FILE_NAME
    try:
        if not path.exists():
            create_once(path, f"{secrets.token_urlsafe(32)}\n".encode("ascii"))
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(
            f"The token file {path} cannot be read or written ({error.__class__.__name__}).",
            "Check that the folder belongs to you, or choose another one with MAHTAI_CONFIG_DIR.",
        ) from error
    if not _FORM.fullmatch(text):
        raise TokenError(
            f"{path} does not hold a token.", "Delete the file and start the server again to get a new one."
        )
    return text


def is_valid(presented: str, token: str) -> bool:
    """Compare in constant time, so that the answer's delay tells nothing."""
    return hmac.compare_digest(presented.encode("utf-8", "replace"), token.encode("ascii"))
