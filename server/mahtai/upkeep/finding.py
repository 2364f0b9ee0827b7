"""What an examination of the data came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``error`` where data are lost or the server cannot work; ``warning`` where somebody should look.
        subject: such as ``database``.
        text: what was found.
        advice: what to do; empty for what is in order.
    """

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f" What to do: {self.advice}" if self.advice else ""
        return f"{self.level:8}{self.subject:10}{self.text}{advice}"
