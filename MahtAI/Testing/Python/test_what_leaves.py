"""What the panel sends, byte for byte: voxels and geometry, and what the reader typed; no name that the scene holds."""

from __future__ import annotations

import gzip
import http.client
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from panel_kit import Reader

from one_channel_bundle import write_one_channel_bundle
from server_process import ServerProcess
from studies import FAST, synthetic_study
from tiny_bundle import write_tiny_bundle

SEEDS = ("Mustermann", "Q7711009", "19510403", "StNirgendwo", "1.2.826.0.1.3680043.8.498.77")
"""Name, number and birth date of a patient, a hospital, a DICOM UID."""

_DROPPED = {"connection", "host", "transfer-encoding", "content-length"}


class Recorder:
    """Stands between panel and server, passes everything on, and keeps every byte that the panel sent."""

    def __init__(self, target: str) -> None:
        self.sent: list[bytes] = []
        recorder, address = self, urlsplit(target)

        class Handler(BaseHTTPRequestHandler):
            def pass_on(self) -> None:
                body = self._body()
                recorder.sent.append(f"{self.command} {self.path}\n{self.headers}".encode() + b"\n" + _unpacked(body))
                link = http.client.HTTPConnection(str(address.hostname), int(address.port or 0), timeout=120)
                kept = {name: value for name, value in self.headers.items() if name.lower() not in _DROPPED}
                link.request(self.command, self.path, body, {**kept, "Host": address.netloc})
                answer = link.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _DROPPED:
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                while piece := answer.read1(2**16):
                    self.wfile.write(piece)
                    self.wfile.flush()
                self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on  # noqa: N815

            def _body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *_: object) -> None:
                """Nothing on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def bytes(self) -> bytes:
        return b"\n".join(self.sent)


def _unpacked(body: bytes) -> bytes:
    """As it is and, where it is packed, unpacked; an NRRD's gzip part too."""
    found = body
    place = body.find(b"\x1f\x8b\x08")
    if place >= 0:
        with suppress(OSError, EOFError):
            found += gzip.decompress(body[place:])
    return found


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("ours")
    write_tiny_bundle(root / "models" / "tiny", missing_channels_ok=True)
    write_one_channel_bundle(root / "models" / "single")
    process = ServerProcess(root / "server", (root / "models",)).start()
    yield process
    process.kill()


@pytest.fixture
def recorder(ours: ServerProcess) -> Iterator[Recorder]:
    recorder = Recorder(ours.url)
    yield recorder
    recorder.stop()


@pytest.fixture
def reader(
    qt_app: SlicerContext, ours: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reader]:
    """A study whose nodes are full of identifiers, as after loading from DICOM with careless names."""
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(ours.root / "config"))
    reader = Reader(qt_app)
    for name in ("register", "brain_mask", "check_sequences"):
        reader.panel.parameters().set(name, FAST[name])
    for name, node in reader.load_study(synthetic_study(80)).items():
        node.SetName(f"Mustermann Erika {name} Q7711009")
        node.SetDescription("StNirgendwo 19510403")
        node.SetAttribute("DICOM.instanceUIDs", "1.2.826.0.1.3680043.8.498.77.1 1.2.826.0.1.3680043.8.498.77.2")
        node.SetAttribute("DICOM.PatientName", "Mustermann^Erika")
        storage = node.CreateDefaultStorageNode()
        storage.SetFileName(str(tmp_path / f"Mustermann_Q7711009_{name}.nrrd"))
        reader.scene.AddNode(storage)
        node.SetAndObserveStorageNodeID(storage.GetID())
    yield reader
    reader.leave()


def leaks(sent: bytes) -> list[str]:
    """Seeds in what was sent, in any case and encoding."""
    lower = sent.lower()
    return [
        seed for seed in SEEDS for code in ("utf-8", "utf-16-le", "utf-16-be") if seed.lower().encode(code) in lower
    ]


def test_no_identifier_of_the_scene_leaves_but_what_the_reader_typed(
    reader: Reader, recorder: Recorder, ours: ServerProcess
) -> None:
    reader.connect(recorder.url, ours.token)
    choose(reader, "tiny")
    reader.run()
    assert reader.said("ai", "runStateLabel").startswith("Done"), reader.said("ai", "runStateLabel")
    node = reader.panel.review.node
    node.SetName("Mustermann Erika tumour")
    reader.save(comment="")
    assert len(reader.panel.versions.versions) == 1
    assert len(recorder.bytes) > 500_000, "the volumes did not pass the recorder"
    assert any(part.startswith(b"PUT /v1/volumes/") and b"NRRD" in part for part in recorder.sent)
    assert leaks(recorder.bytes) == []
    # the recorder does see what is sent: words that the reader types himself arrive
    reader.save(comment="Compare with Mustermann")
    assert leaks(recorder.bytes) == ["Mustermann"]
    (case,) = case_names(ours)
    assert case.startswith("Study ") and not leaks(case.encode())


def choose(reader: Reader, beginning: str) -> None:
    """Choose the model whose name begins so."""
    box = reader.ui("ai").modelComboBox
    names = [str(box.itemText(number)) for number in range(box.count)]
    box.setCurrentIndex(next(number for number, name in enumerate(names) if name.startswith(beginning)))


def case_names(server: ServerProcess) -> list[str]:
    with server.client() as client:
        return [str(case["name"]) for case in client.get("/v1/cases").json()["cases"]]


def test_what_a_monai_label_server_gets_names_nobody(reader: Reader, recorder: Recorder, ours: ServerProcess) -> None:
    ui: Any = reader.ui("server")
    ui.monaiLabelLineEdit.text = f"{recorder.url}/monailabel/{ours.token}"
    ui.monaiLabelButton.click()
    spin(lambda: not reader.panel.monai_label.is_asking, 30, "an answer of the MONAI Label server")
    choose(reader, "single")
    reader.run()
    assert reader.said("ai", "runStateLabel").startswith("Done"), reader.said("ai", "runStateLabel")
    assert any(b"/infer/" in part and b".nii.gz" in part for part in recorder.sent)
    assert leaks(recorder.bytes) == []
