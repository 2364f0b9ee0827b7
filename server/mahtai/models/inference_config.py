"""What a bundle's ``inference.json`` says about running the network, found without running it."""

from __future__ import annotations

import re
from typing import Any

from mahtai.models.config import BundleError, look_up, resolve, resolve_or_none

NETWORK_PACKAGES = ("monai.networks.nets", "mahtai.networks")
"""Where a network class may come from. A bundle's own scripts are never imported."""

LARGEST_ARGUMENT = 100_000
"""No width, depth or window of a network is larger."""

NETWORK_KEYS = ("network_def", "net_def", "network", "net")
IGNORED_KEYS = ("_desc_", "_requires_")

_TARGET = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_MILLIMETRES = re.compile(r"(\d+(?:\.\d+)?)\s*[x×]\s*(\d+(?:\.\d+)?)\s*[x×]\s*(\d+(?:\.\d+)?)\s*mm")


def network_definition(config: dict[str, Any]) -> dict[str, Any]:
    """``_target_`` and plain arguments of the network.

    Raises:
        BundleError: none there, code instead of data, or a class from a place that is not allowed.
    """
    key = next((key for key in NETWORK_KEYS if key in config), None)
    if key is None:
        raise BundleError("configs/inference.json defines no network (network_def).", "Get the model again.")
    definition = resolve(config, key)
    if not isinstance(definition, dict) or not isinstance(definition.get("_target_"), str):
        raise BundleError(f"{key} in configs/inference.json names no network class.", "Get the model again.")
    definition = {name: value for name, value in definition.items() if name not in IGNORED_KEYS}
    check_target(definition["_target_"])
    arguments = {name: value for name, value in definition.items() if name != "_target_"}
    _refuse_what_is_not_plain(arguments, key)
    special = [name for name in arguments if name.startswith("_")]
    if special:
        raise BundleError(
            f"{key} uses {special[0]}, which would change how the network is made; it was refused.",
            "Write the network with _target_ and plain values.",
        )
    return definition


def check_target(target: str) -> str:
    """The class name in ``target``, if it lies in a package of networks.

    Raises:
        BundleError: it points anywhere else.
    """
    package, _, name = target.rpartition(".")
    allowed = not package or any(package == root or package.startswith(f"{root}.") for root in NETWORK_PACKAGES)
    if not allowed or not _TARGET.fullmatch(target) or name.startswith("_"):
        raise BundleError(
            f"The network class {target[:100]!r} is not one of MONAI's or MahtAI's networks. "
            "It was refused and not imported.",
            f"Only classes of {' and '.join(NETWORK_PACKAGES)} are used.",
        )
    return name


def _refuse_what_is_not_plain(value: Any, place: str) -> None:
    if isinstance(value, int | float) and not abs(value) <= LARGEST_ARGUMENT:
        raise BundleError(f"{place} holds {value:g}, which is no size of a network.", "Get the model again.")
    if isinstance(value, dict):
        if "_target_" in value:
            raise BundleError(
                f"{place} wants another object to be made ({str(value['_target_'])[:100]!r}); it was refused.",
                "Write the network with plain values only.",
            )
        for key, item in value.items():
            _refuse_what_is_not_plain(item, f"{place}::{key}")
    elif isinstance(value, list):
        for item in value:
            _refuse_what_is_not_plain(item, place)


def data_format(metadata: dict[str, Any], side: str) -> dict[str, Any]:
    """What the metadata says of the network's ``inputs`` (image) or ``outputs`` (prediction).

    Raises:
        KeyError, TypeError: the metadata lacks it.
    """
    entries = metadata["network_data_format"][side]
    usual = {"inputs": "image", "outputs": "pred"}[side]
    key = usual if usual in entries else min(entries, default=usual)
    return dict(entries[key])


def check_channel_counts(
    model: str, network_def: dict[str, Any], metadata: dict[str, Any], inputs: int, outputs: int
) -> None:
    """Refuse a bundle whose metadata and network disagree on the number of channels.

    Raises:
        BundleError: saying both numbers.
    """
    sides = {
        "input": (inputs, "in_channels", data_format(metadata, "inputs")),
        "output": (outputs, "out_channels", data_format(metadata, "outputs")),
    }
    for side, (named, argument, entry) in sides.items():
        for source, count in (("num_channels", entry.get("num_channels")), (argument, network_def.get(argument))):
            if count is not None and int(count) != named:
                where = "configs/metadata.json" if source == "num_channels" else "the network"
                raise BundleError(
                    f"{model} names {named} {side} channels, but {where} has {count} ({source}).",
                    "The files of this model do not belong together; get it again.",
                )


