"""Models of a MONAI Label server: MONAI Label's own (where its environment is), our server by the same protocol, and
servers that are broken or mean harm."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from grids import GRIDS
from MahtAILib.client import nifti, nrrd
from MahtAILib.client.errors import CancelledError, ClientError, RefusedError
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.labelmaps import ids, names_by_value, segmentation_of
from MahtAILib.client.monai_label import MonaiLabelError, MonaiLabelServer
from MahtAILib.client.multipart import MultipartBody, Part
from MahtAILib.client.study import StudyVolume
from monai_label_server import monai_label_server, python_of_monai_label
from one_channel_bundle import write_one_channel_bundle
from server_process import ServerProcess, free_port
from studies import synthetic_study

Answer = Callable[[BaseHTTPRequestHandler], None]

TASK = "brain-tumour"
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
LABELS = {"background": 0, "Liver": 1, "Liver tumour": 2}
MODEL = {"id": "monailabel:m", "labels": [{"name": "Liver", "label_value": 1}]}
ARRAY = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8)


@pytest.mark.parametrize("name", GRIDS)
def test_a_nifti_file_says_what_the_volume_is(name: str) -> None:
    grid = GRIDS[name]
    array = np.random.default_rng(0).integers(-500, 2000, grid.shape).astype(np.int16)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(nifti.encode(array, grid.ijk_to_ras)))
    assert np.array_equal(np.asarray(image.dataobj), array) and np.allclose(image.affine, grid.ijk_to_ras, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int32", "float16", "float32", "float64", "int64"]
)
def test_a_nifti_file_keeps_the_values(dtype: str) -> None:
    array = (ARRAY % 2 if dtype == "bool" else ARRAY % 100).astype(dtype)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(nifti.encode(array, AFFINE)))
    assert np.array_equal(np.asarray(image.dataobj), array)
    with pytest.raises(nifti.NiftiError):
        nifti.encode(array[0], AFFINE)


def test_names_come_in_several_forms_and_never_move() -> None:
    assert names_by_value(LABELS) == {1: "Liver", 2: "Liver tumour"}
    assert names_by_value(["Liver", "Liver tumour"]) == {1: "Liver", 2: "Liver tumour"}
    assert names_by_value(["background", "Liver", "Liver tumour"]) == {1: "Liver", 2: "Liver tumour"}
    assert names_by_value({"a": "1", "b": 300, "c": -1, "d": None, "e": 2}) == {2: "e"}
    assert names_by_value("text") == names_by_value(None) == names_by_value({"x": [1]}) == {}
    assert names_by_value({"a\nSegment0_ID:=b": 1}) == {1: "a Segment0_ID:=b"}
    assert len(set(ids({1: "Ää", 2: "Öö", 3: "same", 4: "Same", 5: "same-label-4"}).values())) == 5


def test_values_that_nobody_named_are_kept_under_a_name_that_claims_nothing() -> None:
    array = np.zeros((6, 7, 8), np.uint8)
    array[1, 2, 3], array[4, 5, 6] = 1, 9
    found = segmentation_of(array, Geometry(array.shape, AFFINE), {1: "Liver"})
    assert found is not None and [segment.name for segment in found.segments] == ["Liver", "Label 9"]
    for wrong in (array.astype(float) + 0.5, array.astype(np.int16) - 1, array.astype(np.int16) * 100, array * np.nan):
        assert segmentation_of(wrong, Geometry(array.shape, AFFINE), {}) is None


@pytest.fixture(scope="module")
def facade(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Our server, with a model that takes one volume."""
    root = tmp_path_factory.mktemp("facade")
    write_one_channel_bundle(root / "models" / "single")
    process = ServerProcess(root / "server", (root / "models",)).start()
    yield process
    process.kill()


