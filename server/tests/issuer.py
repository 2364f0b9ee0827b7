"""An OpenID Connect issuer over real HTTP(S), whose every answer a test can change. It lets everybody in."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

CLIENT, SECRET = "mahtai at St. Elsewhere", "a secret: with %, + and ä"
PERSON = {"sub": "u-4711", "name": "Anna Weber", "preferred_username": "weber", "roles": ["staff", "radiology"]}
KEY_TYPES: Mapping[str, tuple[type[Any], Any]] = {
    "RS256": (RSAKey, 2048),
    "PS256": (RSAKey, 2048),
    "ES256": (ECKey, "P-256"),
    "EdDSA": (OKPKey, "Ed25519"),
}

Answer = Callable[[BaseHTTPRequestHandler], None]


@cache
def new_key(algorithm: str, name: str, owner: str) -> Key:
    """A signing key: for each owner and name another one."""
    kind, size = KEY_TYPES[algorithm]
    key: Key = kind.generate_key(size, {"kid": name, "use": "sig"})
    return key


class FakeIssuer:
    """Start with ``start``.

    Attributes:
        person: claims of whoever signs in.
        change: changes the claims of an ID token before it is signed.
        sign: makes the ID token of the claims; by default with ``key`` and ``algorithm``.
        answers: path → what is answered there instead.
        extra: more parameters with which the browser is sent back.
        requests: paths that were asked for.
    """

    def __init__(self, algorithm: str = "RS256", owner: str = "the hospital") -> None:
        self.person: dict[str, Any] = dict(PERSON)
        self.change: Callable[[dict[str, Any]], Any] = lambda claims: None
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.algorithm = algorithm
        self.owner = owner
        self.key = new_key(algorithm, "first", owner)
        self.told_keys: list[dict[str, Any]] = [self.key.as_dict(private=False)]
        self.auth_methods = ["client_secret_basic"]
        self.discovery: dict[str, Any] = {}
        self.answers: dict[str, Answer] = {}
        self.extra: dict[str, str] = {}
        self.access_token = "access-token-of-the-issuer"
        self.requests: list[str] = []
        self._awaiting: dict[str, dict[str, str]] = {}
        self._server: ThreadingHTTPServer | None = None
        self.url = ""

    def start(self, certificate: tuple[Path, Path] | None = None) -> FakeIssuer:
        """Listen; with TLS where there is a certificate with a key."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_GET(self) -> None:
                issuer._answer(self)

            def do_POST(self) -> None:
                issuer._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: Any) -> None:  # a client that hung up is what many tests want
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{port}" if certificate is None else f"https://127.0.0.1:{port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def rotate(self, name: str, owner: str = "the hospital") -> None:
        """Sign with a new key from now on, and tell only that."""
        self.owner = owner
        self.key = new_key(self.algorithm, name, self.owner)
        self.told_keys = [self.key.as_dict(private=False)]

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        """An ID token."""
        full = {"alg": self.algorithm, "kid": self.key.kid, **header}
        registry = jws.JWSRegistry(None, [self.algorithm], strict_check_header=False)
        return jwt.encode({k: v for k, v in full.items() if v is not None}, claims, self.key, registry=registry)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path
        self.requests.append(path)
        if path in self.answers:
            self.answers[path](request)
        elif path == "/.well-known/openid-configuration":
            send_json(request, self._configuration())
        elif path == "/keys":
            send_json(request, {"keys": self.told_keys})
        elif path == "/authorize":
            self._authorize(request)
        elif path == "/token":
            send_json(request, *self._token(request))
        else:
            request.send_error(404)

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint_auth_methods_supported": self.auth_methods,
            **self.discovery,
        }

    def _authorize(self, request: BaseHTTPRequestHandler) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._awaiting[code] = asked
        query = urlencode({"code": code, "state": asked["state"], **self.extra})
        request.send_response(302)
        request.send_header("Location", f"{asked['redirect_uri']}?{query}")
        request.end_headers()

    def _token(self, request: BaseHTTPRequestHandler) -> tuple[dict[str, Any], int]:
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        if self._client(request, asked) != (CLIENT, SECRET):
            return {"error": "invalid_client"}, 401
        begun = self._awaiting.pop(asked.get("code", ""), None)
        if begun is None or begun["redirect_uri"] != asked["redirect_uri"]:
            return {"error": "invalid_grant"}, 400
        if begun["code_challenge"] != s256(asked["code_verifier"]):
            return {"error": "invalid_grant"}, 400
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": begun["nonce"], **self.person}
        self.change(claims)
        id_token = self.sign(claims)
        return {"access_token": self.access_token, "token_type": "Bearer", "expires_in": 300, "id_token": id_token}, 200

    def _client(self, request: BaseHTTPRequestHandler, asked: Mapping[str, str]) -> tuple[str, str]:
        if "client_secret_basic" in self.auth_methods:
            told = base64.b64decode(request.headers.get("Authorization", "Basic ").split(" ")[1]).decode("latin-1")
            name, _, secret = told.partition(":")
            return unquote_plus(name), unquote_plus(secret)
        return asked.get("client_id", ""), asked.get("client_secret", "")


def send_json(request: BaseHTTPRequestHandler, document: Any, status: int = 200) -> None:
    """Answer with JSON."""
    body = json.dumps(document).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def s256(verifier: str) -> str:
    """PKCE's challenge."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
