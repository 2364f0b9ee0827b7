"""Which erased entries are explained by an entry of the record that says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

RETENTION_KIND = "server"
RETENTION = "retention"
"""What such an entry says (``what``); its other words are ``until.KIND``: entries of the kind before that time."""

_UNTIL = "until."


@dataclass
class _Unexplained:
    count: int
    newest_at: str
    number: int


class Erased:
    """Follows the record from its beginning; memory is that of the kinds."""

    def __init__(self) -> None:
        self._open: dict[str, _Unexplained] = {}

    def see(self, number: int, kind: str, at: str) -> None:
        """An entry whose content is gone."""
        known = self._open.setdefault(str(kind), _Unexplained(0, "", number))
        known.count += 1
        if str(at) >= known.newest_at:
            known.newest_at, known.number = str(at), number

    def explain(self, kind: str, detail: Mapping[str, str]) -> None:
        """An entry; if it is one about retention, it explains those before it that were older than it says."""
        if kind != RETENTION_KIND or detail.get("what") != RETENTION:
            return
        for erased, until in until_by_kind(detail).items():
            known = self._open.get(erased)
            if known is not None and known.newest_at < until:
                del self._open[erased]

    def unexplained(self) -> Iterator[tuple[int, str]]:
        """Number of the newest entry of its kind that nothing explains, and what to say of it."""
        for kind, known in sorted(self._open.items()):
            others = f" (and up to {known.count - 1} before it)" if known.count > 1 else ""
            yield known.number, f"its content ({kind}) was erased before its time was over{others}"


def until_by_kind(detail: Mapping[str, str]) -> dict[str, str]:
    """Kind → the time before which its entries are erased."""
    return {name.removeprefix(_UNTIL): str(until) for name, until in detail.items() if str(name).startswith(_UNTIL)}


def detail_of(until: Mapping[str, str]) -> dict[str, str]:
    """The words of an entry about retention."""
    return {"what": RETENTION, **{f"{_UNTIL}{kind}": time for kind, time in until.items()}}
