"""Clients of MONAI Label with a real server: the bytes that they send, and what the server makes of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus
from uuid import uuid4

import httpx
import nibabel
import numpy as np
import pytest
import SimpleITK

from grids import from_sitk
from MahtAILib.client import nrrd
from monai_label_wire import Answer, StockClient, form_bytes
from server_process import ServerProcess, StartServer, put_volume, wait_until
from studies import CHANNELS, FAST, SHAPE, SLOW, affine, synthetic_study
from test_cases import make_case

NAMES = {"Necrotic core": 1, "Oedema": 2, "Enhancing tumour": 3}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[ServerProcess]:
    """A server whose work list no other test fills."""
    process = ServerProcess(tmp_path_factory.mktemp("monai-label"), (models,)).start()
    yield process
    process.kill()


@pytest.fixture
def stock(own: ServerProcess) -> StockClient:
    """A client of that server."""
    return client_of(own)


@pytest.fixture
def api(own: ServerProcess) -> Iterator[httpx.Client]:
    """Our own calls of the same server."""
    with own.client() as connected:
        yield connected


@pytest.fixture
def prefix() -> str:
    """Begins ids that no other test has."""
    return f"s{uuid4().hex[:8]}"


def client_of(process: ServerProcess) -> StockClient:
    return StockClient(f"{process.url}/monailabel/{process.token}")


def problem(answer: Answer, status: int, kind: str) -> dict[str, Any]:
    assert answer.status == status, answer.body
    document = answer.json
    assert document["type"].endswith(f"/{kind}") and document["detail"] and document["hint"]
    return dict(document)


def read_image(data: bytes, folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [i, j, k] and IJK-to-RAS, by SimpleITK."""
    path = folder / name
    path.write_bytes(data)
    return from_sitk(SimpleITK.ReadImage(str(path)))


def boxes(values: dict[int, tuple[int, int]], dtype: Any = np.uint8) -> np.ndarray:
    """Cubes of these values."""
    labelmap = np.zeros(SHAPE, dtype)
    for value, (first, last) in values.items():
        labelmap[first:last, first:last, first:last] = value
    return labelmap


def nifti(array: np.ndarray, matrix: np.ndarray | None = None) -> bytes:
    """A gzipped file, as Slicer writes it."""
    return gzip.compress(nibabel.Nifti1Image(array, affine() if matrix is None else matrix).to_bytes(), 1)


def upload_study(stock: StockClient, prefix: str, seed: int) -> dict[str, str]:
    """Each sequence as an image of its own: sequence → id."""
    ids = {}
    for channel, data in synthetic_study(seed).items():
        answer = stock.upload(f"{prefix}_{channel}", data)
        assert answer.status == 200, answer.body
        ids[channel] = answer.json["image"]
    return ids


def case_of(api: httpx.Client, name: str) -> dict[str, Any]:
    return next(case for case in api.get("/v1/cases").json()["cases"] if case["name"] == name)


def versions_of(api: httpx.Client, name: str) -> list[dict[str, Any]]:
    return list(api.get(f"/v1/cases/{case_of(api, name)['id']}/labels").json()["labels"])


def test_what_the_client_asks_first(stock: StockClient) -> None:
    assert stock.get("/auth/").json == {"enabled": False}
    info = stock.get("/info/").json
    assert info["models"]["tiny"] == {
        "type": "segmentation",
        "labels": NAMES,
        "dimension": 3,
        "description": "Random weights, for tests.",
        "config": {},
    }
    assert "config" not in info and info["labels"] == [] and info["trainers"] == {}
    assert {"first", "random", "uncertain"} <= set(info["strategies"]) and info["strategies"]["first"]["description"]
    assert set(info["datastore"]) == {"total", "completed"}
    assert stock.get("/train/?check_if_running=true").status == 404


