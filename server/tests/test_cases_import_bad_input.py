"""Importing folders that are not what they should be: nothing hangs, nothing is lost, every reason is told."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import socket
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from import_kit import run_import, volumes, write_nifti, write_study
from mahtai.cases_import import run as whole_run
from mahtai.cases_import import sending
from mahtai.cases_import.find import find_studies
from mahtai.cases_import.names import readable
from mahtai.cases_import.walk import LINK, walk
from mahtai.volumes.volume import Volume
from server_process import ServerProcess, StartServer
from test_cases_import_dicom import series

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")


def left_out(folder: Path, wanted: str = "auto") -> dict[str, str]:
    """What is left out of a folder by headers alone, and why."""
    skipped: dict[str, str] = {}
    find_studies(folder, wanted, skipped.__setitem__)  # type: ignore[arg-type]
    return skipped


def good_study(root: Path, seed: int) -> None:
    write_study(root / f"good-{seed}", seed)


@pytest.fixture
def picture() -> bytes:
    """A PNG of 300 × 260 grey pixels."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (260, 300), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_damaged_files_are_left_out_with_the_reason_and_the_rest_is_imported(
    server: ServerProcess, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    good_study(root, 301)
    whole = (write_study(tmp_path / "other", 302) / "t1c.nii.gz").read_bytes()
    bad = root / "bad"
    bad.mkdir()
    (bad / "t1c.nii.gz").write_bytes(whole[: len(whole) // 2])
    (bad / "t1.nii").write_bytes(gzip.decompress(whole)[:-1000])
    (bad / "t2.nii.gz").write_bytes(b"")
    (bad / "flair.nrrd").write_bytes(b"NRRD0004\ntype: short\ndimension: 3\nsizes: 9 9 9\nencoding: raw\n")
    done = run_import(server, root)
    assert done.exit_code == 0 and list(done.studies) == ["good-301"]
    assert "cut off" in done.skipped["bad/t1c.nii.gz"] and "cut off" in done.skipped["bad/t1.nii"]
    assert "empty" in done.skipped["bad/t2.nii.gz"] and "header does not end" in done.skipped["bad/flair.nrrd"]
    assert "cannot be imported" in done.skipped["bad"]


def test_voxels_that_the_server_would_refuse_cost_one_volume_not_the_study(
    server: ServerProcess, tmp_path: Path
) -> None:
    arrays = volumes(303)
    folder = tmp_path / "set" / "p"
    write_nifti(folder / "t1c.nii.gz", arrays["t1c"])
    write_nifti(folder / "t1.nii.gz", np.zeros_like(arrays["t1"]))
    write_nifti(folder / "t2.nii.gz", np.full(arrays["t2"].shape, np.nan, np.float32))
    done = run_import(server, tmp_path / "set")
    assert list(done.studies["p"]["slots"]) == ["t1c"]
    assert "every voxel is 0" in done.skipped["p/t1.nii.gz"] and "not numbers" in done.skipped["p/t2.nii.gz"]


def test_one_file_under_two_names_is_taken_once(server: ServerProcess, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "set" / "p", 304, channels=("t1c", "flair"))
    shutil.copy(folder / "t1c.nii.gz", folder / "t1.nii.gz")
    done = run_import(server, tmp_path / "set")
    assert list(done.studies["p"]["slots"]) == ["t1c", "flair"]
    assert "the same voxels" in done.skipped["p/t1.nii.gz"]


def test_files_that_lie_about_what_they_are(tmp_path: Path, picture: bytes) -> None:
    names = {
        "t1.nii.gz": picture,
        "t2.nii": b"not a volume at all" * 40,
        "film.png": b"NRRD0004\n\n",
        "slice.dcm": picture,
        "flair.nrrd": gzip.compress(b"tar" * 999),
    }
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    reasons = left_out(tmp_path)
    assert set(reasons) == set(names)
    assert all("its name says" in why for why in reasons.values())


def test_four_dimensions_pairs_and_foreign_formats_are_named(tmp_path: Path) -> None:
    write_nifti(tmp_path / "t1.nii.gz", np.ones((8, 8, 8, 5), np.int16))
    nibabel.save(nibabel.Nifti1Pair(np.ones((8, 8, 8), np.int16), np.eye(4)), tmp_path / "t2.hdr")
    (tmp_path / "flair.mha").write_bytes(b"ObjectType = Image\n")
    (tmp_path / "t1c.nhdr").write_bytes(
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 9 9 9\nencoding: raw\ndata file: t1c.raw\n\n"
    )
    reasons = left_out(tmp_path)
    assert "4-D" in reasons["t1.nii.gz"] and "pair" in reasons["t2.hdr"] and "pair" in reasons["t2.img"]
    assert "MetaImage" in reasons["flair.mha"] and "t1c.nhdr" in reasons


def test_bombs_are_not_unpacked(server: ServerProcess, tmp_path: Path) -> None:
    root = tmp_path / "set"
    good_study(root, 305)
    with zipfile.ZipFile(root / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t1.nii", b"\0" * (1 << 28))
    header = gzip.decompress((root / "good-305" / "t1.nii.gz").read_bytes())[:352]
    plain = bytearray(header)
    plain[40:48] = np.array([3, 600, 600, 600], "<i2").tobytes()  # claims 432 MB
    for name, shape in (("t1", (600, 600, 600)), ("t2", (32000, 32000, 32000))):
        plain[42:48] = np.array(shape, "<i2").tobytes()
        (root / f"{name}.nii.gz").write_bytes(gzip.compress(bytes(plain) + b"\0" * 100_000))
    with gzip.open(root / "flair.nii.gz", "wb", compresslevel=1) as stream:  # goes on far longer than its header says
        stream.write(header)
        for _ in range(256):
            stream.write(b"\0" * (1 << 20))
    bomb = root / "bomb.dcm"
    pydicom.dcmread(series(root / "x", "AX T1", 306, count=1)[0]).save_as(bomb)
    bomb.write_bytes(bomb.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"))
    tracemalloc.start()
    done = run_import(server, root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(done.studies) == ["good-305"] and done.exit_code == 0
    assert "unpack it" in done.skipped["study.zip"] and "deflated" in done.skipped["bomb.dcm"]
    assert {"t1.nii.gz", "t2.nii.gz", "flair.nii.gz"} <= set(done.skipped), done.output
    assert peak < 100 << 20


@POSIX
def test_links_are_not_followed_and_loops_end(tmp_path: Path) -> None:
    root, outside = tmp_path / "set", write_study(tmp_path / "outside", 306)
    good_study(root, 307)
    (root / "good-307" / "loop").symlink_to(root)
    (root / "elsewhere").symlink_to(outside)
    (root / "t1.nii.gz").symlink_to(outside / "t1.nii.gz")
    (root / "broken").symlink_to(root / "nothing")
    reasons = left_out(root)
    assert {what for what, why in reasons.items() if why == LINK} == {
        "good-307/loop",
        "elsewhere",
        "t1.nii.gz",
        "broken",
    }


@POSIX
def test_pipes_and_sockets_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t1.nii.gz")
    # a socket's path may be 100 characters long
    previous = Path.cwd()
    os.chdir(tmp_path)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("t2.nii.gz")
            reasons = left_out(tmp_path)
    finally:
        os.chdir(previous)
    assert len(reasons) == 2 and all("pipe or socket" in why for why in reasons.values())


@pytest.fixture
def without_rights() -> Iterator[Path]:
    """A folder of nobody's, and the test acts as nobody."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("needs to be root to become nobody")
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        os.seteuid(0)


def test_what_may_not_be_read_is_told(without_rights: Path) -> None:
    write_study(without_rights / "open", 308)
    write_study(without_rights / "closed", 309)
    (without_rights / "closed").chmod(0o700)
    (without_rights / "open" / "t1.nii.gz").chmod(0o600)
    os.seteuid(65534)
    skipped: dict[str, str] = {}
    (study,) = find_studies(without_rights, "auto", skipped.__setitem__)
    assert set(study.slots) == {"t1c", "t2", "flair"}
    assert "Permission denied" in skipped["closed"] and "Permission denied" in skipped["open/t1.nii.gz"]


@POSIX
def test_strange_names_are_imported_and_can_be_shown(
    server: ServerProcess, client: httpx.Client, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    names = [
        "Müller 脳 🧠",
        "line\nbreak\ttab",
        "\x1b[31mred",
        "x" * 250,
        os.fsdecode(b"latin-\xe9-1"),
        "\u202egnp.exe",
        "a'b\"c;$(d)",
    ]
    for seed, name in enumerate(names, 310):
        write_study(root / name, seed, channels=("t1c", "flair"))
    done = run_import(server, root, "--names", "folder")
    assert done.exit_code == 0 and done.report["imported"] == len(names), done.output
    assert len({study["patient"] for study in done.report["studies"]}) == len(names)
    assert all(line.isprintable() for line in done.output.splitlines())
    for study in done.report["studies"]:
        case = client.get(f"/v1/cases/{study['case']}").json()
        assert case["name"].isprintable() and len(case["name"]) <= 200
    again = run_import(server, root)
    assert again.report["there_before"] == len(names)


def test_names_that_differ_stay_different() -> None:
    assert readable("x" * 300) != readable("x" * 299 + "y")
    assert len(readable("x" * 300)) == 200
    assert readable("a\0b") == "a\\x00b" and readable("a\udce9") == "a\\udce9"


def test_deep_folders_are_searched_to_their_end(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for _ in range(60):
        folder = folder / "d"
    write_study(folder, 318, channels=("t1",))
    (study,) = find_studies(tmp_path / "set", "auto", lambda what, why: None)
    assert set(study.slots) == {"t1"}


def test_two_studies_of_the_same_name_are_two_cases_of_two_patients(server: ServerProcess, tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_study(root / "north" / "patient1", 319)
    write_study(root / "south" / "patient1", 320)
    one, other = run_import(server, root).report["studies"]
    assert one["case"] != other["case"] and one["name"] != other["name"] and one["patient"] != other["patient"]


def test_one_patient_under_two_names_is_found_by_the_scans(
    server: ServerProcess, client: httpx.Client, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    write_study(root / "Alpha-77", 321)
    write_study(root / "Beta-88", 322, channels=("t1", "t2", "flair"))
    shutil.copy(root / "Alpha-77" / "t1c.nii.gz", root / "Beta-88" / "t1c.nii.gz")
    done = run_import(server, root)
    one, other = done.report["studies"]
    assert one["case"] != other["case"] and one["patient"] == other["patient"] and one["split"] == other["split"]
    (note,) = done.report["notes"]
    assert "2 names" in note and "Alpha-77" in note and "Beta-88" in note


def test_the_same_study_in_two_folders_is_one_case(server: ServerProcess, tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_study(root / "Gamma-1", 323)
    shutil.copytree(root / "Gamma-1", root / "Delta-2")
    done = run_import(server, root)
    assert (done.report["imported"], done.report["there_before"]) == (1, 1)
    assert "one case" in done.report["notes"][0]


def test_an_empty_folder_is_an_error_in_plain_words(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_import(server, tmp_path / "empty")
    assert done.exit_code == 1 and "No study could be imported" in done.output


def test_a_report_that_cannot_be_written_is_told_before_anything_is_done(
    server: ServerProcess, client: httpx.Client, tmp_path: Path
) -> None:
    good_study(tmp_path / "set", 324)
    before = client.get("/v1/cases").json()["cases"]
    done = run_import(server, tmp_path / "set", "--report", str(tmp_path / "no" / "report.json"))
    assert done.exit_code == 1 and "Nothing was imported" in done.output
    assert client.get("/v1/cases").json()["cases"] == before


def test_a_folder_that_vanishes_meanwhile_costs_only_its_own_studies(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    for seed in (325, 326, 327):
        good_study(root, seed)
    found = whole_run.find_studies

    def then_it_vanishes(*arguments: object) -> object:
        studies = found(*arguments)  # type: ignore[arg-type]
        shutil.rmtree(root / "good-326")
        return studies

    monkeypatch.setattr(whole_run, "find_studies", then_it_vanishes)
    done = run_import(server, root)
    assert done.exit_code == 0 and list(done.studies) == ["good-325", "good-327"]
    assert "vanished" in done.skipped["good-326/t1c.nii.gz"]


def test_files_that_vanish_while_the_folder_is_read_are_told(tmp_path: Path) -> None:
    good_study(tmp_path, 328)
    write_study(tmp_path / "later", 329)
    skipped: dict[str, str] = {}
    paths = []
    for path in walk(tmp_path, skipped.__setitem__):
        paths.append(path)
        shutil.rmtree(tmp_path / "later", ignore_errors=True)
    assert len(paths) == 4 and "vanished" in skipped["later"]


def test_what_was_imported_stays_when_the_server_dies_and_the_next_run_goes_on(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()
    root = tmp_path / "set"
    for seed in range(330, 334):
        good_study(root, seed)
    check, seen = sending.check_voxels, []

    def the_server_dies(volume: Volume) -> None:
        seen.append(volume)
        if len(seen) == 9:  # the first volume of the third study
            server.kill()
        check(volume)

    monkeypatch.setattr(sending, "check_voxels", the_server_dies)
    broken = run_import(server, root)
    monkeypatch.undo()
    assert broken.exit_code == 1 and broken.report["imported"] == 2 and broken.report["stopped"]
    assert "Run the same command again" in broken.output
    server.start()
    done = run_import(server, root)
    assert (done.exit_code, done.report["imported"], done.report["there_before"]) == (0, 2, 2)


def test_ctrl_c_leaves_a_report_of_what_was_done(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    for seed in range(340, 343):
        good_study(root, seed)
    original, calls = whole_run.send, []

    def interrupted(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(whole_run, "send", interrupted)
    stopped = run_import(server, root)
    monkeypatch.undo()
    assert stopped.exit_code == 130 and stopped.report["imported"] == 1 and "Ctrl-C" in stopped.output
    assert run_import(server, root).report["there_before"] == 1


def test_ten_thousand_files_are_looked_at_by_their_headers_alone(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    first = series(root / "study", "AX FLAIR", 1, count=9)
    content = first[0].read_bytes()
    uid = content[content.index(b"1.2.826", 200) :].split(b"\0")[0][-8:]
    for folder in range(20):
        below = root / f"study{folder:03}"
        below.mkdir()
        for number in range(97):
            (below / f"{number:04}.dcm").write_bytes(content.replace(uid, f"{folder:04}{number:04}".encode()))
    for number in range(8051):
        (root / f"notes {number}.txt").write_text("no scan")
    looked: list[int] = []
    skipped: list[str] = []
    tracemalloc.start()
    studies = find_studies(root, "auto", lambda what, why: skipped.append(why), lambda: looked.append(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(looked) == 10_000 and skipped.count("no scan") == 8051
    assert len(studies) <= 1 and peak < 150 << 20


def test_photographs_screenshots_and_small_or_blank_pictures_are_no_cephalograms(
    server: ServerProcess, tmp_path: Path, picture: bytes
) -> None:
    root = tmp_path / "ortho"
    root.mkdir()
    draw = np.random.default_rng(5)
    (root / "mary 1.png").write_bytes(picture)
    Image.fromarray(draw.integers(0, 255, (260, 300, 3), np.uint8)).save(root / "face.jpg")
    Image.fromarray(draw.integers(0, 255, (60, 80), np.uint8)).save(root / "thumbnail.png")
    Image.fromarray(np.zeros((300, 300), np.uint8)).save(root / "blank.png")
    good_study(root, 350)
    Image.fromarray(draw.integers(0, 255, (300, 300), np.uint8)).save(root / "good-350" / "screenshot.png")
    done = run_import(server, root)
    assert set(done.studies) == {"good-350", "mary 1.png"}
    assert "in colour" in done.skipped["face.jpg"] and "blank" in done.skipped["blank.png"]
    assert "too few" in done.skipped["thumbnail.png"] and "beside volumes" in done.skipped["good-350/screenshot.png"]


def test_a_chosen_task_leaves_the_other_out(tmp_path: Path, picture: bytes) -> None:
    good_study(tmp_path, 351)
    (tmp_path / "film.png").write_bytes(picture)
    assert set(left_out(tmp_path, "brain-tumour")) == {"film.png"}
    assert len(left_out(tmp_path, "cephalometry")) == 4


def test_thousands_of_volumes_that_nothing_tells_apart_are_left_out_quickly(tmp_path: Path) -> None:
    content = write_nifti(tmp_path / "one.nii", np.ones((8, 8, 8), np.int16)).read_bytes()
    root = tmp_path / "heap"
    root.mkdir()
    for number in range(1500):
        (root / f"scan-{number}.nii").write_bytes(content)
        (root / f"t1 of {number}.nii").write_bytes(content)
    reasons = left_out(root)
    assert len(reasons) == 3000
    assert "says no sequence" in reasons["scan-7.nii"] and "so many" in reasons["t1 of 7.nii"]
