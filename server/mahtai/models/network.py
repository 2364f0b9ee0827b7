"""From a bundle to a network with weights: the only place among the models that knows torch."""

from __future__ import annotations

import importlib
import pickle
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mahtai.errors import MahtaiError
from mahtai.models.bundle import Bundle
from mahtai.models.config import BundleError
from mahtai.models.inference_config import NETWORK_PACKAGES, check_target

CHECKPOINT_KEYS = ("model", "state_dict", "network", "net")
"""Under which a checkpoint may hold the weights, next to the optimizer and the like."""


MOST_PARAMETERS = 2_000_000_000

# what networks raise on arguments that they do not take, and torch on damaged checkpoints
_THIRD_PARTY_ERRORS = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ImportError,
    RuntimeError,
    AssertionError,
    ArithmeticError,
)

_USE_AUTO = "Leave --device out (auto takes the best one that is there), or give cpu."

# torch names what a pickle wanted to call and was not allowed to (weights_only=True)
_ASKED_FOR = re.compile(r"GLOBAL ([\w.]+)")


class RefusedWeights(BundleError):
    """A weights file that wants to run code, or is not a weights file at all."""

    kind = "weights-refused"
    title = "The model's weights were refused"


class DeviceError(MahtaiError):
    """A device was asked for that this computer does not have."""

    kind = "device"
    title = "There is no such device"
    status = 422


def build_network(bundle: Bundle) -> nn.Module:
    """Make the network with random weights, in evaluation mode.

    Raises:
        BundleError: the class is not an allowed one or does not take these arguments.
    """
    definition = dict(bundle.network_def)
    network_class = _network_class(definition.pop("_target_"))
    try:
        # made without memory first: a description may ask for more than any computer has
        with torch.device("meta"):
            parameters = sum(value.numel() for value in network_class(**definition).parameters())
        if parameters > MOST_PARAMETERS:
            raise BundleError(
                f"The network of {bundle.id} would have {parameters / 1e9:.1f} thousand million parameters.",
                "That is no model of this kind; its description is damaged. Get it again.",
            )
        network = network_class(**definition)
    except _THIRD_PARTY_ERRORS as error:
        said = str(error).strip().partition("\n")[0][:200]
        raise BundleError(
            f"The network of {bundle.id} cannot be made: {network_class.__name__} says: {said}",
            "The model may be meant for another MONAI version; get a newer one, or choose another model.",
        ) from error
    return network.eval()


def _network_class(target: str) -> type[nn.Module]:
    name = check_target(target)
    for package in NETWORK_PACKAGES:
        if "." in target and not target.startswith(package):
            continue
        try:
            found = getattr(importlib.import_module(package), name, None)
        except ModuleNotFoundError:
            continue
        # the packages also hold functions and imported modules; only their own classes are networks
        if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith(package):
            return found
    raise BundleError(
        f"There is no network {target!r} in this MONAI version.",
        "Get a version of the model that fits, or update MahtAI.",
    )


def load_weights(network: nn.Module, bundle: Bundle) -> nn.Module:
    """Load the bundle's weights into the network, as float32.

    Returns:
        The same network.

    Raises:
        MissingWeights: the bundle has none.
        RefusedWeights: the file holds code or is damaged.
        BundleError: the weights belong to another network; names the difference.
    """
    path = bundle.require_weights()
    weights = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in _read(path).items()}
    _check_fit(bundle.id, network.state_dict(), weights)
    broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise BundleError(
            f"The weights of {bundle.id} hold values that are not numbers ({broken[0]}): the training went wrong.",
            "Train the model again or get another version of it.",
        )
    network.load_state_dict(weights)
    return network