def test_the_token_stands_in_the_address_or_in_the_header_and_nowhere_else(own: ServerProcess) -> None:
    for token in ("x" * 43, own.token[:-1], own.token + "x", "..", "%00"):
        refused = StockClient(f"{own.url}/monailabel/{token}").get("/info/")
        assert problem(refused, 401, "wrong-token")["instance"] == "/monailabel"
        assert "/monailabel/TOKEN" in refused.json["hint"] and own.token not in refused.body.decode()
    with own.client() as with_header:
        assert with_header.get("/monailabel/info/").status_code == 200
    stock = client_of(own)
    assert stock.get("/info/").status == 200
    assert own.token not in stock.get("/nothing").body.decode()
    assert own.token not in stock.get("/datastore/image?image=none").body.decode()
    # the token opens this door only where it stands, and no other with it
    assert StockClient(f"{own.url}/monailabel/{own.token}/..").get("/v1/cases").status == 404
    assert StockClient(f"{own.url}/{own.token}").get("/v1/cases").status == 401
    wait_until(lambda: "GET /monailabel/info/ 200" in own.log, 10, "the access log")
    assert own.token not in own.log
    assert "GET /monailabel/datastore/image 404" in own.log and "image=none" not in own.log


def test_upload_and_infer_on_all_sequences(stock: StockClient, api: httpx.Client, prefix: str, tmp_path: Path) -> None:
    ids = upload_study(stock, prefix, 11)
    answer = stock.infer("tiny", ids["t1c"], images=list(ids.values()), options=FAST)
    assert answer.status == 200, answer.body
    parts = answer.parts
    assert set(parts) == {"params", "image"} and parts["params"][0] is None
    told = json.loads(parts["params"][1])
    assert told["label_names"] == NAMES
    file_name, data = parts["image"]
    assert file_name is not None and file_name.endswith(".nrrd") and "/" not in file_name
    array, matrix = read_image(data, tmp_path, "result.nrrd")
    assert np.allclose(matrix, affine()) and array.shape == SHAPE and array.dtype == np.uint8
    ours = api.get(f"/v1/inferences/{told['mahtai']['inference']}/result/segmentation").content
    expected, _ = read_image(ours, tmp_path, "ours.seg.nrrd")
    assert np.array_equal(array, expected) and array.any()
    mapped = stock.infer("tiny", "", images={channel.upper(): one for channel, one in ids.items()}, options=FAST)
    assert mapped.parts["image"][1] == data


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_the_result_comes_in_the_format_that_was_asked_for(
    stock: StockClient, prefix: str, tmp_path: Path, ending: str
) -> None:
    ids = upload_study(stock, prefix, 11)
    wanted = {"images": ids, "options": FAST, "result_extension": ending, "result_dtype": "uint16"}
    name, data = stock.infer("tiny", "", **wanted).parts["image"]
    array, matrix = read_image(data, tmp_path, f"result{ending}")
    assert str(name).endswith(ending) and array.dtype == np.uint16 and np.allclose(matrix, affine(), atol=1e-4)
    problem(stock.infer("tiny", "", **{**wanted, "result_extension": "/../x"}), 422, "result-file")


def test_a_single_image_is_enough_only_where_the_model_can_do_without(stock: StockClient, prefix: str) -> None:
    ids = upload_study(stock, prefix, 12)
    refused = problem(stock.infer("tiny", ids["t1c"], options=FAST), 422, "channel")
    assert "T1 without contrast" in refused["detail"] and "params.images" in refused["hint"]
    problem(stock.infer("tiny_dropout", ids["t1c"], options=FAST), 422, "channel")
    two = [ids["t1c"], ids["flair"]]
    assert stock.infer("tiny_dropout", ids["t1c"], images=two, options=FAST).status == 200


def test_an_image_whose_name_does_not_tell_the_sequence_is_asked_for(stock: StockClient, prefix: str) -> None:
    study = synthetic_study(13)
    ids = {channel: f"{prefix} volume {number}" for number, channel in enumerate(CHANNELS)}
    for channel, name in ids.items():
        assert stock.upload(name, study[channel]).status == 200
    refused = problem(stock.infer("tiny", ids["t1"], images=list(ids.values()), options=FAST), 422, "channel")
    assert "does not tell which sequence" in refused["detail"]
    assert stock.infer("tiny", "", images=ids, options=FAST).status == 200
    problem(stock.infer("tiny", "", images={**ids, "t1": ids["t2"]}, options=FAST), 422, "channel")


