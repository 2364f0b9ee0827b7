"""Checks how the hospital's own sign-in is set up, at the start of the server."""

from __future__ import annotations

from urllib.parse import urlsplit

from mahtai.cases.person import ROLES
from mahtai.security.oidc_issuer import Issuer, is_safe_address
from mahtai.settings import Settings, SettingsError

CALLBACK = "/v1/sign-in/hospital/callback"


def issuer_of(settings: Settings) -> Issuer | None:
    """The issuer as it is set up; None where none is.

    Raises:
        SettingsError: a setting is missing, or would not be safe.
    """
    url = settings.oidc_issuer
    if url is None:
        return None
    if not is_safe_address(url, may_be_plain=True) or urlsplit(url).query:
        raise SettingsError(
            "MAHTAI_OIDC_ISSUER is not an address that begins with https://.",
            "It is the issuer's name as its page /.well-known/openid-configuration tells it.",
        )
    callback = settings.oidc_redirect or ""
    if not is_safe_address(callback, may_be_plain=True) or not callback.endswith(CALLBACK):
        raise SettingsError(
            "MAHTAI_OIDC_REDIRECT is missing, or is not an address of this server that begins with https://.",
            f"It looks like https://mahtai.hospital.example{CALLBACK}, and the issuer must know it, too.",
        )
    if settings.oidc_client is None:
        raise SettingsError(
            "MAHTAI_OIDC_CLIENT is missing.", "It is the name under which the issuer knows this server (client id)."
        )
    if settings.oidc_ca_file is not None and not settings.oidc_ca_file.is_file():
        raise SettingsError("MAHTAI_OIDC_CA_FILE is no file.", "It holds the certificates to trust, as PEM.")
    _check_roles(settings)
    return Issuer(url, settings.oidc_client, _secret(settings), callback, settings.oidc_ca_file)


def _secret(settings: Settings) -> str | None:
    if settings.oidc_secret_file is None:
        return None
    try:
        secret = settings.oidc_secret_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"MAHTAI_OIDC_SECRET_FILE cannot be read ({error.__class__.__name__}).",
            "It is a file that holds the secret which the issuer gave this server, and nothing else.",
        ) from error
    if not secret or not secret.isprintable():
        raise SettingsError("MAHTAI_OIDC_SECRET_FILE holds no secret.", "It is one line that the issuer gave.")
    return secret


def _check_roles(settings: Settings) -> None:
    unknown = [ours for _, ours in settings.oidc_roles if ours not in ROLES]
    if not settings.oidc_roles or unknown:
        raise SettingsError(
            f"MAHTAI_OIDC_ROLES names {unknown[0][:50]!r}." if unknown else "MAHTAI_OIDC_ROLES is missing.",
            f"It looks like theirs=radiologist,others=annotator; the roles here are {', '.join(ROLES)}.",
        )
