"""The geometry of plots: scales, ticks, outlines, the map."""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placewise import metrics, plots
from placewise.core import Photo
from placewise.figures import Ground, Histogram
from placewise.figures.ground import Spot

LINE = metrics.Curve(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]))
EMPTY = metrics.Curve(np.empty(0), np.empty(0))


@given(st.floats(-1000, 1000), st.floats(0.01, 1000), st.integers(2, 10))
def test_ticks_are_round_few_and_where_they_say(low: float, extent: float, count: int) -> None:
    """Each tick lies at the value that is written, within the axis, and there are not many more than asked for."""
    scale = plots.round_scale(low, low + extent, 10, 210, ticks=count)

    assert len(scale.ticks) <= count + 1
    for at, text in scale.ticks:
        assert at == pytest.approx(10 + 200 * (float(text) - low) / extent, abs=0.02)
        assert 10 <= at <= 210
    assert len({text for _, text in scale.ticks}) == len(scale.ticks)


def test_what_lies_beyond_an_axis_is_drawn_at_its_end() -> None:
    """A scale never points out of the plot."""
    scale = plots.share_scale(0, 100)

    assert [scale(value) for value in (-1.0, 0.0, 0.25, 1.0, 2.0)] == [0, 0, 25, 100, 100]


def test_a_curve_becomes_a_path_with_y_upwards() -> None:
    """The path goes through the points, and a higher value is drawn higher."""
    plot = plots.share_plot([("", LINE)], "x", "y", marks=[(0.5, 1.0, "here"), (math.nan, 0.0, "nowhere")])

    assert plot is not None
    x, y = plot.x, plot.y
    assert plot.lines[0].path == f"M{x(0):g},{y(0):g}L{x(0.5):g},{y(1):g}L{x(1):g},{y(1):g}"
    assert y(1) < y(0)
    assert [(mark.x, mark.y, mark.text) for mark in plot.marks] == [(x(0.5), y(1), "here")]


def test_no_curve_no_plot() -> None:
    """What is not defined is not drawn; one curve of two is."""
    assert plots.share_plot([("", EMPTY)], "x", "y") is None
    assert plots.recall_plot(EMPTY) is None
    assert plots.share_plot([("one", EMPTY), ("two", LINE)], "x", "y") is not None


@pytest.mark.parametrize(("worst", "low"), [(0.97, 0.75), (0.6, 0.5), (0.0, 0.0), (1.0, 0.75)])
def test_the_recall_plot_begins_below_its_lowest_value(worst: float, low: float) -> None:
    """A high curve has room, a low one is not cut off, and a gallery of one photo can be drawn."""
    plot = plots.recall_plot(metrics.Curve(np.array([1.0]), np.array([worst])))

    assert plot is not None
    assert plot.y.low == low
    assert plot.marks[0].text == f"Recall@1 {worst:.3f}"


def test_a_reliability_diagram_has_a_dot_for_each_bin_with_queries() -> None:
    """The area of a dot is the number of queries; empty bins are not drawn."""
    plot = plots.reliability_plot(metrics.reliability([0.05, 0.95, 0.95, 0.95, 0.95], [False, True, True, True, False]))

    assert [mark.text[:9] for mark in plot.marks] == ["1 queries", "4 queries"]
    few, many = (mark.size - 3 for mark in plot.marks)
    assert many == pytest.approx(2 * few, abs=0.02)


def test_each_histogram_is_as_high_as_its_own_highest_bar() -> None:
    """An outline touches its base at both ends, its top once, and what is empty has none; tau lies on the axis."""
    histogram = Histogram(
        np.array([0.0, 0.5, 1.0]), right=np.array([1, 4]), wrong=np.array([0, 0]), open_set=np.array([9, 0])
    )

    drawn = plots.ridges(histogram, "confidence", 0.5)

    right, wrong, open_set = drawn.ridges
    assert wrong.path == ""
    assert (right.note, wrong.note) == ("5 queries, highest bar 4", "0 queries")
    for ridge in (right, open_set):
        heights = [float(height) for height in re.findall(r"V([\d.]+)", ridge.path)]
        assert min(heights) == ridge.base - 56
        assert heights[-1] == ridge.base
    assert drawn.tau == pytest.approx((drawn.x.start + drawn.x.end) / 2)
    assert plots.ridges(histogram, "confidence", 1.5).tau is None
    assert plots.ridges(histogram, "confidence", None).tau is None


@given(st.lists(st.tuples(st.floats(-5e4, 5e4), st.floats(-5e4, 5e4)), min_size=1, max_size=10))
def test_the_map_holds_every_photo_true_to_scale(points: list[tuple[float, float]]) -> None:
    """Everything lies inside the frame, east is right and north is up, and the bar is as long as it says."""
    spot = Spot(Photo(PurePosixPath("q.jpg"), "query"), points[0], "wrong place", points[-1])

    drawn = plots.map_of(Ground(np.array(points), (spot,), 0))

    unit = 1000.0 if drawn.bar_text.endswith("km") else 1.0
    per_m = drawn.bar / (float(drawn.bar_text.split()[0]) * unit)
    sign = drawn.signs[0]
    for x, y in (*drawn.gallery, (sign.x, sign.y)):
        assert 20 <= x <= drawn.width - 20
        assert 20 <= y <= drawn.height - 20
    assert sign.hit is not None
    assert sign.hit[0] - sign.x == pytest.approx((points[-1][0] - points[0][0]) * per_m, abs=0.15 + 0.002 * drawn.width)
    assert sign.y - sign.hit[1] == pytest.approx((points[-1][1] - points[0][1]) * per_m, abs=0.15 + 0.002 * drawn.width)
    assert 30 <= drawn.bar <= 121
    assert drawn.kinds == ("wrong place",)


def test_photos_of_one_spot_are_drawn_once() -> None:
    """A gallery of many photos makes no heavier a map than one of as many spots."""
    spot = Spot(Photo(PurePosixPath("q.jpg"), "query"), (0.0, 0.0), "right", None)

    drawn = plots.map_of(Ground(np.zeros((5000, 2)), (spot,), 0))

    assert len(drawn.gallery) == 1
    assert drawn.signs[0].hit is None
