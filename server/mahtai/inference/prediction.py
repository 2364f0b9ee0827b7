"""Running a network over a prepared volume: in one pass or in windows, as far as the memory goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Generic, TypeVar

import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn
from torch.nn import functional

from mahtai.errors import MahtaiError
from mahtai.inference.memory import free_bytes
from mahtai.inference.runtimes import Forward, Runtime, Subject, eager
from mahtai.models.bundle import Bundle, SegmentationBundle
from mahtai.models.network import best_device, build_network, load_weights

ONE_PASS_VOXELS = {"cpu": 7_000_000, "cuda": 16_000_000, "mps": 5_000_000}
"""Largest volume given to the network whole, by kind of device; larger ones go window by window."""

OVERLAP = 0.25
"""Share by which windows overlap; they are blended by a Gaussian."""

BYTES_PER_VOXEL = 700
"""Peak memory of one pass, measured: SegResNet with 16 filters in float32 on a CPU; half of it in bf16."""

SIZE_MULTIPLE = 16
"""Sides are padded to a multiple of this: UNETR's patches, and one halving more than SegResNet has. A tighter box
is faster, but it moves the Dice: the network's normalization sees less of the background."""


class OutOfMemory(MahtaiError):
    """The device has not enough memory even for small windows."""

    kind = "out-of-memory"
    title = "Out of memory"
    status = 507


class Cancelled(Exception):
    """The reader no longer wants the result."""


B = TypeVar("B", bound=Bundle)


@dataclass(frozen=True)
class LoadedModel(Generic[B]):
    """A bundle whose network is on its device and ready to run.

    Attributes:
        network: in float32.
        precision: of the numbers in the network's convolutions.
        runtime: id of the way in which a 3-D network is run, see ``runtimes``.
        forward: that way; None for PyTorch as it is.
        voxels_per_s: what it does on this machine; None where that was not measured.
    """

    bundle: B
    network: nn.Module
    device: torch.device
    precision: str
    runtime: str = ""
    forward: Forward | None = None
    voxels_per_s: float | None = None

    @property
    def memory_format(self) -> torch.memory_format:
        """Of the network's weights and of what it is given."""
        if self.device.type != "cpu":
            return torch.contiguous_format
        return torch.channels_last_3d if self.bundle.spatial_dims == 3 else torch.channels_last

    def logits(self, batch: Tensor) -> Tensor:
        """1 × outputs × X × Y × Z float32 of a batch 1 × channels × X × Y × Z."""
        forward = self.forward or eager(self.precision).build(subject_of(self))
        return forward(batch)

    def probabilities(self, logits: Tensor) -> Tensor:
        """What the logits mean."""
        sigmoid = isinstance(self.bundle, SegmentationBundle) and self.bundle.activation == "sigmoid"
        return logits.sigmoid() if sigmoid else logits.softmax(1)

    def run_by(self, runtime: Runtime, forward: Forward, voxels_per_s: float | None) -> LoadedModel[B]:
        """The same model, run in another way."""
        return replace(
            self, precision=runtime.precision, runtime=runtime.id, forward=forward, voxels_per_s=voxels_per_s
        )


def subject_of(model: LoadedModel, cache: Path | None = None) -> Subject:
    """The model's network as the runtimes take it."""
    return Subject(model.network, len(model.bundle.channels), model.device, model.bundle.sha256, cache)


def choose_device(wanted: str = "auto") -> torch.device:
    """``auto``: CUDA, else Apple's GPU, else the CPU.

    Raises:
        DeviceError: this computer does not have the one that is wanted.
    """
    return best_device(wanted)


