"""A bundle that takes one volume, as most models of other makers do; random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bundle_kit import small_network, write_bundle


def write_one_channel_bundle(folder: Path) -> Path:
    """Write it into ``folder`` and return that."""

    def change(metadata: dict[str, Any], inference: dict[str, Any]) -> None:
        image = metadata["network_data_format"]["inputs"]["image"]
        image.update({"num_channels": 1, "channel_def": {"0": "FLAIR"}})
        inference.update({"channels_in": 1, "window": [48, 48, 48]})

    write_bundle(folder, change, weights=False)
    torch.save(small_network(1).state_dict(), folder / "models" / "model.pt")
    return folder
