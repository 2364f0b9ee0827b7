"""Training of MAHT-Net: for each member a locator on whole images, then a refiner on crops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from mahtai.inference.landmarks.sampling import Pyramid, standardized
from mahtai.networks.maht_net import LOCATOR_STRIDE, REFINER_STRIDE, Locator, Refiner
from mahtai.training.landmarks.augmentation import Example, crop_view, locator_view
from mahtai.training.landmarks.dataset import Cephalogram, check_training_images, read_grey, without_fold
from mahtai.training.landmarks.settings import LandmarkTrainingSettings
from mahtai.training.trainer import Trainer

Batch = tuple[Tensor, Tensor, Tensor]
"""Views, the numbers of their landmarks (crops only), places on the heatmap in cells."""


class LocatorStream(IterableDataset[Batch]):
    """Endless views of whole images, drawn in shuffled rounds; places are landmarks × 2."""

    def __init__(self, examples: Sequence[Example], settings: LandmarkTrainingSettings, seed: int) -> None:
        self.examples, self.settings, self.seed = examples, settings, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.manual_seed(self.seed)
        while True:
            for index in torch.randperm(len(self.examples)).tolist():
                view, points = locator_view(self.examples[index], self.settings.augmentation)
                yield standardized(view)[None], torch.zeros(0), _cells(points, LOCATOR_STRIDE)


class CropStream(IterableDataset[Batch]):
    """Endless crops, every landmark of every image in turn, shuffled; a place is 1 × 2."""

    def __init__(self, examples: Sequence[Example], settings: LandmarkTrainingSettings, seed: int) -> None:
        self.examples, self.settings, self.seed = examples, settings, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.manual_seed(self.seed)
        landmarks = len(self.examples[0].points)
        while True:
            for number in torch.randperm(len(self.examples) * landmarks).tolist():
                index, landmark = divmod(number, landmarks)
                view, point = crop_view(self.examples[index], landmark, self.settings.augmentation)
                yield standardized(view)[None], torch.tensor(landmark), _cells(point[None], REFINER_STRIDE)


def _cells(points: np.ndarray, stride: int) -> Tensor:
    """Places in pixels of a view → in cells of the heatmap."""
    return torch.from_numpy((points - (stride - 1) / 2) / stride).float()


def heatmap_loss(logits: Tensor, cells: Tensor, sigma: float) -> Tensor:
    """Cross-entropy between the softmax of a heatmap and a Gaussian; landmarks outside of the view do not count.

    Args:
        logits: B × L × H × W. cells: B × L × 2, x and y. sigma: of the Gaussian, in cells.
    """
    height, width = logits.shape[-2:]
    x = torch.arange(width, device=logits.device)
    y = torch.arange(height, device=logits.device)
    across = -((x - cells[..., 0, None]) ** 2) / (2 * sigma**2)
    down = -((y - cells[..., 1, None]) ** 2) / (2 * sigma**2)
    target = (down.softmax(-1)[..., :, None] * across.softmax(-1)[..., None, :]).flatten(-2)
    loss = -(target * functional.log_softmax(logits.float().flatten(-2), -1)).sum(-1)
    inside = (
        (cells[..., 0] > -0.5) & (cells[..., 0] < width - 0.5) & (cells[..., 1] > -0.5) & (cells[..., 1] < height - 0.5)
    )
    return (loss * inside).sum() / inside.sum().clamp_min(1)


class _StageTrainer(Trainer):
    """A run of one stage of one member."""

    def __init__(
        self, network: nn.Module, settings: LandmarkTrainingSettings, device: torch.device, output: Path, name: str
    ) -> None:
        super().__init__(network, settings, device, output / name, torch.channels_last, name)
        self.settings = settings

    def next_loss(self, batches: Iterator[Batch], sigmas: tuple[float, float], budget: float) -> Tensor:
        """Of the next batch, with its graph."""
        views, landmarks, cells = (part.to(self.device) for part in next(batches))
        views = views.contiguous(memory_format=self.memory_format)
        inputs = (views,) if isinstance(self.network, Locator) else (views, landmarks)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.network(*inputs)
        if logits.ndim == 3:
            logits = logits[:, None]
        share = min(1.0, 2 * self.seconds / budget)
        sigma = math.exp(math.log(sigmas[0]) * (1 - share) + math.log(sigmas[1]) * share)
        return heatmap_loss(logits, cells, sigma)


def train_member(
    locator: Locator,
    refiner: Refiner,
    images: Sequence[Cephalogram],
    fold: int,
    settings: LandmarkTrainingSettings,
    minutes: float,
    output: Path,
    device: torch.device,
    on_progress: Callable[[float, str], None] = lambda fraction, text: None,
    step_limit: int | None = None,
) -> None:
    """Train one locator and one refiner on all images but those of ``fold``.

    Raises:
        SplitError: a test image is among them.
    """
    seen = without_fold(images, fold)
    check_training_images([image.path for image in seen])
    examples = [Example(Pyramid(torch.from_numpy(read_grey(image.path).copy())), image.mean) for image in seen]
    for example in examples:
        # the full size is not needed for these views, and would fill the memory
        example.pyramid.drop_full_size()
    seed = settings.seed + 100 * fold
    stages: tuple[tuple[nn.Module, IterableDataset[Batch], int, tuple[float, float], float], ...] = (
        (
            locator,
            LocatorStream(examples, settings, seed),
            settings.locator_batch,
            settings.locator_sigma_cells,
            settings.locator_share,
        ),
        (
            refiner,
            CropStream(examples, settings, seed + 1),
            settings.refiner_batch,
            settings.refiner_sigma_cells,
            1 - settings.locator_share,
        ),
    )
    for name, (network, stream, batch, sigmas, share) in zip(("locator", "refiner"), stages, strict=True):
        trainer = _StageTrainer(network, settings, device, output / f"fold{fold}", name)
        trainer.resume()
        budget = share * minutes * 60
        if trainer.seconds < budget:
            trainer.log_start(settings=settings.as_json(), minutes=share * minutes, stage=name, fold=fold)
            trainer.log({"event": "images", "names": [image.name for image in seen]})
            batches = iter(DataLoader(stream, batch_size=batch))
            next_loss = partial(trainer.next_loss, batches, sigmas, budget)
            trainer.run_until(budget, budget, next_loss, on_progress, step_limit=step_limit)
            trainer.log_end()
