"""Pictures put together as Slicer's window does: four views with their bars, the panel at the left."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image, ImageColor, ImageDraw, ImageFont

from MahtAILib.scene.layout import VIEWS, View

from .rendering import DrawnView

BAR = 22
GAP = 3
_SCROLLED_MM = 80.0
"""A slice this far from 0 has its handle at the end of the bar."""


def four_up(drawn: Mapping[str, DrawnView]) -> Image.Image:
    """The four views as the layout places them, with the bar and the name of the volume that Slicer shows."""
    width, height = next(iter(drawn.values())).size
    sheet = Image.new("RGB", (2 * width + GAP, 2 * (height + BAR) + GAP), (40, 40, 40))
    for number, view in enumerate(VIEWS):
        corner = (number % 2) * (width + GAP), (number // 2) * (height + BAR + GAP)
        sheet.paste(_bar(view, drawn[view.tag].logic.GetSliceOffset(), width), corner)
        sheet.paste(_annotated(drawn[view.tag]), (corner[0], corner[1] + BAR))
    return sheet


def beside(panel: Image.Image, views: Image.Image) -> Image.Image:
    """The panel at the left of the views; what is lower than the other gets the panel's background below."""
    height = max(panel.height, views.height)
    sheet = Image.new("RGB", (panel.width + GAP + views.width, height), panel.getpixel((1, panel.height - 1)))
    sheet.paste(panel, (0, 0))
    sheet.paste(views, (panel.width + GAP, 0))
    return sheet


def titled(pictures: Mapping[str, Image.Image]) -> Image.Image:
    """Pictures of one size below each other, each below its title."""
    width, height = next(iter(pictures.values())).size
    sheet = Image.new("RGB", (width, len(pictures) * (height + BAR + GAP) - GAP), (40, 40, 40))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (title, picture) in enumerate(pictures.items()):
        top = number * (height + BAR + GAP)
        pen.text((8, top + BAR // 2), title, (230, 230, 230), font, anchor="lm")
        sheet.paste(picture, (0, top + BAR))
    return sheet


def _bar(view: View, offset_mm: float, width: int) -> Image.Image:
    bar = Image.new("RGB", (width, BAR), ImageColor.getrgb(view.color))
    pen, font = ImageDraw.Draw(bar), ImageFont.load_default(13)
    pen.text((8, BAR // 2), view.label, (0, 0, 0), font, anchor="lm")
    left, right, middle = 64, width - 100, BAR // 2
    pen.line((left, middle, right, middle), (90, 90, 90), 3)
    handle = left + (right - left) * min(max(0.5 + offset_mm / (2 * _SCROLLED_MM), 0), 1)
    pen.ellipse((handle - 6, middle - 6, handle + 6, middle + 6), (245, 245, 245), (90, 90, 90))
    pen.rectangle((width - 88, 2, width - 4, BAR - 3), (250, 250, 250))
    pen.text((width - 9, middle), f"S: {offset_mm:.1f} mm", (0, 0, 0), font, anchor="rm")
    return bar


def _annotated(view: DrawnView) -> Image.Image:
    picture = Image.fromarray(view.picture())
    volume = view.logic.GetBackgroundLayer().GetVolumeNode()
    if volume is not None:
        pen = ImageDraw.Draw(picture)
        pen.text((8, picture.height - 8), f"B: {volume.GetName()}", (230, 230, 230), ImageFont.load_default(13), "ls")
    return picture
