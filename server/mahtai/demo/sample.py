"""The demo's study: a public sample with pinned checksums, or a made-up case with known truth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import requests

from mahtai.demo.phantom import make_phantom
from mahtai.volumes.formats import read_volume

SAMPLE_NAME = "BraTS-GLI-00001-000"
SAMPLE_ADDRESS = "https://github.com/lassoan/SlicerMONAIAuto3DSeg/releases/download/TestingData/"
SAMPLE_FILES = {
    "t1c": ("t1c", "4399faadcc45c8a4541313cdf88aced7d835ed59ac3078d950e0eac293d603f5"),
    "t1": ("t1n", "e860924b936e301ddeba20409fbb59dde322475cb49328f1b46a9235c792e73e"),
    "t2": ("t2w", "4cd389cc57d12134a30a898c66532228126b9a7d0600ee578e82a32144528b51"),
    "flair": ("t2f", "82aed8546af5e6d8d94fd91c56227abdcf6120130390d1556c4342a208980604"),
}
"""Channel id → the word in the file's name, SHA-256."""

_TIMEOUT_S = (5.0, 30.0)


@dataclass(frozen=True)
class DemoStudy:
    """What the demo segments.

    Attributes:
        name: of the case.
        origin: where it comes from, one sentence for the reader.
        volumes: channel id → (array [i, j, k], IJK-to-RAS 4 × 4 in mm).
        truth: labels 1 NCR, 2 ED, 3 ET where they are known for certain, else None.
    """

    name: str
    origin: str
    volumes: dict[str, tuple[np.ndarray, np.ndarray]]
    truth: np.ndarray | None = None


def cache_folder() -> Path:
    """Where downloaded samples are kept."""
    return Path(platformdirs.user_cache_dir("MahtAI", appauthor=False)) / "samples"


def _neighbouring_data() -> Path:
    """``shared/data`` beside the repository, where there is one."""
    return Path(__file__).resolve().parents[4] / "shared" / "data" / "sample" / SAMPLE_NAME


def _is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def find_sample(folders: Iterable[Path]) -> dict[str, Path] | None:
    """The four files from the first folder that has each with the right checksum, or None."""
    for folder in folders:
        paths = {channel: folder / f"{SAMPLE_NAME}-{word}.nii.gz" for channel, (word, _) in SAMPLE_FILES.items()}
        if all(_is_right(path, SAMPLE_FILES[channel][1]) for channel, path in paths.items()):
            return paths
    return None


def download_sample(folder: Path, address: str, on_file: Callable[[str], None]) -> dict[str, Path]:
    """Fetch the four files; each appears under its name only when its checksum is right.

    Raises:
        requests.RequestException: no internet, or the server does not answer.
        ValueError: a file is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for channel, (word, sha256) in SAMPLE_FILES.items():
        path = folder / f"{SAMPLE_NAME}-{word}.nii.gz"
        if not _is_right(path, sha256):
            on_file(path.name)
            answer = requests.get(address + path.name, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            partial = path.with_suffix(".partial")
            partial.write_bytes(answer.content)
            if not _is_right(partial, sha256):
                partial.unlink()
                raise ValueError(f"{path.name} from {address} is not the file whose checksum is pinned")
            partial.replace(path)
        paths[channel] = path
    return paths


def demo_study(synthetic: bool, say: Callable[[str], None]) -> DemoStudy:
    """The public sample from the cache, from data beside the repository, or from the internet; else a phantom."""
    if synthetic:
        return _phantom_study("You asked for a made-up case: a phantom with known truth, no patient.")
    folders = (cache_folder(), _neighbouring_data())
    paths = find_sample(folders)
    if paths is None:
        try:
            paths = download_sample(cache_folder(), SAMPLE_ADDRESS, lambda name: say(f"Downloading {name}"))
        except (requests.RequestException, ValueError) as error:
            reason = str(error) if isinstance(error, ValueError) else "its server cannot be reached"
            say(f"The public sample cannot be downloaded: {reason}.")
            return _phantom_study(
                "The public sample could not be had, so this is a made-up case: a phantom, no patient."
            )
    volumes = {}
    for channel, path in paths.items():
        volume = read_volume(path)
        volumes[channel] = (volume.array, volume.geometry.ijk_to_ras)
    return DemoStudy(SAMPLE_NAME, f"Public sample {SAMPLE_NAME} (BraTS 2023), checksums verified.", volumes)


def _phantom_study(origin: str) -> DemoStudy:
    phantom = make_phantom()
    volumes = {channel: (array, phantom.ijk_to_ras) for channel, array in phantom.channels.items()}
    return DemoStudy("Synthetic case", origin, volumes, phantom.labels)
