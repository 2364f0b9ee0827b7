"""The layouts with a view a sequence and with one for a cephalogram. Nothing is imported that takes time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LAYOUT_ID = 8391
"""Slicer's own layouts end below 1000; extensions take numbers of their own."""
IMAGE_LAYOUT_ID = 8392


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

IMAGE_VIEW = View("ceph", "MahtAICeph", "Cephalogram", "#CC79A7")


def layout_xml() -> str:
    """Slicer's description of the layout: two rows of two axial views."""
    rows = "".join(
        f'<item><layout type="horizontal">{"".join(map(_view_xml, VIEWS[row : row + 2]))}</layout></item>'
        for row in (0, 2)
    )
    return f'<layout type="vertical" split="true">{rows}</layout>'


def image_layout_xml() -> str:
    """Slicer's description of the layout with one large view."""
    return f'<layout type="vertical">{_view_xml(IMAGE_VIEW)}</layout>'


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


def register_image_layout(layout_node: Any) -> int:
    """Make the layout of a cephalogram known to Slicer; returns its number."""
    if not layout_node.IsLayoutDescription(IMAGE_LAYOUT_ID):
        layout_node.AddLayoutDescription(IMAGE_LAYOUT_ID, image_layout_xml())
    return IMAGE_LAYOUT_ID