def test_our_own_server_is_such_a_server(facade: ServerProcess) -> None:
    server = MonaiLabelServer(f"{facade.url}/monailabel/{facade.token}")
    assert facade.token not in server.url + server.where + server.source and server.is_local
    (model,) = server.models(TASK)
    assert (model["id"], model["task"], model["state"]) == ("monailabel:single", TASK, "ready")
    assert model["source"] == f"MONAI Label at 127.0.0.1:{facade.port}" and len(model["channels"]) == 1
    volume = nrrd.decode(synthetic_study(70)["flair"])
    stages: list[str] = []
    result = server.segment(
        model,
        StudyVolume(volume.array, volume.ijk_to_ras, is_shared=True),
        "flair",
        lambda *said: stages.append(said[0]),
    )
    segmentation = result.segmentation
    assert segmentation.geometry.same_grid(Geometry(volume.array.shape, volume.ijk_to_ras))
    assert [segment.name for segment in segmentation.segments] == [label["name"] for label in model["labels"]]
    assert segmentation.layers.any() and set(np.unique(segmentation.layers)) <= {0, 1, 2, 3}
    assert stages.index("uploading") < stages.index("predicting")
    with pytest.raises(MonaiLabelError, match="no model 'gone'"):
        server.segment({**model, "id": "monailabel:gone"}, StudyVolume(volume.array, volume.ijk_to_ras))
    with pytest.raises(MonaiLabelError, match="login"):
        MonaiLabelServer(f"{facade.url}/monailabel/{'x' * 43}").models(TASK)


@pytest.mark.skipif(python_of_monai_label() is None, reason="there is no environment of MONAI Label on this computer")
def test_monai_labels_own_server_segments_voxel_for_voxel_on_any_grid(tmp_path: Path) -> None:
    with monai_label_server(python_of_monai_label() or "", tmp_path) as url:
        server = MonaiLabelServer(url)
        (model,) = server.models(TASK)  # the one that wants clicks is not offered
        assert (model["name"], [label["name"] for label in model["labels"]]) == ("threshold", ["head", "lesion"])
        for grid in GRIDS.values():
            array = np.random.default_rng(1).integers(0, 900, grid.shape).astype(np.int16)
            found = server.segment(model, StudyVolume(array, grid.ijk_to_ras), "t1").segmentation
            assert np.array_equal(found.layers[0], (array > 100).astype(np.uint8) + (array > 450))
        assert not list((tmp_path / "studies").rglob("*.nii.gz"))


def form(data: bytes, params: Any = None, more: tuple[Part, ...] = ()) -> tuple[str, bytes]:
    """An answer as such servers give it."""
    said = json.dumps({"label_names": {"Liver": 1}} if params is None else params).encode()
    parts = [Part("params", [said], "application/json"), Part("image", [data], "x/y", "r.nrrd"), *more]
    body = MultipartBody(parts)
    return body.content_type, b"".join(bytes(piece) for piece in body)