def _transforms(config: dict[str, Any], wanted: str) -> list[dict[str, Any]]:
    """All transforms of a class, ``Spacingd`` or ``Spacing``, with their values as they stand in the file."""
    found: list[dict[str, Any]] = []
    pending: list[Any] = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            name = str(value.get("_target_", "")).rpartition(".")[2]
            if name.removesuffix("ict").removesuffix("D").removesuffix("d") == wanted:
                found.append(value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return found


def _plain(config: dict[str, Any], transform: dict[str, Any], key: str) -> Any:
    """A transform's argument as plain data; None where there is none or it is code."""
    if key not in transform:
        return None
    return resolve_or_none({**config, "\0wanted": transform[key]}, "\0wanted")


def activation(config: dict[str, Any], extras: dict[str, Any], regions: list[str]) -> str:
    """``sigmoid`` or ``softmax``.

    Raises:
        BundleError: the bundle does not say and its outputs do not show it either.
    """
    stated = extras.get("activation")
    if stated in ("sigmoid", "softmax"):
        return str(stated)
    for transform in _transforms(config, "Activations"):
        for kind in ("sigmoid", "softmax"):
            if _plain(config, transform, kind) in (True, [True]):
                return kind
    if any(_plain(config, transform, "argmax") in (True, [True]) for transform in _transforms(config, "AsDiscrete")):
        return "softmax"
    if "background" in regions:
        return "softmax"
    raise BundleError(
        "The model does not say whether its regions overlap (sigmoid) or exclude each other (softmax).",
        'Add "mahtai": {"activation": "sigmoid"} to configs/metadata.json.',
    )


def spacing_mm(config: dict[str, Any], metadata: dict[str, Any], extras: dict[str, Any]) -> tuple[float, float, float]:
    """Grid spacing that the network expects.

    From ``mahtai.spacing_mm``, a ``Spacingd`` transform, or the words of ``image_classes``
    ("T1c, T1, T2, FLAIR at 1x1x1 mm").

    Raises:
        BundleError: it stands nowhere.
    """
    candidates = [extras.get("spacing_mm")]
    candidates += [_plain(config, transform, "pixdim") for transform in _transforms(config, "Spacing")]
    worded = _MILLIMETRES.search(str(metadata.get("image_classes", "")))
    candidates.append(list(worded.groups()) if worded else None)
    for candidate in candidates:
        if isinstance(candidate, list) and len(candidate) == 3:
            first, second, third = (float(value) for value in candidate)
            return first, second, third
    raise BundleError(
        "The model does not say which voxel spacing it was trained on.",
        'Add "mahtai": {"spacing_mm": [1, 1, 1]} to configs/metadata.json.',
    )


def orientation(config: dict[str, Any], extras: dict[str, Any]) -> str:
    """Axis codes. LPS where the bundle is silent: such bundles took BraTS files as they are stored."""
    stated = [extras.get("orientation")]
    stated += [_plain(config, transform, "axcodes") for transform in _transforms(config, "Orientation")]
    codes = next((str(value).upper() for value in stated if value), "LPS")
    if sorted("R" if c in "LR" else "A" if c in "AP" else "S" if c in "SI" else c for c in codes) != ["A", "R", "S"]:
        raise BundleError(f"{codes!r} is not an orientation.", "Three letters such as RAS or LPS are wanted.")
    return codes


def roi_size(config: dict[str, Any], metadata: dict[str, Any], extras: dict[str, Any]) -> tuple[int, int, int]:
    """Sliding window in voxels, at least 8 along each axis.

    Raises:
        BundleError: it stands nowhere as plain numbers.
    """
    image = data_format(metadata, "inputs")
    candidates = [
        extras.get("roi_size"),
        resolve_or_none(config, "inferer::roi_size"),
        resolve_or_none(config, "network_def::img_size"),
        image.get("spatial_shape"),
    ]
    for candidate in candidates:
        sizes = [candidate] * 3 if isinstance(candidate, int) else candidate
        if isinstance(sizes, list) and len(sizes) == 3 and all(isinstance(n, int) and 8 <= n <= 1024 for n in sizes):
            return sizes[0], sizes[1], sizes[2]
    raise BundleError(
        "The model does not say in which window it looks at a volume.",
        'Add "mahtai": {"roi_size": [128, 128, 128]} to configs/metadata.json.',
    )


def overlap(config: dict[str, Any], extras: dict[str, Any]) -> float:
    """Share by which neighbouring windows overlap, 0 to below 1; MONAI's 0.25 where none is stated."""
    stated = extras.get("overlap")
    if stated is None and "inferer" in config and isinstance(look_up(config, "inferer"), dict):
        stated = resolve_or_none(config, "inferer::overlap")
    value = 0.25 if stated is None else float(stated)
    if not 0 <= value < 1:
        raise BundleError(f"A window overlap of {value} is not possible.", "It lies between 0 and 1.")
    return value
