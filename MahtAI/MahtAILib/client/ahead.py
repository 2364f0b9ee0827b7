"""Ahead of a run: a study goes to the server, and the server makes ready what it can, before anybody asks for more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from MahtAILib.client.background import Cancelled, Task, run_cancellable
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import ClientError
from MahtAILib.client.study import StudyVolume, deliver
from MahtAILib.client.volumes import missing


def send_ahead(
    connection: Connection,
    volumes: Mapping[str, StudyVolume],
    model: str,
    options: Mapping[str, Any] | None = None,
    cancelled: Cancelled | None = None,
) -> dict[str, str]:
    """Upload what the server lacks of a study, one volume after the other, and have it prepared for a model.

    To be called from a worker thread. What was sent is there for a run even if this one is cancelled or fails. That
    the server prepares the study is its own affair: one that cannot, or does not want to, is asked in vain.

    Args:
        connection: to the server.
        volumes: channel → its volume.
        model: its id in the catalogue.
        options: with which the model will be run.
        cancelled: says when to stop.

    Returns:
        channel → SHA-256, all of them on the server.

    Raises:
        CancelledError: ``cancelled`` said so.
        NrrdError: an array or a matrix cannot be written.
        ClientError: not all volumes could be sent.
    """

    def work(task: Task) -> dict[str, str]:
        connection.require_mahtai()
        known = [volume.identity for volume in volumes.values() if volume.identity.sha256]
        lacking = missing(connection, [one.sha256 for one in known], task) if known else set()
        for one in known:
            (one.servers.discard if one.sha256 in lacking else one.servers.add)(connection.url)
        for volume in volumes.values():
            deliver(connection, [volume], task)
        inputs = {channel: volume.identity.sha256 for channel, volume in volumes.items()}
        body = {"model": model, "inputs": inputs, "options": dict(options or {})}
        try:
            connection.json("POST", "/v1/preparations", body, retry=False, task=task)
        except ClientError:
            task.check()
        return inputs

    return run_cancellable(work, None, cancelled)