@contextmanager
def answering(answer: Answer) -> Iterator[MonaiLabelServer]:
    """A server that does what the test says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_arguments: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    server = MonaiLabelServer(f"http://127.0.0.1:{httpd.server_port}", inference_timeout_s=5)
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()


def saying(
    content_type: str, body: bytes, status: int = 200, **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


GOOD = np.zeros(ARRAY.shape, np.uint8)
GOOD[1:3, 2:4, 3:5] = 1
MOVED = AFFINE + np.pad([[0.5]], ((0, 3), (3, 0)))
OTHERS: dict[str, tuple[str, bytes]] = {
    "json only": ("application/json", b'{"label_names": {}}'),
    "no form": ("text/html", b"<html>It works!</html>"),
    "no boundary": ("multipart/form-data", form(b"")[1]),
    "cut off": (form(b"")[0], b"--x"),
    "no file": (form(b"")[0], b""),
    "garbage": form(b"no NRRD at all"),
    "too few voxels": form(nrrd.encode(GOOD[:-1], AFFINE)),
    "moved": form(nrrd.encode(GOOD, MOVED)),
    "no labels": form(nrrd.encode(GOOD.astype(np.float32) + 0.5, AFFINE)),
    "negative": form(nrrd.encode(GOOD.astype(np.int16) - 1, AFFINE)),
    "claims a terabyte": form(nrrd.encode(GOOD, AFFINE).replace(b"sizes: 6 7 8", b"sizes: 9999 9999 9999")),
    "two files": form(nrrd.encode(GOOD, AFFINE), None, (Part("more", [b"x"], "x/y", "x.nrrd"),)),
    "params no JSON": (form(b"")[0], form(nrrd.encode(GOOD, AFFINE))[1]),
    "far too long": form(bytes(4 << 20)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_result_that_cannot_be_used_is_explained(name: str) -> None:
    with answering(saying(*OTHERS[name])) as server, pytest.raises(MonaiLabelError) as raised:
        server.segment(MODEL, StudyVolume(ARRAY, AFFINE))
    assert "MONAI Label server at 127.0.0.1" in raised.value.reason and raised.value.hint


@pytest.mark.parametrize("params", [{}, {"label_names": 3}, [1], {"label_names": {"Liver": "x"}}, "text"])
def test_names_that_are_missing_are_those_of_the_model(params: Any) -> None:
    with answering(saying(*form(nrrd.encode(GOOD, AFFINE, encoding="gzip"), params))) as server:
        found = server.segment(MODEL, StudyVolume(ARRAY, AFFINE)).segmentation
    assert [segment.name for segment in found.segments] == ["Liver"] and np.array_equal(found.layers[0], GOOD)


def test_a_compressed_answer_that_nobody_asked_for_is_not_unpacked() -> None:
    content_type, body = form(nrrd.encode(GOOD, AFFINE))
    answer = saying(content_type, gzip.compress(body + bytes(1 << 28)), Content_Encoding="gzip")
    with answering(answer) as server, pytest.raises(MonaiLabelError, match="compressed"):
        server.segment(MODEL, StudyVolume(ARRAY, AFFINE))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, b'{"detail": "CUDA out of memory"}', "CUDA out of memory"),
        (404, b"<html>", "HTTP 404"),
        (401, b"{}", "login"),
        (500, b"x" * 10_000_000, "HTTP 500"),
        (302, b"", "HTTP 302"),
        (500, b'{"detail": "a\\u0000\\u202eb' + b"c" * 5000 + b'"}', "HTTP 500"),
    ],
)
def test_what_the_server_says_is_told(status: int, body: bytes, words: str) -> None:
    answer = saying("application/json", body, status, Location="http://example.org/")
    with answering(answer) as server, pytest.raises(MonaiLabelError, match=words) as raised:
        server.segment(MODEL, StudyVolume(ARRAY, AFFINE))
    assert raised.value.reason.isprintable() and len(raised.value.reason) < 500


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"models": []}', b"[" * 100_000, b"x" * (5 << 20)])
def test_what_is_no_such_server_is_named(body: bytes) -> None:
    with answering(saying("application/json", body)) as server, pytest.raises(MonaiLabelError):
        server.models(TASK)


def test_models_that_make_no_sense_are_passed_over() -> None:
    listed = {
        "good": {"type": "segmentation", "labels": ["a"], "dimension": 3, "description": None},
        "flat": {"type": "segmentation", "labels": ["a"], "dimension": 2},
        "clicks": {"type": "deepgrow", "labels": {}},
        "odd": "text",
        "x" * 10_000: {"type": "segmentation"},
    }
    with answering(saying("application/json", json.dumps({"models": listed}).encode())) as server:
        assert [model["name"] for model in server.models(TASK)] == ["good"]


def test_waiting_can_be_stopped_and_ends_by_itself() -> None:
    released = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        released.wait(30)

    cancelled = threading.Event()
    with answering(silent) as server:
        threading.Timer(0.2, cancelled.set).start()
        began = time.monotonic()
        with pytest.raises(CancelledError):
            server.segment(MODEL, StudyVolume(ARRAY, AFFINE), cancelled=cancelled)
        assert time.monotonic() - began < 4
        impatient = MonaiLabelServer(server.url, inference_timeout_s=0.3)
        with pytest.raises(ClientError, match="did not answer in time"):
            impatient.segment(MODEL, StudyVolume(ARRAY, AFFINE))
        released.set()
    with pytest.raises(RefusedError, match="No server is running") as raised:
        MonaiLabelServer(f"http://127.0.0.1:{free_port()}").models(TASK)
    assert "MONAI Label server" in raised.value.hint
