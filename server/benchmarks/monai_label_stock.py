"""MONAI Label's own clients, unmodified, against a MahtAI server: every call they make, and what came of it.

    python server/benchmarks/monai_label_stock.py --monailabel-env ENV --case FOLDER [--client-file client.py]

ENV is a virtual environment with the package ``monailabel`` (see ``speed/monai_label_requirements.txt``), FOLDER holds
``t1c.nii.gz``, ``t1.nii.gz``, ``t2.nii.gz`` and ``flair.nii.gz`` of one study, and the client file is that of
the Slicer plugin (``plugins/slicer/MONAILabel/MONAILabelLib/client.py``), which is driven as well if it is given.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEQUENCES = ("t1c", "t1", "t2", "flair")
MODEL = "brats_segresnet"


def main() -> None:
    """Start a server, have the clients work with it, check what the server has afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--monailabel-env", type=Path, required=True)
    parser.add_argument("--case", type=Path, required=True)
    parser.add_argument("--client-file", type=Path)
    asked = parser.parse_args()
    from mahtai.demo.server_process import running_server

    python = asked.monailabel_env / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with tempfile.TemporaryDirectory() as work, running_server(Path(work) / "server") as connection:
        token = (Path(work) / "server" / "config" / "token").read_text("utf-8").strip()
        address = f"{connection.url}/monailabel/{token}"
        make_case(connection, asked.case)
        for client in ["monailabel.client", *([str(asked.client_file)] if asked.client_file else [])]:
            folder = Path(work) / hashlib.sha256(client.encode()).hexdigest()[:8]
            folder.mkdir()
            command = [str(python), __file__, "child", client, address, str(folder), str(asked.case)]
            variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            if subprocess.run(command, env=variables, check=False).returncode:
                sys.exit("the client failed")
            check_saved(connection, folder)
        log = (Path(work) / "server" / "server.log").read_text("utf-8", "replace")
        print(f"\nthe token in the server's log: {log.count(token)} times")


def make_case(connection: Any, folder: Path) -> None:
    """The study as our own panel makes it: one case with four volumes."""
    from mahtai.volumes.formats import read_volume
    from MahtAILib.client import NewCase, create_case, pack, upload

    volumes = {one: read_volume(folder / f"{one}.nii.gz") for one in SEQUENCES}
    blobs = {one: pack(volume.array, volume.geometry.ijk_to_ras) for one, volume in volumes.items()}
    upload(connection, list(blobs.values()))
    create_case(connection, NewCase("Study 1", "brain-tumour", {one: blob.sha256 for one, blob in blobs.items()}, "1"))


def check_saved(connection: Any, folder: Path) -> None:
    """Compare what the server saved with what the client sent: geometry, values, names."""
    import numpy as np
    import SimpleITK as sitk

    told = json.loads((folder / "saved.json").read_text("utf-8"))
    case = next(one for one in connection.json("GET", "/v1/cases")["cases"] if one["name"] == told["image"])
    versions = connection.json("GET", f"/v1/cases/{case['id']}/labels")["labels"]
    path = folder / "version.seg.nrrd"
    path.write_bytes(connection.download(f"/v1/cases/{case['id']}/labels/{versions[-1]['id']}/content", 1 << 30))
    sent, kept = sitk.ReadImage(told["file"]), sitk.ReadImage(str(path))
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(sent, what)(), getattr(kept, what)(), atol=1e-4), what
    ours, theirs = sitk.GetArrayFromImage(kept), sitk.GetArrayFromImage(sent)
    numbers = {segment["name"]: segment["label_value"] for segment in versions[-1]["segments"].values()}
    for label in told["label_info"]:
        assert np.array_equal(ours == numbers[label["name"]], theirs == label["idx"]), label
    said = {key: versions[-1][key] for key in ("number", "author", "role", "comment", "unknown_parts")}
    print(f"saved version by SimpleITK: same grid, same voxels; {numbers}; {said}; case is {case['state']}")


