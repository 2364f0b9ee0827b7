"""Checks what the hospital's sign-in says about a person: the ID token (OpenID Connect Core 1.0, 3.1.3.7)."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""What an ID token may be signed with. None of them takes a secret that both sides have, and "none" is none of them."""

SKEW_S = 60
"""So much may the issuer's clock differ from ours."""

OLDEST_S = 600
"""An ID token is made for the sign-in that goes on; an older one was kept by somebody."""

SMALLEST_RSA_BITS = 2048

_KEY_OF: Mapping[str, type[Any]] = {"RS256": RSAKey, "PS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey}
_HASH_OF = {"RS256": "sha256", "PS256": "sha256", "ES256": "sha256", "EdDSA": "sha512"}

KeysOf = Callable[[bool], Iterable[Mapping[str, Any]]]
"""The issuer's public keys (RFC 7517); True asks the issuer, False may take those that it told before."""


class IdTokenRefused(Exception):
    """An ID token that proves nothing; the text is one or two words for the log, and holds nothing of the token."""


class _NoSuchKey(IdTokenRefused):
    """The issuer has not told of the key."""


def check_id_token(
    token: str, keys_of: KeysOf, *, issuer: str, client: str, nonce: str, access_token: str | None
) -> dict[str, Any]:
    """The claims of an ID token that this issuer made for this client and this sign-in.

    Args:
        keys_of: asked a second time, for new keys, where the first ones do not fit: issuers change them.
        nonce: that was sent to the issuer.
        access_token: came with it; it must be the one that the ID token speaks of, if it does.

    Raises:
        IdTokenRefused: it is not.
    """
    try:
        header, claims = _verified(token, keys_of(False))
    except (_NoSuchKey, BadSignatureError):
        try:
            header, claims = _verified(token, keys_of(True))
        except BadSignatureError as error:
            raise IdTokenRefused("signature") from error
    _check_claims(claims, issuer, client)
    if not _is_same(claims.get("nonce"), nonce):
        raise IdTokenRefused("nonce")
    if claims.get("at_hash") is not None and not _is_same(claims["at_hash"], _half_hash(access_token or "", header)):
        raise IdTokenRefused("access token")
    return claims


def _verified(token: str, keys: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token with a signature that is right."""

    def choose(signature: Any) -> Key:
        return _key(keys, signature.headers())

    try:
        decoded = jwt.decode(
            token, choose, algorithms=ALGORITHMS, registry=jws.JWSRegistry(None, ALGORITHMS, strict_check_header=False)
        )
    except BadSignatureError:
        raise
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise IdTokenRefused("form or algorithm") from error
    kind = str(decoded.header.get("typ", "JWT")).lower().removeprefix("application/")
    if kind != "jwt":
        raise IdTokenRefused("kind of token")
    return decoded.header, decoded.claims


def _key(keys: Iterable[Mapping[str, Any]], header: Mapping[str, Any]) -> Key:
    """The one key that a header names; where it names none, the only one that fits."""
    algorithm, name = header.get("alg"), header.get("kid")
    wanted = _KEY_OF.get(str(algorithm))
    fitting = []
    for data in keys:
        if data.get("use", "sig") != "sig" or data.get("alg", algorithm) != algorithm:
            continue
        if name is not None and data.get("kid") != name:
            continue
        key = _imported(data)
        if wanted is not None and isinstance(key, wanted):
            fitting.append(key)
    if len(fitting) != 1:
        raise _NoSuchKey("key")
    return fitting[0]


def _imported(data: Mapping[str, Any]) -> Key | None:
    """A public key; None for one of another kind, or too weak a one."""
    try:
        key = JWKRegistry.import_key(dict(data))
    except (JoseError, ValueError, TypeError, KeyError):
        return None  # a key that is not understood is none of ours (RFC 7517, section 5)
    if isinstance(key, OctKey) or (isinstance(key, RSAKey) and key.public_key.key_size < SMALLEST_RSA_BITS):
        return None
    return key


def _check_claims(claims: dict[str, Any], issuer: str, client: str) -> None:
    registry = jwt.JWTClaimsRegistry(
        now=lambda: int(time.time()),
        leeway=SKEW_S,
        iss={"essential": True, "value": issuer},
        sub={"essential": True},
        aud={"essential": True, "value": client},
        exp={"essential": True},
        iat={"essential": True},
    )
    try:
        registry.validate(claims)
    except ExpiredTokenError as error:
        raise IdTokenRefused("expired") from error
    except JoseError as error:
        raise IdTokenRefused(str(getattr(error, "claim", "claims"))) from error
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != client:
        raise IdTokenRefused("azp")
    if claims["iat"] < time.time() - OLDEST_S - SKEW_S:
        raise IdTokenRefused("iat")


def _half_hash(text: str, header: Mapping[str, Any]) -> str:
    """The left half of a token's hash (OpenID Connect Core 1.0, 3.1.3.6)."""
    digest = hashlib.new(_HASH_OF[header["alg"]], text.encode("ascii", "replace")).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode("ascii")


def _is_same(presented: object, expected: str) -> bool:
    return isinstance(presented, str) and hmac.compare_digest(presented.encode(), expected.encode())
