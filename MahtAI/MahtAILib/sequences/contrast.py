"""Was a T1 taken after contrast agent was given? From its name, its tags and the order of the study."""

from __future__ import annotations

from collections.abc import Sequence

from MahtAILib.sequences.evidence import Evidence, alike
from MahtAILib.sequences.words import WITH, WITHOUT, Sign

_SURE = 0.85
_ENOUGH_TO_COMPARE = 3
_ALIKE = 0.5


def enhancement(found: Evidence, members: Sequence[Evidence]) -> Sign:
    """Probability that a T1 was taken after contrast, and why.

    Args:
        found: the T1.
        members: all volumes of its study, the unusable ones too: they were taken before or after it.
    """
    t1s = [other for other in members if "t1" in other.weightings and not other.unusable]
    marked = [other for other in t1s if WITH in other.contrast]
    own = _own(found, members)
    if own and not found.contrast and found.agent and marked and place(found, marked) <= 0:
        return Sign(0.4, "a contrast agent is entered, but it is another T1 whose name says so")
    if own:
        return own
    injected = [other for other in members if (sign := _own(other, members)) and sign.strength >= _SURE]
    order = place(found, injected)
    if order > 0:
        return Sign(0.8, "not marked, but taken after a series with contrast")
    if order < 0:
        return Sign(0.08, "taken before the series with contrast")
    if any(other in injected for other in t1s):
        return Sign(0.12, "no mark of contrast, beside a T1 that has one")
    if _agent_everywhere(members):
        return Sign(0.5, "the contrast agent is entered for all series, so nothing tells before from after")
    unmarked = [other for other in t1s if other is not found and not _own(other, members)]
    order = place(found, unmarked)
    if order > 0:
        return Sign(0.5, "no mark of contrast, but another T1 was taken before it")
    if order == 0 and any(alike(found, other) >= _ALIKE for other in unmarked):
        return Sign(0.5, "no mark of contrast, and another T1 of nearly the same name has none either")
    if order == 0 and unmarked:
        return Sign(0.35, "no mark of contrast, as on another T1")
    return Sign(0.22, "no mark of contrast")


def place(found: Evidence, others: Sequence[Evidence]) -> int:
    """1 if a volume was taken after any of the others, -1 if before all of them, 0 if that is unknown."""
    for kind, when in found.when.items():
        known = [other.when[kind] for other in others if kind in other.when and other is not found]
        if known and min(known) != when:
            return 1 if when > min(known) else -1
    return 0


def _own(found: Evidence, members: Sequence[Evidence]) -> Sign | None:
    """The same by the volume's own name and tags; None where they say nothing."""
    agent = None if _agent_everywhere(members) else found.agent
    after, before = found.contrast.get(WITH), found.contrast.get(WITHOUT)
    if after and before:
        return Sign(0.5, f"“{after.words}” means after contrast, but “{before.words}” before it")
    if after:
        doubt = ", but no contrast agent is entered" if agent is False else ""
        return Sign(0.6 if doubt else after.strength, f"“{after.words}” means after contrast{doubt}")
    if before:
        doubt = ", but a contrast agent is entered" if agent else ""
        return Sign(0.3 if doubt else 1 - before.strength, f"“{before.words}” means before contrast{doubt}")
    if agent is None:
        return None
    return Sign(0.93, "a contrast agent is entered") if agent else Sign(0.07, "its tags say: no contrast agent")


def _agent_everywhere(members: Sequence[Evidence]) -> bool:
    """Whether the tag is filled for the whole study, so that it tells nothing about one series."""
    weighted = [found for found in members if found.weightings and not found.unusable]
    kinds = {weighting for found in weighted for weighting in found.weightings}
    return len(weighted) >= _ENOUGH_TO_COMPARE and len(kinds) > 1 and all(found.agent for found in weighted)
