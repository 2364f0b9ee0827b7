"""Requests as MONAI Label's own client puts them on the wire: no header with the token, one fixed boundary."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import quote_plus, urlsplit

LIMIT = "----------lImIt_of_THE_fIle_eW_$"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def parts(self) -> dict[str, tuple[str | None, bytes]]:
        """Field → file name and content of a multipart answer."""
        message = BytesParser(policy=HTTP).parsebytes(
            b"Content-Type: " + self.headers["content-type"].encode() + b"\r\n\r\n" + self.body
        )
        return {
            str(part.get_param("name", header="content-disposition")): (
                part.get_filename(),
                part.get_payload(decode=True),
            )
            for part in message.iter_parts()  # type: ignore[attr-defined]
        }


@dataclass(frozen=True)
class StockClient:
    """Calls of the client, by the address of a facade."""

    address: str

    def call(self, method: str, selector: str, body: bytes | None = None, content_type: str = "") -> Answer:
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        headers = {"content-type": content_type, "content-length": str(len(body))} if body is not None else {}
        try:
            connection.request(method, f"{parts.path}/{selector.lstrip('/')}", body=body, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def form(self, method: str, selector: str, params: Any = None, files: dict[str, tuple[str, bytes]] = {}) -> Answer:  # noqa: B006
        return self.call(method, selector, *form_bytes(params, files))

    def upload(self, image: str, data: bytes, name: str = "/tmp/tmpab12/T1.nii.gz", **params: Any) -> Answer:
        return self.form("PUT", f"/datastore/?image={quote_plus(image)}", params, {"file": (name, data)})

    def infer(self, model: str, image: str, **params: Any) -> Answer:
        wanted = {"result_extension": ".nrrd", "result_dtype": "uint8", **params}
        return self.form("POST", f"/infer/{quote_plus(model)}?image={quote_plus(image)}", wanted)

    def save(self, image: str, label: bytes, names: dict[str, int], tag: str = "", **params: Any) -> Answer:
        selector = f"/datastore/label?image={quote_plus(image)}" + (f"&tag={quote_plus(tag)}" if tag else "")
        label_info = [{"name": name, "idx": value} for name, value in names.items()]
        params = {"label_info": label_info, "client_id": "user-xyz", **params}
        return self.form("PUT", selector, params, {"label": ("C:\\temp\\x.nii.gz", label)})

    def next(self, strategy: str = "first", client: str = "user-xyz") -> Answer:
        body = json.dumps({"client_id": client}).encode()
        return self.call("POST", f"/activelearning/{strategy}", body, "application/json")

    def get(self, selector: str) -> Answer:
        return self.call("GET", selector)


def form_bytes(params: Any, files: dict[str, tuple[str, bytes]]) -> tuple[bytes, str]:
    """A form as the client writes it: lines that end in CRLF, and one empty line after the last boundary."""
    lines: list[bytes] = []
    if params is not None:
        said = params if isinstance(params, bytes) else json.dumps(params).encode()
        lines += [f"--{LIMIT}".encode(), b'Content-Disposition: form-data; name="params"', b"", said]
    for field, (name, data) in files.items():
        head = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
        lines += [f"--{LIMIT}".encode(), head.encode(), b"Content-Type: application/octet-stream", b"", data]
    lines += [f"--{LIMIT}--".encode(), b""]
    return b"".join(line + b"\r\n" for line in lines), f"multipart/form-data; boundary={LIMIT}"
