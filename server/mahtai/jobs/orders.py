"""Is a request for an inference one that can be worked on? Checked before it is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mahtai.db.blobs import find_blobs
from mahtai.db.engine import Database
from mahtai.inference.options import parse_options_of
from mahtai.jobs.inference import ChannelError, VolumeMissing
from mahtai.jobs.records import Order
from mahtai.models.bundle import Bundle
from mahtai.models.catalogue import Catalogue
from mahtai.volumes.geometry import Geometry
from mahtai.volumes.planar import check_for_landmarks
from mahtai.volumes.store import BlobStore
from mahtai.volumes.volume import check_is_stack

_WORDS = {"segmentation": "segmentation", "landmarks": "list of landmarks"}


class OrderDesk:
    """Turns requests into orders, or says why not."""

    def __init__(self, database: Database, store: BlobStore, catalogue: Catalogue) -> None:
        self._database = database
        self._store = store
        self._catalogue = catalogue

    def check(self, model: str, inputs: Mapping[str, str], options: Mapping[str, Any]) -> Order:
        """Check a request.

        Args:
            inputs: channel id → SHA-256 of an uploaded volume.

        Raises:
            UnknownModel, MissingWeights: nothing can run.
            ChannelError: a channel is unknown, missing, doubled, or holds a segmentation.
            OptionError: an option or its value is unknown.
            VolumeMissing: a volume was not uploaded; ``sha256`` lists them.
        """
        bundle = self._catalogue.get(model)
        bundle.require_weights()
        check_channels(bundle, inputs)
        chosen = parse_options_of(bundle.kind, options).as_json()
        self._check_volumes(bundle, inputs)
        return Order(bundle.id, bundle.version, bundle.sha256, dict(inputs), chosen)

    def _check_volumes(self, bundle: Bundle, inputs: Mapping[str, str]) -> None:
        with self._database.read() as session:
            known = find_blobs(session, inputs.values())
        lacking = {
            channel: sha256 for channel, sha256 in inputs.items() if sha256 not in known or not self._store.has(sha256)
        }
        if lacking:
            raise VolumeMissing(
                f"The server does not have the volume for {', '.join(sorted(lacking))}.",
                "Upload it first; nothing was started.",
                tuple(sorted(set(lacking.values()))),
            )
        for channel, sha256 in inputs.items():
            if known[sha256].kind != "volume":
                raise ChannelError(
                    f"What was chosen for {channel} is a {_WORDS.get(known[sha256].kind, 'file')}, not a scan.",
                    f"Choose the {channel} volume itself.",
                )
            _check_shape(bundle, Geometry(known[sha256].info["shape"], known[sha256].info["ijk_to_ras"]))


def _check_shape(bundle: Bundle, geometry: Geometry) -> None:
    """Refuse a volume for an image's task, and an image for a volume's.

    Raises:
        VolumeError: it does not fit.
    """
    if bundle.kind == "landmarks":
        check_for_landmarks(geometry)
    else:
        check_is_stack(geometry.shape)


def check_channels(bundle: Bundle, inputs: Mapping[str, str]) -> None:
    """Compare the inputs with the sequences that the model takes.

    Raises:
        ChannelError: saying which one does not fit.
    """
    names = {channel.id: channel.name for channel in bundle.channels}
    takes = f"It takes: {', '.join(names)}."
    unknown = sorted(set(inputs) - set(names))
    if unknown:
        raise ChannelError(f"The model {bundle.id} has no sequence {', '.join(unknown)}.", takes)
    missing = [names[channel] for channel in names if channel not in inputs]
    if not inputs or (not bundle.can_do_without(tuple(missing))):
        raise ChannelError(
            f"The model {bundle.id} needs {', '.join(missing)} as well.",
            f"{takes} Choose a volume for each of them, or a model that was trained for missing sequences.",
        )
    by_volume: dict[str, str] = {}
    for channel, sha256 in inputs.items():
        if sha256 in by_volume:
            raise ChannelError(
                f"{names[by_volume[sha256]]} and {names[channel]} are the same volume.",
                "Choose another volume for one of the two, or leave that slot empty. Nothing was changed.",
            )
        by_volume[sha256] = channel