def test_an_id_never_comes_to_mean_another_image(stock: StockClient, api: httpx.Client, prefix: str) -> None:
    first, second = synthetic_study(14), synthetic_study(15)
    assert stock.upload(f"{prefix} T1", first["t1"]).json == {"image": f"{prefix} T1"}
    assert "was overwritten" in problem(stock.upload(f"{prefix} T1", second["t1"]), 409, "image-taken")["detail"]
    assert stock.get(f"/datastore/image?image={quote_plus(prefix + ' T1')}").body == first["t1"]
    # the same voxels in another file are the same image
    voxels = nrrd.decode(first["t1"]).array
    assert stock.upload(f"{prefix} T1", nifti(voxels)).status == 200
    assert len([case for case in api.get("/v1/cases").json()["cases"] if case["name"] == f"{prefix} T1"]) == 1


def test_two_clients_that_take_one_id_in_the_same_moment(stock: StockClient, prefix: str) -> None:
    studies = [synthetic_study(seed)["t1"] for seed in range(20, 24)]
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda data=data: answers.append(stock.upload(prefix, data).status)) for data in studies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409, 409, 409]


def test_each_saved_label_is_a_version_with_names_codes_and_the_same_voxels(
    stock: StockClient, api: httpx.Client, prefix: str, tmp_path: Path
) -> None:
    name = f"{prefix}_t1c"
    stock.upload(name, synthetic_study(16)["t1c"])
    # numbers of the client's own, names in American English, one that the task does not know
    labelmap = boxes({1: (5, 10), 2: (12, 20), 3: (22, 30)})
    names = {"Edema": 1, "necrotic core": 2, "Resection cavity": 3}
    first = stock.save(name, nifti(labelmap), names)
    assert first.status == 200 and (first.json["image"], first.json["version"]) == (name, 1)
    second = stock.save(name, nifti(boxes({1: (5, 9)})), {"Edema": 1}, tag="second look")
    assert second.json["version"] == 2
    one, two = versions_of(api, name)
    assert (one["author"], one["role"], one["comment"]) == ("user-xyz", "annotator", "")
    assert two["comment"] == "second look" and case_of(api, name)["state"] == "submitted"
    assert {part["name"]: part["voxels"] for part in one["segments"].values()} == {
        "Necrotic core": 512,
        "Oedema": 125,
        "Resection cavity": 512,
    }
    assert one["segments"]["ed"]["label_value"] == 2 and one["unknown_parts"] == ["Resection cavity"]
    content = api.get(f"/v1/cases/{one['case']}/labels/{one['id']}/content").content
    array, matrix = read_image(content, tmp_path, "version.seg.nrrd")
    assert np.allclose(matrix, affine())
    cavity = one["segments"]["resection-cavity"]["label_value"]
    expected = np.select([labelmap == 1, labelmap == 2, labelmap == 3], [2, 1, cavity], 0)
    assert np.array_equal(array, expected) and b"SCT^79654002^Edema" in content
    # every version can be had, the newest is final
    assert stock.get(f"/datastore/label?label={name}&tag=version-1").body == content
    newest = stock.get(f"/datastore/label?label={name}&tag=final")
    assert newest.body == stock.get(f"/datastore/label?label={name}&tag=second+look").body != content
    assert 'filename="label-2.seg.nrrd"' in newest.headers["content-disposition"]
    labels = stock.get("/datastore/?output=all").json["objects"][name]["labels"]
    assert set(labels) == {"version-1", "version-2", "second look", "final"}
    problem(stock.get(f"/datastore/label?label={name}&tag=original"), 404, "unknown-version")


def test_a_label_with_turned_axes_comes_back_voxel_for_voxel(
    stock: StockClient, api: httpx.Client, prefix: str, tmp_path: Path
) -> None:
    name = f"{prefix}_flair"
    stock.upload(name, synthetic_study(17)["flair"])
    labelmap = boxes({1: (5, 10)})
    labelmap[20:22, 30:33, 7] = 3
    turned = np.flip(labelmap.transpose(2, 0, 1), (0, 2))  # K, I, J with K and J mirrored
    matrix = np.zeros((4, 4))
    matrix[:, 1], matrix[:, 0], matrix[:, 2] = affine()[:, 0], -affine()[:, 2], -affine()[:, 1]
    matrix[:, 3] = affine() @ [0, SHAPE[1] - 1, SHAPE[2] - 1, 1]
    answer = stock.save(name, nifti(turned.astype(np.float32), matrix), NAMES)
    assert answer.status == 200, answer.body
    version = versions_of(api, name)[0]
    content = api.get(f"/v1/cases/{version['case']}/labels/{version['id']}/content").content
    array, saved_matrix = read_image(content, tmp_path, "version.seg.nrrd")
    assert np.array_equal(array, labelmap) and np.allclose(saved_matrix, affine())


