"""One channel of a tensor as a small SVG picture; the color classes follow the style sheet, light or dark."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from mgnet_records.demo import Image

SHADES = 8


def channel_picture(channel: Sequence[Sequence[int]], title: str) -> Markup:
    """Levels from -127 to 127 as a diverging scale of 2 * 8 + 1 shades around zero."""
    shades = [[_shade(level) for level in row] for row in channel]
    return _picture(shades, title)


def image_picture(image: Image, title: str) -> Markup:
    """The input image as shades of gray."""
    shades = [[f"g{round(SHADES * pixel / image.maximum)}" for pixel in row] for row in image.pixels]
    return _picture(shades, title)


def _shade(level: int) -> str:
    step = round(SHADES * level / 127)
    return f"n{-step}" if step < 0 else f"p{step}"


def _picture(shades: Sequence[Sequence[str]], title: str) -> Markup:
    """Runs of one shade in a row are one rectangle, which halves the size of the page."""
    height, width = len(shades), len(shades[0])
    parts = []
    for y, row in enumerate(shades):
        x = 0
        while x < width:
            end = x
            while end < width and row[end] == row[x]:
                end += 1
            parts.append(f'<path class="{row[x]}" d="M{x} {y}h{end - x}v1h{x - end}z"/>')
            x = end
    head = f'<svg class="channel" viewBox="0 0 {width} {height}" shape-rendering="crispEdges" role="img"'
    return Markup(f'{head} aria-label="{escape(title)}">{"".join(parts)}</svg>')
