"""Numbers → the geometry of SVG plots. What is drawn with it, and in which colours, templates say.

Everything is in the units of a plot's own view box, x to the right and y downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placewise.figures import MISTAKES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from placewise.figures import Ground, Histogram
    from placewise.figures.ground import Spot
    from placewise.metrics import Curve, Reliability

WIDTH, HEIGHT = 360, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 348, 12, 256
_ROUND = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from ``low`` to ``high`` lie between ``start`` and ``end``; ``ticks`` are (where, what is written)."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...] = ()

    def __call__(self, value: float) -> float:
        """Where a value lies; beyond the ends at the end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a plot: where, how large, and what it says when it is pointed at."""

    x: float
    y: float
    size: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a plot: its path, its series (1 is drawn through, 2 dashed), its name where there are several."""

    path: str
    series: int = 1
    name: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """Two axes and what is drawn between them.

    Attributes:
        x: the horizontal axis.
        y: the vertical axis.
        x_label: what it shows, with its unit.
        y_label: likewise.
        lines: curves.
        marks: points.
        key: where the names of the lines are written, ``(x, y)`` of the first.
        diagonal: whether both axes are the same thing, so that its diagonal means something.
    """

    x: Scale
    y: Scale
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    key: tuple[float, float] = (0, 0)
    diagonal: bool = False


@dataclass(frozen=True, slots=True)
class Ridge:
    """One histogram of several that share an axis: its outline, its base line, its name and counts in words."""

    path: str
    base: float
    kind: str
    name: str
    note: str


@dataclass(frozen=True, slots=True)
class Ridges:
    """Histograms one above the other, over one axis; ``tau`` is where the threshold lies, None where it has none."""

    x: Scale
    x_label: str
    ridges: tuple[Ridge, ...]
    tau: float | None
    tau_text: str


@dataclass(frozen=True, slots=True)
class Sign:
    """A query on the map: where, its kind, where its best hit lies, and what a mistake says when it is pointed at."""

    x: float
    y: float
    kind: str
    hit: tuple[float, float] | None
    text: str


@dataclass(frozen=True, slots=True)
class Map:
    """The map, north up: size, gallery photos, queries, the scale bar's length and meaning, kinds of queries on it."""

    width: float
    height: float
    gallery: tuple[tuple[float, float], ...]
    signs: tuple[Sign, ...]
    bar: float
    bar_text: str
    kinds: tuple[str, ...]


def share_scale(start: float, end: float) -> Scale:
    """From 0 to 1, with a tick at each quarter."""
    scale = Scale(0.0, 1.0, start, end)
    return Scale(0.0, 1.0, start, end, tuple((scale(tick), f"{tick:g}") for tick in (0, 0.25, 0.5, 0.75, 1)))


def round_scale(low: float, high: float, start: float, end: float, *, ticks: int = 6) -> Scale:
    """With at most as many ticks at round values, within the limits as they are."""
    step = _round_step((high - low) / ticks)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    scale = Scale(low, high, start, end)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    at = [(scale(number * step), f"{number * step:.{digits}f}") for number in range(first, last + 1)]
    return Scale(low, high, start, end, tuple(at))


def share_plot(
    curves: Sequence[tuple[str, Curve]],
    x_label: str,
    y_label: str,
    *,
    marks: Iterable[tuple[float, float, str]] = (),
    key: str = "",
    diagonal: bool = False,
) -> Plot | None:
    """Curves of shares against shares; None where none of them is defined.

    Args:
        curves: (name, curve) of each.
        x_label: what the horizontal axis shows.
        y_label: likewise.
        marks: (x, y, text) of points that matter; those that are not defined are left out.
        key: the corner where the names are written, ``bottom right``, ``bottom left`` or none.
        diagonal: whether it means something.
    """
    if not any(curve.x.size for _, curve in curves):
        return None
    x, y = share_scale(_LEFT, _RIGHT), share_scale(_BOTTOM, _TOP)
    lines = tuple(Line(path(curve, x, y), number, name) for number, (name, curve) in enumerate(curves, 1))
    drawn = tuple(
        Mark(x(at), y(value), 5, text) for at, value, text in marks if not (math.isnan(at) or math.isnan(value))
    )
    corner = {"bottom right": (_RIGHT - 136, _BOTTOM - 36), "bottom left": (_LEFT + 14, _BOTTOM - 36)}
    return Plot(x, y, x_label, y_label, lines, drawn, corner.get(key, (0, 0)), diagonal)


def recall_plot(curve: Curve) -> Plot | None:
    """Recall@K against K, with room for its lowest value rather than for all below it."""
    if not curve.x.size:
        return None
    last = max(2.0, float(curve.x[-1]))
    low = min(0.75, math.floor(float(curve.y.min()) * 4) / 4)
    k_scale = Scale(1.0, last, _LEFT, _RIGHT)
    ticks = [k for k in (1, 5, 10, 15, 20, 25) if k <= last]
    x = Scale(1.0, last, _LEFT, _RIGHT, tuple((k_scale(k), str(k)) for k in ticks))
    y = round_scale(low, 1.0, _BOTTOM, _TOP, ticks=5)
    points = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
    marks = tuple(Mark(x(k), y(share), 3, f"Recall@{k:.0f} {share:.3f}") for k, share in points)
    return Plot(x, y, "K, first gallery photos looked at", "Recall@K", (Line(path(curve, x, y)),), marks)


