"""A MahtAI server in one file that can be told to misbehave; real sockets, no real inference."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import socketserver
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "correct-horse"

Misbehaviour = Callable[["Handler"], bool]
"""Called before each request; True when it has dealt with the request itself."""


@dataclass
class State:
    """What a real server keeps on disk: it survives a restart of the stand-in."""

    volumes: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: dict[str, bytes] = field(default_factory=lambda: {"segmentation": b"SEG" * 1000, "confidence": b"CONF"})
    models: list[dict[str, Any]] = field(default_factory=list)
    previews: dict[str, bytes] = field(default_factory=dict)
    preparations: list[dict[str, Any]] = field(default_factory=list)
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    labels: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    refuse_label: str = ""

    def change(self, job: str, **fields: Any) -> None:
        """Move a job on and wake those who listen to its events."""
        with self.changed:
            self.jobs[job].update(fields)
            self.jobs[job]["number"] += 1
            self.changed.notify_all()

    def after(self, job: str, number: int, timeout_s: float) -> dict[str, Any]:
        """The job as soon as it has moved on from ``number``, or as it is after a while."""
        with self.changed:
            self.changed.wait_for(lambda: self.jobs[job]["number"] != number, timeout_s)
            return dict(self.jobs[job])

    def wait_for_request(self, method: str, path_end: str, timeout_s: float = 5.0) -> str:
        """The path of a request that has come or comes; fails when none does."""
        with self.changed:
            found = self.changed.wait_for(lambda: self._find(method, path_end), timeout_s)
        assert found, f"no {method} …{path_end} came"
        return found

    def count(self, method: str, path_end: str = "") -> int:
        """How many such requests have come."""
        return sum(made == method and path.endswith(path_end) for made, path, _ in self.requests)

    def _find(self, method: str, path_end: str) -> str:
        return next((path for made, path, _ in self.requests if made == method and path.endswith(path_end)), "")


class StandIn:
    """A server on a free port of this computer; ``stop`` breaks all connections, as kill -9 does."""

    def __init__(self, state: State | None = None, port: int = 0) -> None:
        self.state = state or State()
        self.misbehaviour: Misbehaviour = lambda handler: False
        self.info: Any = {"service": "mahtai", "api": 1, "version": "0.1.0", "status": "ok"}
        self.events_type = "text/event-stream"
        self._server = _Server(("127.0.0.1", port), Handler)
        self._server.stand_in = self
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Vanish in the middle of everything."""
        self._server.shutdown()
        self._server.server_close()
        self._server.break_connections()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    stand_in: StandIn

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def break_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Handler(BaseHTTPRequestHandler):
    """Routes as in the API; see the contract of the server for what they mean."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for an acknowledgement
    server: _Server

    @property
    def state(self) -> State:
        return self.server.stand_in.state

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send(self, status: int, body: bytes | Any, kind: str = "application/json", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def problem(self, status: int, kind: str, detail: str = "", hint: str = "", **headers: str) -> None:
        document = {"type": f"https://mahtai.org/problems/{kind}", "title": kind, "detail": detail, "hint": hint}
        self.send(status, document, "application/problem+json", **headers)

    def handle_any(self) -> None:
        path = urlsplit(self.path).path
        with self.state.changed:
            self.state.requests.append((self.command, path, dict(self.headers)))
            self.state.changed.notify_all()
        if self.server.stand_in.misbehaviour(self):
            return
        if path == "/healthz":
            self.send(200, self.server.stand_in.info)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.body()
            self.problem(401, "unauthorized", "The access token is missing or wrong.")
        else:
            self.route(path.strip("/").split("/")[1:])

    do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def route(self, parts: list[str]) -> None:
        match [self.command, *parts]:
            case ["GET", "models"]:
                self.send(200, {"models": self.state.models})
            case ["POST", "preparations"]:
                self.state.preparations.append(json.loads(self.body()))
                self.send(202, {})
            case ["POST", "volumes", "missing"]:
                asked = json.loads(self.body())["sha256"]
                self.send(200, {"missing": [name for name in asked if name not in self.state.volumes]})
            case ["GET", "volumes", sha256] if sha256 in self.state.volumes:
                self.send(200, self.state.volumes[sha256], "application/octet-stream")
            case ["PUT", "volumes", sha256]:
                self.put_volume(sha256)
            case ["POST", "inferences"]:
                self.start_job(json.loads(self.body()))
            case [method, "inferences", job, *rest]:
                self.job(method, job, rest)
            case [method, "cases", *rest]:
                self.case(method, rest)
            case _:
                self.problem(404, "not-found")

    def put_volume(self, sha256: str) -> None:
        data = self.body()
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        if hashlib.sha256(data).hexdigest() != sha256:
            self.problem(422, "hash-mismatch", "The hash is wrong.")
            return
        self.state.volumes[sha256] = data
        self.send(201, {"sha256": sha256})

    def start_job(self, body: dict[str, Any]) -> None:
        missing = [name for name in body["inputs"].values() if name not in self.state.volumes]
        if body["model"] == "unknown":
            self.problem(404, "unknown-model", "There is no model named “unknown”.", "Choose brats_segresnet.")
        elif missing:
            self.problem(422, "volume-missing", "A volume is not on the server.")
        else:
            job: dict[str, Any] = {"id": str(uuid.uuid4()), "state": "queued", "place": 1, "number": 0}
            self.state.jobs[job["id"]] = job
            self.send(202, job)

    def job(self, method: str, job: str, rest: list[str]) -> None:
        if job not in self.state.jobs:
            self.problem(404, "unknown-inference", "There is no inference of this id.")
        elif method == "DELETE":
            self.state.change(job, state="cancelled")
            self.send(200, self.state.jobs[job])
        elif rest == ["events"]:
            self.events(job)
        elif rest == ["result"]:
            described = {
                name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "media_type": "x"}
                for name, data in self.state.parts.items()
            }
            self.send(200, {**described, "summary": {"volumes_ml": {"WT": 12.5}}})
        elif rest == ["preview"] and job in self.state.previews:
            self.send(200, self.state.previews[job], "application/octet-stream")
        elif rest == ["preview"]:
            self.problem(409, "no-result", "There is no preview of this inference.")
        elif rest[:1] == ["result"]:
            self.send(200, self.state.parts[rest[1]], "application/octet-stream")
        else:
            self.send(200, self.state.jobs[job])

    def events(self, job: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", self.server.stand_in.events_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        told = -1
        while True:
            now = self.state.after(job, told, 0.05)
            if now["number"] == told:
                self.chunk(b": still here\n\n")
                continue
            told = now["number"]
            finished = now["state"] not in ("queued", "running")
            self.chunk(f"event: {'done' if finished else 'progress'}\ndata: {json.dumps(now)}\n\n".encode())
            if finished:
                self.chunk(b"")
                return

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def case(self, method: str, rest: list[str]) -> None:
        body = json.loads(self.body() or b"{}")
        match [method, *rest]:
            case ["POST"]:
                known = [case for case in self.state.cases.values() if case["client_key"] == body["client_key"]]
                case = known[0] if known else {**body, "id": str(uuid.uuid4())}
                self.state.cases[case["id"]] = case
                self.send(200 if known else 201, case)
            case ["GET"]:
                before = int(parse_qs(urlsplit(self.path).query).get("before", ["0"])[0]) or len(self.state.cases)
                first = max(before - 3, 0)
                self.send(200, {"cases": list(self.state.cases.values())[first:before][::-1], "next": first or None})
            case [_, case_id, *_] if case_id not in self.state.cases:
                self.problem(404, "unknown-case", "There is no such case.", "Create it again.")
            case ["GET", case_id]:
                self.send(200, self.state.cases[case_id])
            case ["GET", case_id, "labels"]:
                self.send(200, {"labels": [label for label in self.state.labels if label["case"] == case_id]})
            case ["POST", case_id, "labels"]:
                self.add_label(case_id, body)
            case ["GET", _, "labels", version, "content"]:
                label = next(label for label in self.state.labels if label["id"] == version)
                self.send(200, self.state.volumes[label[label["kind"]]], "application/octet-stream")
            case _:
                self.problem(404, "not-found")

    def add_label(self, case_id: str, body: dict[str, Any]) -> None:
        wanted = f'"{body["parent"]}"' if body["parent"] else None
        condition = "If-None-Match: *" if wanted is None else f"If-Match: {wanted}"
        name, _, value = condition.partition(": ")
        if self.headers.get(name) != value:
            self.problem(428, "precondition", f"{condition} is missing.")
        elif self.state.refuse_label and self.state.refuse_label in body["comment"]:
            self.problem(422, "geometry", "The label lies on another grid.", "Use the grid of the T1c.")
        elif body.get("segmentation", body.get("landmarks")) not in self.state.volumes:
            self.problem(422, "volume-missing")
        else:
            with self.state.changed:
                known = [label for label in self.state.labels if label["client_key"] == body["client_key"]]
                label = known[0] if known else self.new_label(case_id, body)
            self.send(200 if known else 201, label)

    def new_label(self, case_id: str, body: dict[str, Any]) -> dict[str, Any]:
        siblings = [old["id"] for old in self.state.labels if old["parent"] == body["parent"]]
        label = {
            **body,
            "id": str(uuid.uuid4()),
            "kind": "landmarks" if "landmarks" in body else "segmentation",
            "case": case_id,
            "number": len(self.state.labels) + 1,
            "sibling_of": siblings[0] if siblings else None,
        }
        self.state.labels.append(label)
        return label


class RawServer(socketserver.ThreadingTCPServer):
    """Answers whatever comes with the same bytes, or with silence, and closes."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, answer: bytes | None) -> None:
        released = threading.Event()

        class Answer(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(65536)
                if answer is None:
                    released.wait(10)
                else:
                    self.request.sendall(answer)

        super().__init__(("127.0.0.1", 0), Answer)
        self._released = released
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *arguments: Any) -> None:
        self._released.set()
        self.shutdown()
        super().__exit__(*arguments)


def free_port() -> int:
    """A port of this computer where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