def test_labels_that_cannot_be_right_are_refused_and_nothing_is_saved(
    stock: StockClient, api: httpx.Client, prefix: str
) -> None:
    name = f"{prefix}_t2"
    stock.upload(name, synthetic_study(18)["t2"])
    label = boxes({1: (5, 10), 2: (12, 20)})
    moved = affine()
    moved[0, 3] += 1.0
    refused = problem(stock.save(name, nifti(label, moved), NAMES), 422, "label-grid")
    assert "another voxel grid" in refused["detail"]
    problem(stock.save(name, nifti(label[:-1]), NAMES), 422, "label-grid")
    problem(stock.save(name, nifti(label + np.float32(0.5)), NAMES), 422, "label")
    problem(stock.save(name, nifti(label.astype(np.int16) - 5), NAMES), 422, "label")
    problem(stock.save(name, b"no file at all", NAMES), 422, "volume")
    problem(stock.save(name, nifti(label)[:-200], NAMES), 422, "volume")
    problem(stock.form("PUT", f"/datastore/label?image={name}", {"label_info": []}), 422, "monai-label-form")
    for wrong in ("text", [{"name": "x"}], [1], [{"name": "x", "idx": "y"}]):
        form = {"label_info": wrong}
        answer = stock.form("PUT", f"/datastore/label?image={name}", form, {"label": ("x.nii.gz", nifti(label))})
        problem(answer, 422, "label")
    problem(stock.save(f"{prefix}-other", nifti(label), NAMES), 404, "unknown-image")
    assert versions_of(api, name) == []


def test_names_are_never_moved_to_another_label(stock: StockClient, api: httpx.Client, prefix: str) -> None:
    name = f"{prefix}_t1"
    stock.upload(name, synthetic_study(19)["t1"])
    # the plugin leaves the background out of the labelmap, whose values move, but counts it in idx
    shifted = {"Necrotic core": 2, "Oedema": 3, "Enhancing tumour": 4}
    assert stock.save(name, nifti(boxes({1: (5, 10), 2: (12, 20), 3: (22, 30)})), shifted).status == 200
    parts = {part["name"]: part["voxels"] for part in versions_of(api, name)[-1]["segments"].values()}
    assert parts == {"Necrotic core": 125, "Oedema": 512, "Enhancing tumour": 512}
    # where the voxels do not tell which of the two it is, nobody guesses
    unclear = problem(stock.save(name, nifti(boxes({2: (5, 10), 3: (12, 20)})), shifted), 422, "label")
    assert "not clear which name" in unclear["detail"]
    # BraTS's own numbers have a gap, and are clear
    brats = {"Necrotic core": 1, "Oedema": 2, "Enhancing tumour": 4}
    assert stock.save(name, nifti(boxes({2: (5, 10), 4: (12, 20)})), brats).status == 200
    parts = {part["name"]: part["voxels"] for part in versions_of(api, name)[-1]["segments"].values() if part["voxels"]}
    assert parts == {"Oedema": 125, "Enhancing tumour": 512}
    # what nobody named is kept, and nothing is claimed of it
    assert stock.save(name, nifti(boxes({7: (5, 10)})), {}).status == 200
    assert [part["name"] for part in versions_of(api, name)[-1]["segments"].values()] == ["Label 7"]
    # nor do names get out of their place in the file
    odd = {"a\nSegment0_Name:=b\ud800": 1, "": 2}
    assert stock.save(name, nifti(boxes({1: (5, 10), 2: (12, 20)})), odd).status == 200
    parts = [part["name"] for part in versions_of(api, name)[-1]["segments"].values()]
    assert parts == ["a Segment0_Name:=b", "Unnamed"]


