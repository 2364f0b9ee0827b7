"""The layout with a view a sequence, for Slicer's layout manager. Nothing is imported that takes time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LAYOUT_ID = 8391
"""Slicer's own layouts end below 1000; extensions take numbers of their own."""


@dataclass(frozen=True)
class View:
    """One view of the layout: its slot, singleton tag, and how it is marked."""

    slot: str
    tag: str
    label: str
    color: str


VIEWS = (
    View("t1c", "MahtAIT1c", "T1c", "#D55E00"),
    View("t1", "MahtAIT1", "T1", "#56B4E9"),
    View("flair", "MahtAIFLAIR", "FLAIR", "#F0E442"),
    View("t2", "MahtAIT2", "T2", "#009E73"),
)


def layout_xml() -> str:
    """Slicer's description of the layout: two rows of two axial views."""
    rows = "".join(
        f'<item><layout type="horizontal">{"".join(map(_view_xml, VIEWS[row : row + 2]))}</layout></item>'
        for row in (0, 2)
    )
    return f'<layout type="vertical" split="true">{rows}</layout>'


def _view_xml(view: View) -> str:
    properties = {"orientation": "Axial", "viewlabel": view.label, "viewcolor": view.color}
    written = "".join(
        f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items()
    )
    return f'<item><view class="vtkMRMLSliceNode" singletontag="{view.tag}">{written}</view></item>'


def register_layout(layout_node: Any) -> int:
    """Make the layout known to Slicer; returns its number.

    Args:
        layout_node: the scene's vtkMRMLLayoutNode.
    """
    if not layout_node.IsLayoutDescription(LAYOUT_ID):
        layout_node.AddLayoutDescription(LAYOUT_ID, layout_xml())
    return LAYOUT_ID
