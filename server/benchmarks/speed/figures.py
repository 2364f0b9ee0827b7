"""Medians, spreads and ratios of runs that were made in turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from speed.peers import PeerRun
from speed.whole_way import Run


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, lowest, highest, and all of them."""
    return {
        "median": round(median(values), 4),
        "lowest": round(min(values), 4),
        "highest": round(max(values), 4),
        "values": [round(value, 4) for value in values],
    }


def of_ours(runs: Iterable[Run]) -> dict[str, Any]:
    """Kind → what its runs came to, over all cases; the median of each stage by itself."""
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        kinds.setdefault(run.kind, []).append(run)
    return {
        kind: {
            "wall_s": spread([run.wall_s for run in chosen]),
            "overhead_s": spread([run.overhead_s for run in chosen]),
            "stages_s": _medians([run.stages_s for run in chosen]),
            "sent_bytes": max(run.sent_bytes for run in chosen),
            "received_bytes": max(run.received_bytes for run in chosen),
            "preview_s": _median_or_none([run.preview_s for run in chosen]),
            "runtimes": sorted({run.runtime for run in chosen}),
        }
        for kind, chosen in kinds.items()
    }


def of_peers(runs: Iterable[PeerRun]) -> dict[str, Any]:
    """Phase → what its runs came to, over all cases."""
    phases: dict[str, list[PeerRun]] = {}
    for run in runs:
        phases.setdefault(run.phase, []).append(run)
    return {
        phase: {
            "wall_s": spread([run.wall_s for run in chosen]),
            "stages_s": _medians([run.stages_s for run in chosen]),
            "sent_bytes": max(run.sent_bytes for run in chosen),
            "received_bytes": max(run.received_bytes for run in chosen),
        }
        for phase, chosen in phases.items()
    }


def ratios(rounds: Sequence[tuple[Sequence[Run], Sequence[PeerRun]]]) -> dict[str, Any]:
    """Phase → our kind → how many times as long the peer took: of each round by itself, then median and spread.

    Args:
        rounds: our runs and the peer's of one round.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for ours, theirs in rounds:
        by_kind = {run.kind: run.wall_s for run in ours}
        for run in theirs:
            for kind in run.against:
                found.setdefault(run.phase, {}).setdefault(kind, []).append(run.wall_s / by_kind[kind])
    return {phase: {kind: spread(values) for kind, values in kinds.items()} for phase, kinds in found.items()}


def _medians(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(median([one[name] for one in stages]), 4) for name in stages[0]}


def _median_or_none(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return round(median(there), 4) if there else None
