"""Sizes, numbers and positions of photos → the geometry of SVG plots, as in `placewise.plots`."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from placewise import plots
from placewise.plots import Map, Mark, Plot, Ridge, Ridges, Scale, Sign

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placewise.survey import Spread, Whereabouts

_CELL = 4.0
"""Dots of one split nearer than this, in units of the plot, are drawn as one, so that a page stays small."""

_DOUBTFUL_SHOWN = 200

_PIXELS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)


def size_plot(sizes: Mapping[tuple[int, int, str], int]) -> Plot | None:
    """Width against height, both growing by factors; the area of a dot grows with its number of photos.

    Args:
        sizes: (width, height, split) → photos.
    """
    if not sizes:
        return None
    sides = [side for width, height, _ in sizes for side in (width, height)]
    low, high = math.log(min(sides)), math.log(max(sides))
    middle, half = (low + high) / 2, max((high - low) / 2 * 1.08, 0.8)
    x = _pixels(middle - half, middle + half, 52, 348)
    y = _pixels(middle - half, middle + half, 256, 12)
    cells: dict[tuple[float, float, str], Counter[tuple[int, int]]] = {}
    for (width, height, split), count in sizes.items():
        across, up = (_CELL * round(at / _CELL) for at in (x(math.log(width)), y(math.log(height))))
        cells.setdefault((across, up, split), Counter())[width, height] += count
    most = max(sum(cell.values()) for cell in cells.values())
    marks = [_dot(across, up, split, cell, most) for (across, up, split), cell in cells.items()]
    marks.sort(key=lambda mark: (mark.hollow, -mark.size))
    return Plot(x, y, "width in pixels", "height in pixels", marks=tuple(marks), diagonal=True)


def place_plot(places: Sequence[Spread]) -> Ridges | None:
    """How many places have how many photos in the gallery and among the queries, in steps of a factor of 2."""
    most = max((max(place.gallery, place.query) for place in places), default=0)
    if not most:
        return None
    steps = most.bit_length()
    edges = np.arange(steps + 1, dtype=np.float64)
    scale = Scale(0.0, float(steps), 14, 348)
    x = Scale(0.0, float(steps), 14, 348, tuple((scale(step), str(2**step)) for step in range(steps)))
    rows = [("right", "gallery", [p.gallery for p in places]), ("open", "query", [p.query for p in places])]
    rows = [row for row in rows if any(row[2])]
    drawn = []
    for number, (kind, name, counts) in enumerate(rows):
        held = np.bincount([count.bit_length() - 1 for count in counts if count], minlength=steps)
        height = 200.0 if len(rows) == 1 else 92.0
        base = 256.0 - (len(rows) - 1 - number) * 128
        note = f"{held.sum()} places, highest bar {held.max()}"
        drawn.append(Ridge(plots.outline(edges, held, x, base, height), base, kind, name, note, height))
    return Ridges(x, "photos a place, from this number to the next", tuple(drawn), None, "")


def photo_map(where: Whereabouts) -> Map:
    """Gallery photos, queries and doubtful positions; what would cover one another is drawn once."""
    at = plots.frame_of(np.concatenate([where.gallery, where.query]))
    queries = [Sign(x, y, "query", None, "") for x, y in plots.on_grid(where.query, at, _CELL)]
    doubtful = [
        Sign(*at(*spot), "doubtful position", None, str(photo.path)) for photo, spot in where.doubtful[:_DOUBTFUL_SHOWN]
    ]
    gallery = plots.on_grid(where.gallery, at, 2.0)
    kinds = tuple(dict.fromkeys(sign.kind for sign in (*queries, *doubtful)))
    return Map(at.width, at.height, gallery, (*queries, *doubtful), *at.bar, kinds)


def _pixels(low: float, high: float, start: float, end: float) -> Scale:
    """Logarithms of pixels, with ticks at round numbers of them."""
    scale = Scale(low, high, start, end)
    inside = [pixels for pixels in _PIXELS if low <= math.log(pixels) <= high]
    return Scale(low, high, start, end, tuple((scale(math.log(pixels)), str(pixels)) for pixels in inside))


def _dot(across: float, up: float, split: str, cell: Counter[tuple[int, int]], most: int) -> Mark:
    count = sum(cell.values())
    (width, height), _ = cell.most_common(1)[0]
    about = "" if len(cell) == 1 else "about "
    what = {("gallery", True): "gallery photo", ("gallery", False): "gallery photos"}.get(
        (split, count == 1), "query" if count == 1 else "queries"
    )
    size = round(2.5 + 9 * math.sqrt(count / most), 2)
    return Mark(across, up, size, f"{about}{width} × {height}: {count} {what}", hollow=split == "query")
