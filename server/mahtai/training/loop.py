"""The training loop for segmentation: Dice and cross-entropy on TC, WT, ET, EMA weights, a time budget.

A run is planned by wall-clock time because the machines that it runs on differ by a factor of a
hundred; the log says how many steps the time bought. It can be stopped and resumed at any step.
"""

from __future__ import annotations

import json
import logging
import math
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from mahtai.training.augmentation import training_patch
from mahtai.training.datasets import Case, regions_of
from mahtai.training.lesions import LesionStatistics, lesion_statistics
from mahtai.training.settings import Phase, TrainingSettings

log = logging.getLogger(__name__)


class PatchStream(IterableDataset[tuple[Tensor, Tensor]]):
    """An endless stream of augmented patches, cases drawn in shuffled rounds."""

    def __init__(self, cases: list[Case], phase: Phase, settings: TrainingSettings, seed: int) -> None:
        self.cases = cases
        self.phase = phase
        self.settings = settings
        self.seed = seed
        self.statistics: LesionStatistics = lesion_statistics(cases)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        torch.manual_seed(self.seed * 100 + (worker.id if worker else 0))
        if worker:
            torch.set_num_threads(1)
        while True:
            for index in torch.randperm(len(self.cases)).tolist():
                yield training_patch(
                    self.cases[index],
                    self.phase.patch,
                    self.phase.spacing_mm,
                    self.settings.augmentation,
                    self.statistics,
                )


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


class Trainer:
    """One run: network, optimizer, averaged weights, and where it stands.

    Args:
        network: channels-in → 3 logits.
        output: folder for ``model.safetensors``, ``checkpoint.pt`` and ``train_log.jsonl``.
    """

    def __init__(self, network: nn.Module, settings: TrainingSettings, device: torch.device, output: Path) -> None:
        self.settings = settings
        self.device = device
        self.output = output
        self.memory_format = torch.channels_last_3d if device.type == "cpu" else torch.contiguous_format
        self.network = network.to(device)
        self.averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        output.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """All that a run needs to go on."""
        return self.output / "checkpoint.pt"

    def resume(self) -> bool:
        """Go on from the last checkpoint in the output folder, if there is one."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        return True

    def save(self) -> None:
        """Write the checkpoint and the averaged weights; each appears whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)
        weights = self.output / "model.safetensors"
        partial = weights.with_suffix(".partial")
        save_file({name: value.contiguous() for name, value in self.averaged.items()}, partial)
        partial.replace(weights)

    def _set_learning_rate(self, budget_seconds: float) -> float:
        """Linear warm-up by steps, then a cosine over the time budget."""
        warmup = min(1.0, (self.step + 1) / self.settings.warmup_steps)
        progress = min(1.0, self.seconds / budget_seconds)
        rate = self.settings.learning_rate * warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def train_step(self, image: Tensor, label: Tensor) -> float:
        """One optimizer step; returns the loss."""
        image = image.to(self.device).contiguous(memory_format=self.memory_format)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.network(image)
        loss = region_loss(logits.float(), label.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        self.step += 1
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.averaged[name].lerp_(value, 1 - decay)
        return float(loss.detach())

    def run(
        self,
        cases: list[Case],
        minutes: float,
        workers: int = 1,
        on_progress: Callable[[float, str], None] = lambda fraction, text: None,
        save_every_seconds: float = 300.0,
        step_limit: int | None = None,
    ) -> None:
        """Train until the time budget is used up (time of earlier, resumed runs counts)."""
        budget = minutes * 60
        self._log({"event": "start", "settings": self.settings.as_json(), "minutes": minutes, **_machine(self.device)})
        self._log({"event": "cases", "names": [case.name for case in cases]})
        self.network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.network.train()
        phase_end = 0.0
        for number, phase in enumerate(self.settings.phases):
            phase_end += phase.share * budget
            if self.seconds >= phase_end:
                continue
            stream = PatchStream(cases, phase, self.settings, seed=self.settings.seed + 1000 * number + self.step)
            batches = iter(DataLoader(stream, batch_size=phase.batch, num_workers=workers))
            recent, last_save = 0.0, self.seconds
            while self.seconds < phase_end and (step_limit is None or self.step < step_limit):
                started = time.monotonic()
                rate = self._set_learning_rate(budget)
                loss = self.train_step(*next(batches))
                self.seconds += time.monotonic() - started
                recent = loss if recent == 0 else 0.98 * recent + 0.02 * loss
                if self.step % 50 == 0:
                    entry = {"step": self.step, "seconds": round(self.seconds), "phase": number}
                    self._log({**entry, "loss": round(recent, 4), "rate": rate})
                    on_progress(self.seconds / budget, f"step {self.step}, loss {recent:.3f}")
                if self.seconds - last_save > save_every_seconds:
                    self.save()
                    last_save = self.seconds
            self.save()
        self._log({"event": "end", "step": self.step, "seconds": round(self.seconds)})

    def _log(self, entry: dict[str, object]) -> None:
        with (self.output / "train_log.jsonl").open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


def _machine(device: torch.device) -> dict[str, object]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": f"{device.type} {name}", "threads": torch.get_num_threads(), "torch": torch.__version__}
