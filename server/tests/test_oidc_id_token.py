"""The hospital's sign-in: an ID token that is not as it must be lets nobody in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc.jwk import RSAKey

from foreign_sign_in_kit import Hospital, database, hospital, issuer, refused
from issuer import CLIENT, FakeIssuer, new_key
from mahtai.db.engine import Database
from mahtai.security import id_token
from mahtai.security.oidc import HospitalSignInError

__all__ = ["database", "hospital", "issuer"]


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")  # issuers still call it so
@pytest.mark.parametrize("algorithm", id_token.ALGORITHMS)
def test_all_algorithms_of_the_list_are_taken(algorithm: str, tmp_path: Path, database: Database) -> None:
    issuer = FakeIssuer(algorithm).start()
    issuer.change = lambda claims: claims.update(at_hash=at_hash(issuer.access_token, algorithm))
    account = Hospital(issuer, tmp_path, database).whole_way()
    issuer.stop()
    assert (account.name, account.role, account.is_foreign, account.has_password) == (
        "Anna Weber",
        "radiologist",
        True,
        False,
    )


# the ID token


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iss": "https://issuer.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"iss": ["{issuer}"]}, "iss"),
        ({"aud": "another client"}, "aud"),
        ({"aud": ["another client"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": [CLIENT, "another client"]}, "azp"),
        ({"aud": [CLIENT, "another client"], "azp": "another client"}, "azp"),
        ({"azp": "another client"}, "azp"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 4711}, "sub"),
        ({"sub": "x" * 400}, "subject"),
        ({"sub": "with\x00nul"}, "subject"),
        ({"nonce": "another one"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": ["{nonce}"]}, "nonce"),
        ({"exp": None}, "exp"),
        ({"exp": "{now}"}, "exp"),
        ({"exp": -70}, "expired"),
        ({"exp": float("nan")}, "exp"),
        ({"iat": None}, "iat"),
        ({"iat": 80}, "iat"),
        ({"iat": -700}, "iat"),
        ({"nbf": 80}, "nbf"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "access token"),
        ({"at_hash": 1}, "access token"),
    ],
)
def test_claims_that_are_not_for_us(
    change: dict[str, Any], why: str, hospital: Hospital, caplog: pytest.LogCaptureFixture
) -> None:
    hospital.issuer.change = lambda claims: apply(claims, change, hospital.issuer.url)
    refused(hospital, why, caplog)


@pytest.mark.parametrize(
    "change",
    [
        {"exp": -50},
        {"iat": 50, "exp": 350},
        {"nbf": 50},
        {"iat": -350, "exp": -50},
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "another client"], "azp": CLIENT},
        {"azp": CLIENT},
    ],
)
def test_clocks_may_differ_by_a_minute_and_others_may_be_meant_too(change: dict[str, Any], hospital: Hospital) -> None:
    hospital.issuer.change = lambda claims: apply(claims, change, hospital.issuer.url)
    assert hospital.whole_way().name == "Anna Weber"


def apply(claims: dict[str, Any], change: dict[str, Any], issuer: str) -> None:
    """Numbers are seconds from now; None removes."""
    now = int(time.time())
    words = {"{issuer}": issuer, "{nonce}": claims["nonce"], "{now}": str(now + 300)}
    for name, value in change.items():
        if value is None:
            del claims[name]
        elif name in ("exp", "iat", "nbf") and isinstance(value, int):
            claims[name] = now + value
        elif isinstance(value, list):
            claims[name] = [words.get(each, each) for each in value]
        else:
            claims[name] = words.get(value, value) if isinstance(value, str) else value


def test_token_of_another_issuer_with_the_same_key_name(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    other = FakeIssuer(owner="another issuer")
    hospital.issuer.sign = other.signed
    refused(hospital, "signature", caplog)


def part(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token that no library makes."""
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{base64.urlsafe_b64encode(sign(text.encode())).rstrip(b'=').decode()}"


