"""What every training run shares: optimizer, averaged weights, schedule by time, checkpoints, log.

A run is planned by wall-clock time because the machines that it runs on differ by a factor of a
hundred; the log says how many steps the time bought. It can be stopped and resumed at any step.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mahtai.models.checksums import forget_checksum, write_checksum

LOG_EVERY_S = 30.0
"""A line in the log at least so often, or every 50 steps."""


class Schedule(Protocol):
    """The settings that the optimizer needs."""

    @property
    def learning_rate(self) -> float:
        """At the end of the warm-up."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""

    @property
    def warmup_steps(self) -> int:
        """With a rising learning rate."""

    @property
    def ema_decay(self) -> float:
        """Of the averaged weights, a step."""

    @property
    def gradient_clip(self) -> float:
        """Largest norm of a gradient."""


class Trainer:
    """One run: network, optimizer, averaged weights, and where it stands.

    Args:
        output: folder for ``NAME.safetensors``, ``checkpoint.pt`` and ``train_log.jsonl``.
        name: of the weights file.
        from_scratch: the network's first weights are worth nothing, so that the average soon forgets them; else it
            begins at them and moves away as slowly as ``ema_decay`` says: a short run changes little.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        device: torch.device,
        output: Path,
        channels_last: torch.memory_format = torch.channels_last_3d,
        name: str = "model",
        from_scratch: bool = True,
    ) -> None:
        self.schedule = schedule
        self.from_scratch = from_scratch
        self.device = device
        self.output = output
        self.name = name
        self.memory_format = channels_last if device.type == "cpu" else torch.contiguous_format
        self.network = network.to(device)
        self.averaged = {key: value.detach().clone() for key, value in network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        output.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """All that a run needs to go on."""
        return self.output / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        """The averaged weights."""
        return self.output / f"{self.name}.safetensors"

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
        partial = self.weights.with_suffix(".partial")
        save_file({key: value.contiguous() for key, value in self.averaged.items()}, partial)
        forget_checksum(self.weights)
        partial.replace(self.weights)
        write_checksum(self.weights)

    def _set_learning_rate(self, budget_seconds: float) -> float:
        """Linear warm-up by steps, then a cosine over the time budget."""
        warmup = min(1.0, (self.step + 1) / self.schedule.warmup_steps)
        progress = min(1.0, self.seconds / budget_seconds)
        rate = self.schedule.learning_rate * warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def update(self, loss: Tensor) -> float:
        """One optimizer step down the loss; returns it."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.gradient_clip)
        self.optimizer.step()
        self.step += 1
        decay = self.schedule.ema_decay
        if self.from_scratch:
            decay = min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.averaged[name].lerp_(value, 1 - decay)
                else:
                    self.averaged[name].copy_(value)
        return float(loss.detach())

    def run_until(
        self,
        end_seconds: float,
        budget_seconds: float,
        next_loss: Callable[[], Tensor],
        on_progress: Callable[[float, str], None] = lambda fraction, text: None,
        phase: int = 0,
        save_every_seconds: float = 60.0,
        step_limit: int | None = None,
    ) -> None:
        """Train until ``end_seconds`` of the budget are used up (time of earlier, resumed runs counts)."""
        self.network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.network.train()
        recent, last_save, last_log = 0.0, self.seconds, time.monotonic()
        while self.seconds < end_seconds and (step_limit is None or self.step < step_limit):
            started = time.monotonic()
            rate = self._set_learning_rate(budget_seconds)
            loss = self.update(next_loss())
            self.seconds += time.monotonic() - started
            recent = loss if recent == 0 else 0.98 * recent + 0.02 * loss
            if self.step % 50 == 0 or time.monotonic() - last_log > LOG_EVERY_S:
                last_log = time.monotonic()
                entry = {"step": self.step, "seconds": round(self.seconds), "phase": phase}
                self.log({**entry, "loss": round(recent, 4), "rate": rate})
                on_progress(self.seconds / budget_seconds, f"step {self.step}, loss {recent:.3f}")
            if self.seconds - last_save > save_every_seconds:
                self.save()
                last_save = self.seconds
        self.save()

    def log(self, entry: dict[str, object]) -> None:
        """Add a line to ``train_log.jsonl``."""
        with (self.output / "train_log.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

    def log_start(self, **what: object) -> None:
        """Write down the machine and what the run was told."""
        self.log({"event": "start", **what, **_machine(self.device)})

    def log_end(self) -> None:
        """Write down how far the run came."""
        self.log({"event": "end", "step": self.step, "seconds": round(self.seconds)})


def write_json(path: Path, content: object) -> None:
    """Write a file that appears whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _machine(device: torch.device) -> dict[str, object]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": f"{device.type} {name}", "threads": torch.get_num_threads(), "torch": torch.__version__}
