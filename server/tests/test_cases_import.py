"""``mahtai cases import`` into a real server: what is found, what the cases are like, that nothing is made twice."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest
import SimpleITK
from click.testing import CliRunner, Result

from grids import GRIDS, to_sitk
from hospital_kit import Hospital
from import_kit import CHANNELS, run_import, variables, volumes, write_nifti, write_study
from mahtai.cases_import.connecting import Where
from mahtai.cli import main
from mahtai.security.local_ca import LocalCa
from mahtai.settings import Settings
from MahtAILib.client import pack
from server_process import ServerProcess, sha256
from studies import affine, label_file
from tls_kit import TlsServerProcess

STYLES = {
    "BraTS 2021": ("{}.nii.gz", "BraTS2021_00495"),
    "BraTS 2018": ("Brats18_TCIA01_201_1_{}.nii", "Brats18_TCIA01_201_1"),
    "BraTS 2023": ("BraTS-GLI-00001-000-{}.nii.gz", "BraTS-GLI-00001-000"),
}
BRATS_2023 = {"t1c": "t1c", "t1": "t1n", "t2": "t2w", "flair": "t2f"}
BRATS_2018 = {"t1c": "t1ce", "t1": "t1", "t2": "t2", "flair": "flair"}


def as_read(content: bytes, folder: Path) -> SimpleITK.Image:
    path = folder / "read.nrrd"
    path.write_bytes(content)
    return SimpleITK.ReadImage(str(path))


def assert_same_in_the_patient(sent: SimpleITK.Image, original: SimpleITK.Image) -> None:
    """The same values at the same places; the order of the slices may have been turned round."""
    assert sent.GetSize() == original.GetSize()
    draw = np.random.default_rng(1)
    corners = [(0, 0, 0), tuple(size - 1 for size in original.GetSize())]
    inside = [tuple(int(draw.integers(size)) for size in original.GetSize()) for _ in range(300)]
    for index in corners + inside:
        place = original.TransformIndexToPhysicalPoint(index)
        there = sent.TransformPhysicalPointToContinuousIndex(place)
        np.testing.assert_allclose(there, np.rint(there), atol=1e-4)
        assert sent[[round(value) for value in there]] == original[index]


@pytest.mark.parametrize("style", STYLES)
def test_a_study_of_four_sequences_becomes_a_case(
    server: ServerProcess, client: httpx.Client, tmp_path: Path, style: str
) -> None:
    form, patient = STYLES[style]
    names = BRATS_2023 if "GLI" in form else BRATS_2018 if "18" in form else dict(zip(CHANNELS, CHANNELS, strict=True))
    arrays = volumes(100 + len(form))
    for channel, array in arrays.items():
        write_nifti(tmp_path / "set" / patient / form.format(names[channel]), array)
    done = run_import(server, tmp_path / "set", "--priority", "3", "--assignee", "Ada")
    assert done.exit_code == 0, done.output
    (study,) = done.report["studies"]
    assert study["outcome"] == "made" and study["place"] == patient
    case = client.get(f"/v1/cases/{study['case']}").json()
    assert case["volumes"] == {channel: pack(array, affine()).sha256 for channel, array in arrays.items()}
    assert (case["priority"], case["assignee"], case["task"]) == (3, "Ada", "brain-tumour")
    assert case["patient"] == study["patient"] and case["split"] == study["split"]
    said = client.get(f"/v1/cases/{case['id']}").text
    assert patient not in said, "the folder's name is no display name"
    assert client.get(f"/v1/cases/{case['id']}/source").json()["source"]["folder"] == patient


def test_importing_again_makes_nothing_and_says_so(server: ServerProcess, client: httpx.Client, tmp_path: Path) -> None:
    write_study(tmp_path / "set" / "patient one", 201)
    write_study(tmp_path / "set" / "patient two", 202)
    first = run_import(server, tmp_path / "set")
    before = len(client.get("/v1/cases").json()["cases"])
    second = run_import(server, tmp_path / "set")
    assert (first.report["imported"], second.report["imported"], second.report["there_before"]) == (2, 0, 2)
    assert second.exit_code == 0 and "2 there before" in second.output
    assert len(client.get("/v1/cases").json()["cases"]) == before
    assert [one["case"] for one in first.report["studies"]] == [one["case"] for one in second.report["studies"]]


def test_a_case_that_the_panel_made_of_the_same_volumes_is_the_same_case(
    server: ServerProcess, client: httpx.Client, tmp_path: Path
) -> None:
    write_study(tmp_path / "set" / "p", 203)
    inputs = {}
    for channel, array in volumes(203).items():
        blob = pack(array, affine())
        client.put(f"/v1/volumes/{blob.sha256}", content=blob.data).raise_for_status()
        inputs[channel] = blob.sha256
    made = client.post("/v1/cases", json={"name": "Own", "task": "brain-tumour", "volumes": inputs}).json()
    (study,) = run_import(server, tmp_path / "set").report["studies"]
    assert (study["case"], study["outcome"], study["name"]) == (made["id"], "there", "Own")


def test_a_removed_case_is_not_brought_back(server: ServerProcess, client: httpx.Client, tmp_path: Path) -> None:
    write_study(tmp_path / "set" / "p", 204)
    (study,) = run_import(server, tmp_path / "set").report["studies"]
    client.delete(f"/v1/cases/{study['case']}").raise_for_status()
    (again,) = run_import(server, tmp_path / "set").report["studies"]
    assert again["case"] == study["case"] and again["outcome"] == "there"
    assert "taken off the list" in " ".join(again["notes"])
    assert client.get(f"/v1/cases/{study['case']}").json()["removed"]


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "nii"])
@pytest.mark.parametrize("grid", GRIDS)
def test_voxels_and_geometry_are_those_that_simpleitk_reads(
    server: ServerProcess, client: httpx.Client, tmp_path: Path, grid: str, ending: str
) -> None:
    geometry = GRIDS[grid]
    array = np.random.default_rng(list(GRIDS).index(grid)).integers(0, 3000, geometry.shape).astype(np.int16)
    path = tmp_path / "set" / f"flair.{ending}"
    path.parent.mkdir()
    SimpleITK.WriteImage(to_sitk(array, geometry), str(path))
    (study,) = run_import(server, tmp_path / "set").report["studies"]
    volume = client.get(f"/v1/cases/{study['case']}").json()["volumes"]["flair"]
    content = client.get(f"/v1/volumes/{volume}").content
    assert sha256(content) == volume
    sent = as_read(content, tmp_path)
    assert np.linalg.det(np.reshape(sent.GetDirection(), (3, 3))) > 0
    assert_same_in_the_patient(sent, SimpleITK.ReadImage(str(path)))


def test_sequences_on_grids_of_their_own_are_one_study(
    server: ServerProcess, client: httpx.Client, tmp_path: Path
) -> None:
    for name, grid in zip(CHANNELS, list(GRIDS)[:3] + ["oblique"], strict=True):
        array = np.random.default_rng(len(name)).integers(0, 900, GRIDS[grid].shape).astype(np.int16)
        write_nifti(tmp_path / "set" / "p" / f"{name}.nii.gz", array, GRIDS[grid].ijk_to_ras)
    (study,) = run_import(server, tmp_path / "set").report["studies"]
    assert set(study["slots"]) == set(CHANNELS)


def test_a_study_without_a_sequence_is_imported_and_the_report_says_what_is_lacking(
    server: ServerProcess, tmp_path: Path
) -> None:
    write_study(tmp_path / "set" / "p", 206, channels=("t1c", "flair"))
    (study,) = run_import(server, tmp_path / "set").report["studies"]
    assert set(study["slots"]) == {"t1c", "flair"}
    assert [note.split(":")[0] for note in study["notes"]] == ["No T1", "No T2"]


def test_studies_of_several_patients_in_one_folder_are_told_apart(server: ServerProcess, tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    write_study(folder, 207, "BraTS-GLI-00007-000-{}.nii.gz")
    write_study(folder, 208, "BraTS-GLI-00008-000-{}.nii.gz")
    write_study(folder, 209, "BraTS-GLI-00008-001-{}.nii.gz", ("t1",))
    write_study(tmp_path / "named", 210, "smith_{}.nii.gz")
    write_study(tmp_path / "named", 211, "jones_{}.nii.gz")
    done = run_import(server, tmp_path)
    slots = sorted(len(study["slots"]) for study in done.report["studies"])
    assert slots == [1, 4, 4, 4, 4] and not done.report["skipped"]
    for study in done.report["studies"]:
        beginnings = {Path(name).name.rsplit("_" if "named" in name else "-", 1)[0] for name in study["slots"].values()}
        assert len(beginnings) == 1, "two patients in one study"
    patients = {study["place"]: study["patient"] for study in done.report["studies"]}
    assert patients["flat (BraTS-GLI-00008-000)"] == patients["flat (BraTS-GLI-00008-001)"]
    assert len(set(patients.values())) == 4


def test_sequences_that_only_their_folders_name_are_found(server: ServerProcess, tmp_path: Path) -> None:
    for channel, array in volumes(212).items():
        write_nifti(tmp_path / "set" / "p" / channel.upper() / "volume.nii.gz", array)
    (study,) = run_import(server, tmp_path / "set").report["studies"]
    assert study["slots"] == {channel: f"p/{channel.upper()}/volume.nii.gz" for channel in CHANNELS}


def test_sessions_of_one_patient_are_cases_of_one_patient(server: ServerProcess, tmp_path: Path) -> None:
    write_study(tmp_path / "set" / "sub-9017" / "ses-01" / "anat", 213)
    write_study(tmp_path / "set" / "sub-9017" / "ses-02" / "anat", 214)
    write_study(tmp_path / "set" / "sub-9018" / "ses-01" / "anat", 215)
    patients = {place: one["patient"] for place, one in run_import(server, tmp_path / "set").studies.items()}
    assert patients["sub-9017/ses-01/anat"] == patients["sub-9017/ses-02/anat"] != patients["sub-9018/ses-01/anat"]


def test_a_segmentation_is_no_sequence_and_becomes_a_label_version_on_wish(
    server: ServerProcess, client: httpx.Client, tmp_path: Path
) -> None:
    folder = write_study(tmp_path / "set" / "BraTS-P216", 216)
    label = np.zeros((48, 48, 40), np.uint8)
    label[10:20, 10:20, 10:20], label[12:15, 12:15, 12:15], label[16:18, 12:15, 12:15] = 2, 1, 4
    write_nifti(folder / "seg.nii.gz", label)
    without = run_import(server, tmp_path / "set").studies["BraTS-P216"]
    assert "seg" not in str(without["slots"]) and "--labels" in without["label"]
    labelled = run_import(server, tmp_path / "set", "--labels").studies["BraTS-P216"]
    assert labelled["outcome"] == "there" and "label version 1" in labelled["label"]
    (version,) = client.get(f"/v1/cases/{labelled['case']}/labels").json()["labels"]
    assert version["author"] == "import" and "P216" not in str(version), "no folder's name in what readers see"
    content = client.get(f"/v1/cases/{labelled['case']}/labels/{version['id']}/content").content
    read = as_read(content, tmp_path)
    assert np.array_equal(SimpleITK.GetArrayFromImage(read).transpose(2, 1, 0), np.where(label == 4, 3, label))
    again = run_import(server, tmp_path / "set", "--labels").studies["BraTS-P216"]
    assert "left out" in again["label"]
    assert len(client.get(f"/v1/cases/{labelled['case']}/labels").json()["labels"]) == 1


def test_a_segmentation_of_unknown_values_is_left_out_with_the_values(server: ServerProcess, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "set" / "p", 217)
    label = np.zeros((48, 48, 40), np.uint8)
    label[10:20, 10:20, 10:20] = 77
    write_nifti(folder / "p_seg.nii.gz", label)
    done = run_import(server, tmp_path / "set", "--labels")
    assert done.exit_code == 0 and "77" in done.skipped["p/p_seg.nii.gz"]


def test_a_dry_run_needs_no_server_and_changes_nothing(tmp_path: Path) -> None:
    write_study(tmp_path / "set" / "p", 218)
    done = CliRunner().invoke(
        main,
        ["cases", "import", str(tmp_path / "set"), "--dry-run"],
        env={"MAHTAI_CONFIG_DIR": str(tmp_path / "none"), "MAHTAI_DATA_DIR": str(tmp_path / "none")},
    )
    assert done.exit_code == 0 and "1 would be imported" in done.output
    assert not (tmp_path / "none").exists()


def test_names_of_folders_are_shown_only_on_wish(server: ServerProcess, client: httpx.Client, tmp_path: Path) -> None:
    write_study(tmp_path / "set" / "UCSF-PDGM-0004", 219)
    (study,) = run_import(server, tmp_path / "set", "--names", "folder").report["studies"]
    assert client.get(f"/v1/cases/{study['case']}").json()["name"] == "UCSF-PDGM-0004"


def test_the_list_shows_every_case(server: ServerProcess, client: httpx.Client, tmp_path: Path) -> None:
    write_study(tmp_path / "set" / "p", 220)
    (study,) = run_import(server, tmp_path / "set", "--assignee", "Grace").report["studies"]
    listed = CliRunner().invoke(main, ["cases", "list"], env=variables(server)).output
    line = next(line for line in listed.splitlines() if study["name"] in line)
    assert {"Grace", "brain-tumour", study["split"], study["patient"], "new"} <= set(line.split())
    assert len(listed.splitlines()) == 1 + len(client.get("/v1/cases").json()["cases"])


def test_without_a_server_the_reader_is_told_to_start_one(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "set" / "p", 221)
    config = tmp_path / "config"
    environment = {"MAHTAI_CONFIG_DIR": str(config), "MAHTAI_DATA_DIR": str(tmp_path), "MAHTAI_PORT": "9"}
    never = CliRunner().invoke(main, ["cases", "import", str(folder)], env=environment)
    config.mkdir()
    (config / "token").write_text("x" * 43)
    stopped = CliRunner().invoke(main, ["cases", "import", str(folder)], env=environment)
    for answer in (never, stopped):
        assert answer.exit_code == 1 and "mahtai serve" in answer.output


def test_the_real_cases_are_found_whole(shared_data: Path) -> None:
    done = CliRunner().invoke(main, ["cases", "import", str(shared_data / "brats"), "--dry-run"])
    assert "29 would be imported; 1 left out" in done.output and done.output.count("t1c t1 t2 flair") == 29


def test_a_segmentation_of_slicers_is_taken_as_it_is(
    server: ServerProcess, client: httpx.Client, tmp_path: Path
) -> None:
    folder = write_study(tmp_path / "set" / "p", 222)
    content = label_file([(8, 20)])
    (folder / "p.seg.nrrd").write_bytes(content)
    (study,) = run_import(server, tmp_path / "set", "--labels").report["studies"]
    (version,) = client.get(f"/v1/cases/{study['case']}/labels").json()["labels"]
    assert version["segmentation"] == sha256(content)


def test_a_server_with_an_authority_of_its_own_is_trusted_by_its_file(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, models: Path
) -> None:
    secure = TlsServerProcess(tmp_path_factory.mktemp("tls"), (models,), {"accounts": "on"}).make_certificate()
    accounts = Hospital(secure)
    accounts.add("importer", "service")
    token = tmp_path / "token"
    token.write_text(accounts.token("importer") + "\n")
    other = LocalCa(tmp_path / "other" / "tls")
    other.make(["localhost"], 10)
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no certificate")
    folder = write_study(tmp_path / "set" / "p", 223).parent
    elsewhere = {"MAHTAI_CONFIG_DIR": str(tmp_path / "none"), "MAHTAI_DATA_DIR": str(tmp_path / "none")}

    def run(command: str, *more: str, url: str = secure.url) -> Result:
        words = ["cases", *command.split(), "--server", url, "--token-file", str(token), *more]
        return CliRunner().invoke(main, words, env=elsewhere)

    trusted = ("--ca-file", str(secure.root / "config" / "tls" / "ca.pem"))
    secure.start()
    try:
        done = run(f"import {folder}", *trusted)
        assert done.exit_code == 0 and "1 imported" in done.output, done.output
        listed = run("list", *trusted)
        assert listed.exit_code == 0 and "brain-tumour" in listed.output
        for more, said in (
            ((), "from an authority that this computer does not know. Nothing was sent."),
            (("--ca-file", str(other.folder / "ca.pem")), "is not from the authority in"),
            (("--ca-file", str(nothing)), f"There is no certificate in {nothing}"),
        ):
            refused = run("list", *more)
            assert refused.exit_code == 1 and said in refused.output, refused.output
            assert "--ca-file" in refused.output or "tls show" in refused.output
            assert "press" not in refused.output.lower()  # there is no panel here
        plain = run("list", *trusted, url=secure.url.replace("https", "http"))
        assert plain.exit_code == 1 and "does not begin with https://" in plain.output
        clear = run("list", url=f"127.0.0.1:{secure.port}")
        assert clear.exit_code == 1 and "write https:// in front" in clear.output
    finally:
        secure.stop()


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    done = CliRunner().invoke(main, ["cases", "list", "--server", "https://h", "--token-file", str(lost)])
    assert done.exit_code == 1 and f"The token file {lost} cannot be read (No such file" in done.output
    assert "mahtai users token" in done.output


def test_this_computers_server_is_asked_as_it_listens(tmp_path: Path) -> None:
    given = {"MAHTAI_CONFIG_DIR": str(tmp_path), "MAHTAI_HOST": "0.0.0.0", "MAHTAI_PORT": "8000"}
    assert Where(Settings.from_environment(given)).address == "http://127.0.0.1:8000"
    LocalCa(tmp_path / "tls").make(["localhost"], 10)
    own = Where(Settings.from_environment({**given, "MAHTAI_HOST": "::"}))
    assert own.address == "https://[::1]:8000" and own.authority == tmp_path / "tls" / "ca.pem"
    assert Where(own.settings, "https://other").authority is None
