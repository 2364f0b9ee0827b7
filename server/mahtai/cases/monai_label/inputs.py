"""Which image goes into which channel of a model, for clients that think of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mahtai.cases.monai_label.images import UNNAMED_SLOT, Image
from mahtai.jobs.inference import ChannelError
from mahtai.models.bundle import Bundle
from mahtai.models.vocabulary import channel_in


@dataclass(frozen=True)
class Scan:
    """A volume that is to go into a model; ``slot`` is ``UNNAMED_SLOT`` where its name does not tell the sequence."""

    name: str
    slot: str
    sha256: str

    @classmethod
    def named(cls, name: str, sha256: str) -> Scan:
        """By what the name tells."""
        return cls(name, channel_in(name) or UNNAMED_SLOT, sha256)


def scans_of(image: Image) -> list[Scan]:
    """An image, together with the other sequences of its case."""
    return [Scan(image.id if slot == image.slot else slot, slot, sha) for slot, sha in image.case.volumes.items()]


def inputs_of(bundle: Bundle, scans: Sequence[Scan]) -> dict[str, str]:
    """Channel → SHA-256.

    Raises:
        ChannelError: it is not known which sequence an image is, or the model needs more than there are.
    """
    channels = {channel.id: channel.name for channel in bundle.channels}
    if len(channels) == 1:
        if len(scans) == 1:
            return {next(iter(channels)): scans[0].sha256}
        scans = [scan for scan in scans if scan.slot in channels]
    unclear = [scan.name for scan in scans if scan.slot == UNNAMED_SLOT]
    if unclear:
        raise ChannelError(
            f"The name {unclear[0]!r} does not tell which sequence the image is; the model {bundle.id} takes "
            f"{', '.join(channels.values())}. Nothing was started.",
            f"Name the images by their sequence (such as case1_{next(iter(channels))}), or send params.images as "
            f"{{sequence: image id}} with the sequences {', '.join(channels)}.",
        )
    inputs: dict[str, str] = {}
    for scan in scans:
        if scan.slot not in channels:
            continue
        if scan.slot in inputs:
            raise ChannelError(
                f"Two of the images are {channels[scan.slot]}. Nothing was started.", "Send one image a sequence."
            )
        inputs[scan.slot] = scan.sha256
    missing = tuple(name for channel, name in channels.items() if channel not in inputs)
    if not inputs or not bundle.can_do_without(missing):
        needs = "some of " if bundle.can_do_without(missing[:1]) else ""
        raise ChannelError(
            f"The model {bundle.id} needs {needs}{', '.join(missing)} as well. Nothing was started.",
            "Upload each sequence as an image of its own, then send their ids as params.images, for instance "
            f"{_example(channels)}; or choose a model that can do without.",
        )
    return inputs


def _example(channels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'"{channel}": "case1_{channel}"' for channel in channels) + "}"