def child(kind: str, address: str, folder: str, case: str) -> None:
    """In MONAI Label's environment: drive one of its clients as its Slicer module does."""
    client = load_client(kind)(address, folder)
    observe_wire(address.rpartition("/")[2])
    print(f"\n=== {kind if kind == 'monailabel.client' else 'client file of the Slicer plugin'} ===", flush=True)
    images = {one: str(Path(case) / f"{one}.nii.gz") for one in SEQUENCES}
    prefix = f"{Path(case).name}-{Path(folder).name}"
    ids = {one: f"{prefix}_{one}" for one in SEQUENCES}
    say("auth enabled", client.auth_enabled)
    say("models", lambda: list(client.info()["models"]))
    say("training runs", lambda: client.train_status(check_if_running=True))
    for one, file in images.items():
        say("upload", lambda one=one, file=file: client.upload_image(file, ids[one]))
    say("upload the same again", lambda: client.upload_image(images["t1"], ids["t1"]))
    say("upload another image under that id", lambda: client.upload_image(images["t2"], ids["t1"]))
    wanted = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    say("infer, one image", lambda: described(client.infer(MODEL, ids["t1c"], dict(wanted))))
    result, told = say(
        "infer, four images", lambda: client.infer(MODEL, ids["t1c"], {**wanted, "images": list(ids.values())}), False
    )
    print("   ", described((result, told)), flush=True)
    session = say("session", lambda: client.create_session(images["flair"]))
    say("session again", lambda: client.get_session(session["session_id"]))
    infer = lambda: described(client.infer(MODEL, ids["flair"], dict(wanted), session_id=session["session_id"]))  # noqa: E731
    say("infer, session", infer)
    sample = say("next sample", lambda: client.next_sample("first", {}))
    say("infer, a sample of the work list", lambda: described(client.infer(MODEL, sample["id"], dict(wanted))))
    save(client, folder, ids["t1c"], result, told["label_names"])
    say("fetch the sample as SampleData does", lambda: fetch(address, sample))
    objects = say("datastore", lambda: client.datastore()["objects"], False)
    print("    labels:", {one: list(held["labels"]) for one, held in objects.items() if held["labels"]})
    say("download label", lambda: Path(client.download_label(ids["t1c"], "final")).stat().st_size)
    say("no such label", lambda: client.download_label(ids["t1"], "final"))
    say("start training", lambda: client.train_start(MODEL, {}))


def save(client: Any, folder: str, image: str, result: str, names: dict[str, int]) -> None:
    """Change the result a little and save it as the plugin does: a labelmap and the names of its numbers."""
    import SimpleITK as sitk

    labelmap = sitk.ReadImage(result)
    array = sitk.GetArrayFromImage(labelmap)
    array[: array.shape[0] // 2] = 0
    edited = sitk.GetImageFromArray(array)
    edited.CopyInformation(labelmap)
    file = str(Path(folder) / "label.nii.gz")
    sitk.WriteImage(edited, file)
    label_info = [{"name": name, "idx": number} for name, number in names.items()]
    say("save label", lambda: client.save_label(image, file, params={"label_info": label_info, "model": MODEL}))
    told = {"image": image, "file": file, "label_info": label_info}
    (Path(folder) / "saved.json").write_text(json.dumps(told), encoding="utf-8")


def described(answer: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """What is in a result's file, by SimpleITK."""
    import numpy as np
    import SimpleITK as sitk

    image = sitk.ReadImage(answer[0])
    values, counts = np.unique(sitk.GetArrayFromImage(image), return_counts=True)
    voxels = {int(value): int(count) for value, count in zip(values, counts)}  # noqa: B905 - this runs on old Pythons
    return {"size": image.GetSize(), "voxels": voxels, "label_names": answer[1]["label_names"]}


def fetch(address: str, sample: dict[str, Any]) -> str:
    """Slicer's SampleData fetches without any header and compares the checksum."""
    with urllib.request.urlopen(f"{address}/datastore/image?image={sample['id']}") as answer:
        data = answer.read()
    assert f"SHA256:{hashlib.sha256(data).hexdigest()}" == sample["checksum"]
    assert not os.path.exists(sample.get("path", "")) and sample["name"].endswith((".nii.gz", ".nrrd"))
    return f"{len(data)} bytes, the checksum fits"


def say(what: str, work: Callable[[], Any], show: bool = True) -> Any:
    """Do one thing and tell how it went."""
    print(f"-- {what}", flush=True)
    began = time.perf_counter()
    try:
        done = work()
    except Exception as error:
        print(f"    {type(error).__name__}: {str(getattr(error, 'msg', error))[:400]}", flush=True)
        return None
    shown = f"{str(done)[:400]}, " if show else ""
    print(f"    {shown}{time.perf_counter() - began:.2f} s", flush=True)
    return done


def observe_wire(token: str) -> None:
    """Print every request on the wire, without the token."""
    put, get = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse

    def putrequest(self: Any, method: str, url: str, *arguments: Any, **more: Any) -> Any:
        self.asked = f"{method} {url.replace(token, 'TOKEN')}"
        return put(self, method, url, *arguments, **more)

    def getresponse(self: Any, *arguments: Any, **more: Any) -> Any:
        answer = get(self, *arguments, **more)
        kind = answer.getheader("content-type", "").partition(";")[0]
        print(f"    > {self.asked} -> {answer.status} {kind}, {answer.getheader('content-length')} bytes", flush=True)
        return answer

    http.client.HTTPConnection.putrequest = putrequest  # type: ignore[method-assign]
    http.client.HTTPConnection.getresponse = getresponse  # type: ignore[method-assign]


def load_client(kind: str) -> Any:
    """The client's class, from the installed package or from a file."""
    if kind == "monailabel.client":
        from monailabel.client import MONAILabelClient

        return MONAILabelClient
    spec = importlib.util.spec_from_file_location("stock_client", kind)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MONAILabelClient


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:])
    else:
        main()
