"""What an examination of the data came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``error`` where data are lost or the server cannot work; ``warning`` where somebody should look.
        subject: such as ``database``.
        text: what was found.
        advice: what to do; empty for what is in order.
        lost: name of the member of a backup, or of a folder of it, that would bring it back; empty for none.
        repair: mends it without any danger to the data; None where nothing does.
        anew: makes another one of what is gone for good, which somebody has to want; None for what cannot be.
    """

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    advice: str = ""
    lost: str = ""
    repair: Callable[[], object] | None = field(default=None, compare=False)
    anew: Callable[[], object] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        advice = f" What to do: {self.advice}" if self.advice else ""
        return f"{self.level:8}{self.subject:10}{self.text}{advice}"
