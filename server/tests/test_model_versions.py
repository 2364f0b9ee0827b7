"""Versions of a model: immutable folders, a pointer that all processes see, promotion, rollback, trials."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from learning_kit import Clinic, clinic
from mahtai.cli import main
from mahtai.models.catalogue import ModelReplaced, UnknownModel, place_of
from mahtai.models.serving import FILE_NAME, ServingError, split_name
from mahtai.models.versions import NotPromoted, VersionError
from versions_kit import make_version


@pytest.fixture
def where(tmp_path: Path) -> Clinic:
    """A data folder with the model ``tiny``."""
    return clinic(tmp_path)


def test_a_version_is_a_bundle_of_its_own_and_serves_after_its_promotion(where: Clinic, tmp_path: Path) -> None:
    catalogue = where.catalogue  # opened before: as a server that runs
    as_it_came = catalogue.get("tiny")
    made = make_version(where, tmp_path / "work")
    assert (made.id, made.number, made.version) == ("tiny", 1, "0.0.1+cases.1")
    assert made.sha256 != as_it_came.sha256
    assert catalogue.get("tiny") == as_it_came
    assert catalogue.get("tiny@1").sha256 == made.sha256
    assert [bundle.id for bundle in catalogue.list()] == ["tiny"]

    where.versions.promote("tiny@1", "ada")
    assert catalogue.get("tiny").sha256 == made.sha256
    assert catalogue.get("tiny@0").sha256 == as_it_came.sha256
    assert [version.is_active for version in where.versions.list("tiny")] == [False, True]
    # a job that was accepted before the promotion still finds its weights
    assert catalogue.exact("tiny", as_it_came.sha256).folder == as_it_came.folder
    with pytest.raises(ModelReplaced):
        catalogue.exact("tiny", "0" * 64)


def test_rollback_goes_back_step_by_step_to_the_model_as_it_came(where: Clinic, tmp_path: Path) -> None:
    for number in (1, 2):
        make_version(where, tmp_path / f"work{number}")
        where.versions.promote(f"tiny@{number}", "ada")
    assert where.catalogue.get("tiny").number == 2
    assert where.catalogue.get("tiny@2").version == "0.0.1+cases.2"
    assert where.versions.rollback("tiny", "bob").active == 1
    assert where.versions.rollback("tiny", "bob", "worse in practice").active == 0
    with pytest.raises(VersionError, match="No version of tiny served before"):
        where.versions.rollback("tiny", "bob")
    told = [(change.who, change.what, change.before, change.after) for change in where.versions.history("tiny").changes]
    assert told == [
        ("test", "made", 0, 1),
        ("ada", "promoted", 0, 1),
        ("test", "made", 1, 2),
        ("ada", "promoted", 1, 2),
        ("bob", "rolled back", 2, 1),
        ("bob", "rolled back", 1, 0),
    ]


def test_only_what_the_rule_found_better_than_what_serves_now_is_promoted(where: Clinic, tmp_path: Path) -> None:
    make_version(where, tmp_path / "1", better=False)
    make_version(where, tmp_path / "2")
    make_version(where, tmp_path / "3")
    with pytest.raises(NotPromoted, match="was not promoted"):
        where.versions.promote("tiny@1", "ada")
    with pytest.raises(VersionError, match="only with a reason"):
        where.versions.promote("tiny@1", "ada", anyway=True, reason=" ")
    where.versions.promote("tiny@2", "ada")
    # the third was compared with the model as it came, which serves no longer
    with pytest.raises(NotPromoted, match="was not compared with tiny@2"):
        where.versions.promote("tiny@3", "ada")
    where.versions.promote("tiny@1", "ada", anyway=True, reason="for the demonstration")
    last = where.versions.history("tiny").changes[-1]
    assert (last.what, last.reason) == ("promoted anyway", "for the demonstration")
    with pytest.raises(VersionError, match="serves already"):
        where.versions.promote("tiny@1", "ada")


@pytest.mark.parametrize("name", ["tiny@9", "tiny@-1", "tiny@01", "../tiny@1", "tiny@1/../..", "nobody@1", "@1"])
def test_a_version_that_is_not_there_is_said_to_be_missing(where: Clinic, tmp_path: Path, name: str) -> None:
    make_version(where, tmp_path / "work")
    with pytest.raises((UnknownModel, VersionError)) as caught:
        where.versions.promote(name, "ada", anyway=True, reason="trick")
    assert caught.value.hint
    assert where.versions.history("tiny").active == 0


def test_names_of_versions_are_told_from_other_names() -> None:
    assert split_name("tiny@2") == ("tiny", 2) and split_name("tiny@0") == ("tiny", 0)
    for name in ("tiny", "tiny@", "tiny@x", "a@b@1", "tiny@02", "tiny@9999999"):
        assert split_name(name) == (name, None)


def test_a_version_that_was_taken_away_gives_way_to_the_one_before(where: Clinic, tmp_path: Path) -> None:
    for number in (1, 2):
        make_version(where, tmp_path / f"work{number}")
        where.versions.promote(f"tiny@{number}", "ada")
    catalogue = where.catalogue
    shutil.rmtree(where.settings.versions_dir / "tiny@2")
    assert catalogue.get("tiny").number == 1
    shutil.rmtree(where.settings.versions_dir / "tiny@1")
    assert catalogue.get("tiny").number == 0
    assert where.versions.next_number("tiny") == 3  # a number is never used again
    assert make_version(where, tmp_path / "work3").number == 3


def test_a_damaged_pointer_serves_the_model_as_it_came_and_is_never_written_over(where: Clinic, tmp_path: Path) -> None:
    make_version(where, tmp_path / "1")
    where.versions.promote("tiny@1", "ada")
    make_version(where, tmp_path / "2")
    pointer = where.settings.versions_dir / FILE_NAME
    whole = pointer.read_bytes()
    for damage in (whole[:-40], b"", b"[]", b'{"models": {"tiny": {}}}', b"\xff\xfe"):
        pointer.write_bytes(damage)
        assert where.catalogue.get("tiny").number == 0
        with pytest.raises(ServingError, match="damaged"):
            where.versions.promote("tiny@2", "ada", anyway=True, reason="try")
        assert pointer.read_bytes() == damage
    pointer.write_bytes(whole)
    assert where.catalogue.get("tiny").number == 1


def test_many_who_change_at_once_lose_nothing(where: Clinic, tmp_path: Path) -> None:
    make_version(where, tmp_path / "1")

    def change(number: int) -> None:
        for step in range(5):
            where.versions.try_out("tiny", "tiny@1", True, step / 10, f"person {number}")

    people = [threading.Thread(target=change, args=(number,)) for number in range(6)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    changes = [change for change in where.versions.history("tiny").changes if change.what == "began a trial"]
    assert len(changes) == 30
    for number in range(6):
        said = [change.reason for change in changes if change.who == f"person {number}"]
        assert said == [f"shadow on, share {step * 10}%" for step in range(5)]


def test_a_share_of_the_studies_goes_to_the_version_on_trial_always_the_same(where: Clinic, tmp_path: Path) -> None:
    make_version(where, tmp_path / "1")
    studies = [{"t1c": f"{number:064x}", "t1": f"{number + 1:064x}"} for number in range(2000)]
    catalogue = where.catalogue
    assert {catalogue.for_reader("tiny", study) for study in studies} == {"tiny"}
    where.versions.try_out("tiny", "tiny@1", False, 0.2, "ada")
    served = [catalogue.for_reader("tiny", study) for study in studies]
    assert served == [where.catalogue.for_reader("tiny", dict(reversed(study.items()))) for study in studies]
    assert 0.17 < served.count("tiny@1") / 2000 < 0.23
    # a larger share takes more studies and gives none back
    where.versions.try_out("tiny", "tiny@1", False, 0.4, "ada")
    more = [catalogue.for_reader("tiny", study) for study in studies]
    assert all(after == "tiny@1" for before, after in zip(served, more, strict=True) if before == "tiny@1")
    assert catalogue.for_reader("tiny@0", studies[served.index("tiny@1")]) == "tiny@0"
    assert place_of("tiny", studies[0]) != place_of("other", studies[0])
    where.versions.try_out("tiny", None, False, 0.0, "ada")
    assert {catalogue.for_reader("tiny", study) for study in studies} == {"tiny"}


def test_trials_that_cannot_be_are_refused(where: Clinic, tmp_path: Path) -> None:
    make_version(where, tmp_path / "1")
    for shadow, share in ((False, 0.0), (True, 0.6), (True, -0.1), (False, float("nan"))):
        with pytest.raises(VersionError):
            where.versions.try_out("tiny", "tiny@1", shadow, share, "ada")
    with pytest.raises(VersionError, match="serves already"):
        where.versions.try_out("tiny", "tiny@0", True, 0.0, "ada")
    where.versions.try_out("tiny", "tiny@1", True, 0.1, "ada")
    where.versions.promote("tiny@1", "ada")
    assert where.versions.history("tiny").trial is None


def test_the_command_line_shows_promotes_and_takes_back(
    where: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAHTAI_DATA_DIR", str(where.settings.data_dir))
    monkeypatch.setenv("MAHTAI_MODELS_PATH", str(where.settings.models_path[0]))
    make_version(where, tmp_path / "1", better=False)

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["models", *words])
        return result.exit_code, result.output

    code, text = run("versions", "tiny")
    assert code == 0 and "tiny@0" in text and "serves" in text and "Made for a test." in text
    assert run("promote", "tiny@1")[0] == 1
    assert run("trial", "tiny@1", "--shadow", "--share", "0.2")[0] == 0
    assert "on trial (shadow on, share 20%)" in run("versions", "tiny")[1]
    assert run("trial", "tiny@1", "--off")[0] == 0
    assert run("promote", "tiny@1", "--anyway", "--reason", "seen by all")[0] == 0
    assert where.catalogue.get("tiny").number == 1
    code, text = run("rollback", "tiny")
    assert code == 0 and "tiny@0 serves" in text
    assert json.loads((where.settings.versions_dir / FILE_NAME).read_text())["models"]["tiny"]["active"] == 0