def test_unsigned_token(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    hospital.issuer.sign = lambda claims: f"{part({'alg': 'none', 'kid': 'first'})}.{part(claims)}."
    refused(hospital, "form or algorithm", caplog)


@pytest.mark.parametrize("told", [True, False])
def test_public_key_as_a_shared_secret(told: bool, hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    secret = hospital.issuer.key.as_pem(private=False)
    if told:
        encoded = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
        hospital.issuer.told_keys = [{"kty": "oct", "k": encoded, "kid": "first"}]
    hospital.issuer.sign = lambda claims: by_hand(
        {"alg": "HS256", "kid": "first"}, claims, lambda text: hmac.digest(secret, text, "sha256")
    )
    refused(hospital, "form or algorithm", caplog)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"kid": "unheard of"}, "key"),
        ({"typ": "at+jwt"}, "kind of token"),
        ({"typ": "logout+jwt"}, "kind of token"),
        ({"crit": ["mine"], "mine": 1}, "form or algorithm"),
        ({"crit": ["b64"], "b64": False}, "form or algorithm"),
        ({"alg": "RS384"}, "form or algorithm"),
        ({"alg": "ES256"}, "key"),
        ({"kid": ["first"]}, "form or algorithm"),
    ],
)
def test_headers_that_change_the_meaning(
    header: dict[str, Any], why: str, hospital: Hospital, caplog: pytest.LogCaptureFixture
) -> None:
    key = hospital.issuer.key.private_key
    assert isinstance(key, rsa.RSAPrivateKey)
    full = {"alg": "RS256", "kid": "first", **header}
    hospital.issuer.sign = lambda claims: by_hand(
        full, claims, lambda text: key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    )
    refused(hospital, why, caplog)


def test_key_that_the_token_brings_with_it(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    thief = FakeIssuer("ES256", owner="a thief").start()
    brought = thief.key.as_dict(private=False)
    hospital.issuer.sign = lambda claims: thief.signed(claims, jwk=brought, jku=f"{thief.url}/keys")
    refused(hospital, "key", caplog)
    assert thief.requests == []
    thief.stop()


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_key_that_is_not_for_signing_or_too_short(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    good = dict(hospital.issuer.told_keys[0])
    hospital.issuer.told_keys = [good | {"use": "enc"}, good | {"alg": "RS512"}, {"kty": "RSA"}, {}]
    refused(hospital, "key", caplog)
    hospital.issuer.key = RSAKey.generate_key(1024, {"kid": "short"})
    hospital.issuer.told_keys = [hospital.issuer.key.as_dict(private=False)]
    refused(hospital, "key", caplog)


@pytest.mark.parametrize("token", ["", "x", "..", "a.b.c", "é.é.é", "a.b.c.d.e", "[" * 5000, None, 5, ["x"]])
def test_what_is_no_token_at_all(token: Any, hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    hospital.issuer.sign = lambda claims: token
    refused(hospital, "", caplog)


def test_changed_claims_under_the_old_signature(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    def sign(claims: dict[str, Any]) -> str:
        header, _, signature = hospital.issuer.signed(claims).split(".")
        return f"{header}.{part(claims | {'roles': ['chief']})}.{signature}"

    hospital.issuer.sign = sign
    refused(hospital, "signature", caplog)


def test_new_keys_are_fetched_when_they_are_needed(hospital: Hospital) -> None:
    hospital.whole_way()
    hospital.whole_way()
    assert hospital.issuer.requests.count("/keys") == 1
    for name, owner in (("second", "new"), ("third", "new"), ("third", "newer")):  # at last a new key by an old name
        hospital.issuer.rotate(name, owner)
        assert hospital.whole_way().name == "Anna Weber"
    assert hospital.issuer.requests.count("/keys") == 4


def test_key_without_a_name_is_taken_where_it_is_the_only_one(hospital: Hospital) -> None:
    del hospital.issuer.told_keys[0]["kid"]
    hospital.issuer.sign = lambda claims: hospital.issuer.signed(claims, kid=None)
    assert hospital.whole_way().name == "Anna Weber"
    hospital.issuer.told_keys.append(new_key("RS256", "other", "the hospital").as_dict(private=False))
    fresh = Hospital(hospital.issuer, Path(str(hospital.settings.oidc_secret_file)).parent, hospital.database)
    with pytest.raises(HospitalSignInError):
        fresh.whole_way()


def at_hash(token: str, algorithm: str) -> str:
    digest = hashlib.new("sha512" if algorithm == "EdDSA" else "sha256", token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