def test_cases_of_our_own_panel_are_there_and_run_with_all_their_sequences(
    stock: StockClient, api: httpx.Client, tmp_path: Path
) -> None:
    study = synthetic_study(30)
    volumes = {channel: put_volume(api, data) for channel, data in study.items()}
    case = make_case(api, volumes)
    number = case["number"]
    objects = stock.get("/datastore/?output=all").json["objects"]
    assert {f"case-{number}-{channel}" for channel in CHANNELS} <= set(objects)
    assert stock.get(f"/datastore/image?image=case-{number}-flair").body == study["flair"]
    assert stock.infer("tiny", f"case-{number}-t1c", options=FAST).status == 200
    # such ids are the server's own
    assert stock.upload(f"case-{number}-t1", study["t1"]).json == {"image": f"case-{number}-t1"}
    problem(stock.upload(f"case-{number}-t1", study["t2"]), 409, "image-taken")
    problem(stock.upload(f"case-{number + 999}-t1", study["t2"]), 422, "image-id")


def test_the_next_sample_is_held_for_one_client_and_can_be_fetched_without_a_header(
    start_server: StartServer,
) -> None:
    process = start_server()
    stock = client_of(process)
    for number in range(3):
        stock.upload(f"scan {number} t1", synthetic_study(40 + number)["t1"])
    seen = []
    for person in ("anna", "boris"):
        sample = stock.next(client=person).json
        fetched = stock.get(f"/datastore/image?image={quote_plus(sample['id'])}")
        assert sample["checksum"] == f"SHA256:{hashlib.sha256(fetched.body).hexdigest()}"
        assert "path" not in sample and sample["name"].endswith(".nrrd") and "/" not in sample["name"]
        assert f'filename="{sample["name"]}"' in fetched.headers["content-disposition"]
        seen.append(sample["id"])
    assert seen == ["scan 0 t1", "scan 1 t1"]
    assert stock.save("scan 0 t1", nifti(boxes({1: (5, 9)})), NAMES).status == 200
    assert stock.next("random").json["id"] == "scan 2 t1"
    assert stock.next().json == {}
    assert stock.get("/datastore/").json == {"total": 3, "completed": 1}
    problem(stock.next("epistemic"), 422, "unknown-strategy")
    problem(stock.call("POST", "/activelearning/first", b"[1]", "application/json"), 422, "invalid-request")


def test_a_session_needs_no_case(stock: StockClient, api: httpx.Client) -> None:
    before = stock.get("/datastore/").json["total"]
    data = synthetic_study(50)["t1"]
    made = stock.form("PUT", "/session/", {}, {"files": ("sub-1_T1.nrrd", data)}).json
    assert stock.get(f"/session/{made['session_id']}").json == made
    answer = stock.form("POST", f"/infer/tiny?image=&session_id={made['session_id']}", {"options": FAST})
    assert "needs" in problem(answer, 422, "channel")["detail"]
    problem(stock.get(f"/session/t1.{'0' * 64}"), 404, "unknown-session")
    problem(stock.get("/session/..%2f..%2fx"), 404, "not-found")
    assert stock.call("DELETE", f"/session/{made['session_id']}").status == 200
    assert stock.get("/datastore/").json["total"] == before


BAD_IDS = ("../etc/passwd", "..", "a/b", "a\\b", "a\0b", "a\nb", "\u202eabc", " ", "x" * 201, "é" * 201)


@pytest.mark.parametrize("image", BAD_IDS)
def test_ids_that_are_no_names_are_refused_everywhere(stock: StockClient, own: ServerProcess, image: str) -> None:
    before = sorted(path for path in own.data.rglob("*") if path.is_file() and "sqlite" not in path.name)
    problem(stock.upload(image, synthetic_study(51)["t1"]), 422, "image-id")
    problem(stock.get(f"/datastore/image?image={quote_plus(image)}"), 422, "image-id")
    problem(stock.save(image, nifti(boxes({1: (5, 9)})), NAMES), 422, "image-id")
    problem(stock.infer("tiny", image), 422, "image-id")
    after = sorted(path for path in own.data.rglob("*") if path.is_file() and "sqlite" not in path.name)
    assert after == before


def test_names_in_any_script_are_names(stock: StockClient, prefix: str) -> None:
    for name in (
        f"{prefix} Größe T1",
        f"{prefix} 脑 T1",
        f"{prefix} 🧠 T1",
        f"{prefix} ?&=+%2F T1",
        f"{prefix}\u200d T1",
    ):
        answer = stock.upload(name, synthetic_study(52)["t1"])
        if name.isprintable():
            assert answer.json == {"image": name}
            assert stock.get(f"/datastore/image?image={quote_plus(name)}").status == 200
        else:
            problem(answer, 422, "image-id")
    # the same name is written in two ways on two systems
    assert stock.get(f"/datastore/image?image={quote_plus(prefix + ' Gro' + chr(0x308) + 'ße T1')}").status == 200
    problem(stock.get("/datastore/image?image=%FF%FE"), 404, "unknown-image")


