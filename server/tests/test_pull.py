"""Fetching models: from a real HTTP server, verified, unpacked safely, and never half there."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import socket
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundle_kit import write_bundle
from mahtai.models import unpack as unpacking
from mahtai.models.bundle import Bundle, BundleError, read_bundle
from mahtai.models.catalogue import Catalogue
from mahtai.models.check import check
from mahtai.models.download import DownloadError, WrongContent
from mahtai.models.pull import SOURCE_FILE, changed_files, pull
from mahtai.models.registry import Entry, RemoteFile, Source, UnknownSource, read_registry
from mahtai.models.unpack import UnsafeArchive, unpack


class Site(http.server.ThreadingHTTPServer):
    """Serves what is put into ``content``; counts requests; can break off half-way."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.break_off_after: int | None = None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def offer(self, name: str, data: bytes, path: str = "") -> RemoteFile:
        """Put a file on the site and describe it as a registry would."""
        self.content["/" + name] = data
        return RemoteFile(self.url(name), len(data), hashlib.sha256(data).hexdigest(), path)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        data = self.server.content.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.server.break_off_after is not None:
            self.wfile.write(data[: self.server.break_off_after])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bundle_files(tmp_path: Path) -> dict[str, bytes]:
    folder = write_bundle(tmp_path / "made")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def registry(*sources: Source) -> dict[str, Entry]:
    return {"glioma": Entry("glioma", "Glioma", "Apache-2.0", "https://example.org", sources)}


def from_archive(site: Site, files: dict[str, bytes]) -> dict[str, Entry]:
    data = zipped({f"glioma_v1/{name}": content for name, content in files.items()})
    return registry(Source(site.offer("glioma_v1.zip", data), ()))


def fetched(models: Path, entries: dict[str, Entry], **options: Any) -> Bundle:
    return read_bundle(pull("glioma", models, registry=entries, **options))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_a_model_is_fetched_verified_and_listed(site: Site, models: Path, bundle_files: dict[str, bytes]) -> None:
    told: list[tuple[int, int]] = []
    entries = from_archive(site, bundle_files)
    bundle = fetched(models, entries, progress=lambda done, total: told.append((done, total)))
    assert bundle.folder == models / "glioma"
    assert [model.id for model in Catalogue([models]).list()] == ["glioma"]
    assert {path.name for path in models.iterdir()} == {"glioma"}
    for name, content in bundle_files.items():
        assert (models / "glioma" / name).read_bytes() == content
    total = len(site.content["/glioma_v1.zip"])
    assert told == sorted(told)
    assert told[-1] == (total, total)


def test_the_fetched_model_works_and_later_changes_are_noticed(
    site: Site, models: Path, bundle_files: dict[str, bytes]
) -> None:
    bundle = fetched(models, from_archive(site, bundle_files))
    assert changed_files(bundle.folder) == []
    findings = check(bundle, "cpu")
    assert {finding.level for finding in findings} == {"ok"}
    assert any("as they were fetched" in finding.text for finding in findings)
    (bundle.folder / "docs" / "README.md").write_text("other")
    (bundle.folder / "LICENSE").unlink()
    assert changed_files(bundle.folder) == ["LICENSE", "docs/README.md"]
    assert "changed since" in next(finding.text for finding in check(bundle, "cpu") if finding.level == "note")


def test_single_files_make_a_model_as_an_archive_does(site: Site, models: Path, bundle_files: dict[str, bytes]) -> None:
    files = tuple(site.offer(name.replace("/", "-"), content, name) for name, content in bundle_files.items())
    assert fetched(models, registry(Source(None, files))).state == "ready"


def test_weights_kept_apart_from_the_archive_are_fetched_too(
    site: Site, models: Path, bundle_files: dict[str, bytes]
) -> None:
    weights = site.offer("model.pt", bundle_files.pop("models/model.pt"), "models/model.pt")
    [source] = from_archive(site, bundle_files)["glioma"].sources
    assert fetched(models, registry(replace(source, files=(weights,)))).state == "ready"
    recorded = json.loads((models / "glioma" / SOURCE_FILE).read_text())
    assert [part["sha256"] for part in recorded["from"]] == [source.parts[0].sha256, weights.sha256]


def test_an_archive_without_weights_is_refused(site: Site, models: Path, bundle_files: dict[str, bytes]) -> None:
    del bundle_files["models/model.pt"]
    with pytest.raises(BundleError, match="weights of .* are missing"):
        pull("glioma", models, registry=from_archive(site, bundle_files))
    assert list(models.iterdir()) == []