def choose_precision(device: torch.device, wanted: str = "auto") -> str:
    """bf16 where the hardware computes with it; on other processors it would be slower than fp32."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "bf16"
    return "fp32"


def load_model(bundle: B, device: torch.device, precision: str = "auto") -> LoadedModel[B]:
    """Build the network, read its weights, put it on the device.

    Raises:
        BundleError: no weights, or weights that do not fit the network.
    """
    network = build_network(bundle)
    load_weights(network, bundle)
    network.eval().requires_grad_(False)
    number_format = choose_precision(device, precision)
    model = LoadedModel(bundle, network.to(device), device, number_format, f"eager {number_format}")
    network.to(memory_format=model.memory_format)  # type: ignore[call-overload]
    return model


def predict(
    model: LoadedModel,
    image: Tensor,
    flips: bool,
    report: Callable[[float], object],
    cancelled: Callable[[], bool],
) -> Tensor:
    """Probabilities of a prepared volume.

    Args:
        image: channels × X × Y × Z float32 on the model's device.
        flips: mean over the eight mirrored inputs.
        report: called with the fraction that is done.

    Returns:
        outputs × X × Y × Z float32.

    Raises:
        Cancelled: noticed between windows.
        OutOfMemory: even the smallest window does not fit.
    """
    padded, box = _padded(image)
    axes = _flip_axes() if flips else [()]
    total: Tensor | None = None
    for number, mirror in enumerate(axes):
        done = number / len(axes)

        def report_part(fraction: float, done: float = done) -> None:
            report(done + fraction / len(axes))

        mirrored = padded.flip(mirror) if mirror else padded
        part = _with_smaller_windows(model, mirrored, report_part, cancelled)
        part = part.flip(mirror) if mirror else part
        total = part if total is None else total + part
    assert total is not None
    return (total / len(axes))[(slice(None), *box)]


def _flip_axes() -> list[tuple[int, ...]]:
    return [axes for count in range(4) for axes in combinations((1, 2, 3), count)]


def _padded(image: Tensor) -> tuple[Tensor, tuple[slice, ...]]:
    sizes = image.shape[1:]
    padding: list[int] = []
    box = []
    for size in sizes:
        missing = -size % SIZE_MULTIPLE
        box.append(slice(missing // 2, missing // 2 + size))
        padding = [missing // 2, missing - missing // 2, *padding]
    return functional.pad(image, padding), tuple(box)


def _window_sizes(model: LoadedModel, sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The whole volume if it is small enough, then ever smaller windows."""
    fixed = model.bundle.fixed_input_size
    if fixed is not None:
        yield fixed
        return
    windows = [tuple(min(side, size) for size in sizes) for side in (160, 128, 96, 64)]
    if _voxels(sizes) <= ONE_PASS_VOXELS.get(model.device.type, 5_000_000):
        windows = [sizes, *windows]
    free = free_bytes(model.device)
    per_voxel = BYTES_PER_VOXEL if model.precision == "fp32" else BYTES_PER_VOXEL / 2
    fitting = [window for window in windows if free is None or _voxels(window) * per_voxel <= free]
    yield from dict.fromkeys(fitting or windows[-1:])  # each once


def _voxels(sizes: tuple[int, ...]) -> int:
    return sizes[0] * sizes[1] * sizes[2]


def _with_smaller_windows(
    model: LoadedModel, image: Tensor, report: Callable[[float], object], cancelled: Callable[[], bool]
) -> Tensor:
    for window in _window_sizes(model, tuple(image.shape[1:])):
        try:
            return _windows(model, image, window, report, cancelled)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        # outside of the except block, where the traceback would still hold the tensors
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
    raise OutOfMemory(
        f"The {model.device.type.upper()} has not enough free memory for this study, even in small pieces.",
        "Nothing was lost. Close other programs that use its memory and run again, or run on the CPU.",
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def _windows(
    model: LoadedModel,
    image: Tensor,
    window: tuple[int, ...],
    report: Callable[[float], object],
    cancelled: Callable[[], bool],
) -> Tensor:
    # what sliding_window_inference will do at this overlap, for the progress only
    sides = zip(image.shape[1:], window, strict=True)
    counts = [-(-max(size - side, 0) // max(1, round(side * (1 - OVERLAP)))) + 1 for size, side in sides]
    expected = counts[0] * counts[1] * counts[2]
    seen = 0

    def run(batch: Tensor) -> Tensor:
        nonlocal seen
        if cancelled():
            raise Cancelled
        logits = model.logits(batch)
        seen += 1
        report(min(1.0, seen / expected))
        return model.probabilities(logits)

    with torch.inference_mode():
        batch = image[None]
        if tuple(image.shape[1:]) == tuple(window):
            return run(batch)[0]
        result = sliding_window_inference(batch, window, 1, run, overlap=OVERLAP, mode="gaussian")
        assert isinstance(result, Tensor)
        return result[0]
