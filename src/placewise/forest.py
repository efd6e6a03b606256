"""Values with their intervals, one below the other → the geometry of a forest plot. Templates say how it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placewise.plots import Scale, round_scale
from placewise.scoring.wording import is_defined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placewise.metrics import Interval

_LEFT, _RIGHT, _TOP, _ROW = 14, 346, 24, 36


@dataclass(frozen=True, slots=True)
class Whisker:
    """One value.

    Attributes:
        y: where its line lies; its name stands above it.
        name: what it is of.
        at: where the value lies.
        low: where its interval begins; the value itself where there is none.
        high: where it ends.
        text: the value as it is written.
    """

    y: float
    name: str
    at: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True)
class Forest:
    """Values over one axis; ``zero`` is where 0 lies if it means something, None otherwise."""

    x: Scale
    height: float
    whiskers: tuple[Whisker, ...]
    zero: float | None
    x_label: str


def forest_of(
    rows: Sequence[tuple[str, float, Interval | None]], x_label: str, *, differences: bool = False
) -> Forest | None:
    """Lay out some values; None where none is defined.

    Args:
        rows: (name, value, interval) of each; those that are not defined are left out.
        x_label: what the axis shows.
        differences: whether 0 means something, so that it is on the axis, and values have a sign.
    """
    defined = [(name, value, interval) for name, value, interval in rows if not math.isnan(value)]
    if not defined:
        return None
    spans = [_span(value, interval) for _, value, interval in defined]
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    low, high = (min(low, 0.0), max(high, 0.0)) if differences else (low, high)
    margin = max(high - low, 0.02) / 20
    x = round_scale(low - margin, high + margin, _LEFT, _RIGHT, ticks=8 if differences else 5)
    sign = "+" if differences else ""
    whiskers = tuple(
        Whisker(_TOP + _ROW * number + 14, name, x(value), x(span[0]), x(span[1]), f"{value:{sign}.3f}")
        for number, ((name, value, _), span) in enumerate(zip(defined, spans, strict=True))
    )
    height = _TOP + _ROW * len(whiskers)
    return Forest(x, height, whiskers, x(0.0) if differences else None, x_label)


def _span(value: float, interval: Interval | None) -> tuple[float, float]:
    return (interval.low, interval.high) if interval is not None and is_defined(interval) else (value, value)
