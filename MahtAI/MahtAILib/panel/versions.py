"""The versions of a study or a cephalogram on disk and on the server: the work that is done in threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from MahtAILib.client import jobs
from MahtAILib.client.cases import (
    Case,
    LabelVersion,
    NewCase,
    NewLabel,
    anonymous_case,
    label_content,
    list_cases,
    list_labels,
)
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import RequestRefusedError
from MahtAILib.client.spool import FlushReport, Spool
from MahtAILib.client.study import StudyVolume
from MahtAILib.client.volumes import Blob
from MahtAILib.scene import provenance as origins
from MahtAILib.scene.provenance import Provenance


@dataclass(frozen=True)
class Saved:
    """A version that is safe on this computer, and what sending it came to."""

    client_key: str
    inputs: Mapping[str, str]
    report: FlushReport


def keep_and_send(
    spool: Spool,
    connection: Connection | None,
    url: str,
    task: str,
    case: str,
    volumes: Mapping[str, StudyVolume],
    inputs: Mapping[str, str],
    encode: Callable[[], bytes],
    label: NewLabel,
    parent_key: str,
) -> Saved:
    """In a thread: write the version to disk, then try to send it.

    Raises:
        SpoolError: it could not be written; nothing was saved.
    """
    blobs: dict[str, Blob] = {}
    if not case:
        blobs = {slot: volume.pack() for slot, volume in volumes.items()}
        inputs = dict(inputs) or {slot: blob.sha256 for slot, blob in blobs.items()}
    elif not inputs:
        inputs = {slot: volume.identify() for slot, volume in volumes.items()}
    key = spool.add(
        url,
        case or new_case(task, inputs),
        encode(),
        label,
        parent_key=parent_key or None,
        volumes=[blob for blob in blobs.values() if blob.sha256 in inputs.values()],
    )
    report = FlushReport(kept=len(spool.pending()))
    if connection is not None and connection.url == url:
        report = spool.flush(connection)
    return Saved(key, inputs, report)


def new_case(task: str, inputs: Mapping[str, str]) -> NewCase:
    """The case of these images; its name tells nothing of the patient."""
    return anonymous_case(task, inputs)


def versions_of(connection: Connection, inputs: Mapping[str, str]) -> list[tuple[Case, LabelVersion]]:
    """In a thread: the versions of these volumes, each with its case.

    Raises:
        ClientError: the server did not answer.
    """
    volume = next(iter(inputs.values()), "")
    cases = [case for case in list_cases(connection, volume) if volume and dict(case.volumes) == dict(inputs)]
    return [(case, version) for case in cases for version in list_labels(connection, case.id)]


def fetch_version(
    connection: Connection, case: Case, version: LabelVersion, decode: Callable[[bytes], Any]
) -> tuple[Any, Provenance]:
    """In a thread: a version's content and where it comes from.

    Raises:
        ClientError: the server did not answer.
        ExplainedError: the file cannot be read.
    """
    content = decode(label_content(connection, case.id, version))
    return content, origin_of(connection, case, version, content.provenance)


def keep_restored(
    spool: Spool, connection: Connection, case: Case, version: LabelVersion, label: NewLabel
) -> tuple[FlushReport, LabelVersion | None]:
    """In a thread: save what a version holds once more; what sending came to, and the new version where it is there.

    Raises:
        ClientError: the version could not be read.
        SpoolError: it could not be written; nothing was saved.
    """
    key = spool.add(connection.url, case.id, label_content(connection, case.id, version), label)
    report = spool.flush(connection)
    receipt = spool.receipt(key)
    if receipt is None:
        return report, None
    return report, next(one for one in list_labels(connection, case.id) if one.id == receipt.version_id)


def origin_of(connection: Connection, case: Case, version: LabelVersion, file: Mapping[str, str]) -> Provenance:
    """In a thread: where a version comes from.

    Args:
        file: keys of its file.

    Raises:
        ClientError: the server did not answer.
    """
    job = str(version.document.get("inference") or "")
    summary: dict[str, Any] = {}
    if job:
        with suppress(RequestRefusedError):  # the server may have forgotten the job; the version stands without it
            summary = jobs.summary(connection, job)
    return provenance_of_version(connection.url, case, version, file, summary)


def provenance_of_version(
    server: str, case: Case, version: LabelVersion, file: Mapping[str, str], summary: Mapping[str, Any]
) -> Provenance:
    """What is noted with a version in the scene.

    Args:
        summary: of the job that proposed it; empty where there is none or it is not known.
    """
    return Provenance(
        status=file.get("Status", origins.EDITED),
        server=server,
        job=str(version.document.get("inference") or ""),
        model=file.get("Model", ""),
        model_sha256=file.get("ModelSHA256", ""),
        inputs=dict(case.volumes),
        case=case.id,
        version=version.id,
        **Provenance.of_summary(summary),
        file=file,
    )


def saved_at(version: LabelVersion) -> str:
    """When a version was saved, in this computer's time; empty if the server did not say."""
    text = str(version.document.get("created_at", ""))
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text


def age(version: LabelVersion) -> tuple[str, int]:
    """Sorts versions by when they were saved."""
    return str(version.document.get("created_at", "")), version.number