def test_a_model_that_is_there_is_not_fetched_again(site: Site, models: Path, bundle_files: dict[str, bytes]) -> None:
    offered = from_archive(site, bundle_files)
    first = fetched(models, offered)
    assert fetched(models, offered).sha256 == first.sha256
    assert len(site.requests) == 1
    pull("glioma", models, registry=offered, again=True)
    assert len(site.requests) == 2
    assert {path.name for path in models.iterdir()} == {"glioma"}


def test_a_broken_model_that_is_there_is_not_replaced_unasked(
    site: Site, models: Path, bundle_files: dict[str, bytes]
) -> None:
    offered = from_archive(site, bundle_files)
    folder = pull("glioma", models, registry=offered)
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(BundleError, match="is there already but cannot be used") as caught:
        pull("glioma", models, registry=offered)
    assert "--again" in caught.value.hint
    assert fetched(models, offered, again=True).state == "ready"


def tampered(entries: dict[str, Entry], **changes: object) -> dict[str, Entry]:
    source = entries["glioma"].sources[0]
    assert source.archive is not None
    return registry(replace(source, archive=replace(source.archive, **changes)))


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"published_sha1": "0" * 40}, {"bytes": 100}])
def test_other_bytes_than_pinned_are_refused_and_the_old_model_stays(
    site: Site, models: Path, bundle_files: dict[str, bytes], changes: dict[str, object]
) -> None:
    offered = from_archive(site, bundle_files)
    before = fetched(models, offered).sha256
    with pytest.raises(WrongContent) as caught:
        pull("glioma", models, registry=tampered(offered, **changes), again=True)
    assert "Do not use it" in caught.value.hint
    assert fetched(models, offered).sha256 == before
    assert {path.name for path in models.iterdir()} == {"glioma"}


@pytest.mark.parametrize("after", [0, 1000])
def test_a_download_that_breaks_off_leaves_nothing(
    site: Site, models: Path, bundle_files: dict[str, bytes], after: int
) -> None:
    offered = from_archive(site, bundle_files)
    site.break_off_after = after
    with pytest.raises(DownloadError, match="broke off.* Nothing was kept"):
        pull("glioma", models, registry=offered)
    assert list(models.iterdir()) == []
    assert Catalogue([models]).list() == []


def test_a_pull_that_the_user_stops_leaves_nothing(site: Site, models: Path, bundle_files: dict[str, bytes]) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("glioma", models, stop, registry=from_archive(site, bundle_files))
    assert list(models.iterdir()) == []


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_without_internet_the_reason_and_another_way_are_told(models: Path) -> None:
    nowhere = RemoteFile(f"http://127.0.0.1:{closed_port()}/m.zip", 10, "0" * 64)
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        pull("glioma", models, registry=registry(Source(nowhere, ())))
    assert (caught.value.status, "--file" in caught.value.hint) == (503, True)
    assert list(models.iterdir()) == []


def test_a_name_that_is_not_known_to_the_internet_is_no_crash(models: Path) -> None:
    nowhere = RemoteFile("http://models.invalid/m.zip", 10, "0" * 64)
    with pytest.raises(DownloadError, match=re.escape("models.invalid cannot be reached")):
        pull("glioma", models, registry=registry(Source(nowhere, ())))


def test_the_second_source_is_tried_when_the_first_fails(
    site: Site, models: Path, bundle_files: dict[str, bytes]
) -> None:
    gone = Source(RemoteFile(site.url("gone.zip"), 10, "0" * 64), ())
    works = from_archive(site, bundle_files)["glioma"].sources[0]
    assert fetched(models, registry(gone, works)).state == "ready"
    assert site.requests == ["/gone.zip", "/glioma_v1.zip"]


def test_a_changed_file_is_reported_rather_than_a_missing_one(site: Site, models: Path) -> None:
    gone = Source(RemoteFile(site.url("gone.zip"), 10, "0" * 64), ())
    wrong = Source(replace(site.offer("wrong.zip", b"x"), sha256="0" * 64), ())
    with pytest.raises(DownloadError, match="answers 404"):
        pull("glioma", models, registry=registry(gone))
    with pytest.raises(WrongContent):
        pull("glioma", models, registry=registry(gone, wrong))


