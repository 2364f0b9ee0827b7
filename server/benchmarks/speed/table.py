"""The report for the eye: plain text of at most 110 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from speed.agreement import REGIONS
from speed.kinds import KINDS
from speed.stages import STAGES

CLOCK_S = 0.02
"""Further apart than this two clocks do not drift in one run."""


def table(report: Mapping[str, Any]) -> str:
    """All of it."""
    parts = (_machine, _starts, _ours, _peers, _agreement)
    return "\n\n".join("\n".join(part(report)) for part in parts if part is not _starts or report.get("starts"))


def _machine(report: Mapping[str, Any]) -> Iterator[str]:
    machine, settings = report["machine"], report["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    pinned = f"cores {machine['pinned_to']}" if machine["pinned_to"] else "not pinned"
    yield f"{machine['cores_used']} of {machine['cores_of_the_machine']} cores ({pinned}) of {machine['processor']}"
    gpus = "; ".join(machine["gpu"]) or "none"
    yield f"bf16 units: {machine['bf16_units']}; GPU: {gpus}; device asked for: {settings['device']}"
    yield f"Python {machine['python']}, {versions}"
    loads = f"{machine['load_average_at_start']}, at the end: {report['load_average_at_end']}"
    yield f"Load average at the start: {loads} (before the start a quiet machine has next to 0)"
    jumps = [run for run in report["runs"] if abs(run["clock_jump_s"]) > CLOCK_S]
    if jumps:
        yield f"THE CLOCK JUMPED in {len(jumps)} runs (set, or the machine slept): their stages mean nothing"
    yield f"Scene: {report['scene']}"
    yield f"{settings['pairs']} rounds in turn; cases: {', '.join(report['cases'])}"


def _starts(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'START':46}{'seconds':>9}"
    for name, found in report["starts"]["commands"].items():
        torch = "" if "loads_torch" not in found else f"   loads PyTorch: {'yes' if found['loads_torch'] else 'no'}"
        yield f"{name:45}{found['seconds']:10.3f}{torch}"
    for name, found in report["starts"]["server"].items():
        yield f"{name + ': first answer':45}{found['first_answer_s']:10.3f}"
        yield f"{name + ': inference from there':45}{found['first_inference_s']:10.3f}   {found['runtime']}"
        if found.get("measured_itself_s") is not None:
            yield f"{'  then measured itself for':45}{found['measured_itself_s']:10.1f}"


def _ours(report: Mapping[str, Any]) -> Iterator[str]:
    ours = report["ours"]
    yield "OURS, from the click to the scene: seconds, medians"
    yield f"{'':14}" + "".join(f"{kind:>10}" for kind in ours)
    for stage in (*STAGES, "remainder"):
        cells = "".join(f"{found['stages_s'][stage]:10.3f}" for found in ours.values())
        yield f"{stage:14}{cells}   {STAGES.get(stage, 'in no stage: above all until the client knows the end')}"
    for name, key in (("whole way", "wall_s"), ("but network", "overhead_s")):
        yield f"{name:14}" + "".join(f"{found[key]['median']:10.3f}" for found in ours.values())
    yield f"{'  lowest':14}" + "".join(f"{found['wall_s']['lowest']:10.3f}" for found in ours.values())
    yield f"{'  highest':14}" + "".join(f"{found['wall_s']['highest']:10.3f}" for found in ours.values())
    if any(found["preview_s"] is not None for found in ours.values()):
        there = (found["preview_s"] for found in ours.values())
        yield f"{'preview there':14}" + "".join(f"{'-':>10}" if one is None else f"{one:10.3f}" for one in there)
    for name, key in (("bytes sent", "sent_bytes"), ("received", "received_bytes")):
        yield f"{name:14}" + "".join(f"{found[key]:10}" for found in ours.values())
    yield from (f"  {kind}: {KINDS[kind]}" for kind in ours if kind in KINDS)
    yield f"Network run by: {', '.join(sorted({one for found in ours.values() for one in found['runtimes']}))}"
    if report.get("peak_memory_mb"):
        yield "Peak memory: " + ", ".join(f"{name} {peak} MB" for name, peak in report["peak_memory_mb"].items())


def _peers(report: Mapping[str, Any]) -> Iterator[str]:
    yield "PEERS: seconds, and how many times as long as ours in the same round (median, lowest to highest)"
    if not report["peers"] and not report["not_run"]:
        yield "none were run"
    for name, peer in report["peers"].items():
        yield f"{name}: {peer['is']}"
        for phase, found in peer["phases"].items():
            yield (
                f"  {phase:18}{found['wall_s']['median']:9.2f} s ({found['wall_s']['lowest']:.2f} to "
                f"{found['wall_s']['highest']:.2f}), of which the network {found['stages_s']['forward']:.2f} s"
            )
            for kind, ratio in peer["ratios"][phase].items():
                spread = f"({ratio['lowest']:.2f} to {ratio['highest']:.2f})"
                yield f"{'':10}{ratio['median']:7.2f} x our {kind:6} {spread}"
        scores = report["agreement"]["over_all_cases"]["lowest_dice_of_ours_against"].get(name)
        if scores:
            yield f"  Dice of ours against it, lowest case: {_scores(scores)}"
    yield from (f"{name}: NOT RUN: {reason}" for name, reason in report["not_run"].items())


def _agreement(report: Mapping[str, Any]) -> Iterator[str]:
    agreement = report["agreement"]
    yield "AGREEMENT: Dice of ours as it is run by default against ours in fp32, and both against the reference"
    for case, found in agreement["cases"].items():
        yield f"{case}: against fp32 {_scores(found['ours_against']['fp32'])}"
        for name, scores in found.get("against_reference", {}).items():
            yield f"    {name:18} against the reference {_scores(scores)}"
    over_all = agreement["over_all_cases"]
    lowest = over_all["lowest_dice_of_ours_against"].get("fp32", {})
    yield f"Lowest of {over_all['cases']} cases against fp32: {_scores(lowest)}"
    if over_all["largest_move_of_dice_by_speed"]:
        yield f"Largest move of Dice against the reference: {_scores(over_all['largest_move_of_dice_by_speed'])}"


def _scores(scores: Mapping[str, float]) -> str:
    return "  ".join(f"{region.upper()} {scores[region]:.4f}" for region in REGIONS if region in scores)