def test_forms_that_are_none(stock: StockClient, own: ServerProcess, prefix: str) -> None:
    selector = f"/datastore/?image={prefix}"
    body, kind = form_bytes({}, {"file": ("x.nrrd", synthetic_study(53)["t1"])})
    for spoiled, said in (
        (b"", kind),
        (b"hello", kind),
        (body[:-40], kind),
        (body, "text/plain"),
        (body, "multipart/form-data"),
        (body, f"{kind}x"),
        (body.replace(b'name="file"', b'name="other"'), kind),
        (body.replace(b"Content-Disposition", b"X" * 20000), kind),
        (form_bytes(b"[1, 2]", {"file": ("x", b"y")})[0], kind),
        (form_bytes(b"{" * 100_000, {"file": ("x", b"y")})[0], kind),
        (form_bytes(b" " * (2 << 20), {"file": ("x", b"y")})[0], kind),
        (form_bytes({}, {})[0], kind),
    ):
        problem(stock.call("PUT", selector, spoiled, said), 422, "monai-label-form")
    many = b"".join(form_bytes({}, {"file": ("x", b"")})[0].partition(b"--\r\n")[0] + b"\r\n" for _ in range(40))
    problem(stock.call("PUT", selector, many, kind), 422, "monai-label-form")
    problem(stock.get(f"/datastore/image?image={prefix}"), 404, "unknown-image")
    partial = own.data / "blobs" / "partial"
    wait_until(lambda: not list(partial.iterdir()), 10, "the partial files to be gone")


def test_what_is_too_large_is_refused_while_it_comes(start_server: StartServer) -> None:
    process = start_server(environment={"max_upload_bytes": str(1 << 20)})
    stock = client_of(process)
    problem(stock.upload("large", bytes(8 << 20)), 413, "too-large")
    problem(stock.form("PUT", "/session/", {}, {"files": ("x", bytes(8 << 20))}), 413, "too-large")
    problem(stock.form("POST", "/infer/tiny?image=", {}, {"file": ("x", bytes(8 << 20))}), 413, "too-large")
    assert not list((process.data / "blobs" / "partial").iterdir())
    assert stock.upload("fits", synthetic_study(60)["t1"]).status == 200


def test_a_client_that_goes_away_loses_nothing_and_holds_nobody_up(
    own: ServerProcess, stock: StockClient, api: httpx.Client, prefix: str
) -> None:
    ids = upload_study(stock, prefix, 61)
    body, kind = form_bytes({"images": ids, "options": SLOW}, {})
    address = stock.address.removeprefix(own.url)
    with socket.create_connection(("127.0.0.1", own.port)) as connection:
        head = f"POST {address}/infer/tiny?image= HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert stock.get("/info/").status == 200  # while it waits
    answer = stock.infer("tiny", "", images=ids, options=SLOW)
    assert answer.status == 200
    job = json.loads(answer.parts["params"][1])["mahtai"]["inference"]
    assert api.get(f"/v1/inferences/{job}").json()["state"] == "succeeded"


def test_what_cannot_be_done_this_way_says_what_can(stock: StockClient, prefix: str) -> None:
    stock.upload(f"{prefix}_t1", synthetic_study(62)["t1"])
    for method, selector in (
        ("DELETE", f"/datastore/?id={prefix}_t1"),
        ("DELETE", f"/datastore/label?id={prefix}_t1&tag=final"),
        ("POST", "/train/tiny"),
        ("DELETE", "/train/"),
    ):
        problem(stock.call(method, selector), 422, "not-by-this-protocol")
    assert stock.get(f"/datastore/image?image={prefix}_t1").status == 200
    problem(stock.infer("nothing", f"{prefix}_t1"), 404, "unknown-model")
    problem(stock.infer("..%2f..", f"{prefix}_t1"), 404, "unknown-model")
    scribbles = stock.form("POST", f"/infer/tiny?image={prefix}_t1", {}, {"label": ("x.nrrd", b"x")})
    problem(scribbles, 422, "monai-label-form")
    problem(stock.form("POST", "/infer/tiny?image=", {}), 422, "monai-label-form")