def test_a_zip_brought_on_a_stick_is_verified_like_a_download(
    site: Site, models: Path, tmp_path: Path, bundle_files: dict[str, bytes]
) -> None:
    offered = from_archive(site, bundle_files)
    stick = tmp_path / "stick.zip"
    with pytest.raises(BundleError, match=re.escape("no file stick.zip")):
        pull("glioma", models, archive=stick, registry=offered)
    stick.write_bytes(b"x" * len(site.content["/glioma_v1.zip"]))
    with pytest.raises(WrongContent, match="SHA-256"):
        pull("glioma", models, archive=stick, registry=offered)
    stick.write_bytes(b"something else")
    with pytest.raises(WrongContent, match="not the archive of glioma"):
        pull("glioma", models, archive=stick, registry=offered)
    assert list(models.iterdir()) == []
    stick.write_bytes(site.content["/glioma_v1.zip"])
    assert fetched(models, offered, archive=stick).state == "ready"
    assert site.requests == []
    assert stick.exists()


def test_an_unknown_model_is_answered_with_those_that_can_be_fetched(models: Path) -> None:
    with pytest.raises(UnknownSource, match="meningioma") as caught:
        pull("meningioma", models)
    assert "brats_mri_segmentation" in caught.value.hint
    assert not models.exists()


# --- unpacking --------------------------------------------------------------------------------


def link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("glioma/models/model.pt")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


def names(*wanted: str) -> Callable[[zipfile.ZipFile], None]:
    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr("glioma/configs/metadata.json", "{}")
        for name in wanted:
            archive.writestr(name, "x")

    return write


UNSAFE: dict[str, tuple[Callable[[zipfile.ZipFile], None], str]] = {
    "a way up": (names("../escaped"), "leads out of the model's folder"),
    "a way up further inside": (names("glioma/../../escaped"), "leads out"),
    "an absolute path": (names("/tmp/escaped"), "leads out"),
    "a Windows path": (names("..\\escaped"), "leads out"),
    "a Windows drive": (names("C:/escaped"), "leads out"),
    "a link": (link, "is a link"),
    "a bomb": (lambda archive: archive.writestr("glioma/zeros", bytes(60_000_000)), "zip bomb"),
    "a name twice": (names("glioma/a", "glioma/A"), "same name"),
    "a file that is a folder too": (names("glioma/a", "glioma/a/b"), "same name"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_a_harmful_zip_is_refused_and_leaves_nothing(site: Site, models: Path, tmp_path: Path, name: str) -> None:
    write, said = UNSAFE[name]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    # as if the harmful archive itself had been pinned
    with pytest.raises(UnsafeArchive, match=said):
        pull("glioma", models, registry=registry(Source(site.offer("m.zip", stream.getvalue()), ())))
    assert list(models.iterdir()) == []
    assert not list(tmp_path.rglob("escaped"))
    assert not Path("/tmp/escaped").exists()


def test_an_entry_that_lies_about_its_size_cannot_fill_the_disk(tmp_path: Path) -> None:
    data = bytearray(zipped({"glioma/zeros": bytes(5_000_000)}))
    for place in (data.find(b"PK\x03\x04") + 22, data.find(b"PK\x01\x02") + 24):
        data[place : place + 4] = (10).to_bytes(4, "little")
    (tmp_path / "lying.zip").write_bytes(data)
    with pytest.raises(UnsafeArchive):
        unpack(tmp_path / "lying.zip", tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) <= 10


def test_more_files_than_a_model_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_ENTRIES", 3)
    (tmp_path / "many.zip").write_bytes(zipped({f"m/{n}": b"x" for n in range(4)}))
    with pytest.raises(UnsafeArchive, match="holds 4 files"):
        unpack(tmp_path / "many.zip", tmp_path / "out")


def test_a_damaged_zip_is_refused(site: Site, models: Path) -> None:
    with pytest.raises(UnsafeArchive, match="damaged"):
        pull("glioma", models, registry=registry(Source(site.offer("m.zip", b"PK\x03\x04 no zip"), ())))
    assert list(models.iterdir()) == []


# --- the real registry ------------------------------------------------------------------------


def test_everything_in_the_registry_is_pinned_and_encrypted_on_the_way() -> None:
    for item in read_registry().values():
        assert item.licence
        for source in item.sources:
            assert source.parts
            for part in source.parts:
                assert re.fullmatch(r"[0-9a-f]{64}", part.sha256)
                assert part.url.startswith("https://")
                assert part.bytes > 0
                # an address that can change its content would be an address that breaks
                assert "/main/" not in part.url
                assert part is source.archive or part.path


def test_the_registry_names_the_bundle_of_the_model_zoo() -> None:
    item = read_registry()["brats_mri_segmentation"]
    for source in item.sources:
        paths = {file.path for file in source.files}
        assert source.archive or {"configs/metadata.json", "configs/inference.json", "models/model.pt"} <= paths
