"""Ways to run a network on a device: PyTorch as it is, in bf16 or fp16, as a CUDA graph, or by OpenVINO.

Each takes the same batch and gives the same logits; which one is the fastest that is still correct differs
from processor to processor, and is measured by ``mahtai.inference.tuning``.
"""

from __future__ import annotations

import gc
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
"""Batch (1 × channels × X × Y × Z float32, on the device) → logits (1 × outputs × X × Y × Z float32)."""


@dataclass(frozen=True)
class Subject:
    """What is to be run.

    Attributes:
        network: in evaluation mode, float32, on ``device``.
        channels: that the network takes.
        sha256: of the bundle; names what is kept in ``cache``.
        cache: folder for converted networks, or None to keep nothing.
    """

    network: nn.Module
    channels: int
    device: torch.device
    sha256: str
    cache: Path | None = None

    @property
    def memory_format(self) -> torch.memory_format:
        """Channels last is faster on a CPU; on CUDA it can hurt with instance norm."""
        return torch.channels_last_3d if self.device.type == "cpu" else torch.contiguous_format


@dataclass(frozen=True)
class Runtime:
    """A way to run a network.

    Attributes:
        id: for the records, such as ``openvino bf16``.
        precision: of the numbers in the convolutions.
        build: makes the forward pass; raises whatever its library raises where it cannot.
    """

    id: str
    precision: str
    build: Callable[[Subject], Forward]


def eager(precision: str) -> Runtime:
    """PyTorch, operation by operation."""

    def build(subject: Subject) -> Forward:
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)

        def forward(batch: Tensor) -> Tensor:
            batch = batch.contiguous(memory_format=subject.memory_format)
            with torch.inference_mode(), torch.autocast(subject.device.type, dtype, enabled=dtype is not None):
                return subject.network(batch).float()

        return forward

    return Runtime(f"eager {precision}", precision, build)


def cuda_graph(precision: str) -> Runtime:
    """PyTorch's kernels recorded once for a size and launched together, which spares the launching of each."""

    def build(subject: Subject) -> Forward:
        if subject.device.type != "cuda":
            raise RuntimeError("CUDA graphs need an NVIDIA card")
        plain = eager(precision).build(subject)
        recorded: dict[tuple[int, ...], tuple[Any, Tensor, Tensor]] = {}

        def forward(batch: Tensor) -> Tensor:
            size = tuple(batch.shape)
            if size not in recorded:
                recorded.clear()  # one size at a time: the memory of a graph stays taken
                given = batch.clone()
                plain(given)  # so that nothing is chosen or allocated while it is recorded
                torch.cuda.synchronize(subject.device)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    made = plain(given)
                recorded[size] = (graph, given, made)
            graph, given, made = recorded[size]
            given.copy_(batch)
            graph.replay()
            return made.clone()

        return forward

    return Runtime(f"cuda graph {precision}", precision, build)


def openvino(precision: str) -> Runtime:
    """Intel's OpenVINO on the CPU (AMD's and ARM's as well); the converted network is kept in the cache."""

    def build(subject: Subject) -> Forward:
        if subject.device.type != "cpu":
            raise RuntimeError("OpenVINO is used on the CPU only")
        core = _core()
        compiled = core.compile_model(
            _converted(subject, core),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision),
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        request = compiled.create_infer_request()

        def forward(batch: Tensor) -> Tensor:
            request.infer([batch.contiguous().numpy()], share_inputs=True)
            # the request's own memory is written over by the next window
            return torch.from_numpy(request.get_output_tensor(0).data.copy())

        return forward

    return Runtime(f"openvino {precision}", precision, build)


def _openvino() -> Any:
    # its converter reports its use to its makers if this package is there; what runs here is nobody's business
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@lru_cache(maxsize=1)
def _core() -> Any:
    """One for the life of the process: with its last core OpenVINO's plug-in would be unloaded from under threads
    that have run in it, and the process ends sooner or later.
    """
    core = _openvino().Core()
    core.set_property({"ENABLE_MMAP": False})  # files of the cache may be replaced or removed
    return core


def _converted(subject: Subject, core: Any) -> Any:
    """The network in OpenVINO's form, float32, any size: out of the cache, or converted now (seconds).

    Always read from a file: a model just converted shares its weights with PyTorch's objects, and ends the process
    if one of its own threads lets go of them.
    """
    if subject.cache is None:
        with tempfile.TemporaryDirectory() as folder:
            return core.read_model(_convert(subject, Path(folder)))
    kept = subject.cache / f"{_name(subject)}.xml"
    if not (kept.is_file() and kept.with_suffix(".bin").is_file()):
        with tempfile.TemporaryDirectory(dir=_made(subject.cache)) as folder:
            part = _convert(subject, Path(folder))
            # each whole, for another process may read them at any moment
            os.replace(part.with_suffix(".bin"), kept.with_suffix(".bin"))
            os.replace(part, kept)
    return core.read_model(kept)


def _name(subject: Subject) -> str:
    return f"{subject.sha256[:32]}-openvino-{_openvino().__version__.split('-')[0]}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _convert(subject: Subject, folder: Path) -> Path:
    """Write the converted network into a folder; returns the one of its two files that names the other."""
    library = _openvino()
    example = torch.zeros(1, subject.channels, 32, 32, 32)
    with torch.inference_mode(), warnings.catch_warnings():
        # the trial that follows is of another size, and shows whether the trace depends on it
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        model = library.convert_model(subject.network, example_input=example)
    model.reshape([1, subject.channels, -1, -1, -1])
    path = folder / f"{_name(subject)}.xml"
    library.save_model(model, path, compress_to_fp16=False)
    del model
    gc.collect()
    return path


def candidates(device: torch.device) -> tuple[Runtime, ...]:
    """What can be tried on a device; the first one is the reference that the others are compared with."""
    if device.type == "cuda":
        return (eager("fp32"), eager("bf16"), eager("fp16"), cuda_graph("bf16"), cuda_graph("fp16"))
    if device.type == "cpu":
        arm = platform.machine().lower() in ("arm64", "aarch64")
        return (eager("fp32"), eager("bf16"), openvino("fp32"), openvino("fp16" if arm else "bf16"))
    return (eager("fp32"), eager("fp16"))
