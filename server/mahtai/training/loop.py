"""The training loop for segmentation: Dice and cross-entropy on TC, WT, ET, in phases of rising resolution."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from mahtai.parent import end_worker_with_parent
from mahtai.training.augmentation import training_patch
from mahtai.training.datasets import Case, regions_of, require_for_training
from mahtai.training.lesions import LesionStatistics, lesion_statistics
from mahtai.training.settings import Phase, TrainingSettings
from mahtai.training.trainer import Trainer


class PatchStream(IterableDataset[tuple[Tensor, Tensor]]):
    """An endless stream of augmented patches, cases drawn in shuffled rounds.

    Args:
        rehearsal: cases that were learnt from before; a share of the patches comes from them.

    Raises:
        SplitError: a case is held out.
    """

    def __init__(
        self, cases: list[Case], phase: Phase, settings: TrainingSettings, seed: int, rehearsal: Sequence[Case] = ()
    ) -> None:
        require_for_training([*cases, *rehearsal])
        self.cases = [*cases, *rehearsal]
        self.new = len(cases)
        self.phase = phase
        self.settings = settings
        self.seed = seed
        self.statistics: LesionStatistics = lesion_statistics(self.cases)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        torch.manual_seed(self.seed * 100 + (worker.id if worker else 0))
        if worker:
            torch.set_num_threads(1)
        new, known = _rounds(0, self.new), _rounds(self.new, len(self.cases))
        share = self.settings.rehearsal_share if len(self.cases) > self.new else 0.0
        while True:
            index = next(known if share and float(torch.rand(())) < share else new)
            yield training_patch(
                self.cases[index],
                self.phase.patch,
                self.phase.spacing_mm,
                self.settings.augmentation,
                self.statistics,
            )


def _rounds(first: int, end: int) -> Iterator[int]:
    """Whole numbers from ``first``, before ``end``, again and again in another order."""
    while True:
        yield from (first + torch.randperm(end - first)).tolist()


def region_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Soft Dice over the batch plus cross-entropy, mean over the three regions.

    Args:
        logits: batch × 3 × X × Y × Z float32. label: batch × X × Y × Z uint8.
    """
    target = regions_of(label).transpose(0, 1)
    probability = logits.sigmoid()
    axes = (0, 2, 3, 4)
    overlap = (probability * target).sum(axes)
    total = probability.sum(axes) + target.sum(axes)
    # the constant keeps a patch without lesion from being a division by zero and an all-or-nothing loss
    dice = 1 - (2 * overlap + 50) / (total + 50)
    return dice.mean() + functional.binary_cross_entropy_with_logits(logits, target)


class SegmentationTrainer(Trainer):
    """A run over patches.

    Args:
        network: channels-in → 3 logits.
    """

    def __init__(self, network: nn.Module, settings: TrainingSettings, device: torch.device, output: Path) -> None:
        super().__init__(network, settings, device, output, from_scratch=settings.from_scratch)
        self.settings = settings

    def next_loss(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """Of the next batch, with its graph."""
        image, label = next(batches)
        image = image.to(self.device).contiguous(memory_format=self.memory_format)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.network(image)
        return region_loss(logits.float(), label.to(self.device))

    def run(
        self,
        cases: list[Case],
        minutes: float,
        workers: int = 1,
        on_progress: Callable[[float, str], None] = lambda fraction, text: None,
        step_limit: int | None = None,
        rehearsal: Sequence[Case] = (),
    ) -> None:
        """Train until the time budget is used up (time of earlier, resumed runs counts)."""
        budget = minutes * 60
        self.log_start(settings=self.settings.as_json(), minutes=minutes)
        self.log({"event": "cases", "names": [case.name for case in cases]})
        if rehearsal:
            self.log({"event": "rehearsal", "names": [case.name for case in rehearsal]})
        phase_end = 0.0
        for number, phase in enumerate(self.settings.phases):
            phase_end += phase.share * budget
            if self.seconds >= phase_end:
                continue
            seed = self.settings.seed + 1000 * number + self.step
            stream = PatchStream(cases, phase, self.settings, seed, rehearsal)
            ending = partial(end_worker_with_parent, os.getpid())
            loader = DataLoader(stream, batch_size=phase.batch, num_workers=workers, worker_init_fn=ending)
            batches = iter(loader)
            next_loss = partial(self.next_loss, batches)
            self.run_until(phase_end, budget, next_loss, on_progress, number, step_limit=step_limit)
        self.log_end()