def _read(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as stream:
        if stream.read(40).startswith(b"version https://git-lfs"):
            raise RefusedWeights(
                f"{path.name} is a placeholder (Git LFS pointer); the weights themselves were not downloaded.",
                "Run `git lfs pull` in the model's folder, or replace it with `mahtai models pull --again`.",
            )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(path, error) from error
    return _unwrapped(path.name, _read_checkpoint(path))


def _read_checkpoint(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked_for = _ASKED_FOR.search(str(error))
        what = f"asks for code ({asked_for[1]}) to be run when it is loaded" if asked_for else "may hold code"
        raise RefusedWeights(
            f"{path.name} is more than a list of weights: it {what}. It was refused and nothing of it was run.",
            "Ask whoever made the model for a .safetensors file. Do not load it with other programs.",
        ) from error
    except (EOFError, OSError, *_THIRD_PARTY_ERRORS) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RefusedWeights:
    said = str(error).strip().partition("\n")[0][:200]
    return RefusedWeights(f"{path.name} is damaged or not a weights file: {said}", "Get the model again.")


def _unwrapped(name: str, checkpoint: Any) -> dict[str, Tensor]:
    for key in CHECKPOINT_KEYS:
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise RefusedWeights(f"{name} holds no weights.", "Get the model again.")
    if not all(isinstance(value, Tensor) for value in checkpoint.values()):
        raise RefusedWeights(f"{name} holds something else than weights.", "Get the model again.")
    # DistributedDataParallel prefixes every name when a checkpoint is written during training
    return {str(key).removeprefix("module."): value for key, value in checkpoint.items()}


def _check_fit(model: str, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    differing = [name for name in wanted if name in given and wanted[name].shape != given[name].shape]
    if differing:
        name = differing[0]
        raise BundleError(
            f"The weights of {model} are for another network: {name} is {_size(given[name])} in the file and "
            f"{_size(wanted[name])} in the network ({len(differing)} such differences). "
            "A wrong number of channels is the usual cause.",
            "The files of this model do not belong together; get it again.",
        )
    missing = sorted(set(wanted) - set(given))
    unexpected = sorted(set(given) - set(wanted))
    if missing or unexpected:
        parts = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for names, what in ((missing, "missing"), (unexpected, "too many"))
            if names
        ]
        raise BundleError(
            f"The weights of {model} are for another network: layers {' and '.join(parts)}.",
            "The files of this model do not belong together; get it again.",
        )


@dataclass(frozen=True)
class Trial:
    """One forward pass over a small volume or image: how large, how long, where, and in which number format."""

    window: tuple[int, ...]
    seconds: float
    device: str
    precision: str


def best_device(device: str = "auto") -> torch.device:
    """``auto`` → CUDA, else Apple's MPS, else CPU; or the one that is named.

    Raises:
        DeviceError: this computer does not have it.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    apple = torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cards else "mps" if apple else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(
            f"There is no device {device[:30]!r}.",
            "Give auto, cpu, cuda or mps; cuda:1 is the second graphics card.",
        )
    if wanted.type == "mps" and not apple:
        raise DeviceError("This computer has no GPU of Apple's that can be used (mps).", _USE_AUTO)
    if wanted.type == "cuda" and not cards:
        raise DeviceError(
            "This computer has no NVIDIA card that can be used, or PyTorch was installed without CUDA.", _USE_AUTO
        )
    if wanted.type == "cuda" and (wanted.index or 0) >= cards:
        raise DeviceError(
            f"There is no {device}: NVIDIA cards on this computer are counted 0 to {cards - 1}.", _USE_AUTO
        )
    return wanted


def trial_forward(network: nn.Module, bundle: Bundle, device: str = "auto") -> Trial:
    """Send a small volume or image of noise through the network.

    Raises:
        BundleError: it fails, or gives another number of outputs than the bundle names, or no numbers.
    """
    where = best_device(device)
    given, expected = bundle.trial_shapes
    image = torch.randn(*given, generator=torch.Generator().manual_seed(0)).to(where)
    started = time.perf_counter()
    try:
        with torch.inference_mode():
            output = network.to(where)(image)
            finite = bool(torch.isfinite(output).all())
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        said = str(error).strip().partition("\n")[0][:200]
        raise BundleError(f"{bundle.id} fails on a trial input: {said}", "Choose another model.") from error
    seconds = time.perf_counter() - started
    if tuple(output.shape) != expected or not finite:
        raise BundleError(
            f"{bundle.id} answers with {tuple(output.shape)} {'numbers' if finite else 'values that are no numbers'}; "
            f"{expected} was expected.",
            "The files of this model do not belong together; get it again.",
        )
    return Trial(given[2:], seconds, str(where), str(output.dtype).removeprefix("torch."))


def _size(tensor: Tensor) -> str:
    return " × ".join(str(length) for length in tensor.shape) or "a single number"