def reliability_plot(reliability: Reliability) -> Plot:
    """Probability against what came true; the area of a point is the share of the queries in its bin."""
    x, y = share_scale(_LEFT, _RIGHT), share_scale(_BOTTOM, _TOP)
    bins = zip(reliability.confidence.tolist(), reliability.accuracy.tolist(), reliability.count.tolist(), strict=True)
    most = max(1, int(reliability.count.max()))
    marks = tuple(
        Mark(x(p), y(right), round(3 + 11 * math.sqrt(count / most), 2), f"{count} queries: {p:.2f}, {right:.2f} right")
        for p, right, count in bins
        if count
    )
    return Plot(x, y, "probability that was stated", "share that was right", marks=marks, diagonal=True)


def ridges(histogram: Histogram, x_label: str, tau: float | None) -> Ridges:
    """The three histograms of a value, each as high as its own highest bin."""
    x = round_scale(float(histogram.edges[0]), float(histogram.edges[-1]), 14, _RIGHT)
    groups = (("right", "known, right place"), ("wrong", "known, wrong place"), ("open", "open-set"))
    counts = (histogram.right, histogram.wrong, histogram.open_set)
    drawn = []
    for number, ((kind, name), count) in enumerate(zip(groups, counts, strict=True)):
        base = 92.0 + 82 * number
        note = f"{count.sum()} queries" + (f", highest bar {count.max()}" if count.sum() else "")
        drawn.append(Ridge(_outline(histogram.edges, count, x, base, 56), base, kind, name, note))
    inside = tau is not None and x.low <= tau <= x.high
    return Ridges(x, x_label, tuple(drawn), x(tau) if tau is not None and inside else None, f"tau {tau or 0:.3f}")


def map_of(ground: Ground) -> Map:
    """The map in a frame of fitting shape; what would cover one another is drawn once, but every mistake is drawn."""
    points = np.concatenate([ground.gallery, [spot.at for spot in ground.spots]])
    low, high = points.min(axis=0), points.max(axis=0)
    extent = np.maximum(high - low, max(float((high - low).max()) / 4, 20.0))
    middle, margin, width = (low + high) / 2, 24.0, 720.0
    per_m = min((width - 2 * margin) / extent[0], (560 - 2 * margin - 24) / extent[1])
    height = round(extent[1] * per_m + 2 * margin + 24, 1)

    def at(east_m: float, north_m: float) -> tuple[float, float]:
        east, north = east_m - float(middle[0]), north_m - float(middle[1])
        return round(width / 2 + east * per_m, 1), round((height - 24) / 2 - north * per_m, 1)

    bar_m = _round_step(120 / per_m, down=True)
    places = (at(east, north) for east, north in ground.gallery.tolist())
    gallery = dict.fromkeys((2.0 * round(x / 2), 2.0 * round(y / 2)) for x, y in places)
    signs = tuple(dict.fromkeys(_sign(spot, at) for spot in ground.spots))
    text = f"{bar_m / 1000:g} km" if bar_m >= 1000 else f"{bar_m:g} m"
    kinds = tuple(dict.fromkeys(sign.kind for sign in signs))
    return Map(width, height, tuple(gallery), signs, round(bar_m * per_m, 1), text, kinds)


def path(curve: Curve, x: Scale, y: Scale) -> str:
    """The path of a curve."""
    points = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
    return "M" + "L".join(f"{x(at):g},{y(value):g}" for at, value in points) if curve.x.size else ""


def _sign(spot: Spot, at: Callable[[float, float], tuple[float, float]]) -> Sign:
    """A query as it is drawn: a mistake by name, others to the pixel."""
    x, y = at(*spot.at)
    if spot.outcome not in MISTAKES:
        return Sign(round(x), round(y), spot.outcome, None, "")
    hit = None if spot.hit_at is None else at(*spot.hit_at)
    return Sign(x, y, spot.outcome, hit, f"{spot.query.path}: {spot.outcome}")


def _outline(edges: NDArray[np.float64], counts: NDArray[np.int64], x: Scale, base: float, height: float) -> str:
    """The closed outline of a histogram's bars; empty where all counts are 0."""
    most = int(counts.max())
    if not most:
        return ""
    tops = [round(base - height * count / most, 2) for count in counts.tolist()]
    sides = [x(edge) for edge in edges.tolist()]
    bars = "".join(f"V{top:g}H{right:g}" for top, right in zip(tops, sides[1:], strict=True))
    return f"M{sides[0]:g},{base:g}{bars}V{base:g}Z"


def _round_step(step: float, *, down: bool = False) -> float:
    """The next larger (or smaller) of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    steps = [power * factor for factor in _ROUND]
    return max(s for s in steps if s <= step * 1.000001) if down else min(s for s in steps if s >= step * 0.999999)
