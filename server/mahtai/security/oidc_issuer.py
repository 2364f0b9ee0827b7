"""Talks with the hospital's own sign-in, the OpenID Connect issuer, and never waits for it for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote_plus, urlsplit

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from requests import PreparedRequest, RequestException, Session
from requests.auth import HTTPBasicAuth
from requests.utils import get_environ_proxies

from mahtai.security.bounded_http import BoundedAdapter

DISCOVERY_S, KEYS_S = 3600.0, 600.0
"""How long what the issuer tells about itself, and its keys, are taken for granted."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OF_THE_CODE = ("invalid_grant", "invalid_request")
_DISCOVERY = "/.well-known/openid-configuration"

T = TypeVar("T")


class IssuerFault(Exception):
    """The issuer gives no answer, or one that cannot be used; the text is a few words for the log, without secrets."""


class CodeRefused(Exception):
    """The issuer does not know the code, or knows it for another sign-in; the text is RFC 6749's word for it."""


@dataclass(frozen=True)
class Discovery:
    """What the issuer tells about itself (OpenID Connect Discovery 1.0)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    names_itself: bool
    scopes: frozenset[str]
    token_auth_methods: frozenset[str]


@dataclass(frozen=True)
class Tokens:
    """What a code was exchanged for."""

    id_token: str
    access_token: str | None


class Issuer:
    """One issuer, as one client of it sees it.

    Args:
        url: the issuer's name, exactly as it stands in its tokens.
        client, secret: whom it knows this server as; None where it gave no secret.
        callback: where it sends the browser back to.
        ca_file: PEM file of the certificates to trust; None for the well-known ones.
    """

    def __init__(self, url: str, client: str, secret: str | None, callback: str, ca_file: Path | None) -> None:
        self.url, self.client, self._secret, self._callback = url, client, secret, callback
        self._trust: str | bool = True if ca_file is None else str(ca_file)
        self._on_this_computer = is_on_this_computer(url)
        self._discovery = _Remembered(self._discover, DISCOVERY_S)
        self._keys = _Remembered(self._fetch_keys, KEYS_S)

    def discovery(self) -> Discovery:
        """What the issuer tells about itself.

        Raises:
            IssuerFault: it does not.
        """
        return self._discovery.get()

    def keys(self, fresh: bool) -> list[Mapping[str, Any]]:
        """Its public keys (RFC 7517).

        Raises:
            IssuerFault: it tells none.
        """
        return self._keys.get(fresh)

    def sign_in_address(self, scope: str, state: str, nonce: str, verifier: str) -> str:
        """Where the browser is sent to.

        Raises:
            IssuerFault: the issuer does not tell.
        """
        with self._session() as session:
            address, _ = session.create_authorization_url(
                self.discovery().authorization_endpoint, state=state, nonce=nonce, code_verifier=verifier, scope=scope
            )
        return str(address)

    def exchange(self, code: str, verifier: str) -> Tokens:
        """Give the code back to the issuer, for what it stands for.

        Raises:
            CodeRefused: it is none, was used before, or belongs to another sign-in.
            IssuerFault: it gives no proper answer.
        """
        told = self.discovery()
        own: dict[str, Any] = {}
        if self._secret is not None and "client_secret_basic" in told.token_auth_methods:
            # RFC 6749, 2.3.1: both are form-encoded first, which Authlib leaves out
            own["auth"] = HTTPBasicAuth(quote_plus(self.client), quote_plus(self._secret))
        elif self._secret is not None:
            own |= {"auth": _no_auth, "client_id": self.client, "client_secret": self._secret}
        try:
            with self._session() as session:
                answer = session.fetch_token(
                    told.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                    verify=self._trust,
                    allow_redirects=False,
                    **own,
                )
        except (AuthlibBaseError, RequestException, ValueError, TypeError, RecursionError) as error:
            word = _word(error)
            raise (CodeRefused(word) if word in _OF_THE_CODE else IssuerFault(f"token endpoint: {word}")) from error
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str):
            raise IssuerFault("token endpoint: no ID token")
        return Tokens(id_token, access_token if isinstance(access_token, str) else None)

    def _session(self) -> Any:
        session = OAuth2Session(
            self.client,
            redirect_uri=self._callback,
            code_challenge_method="S256",
            token_endpoint_auth_method="none",  # with a secret, ``exchange`` says how
        )
        return self._prepared(session)

    def _prepared(self, session: T) -> T:
        assert isinstance(session, Session)
        session.trust_env = False  # else REQUESTS_CA_BUNDLE would win over the CA file, and .netrc would be read
        if not self._on_this_computer:
            session.proxies = get_environ_proxies(self.url)
        session.mount("https://", BoundedAdapter())
        session.mount("http://", BoundedAdapter())
        return session

    def _get(self, url: str, what: str) -> dict[str, Any]:
        try:
            with self._prepared(Session()) as session:
                response = session.get(
                    url, verify=self._trust, allow_redirects=False, headers={"Accept": "application/json"}
                )
                response.raise_for_status()
                document = response.json()
        except (RequestException, ValueError, RecursionError) as error:
            raise IssuerFault(f"{what}: {_word(error)}") from error
        if not isinstance(document, dict):
            raise IssuerFault(f"{what}: not an object")
        return document

    def _discover(self) -> Discovery:
        document = self._get(self.url.rstrip("/") + _DISCOVERY, "discovery")
        if document.get("issuer") != self.url:
            raise IssuerFault("discovery: another issuer")
        methods = _words(document, "token_endpoint_auth_methods_supported")
        return Discovery(
            authorization_endpoint=self._address(document, "authorization_endpoint"),
            token_endpoint=self._address(document, "token_endpoint"),
            jwks_uri=self._address(document, "jwks_uri"),
            names_itself=document.get("authorization_response_iss_parameter_supported") is True,
            scopes=_words(document, "scopes_supported"),
            token_auth_methods=methods or frozenset({"client_secret_basic"}),
        )

    def _address(self, document: Mapping[str, Any], name: str) -> str:
        address = document.get(name)
        if not isinstance(address, str) or not is_safe_address(address, self._on_this_computer):
            raise IssuerFault(f"discovery: {name}")
        return address

    def _fetch_keys(self) -> list[Mapping[str, Any]]:
        keys = self._get(self.discovery().jwks_uri, "keys").get("keys")
        if not isinstance(keys, list):
            raise IssuerFault("keys: no list")
        return [key for key in keys if isinstance(key, dict)]


class _Remembered(Generic[T]):
    """Something that is fetched once for many, and again when it has become old or does not fit."""

    def __init__(self, fetch: Callable[[], T], keep_s: float) -> None:
        self._fetch, self._keep_s = fetch, keep_s
        self._kept: tuple[float, T] | None = None

    def get(self, fresh: bool = False) -> T:
        """The kept one, unless ``fresh`` or too old."""
        kept = self._kept
        if not fresh and kept is not None and time.monotonic() - kept[0] < self._keep_s:
            return kept[1]
        value = self._fetch()
        self._kept = (time.monotonic(), value)
        return value


def is_on_this_computer(url: str) -> bool:
    """Whether an address is one of this computer's own."""
    return urlsplit(url).hostname in LOOPBACK


def is_safe_address(url: str, may_be_plain: bool) -> bool:
    """Whether an address is encrypted; or, where that is allowed, stays on this computer."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises for what is no port
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.fragment or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (may_be_plain and parts.scheme == "http" and parts.hostname in LOOPBACK)


def _no_auth(request: PreparedRequest) -> PreparedRequest:
    return request


def _words(document: Mapping[str, Any], name: str) -> frozenset[str]:
    listed = document.get(name)
    return frozenset(word for word in listed if isinstance(word, str)) if isinstance(listed, list) else frozenset()


def _word(error: Exception) -> str:
    """An error's kind, and what the issuer calls it if that is one of the few words of RFC 6749, 5.2."""
    said = getattr(error, "error", None)
    known = (*_OF_THE_CODE, "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope")
    return str(said) if said in known else error.__class__.__name__
