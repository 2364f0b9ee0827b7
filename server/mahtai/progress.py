"""Progress on a terminal: a bar for a person, one line a stage for a log."""

from __future__ import annotations

import sys
from types import TracebackType

import click
from tqdm import tqdm


class StageBar:
    """Shows the stage that is under way and how much of it is done.

    Usage::

        with StageBar() as bar:
            bar.show("predicting", 0.4)
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._stage = ""
        self._bar = tqdm(total=1.0, bar_format="{desc:14}{bar:30} {elapsed}", disable=not self._live, leave=False)

    def __enter__(self) -> StageBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def show(self, stage: str, fraction: float) -> bool:
        """Report; returns whether the stage is a new one."""
        is_new = stage != self._stage
        self._stage = stage
        if self._live:
            self._bar.set_description_str(stage, refresh=False)
            self._bar.n = min(max(fraction, 0.0), 1.0)
            self._bar.refresh()
        elif is_new:
            click.echo(f"  {stage}", err=True)
        return is_new
