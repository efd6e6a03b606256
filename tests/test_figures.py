"""What explains an evaluation: outcomes, histograms, places and the map, against counting by hand."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from placewise.core import Hit, Photo, Position, Source
from placewise.evaluate import evaluate_source
from placewise.evaluation import QueryResult
from placewise.figures import figures_json, figures_of, outcome
from placewise.figures.ground import ground_of
from placewise.figures.histograms import histogram_of
from placewise.figures.places import MATRIX_PLACES, confusions_of, matrix_of, place_rows
from placewise.sources import read_source

if TYPE_CHECKING:
    from tests.conftest import TinyModel

TAU = 0.5


def result(
    place: str | None,
    answered: str | None,
    confidence: float,
    *,
    ranks: tuple[int, ...] = (1,),
    open_set: bool | None = False,
    number: int = 0,
) -> QueryResult:
    """A query of a place, what would be answered, and how surely."""
    hit = Hit(Photo(PurePosixPath(f"{answered}/g.jpg"), "gallery", answered), confidence)
    return QueryResult(
        query=Photo(PurePosixPath(f"{place}/{number}.jpg"), "query", place),
        open_set=open_set,
        hits=(hit,),
        relevant=(place == answered,),
        positive_ranks=np.array(() if open_set else ranks, dtype=np.int64),
        confidence=confidence,
        place=answered,
        correct=place == answered,
        reason="",
        answered=hit,
    )


RESULTS = (
    result("a", "a", 0.9),
    result("a", "b", 0.8, ranks=(2, 4)),
    result("a", "a", 0.2),
    result("b", "c", 0.5, ranks=(3,)),
    result("b", "c", 0.4, ranks=(2,)),
    result("c", "c", 0.6),
    result("z", "a", 0.7, open_set=True),
    result("z", "b", 0.1, open_set=True),
    result("y", "a", 0.3, open_set=True),
    result(None, "a", 0.9, open_set=None),
)

answers = st.lists(
    st.builds(
        result,
        st.sampled_from("abz"),
        st.sampled_from("abc"),
        st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0]),
        open_set=st.sampled_from([False, True, None]),
    ),
    max_size=12,
)


def test_every_query_has_one_outcome() -> None:
    """A confidence equal to tau is accepted; a query without a place is not scored, however sure."""
    counted = Counter(outcome(item, TAU) for item in RESULTS)

    assert counted == {
        "right": 2,
        "wrong place": 2,
        "false reject": 2,
        "false accept": 1,
        "right UNKNOWN": 2,
        "not scored": 1,
    }


def test_places_are_listed_worst_first() -> None:
    """Recall@1, AP, answers and the likeliest mistake of each place are those of its own queries."""
    rows = place_rows(RESULTS, TAU)

    assert [row.place for row in rows] == ["b", "a", "c", "z", "y"]
    b, a, c, z, y = rows
    assert (b.queries, b.recall_at_1, b.map, b.accepted, b.accepted_right) == (2, 0.0, (1 / 3 + 1 / 2) / 2, 1, 0)
    assert (b.confused_with, b.confused) == ("c", 2)
    assert (a.queries, a.recall_at_1, a.accepted, a.accepted_right) == (3, 2 / 3, 2, 1)
    assert a.map == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert (c.confused_with, c.confused) == (None, 0)
    assert (z.open_set, z.queries, z.accepted, z.confused_with) == (True, 2, 1, "a")
    assert math.isnan(z.recall_at_1)
    assert math.isnan(z.map)
    assert (y.accepted, y.confused_with) == (0, "a")


@given(answers)
def test_the_matrix_the_places_and_the_confusions_tell_one_story(results: list[QueryResult]) -> None:
    """Each scored query is in one cell; what is right and what is wrong there is what the lists say."""
    matrix, rows, confusions = matrix_of(results, TAU), place_rows(results, TAU), confusions_of(results, TAU)

    scored = [item for item in results if item.open_set is not None]
    assert sum(row.queries for row in rows) == len(scored)
    assert sum(pair.queries for pair in confusions) == sum(
        item.confidence >= TAU and item.place != item.query.place for item in scored
    )
    if matrix is None:
        assert not scored
        return
    assert matrix.counts.sum() == len(scored)
    assert matrix.counts[:, -1].sum() == sum(item.confidence < TAU for item in scored)
    for number, place in enumerate(matrix.rows):
        open_set = number >= matrix.known
        for column, answered in enumerate(matrix.columns):
            assert matrix.counts[number, column] == sum(
                item.query.place == place
                and item.open_set is open_set
                and item.place == answered
                and item.confidence >= TAU
                for item in scored
            )


def test_a_matrix_that_nobody_can_read_is_not_made() -> None:
    """One place more than fits, and the confusions have to be listed."""
    places = [f"p{number:03}" for number in range(MATRIX_PLACES + 1)]

    assert matrix_of([result(place, place, 0.9) for place in places[:-1]], TAU) is not None
    assert matrix_of([result(place, place, 0.9) for place in places], TAU) is None


@given(answers)
def test_a_histogram_counts_each_scored_query_once(results: list[QueryResult]) -> None:
    """Each group adds up, and each bin holds what lies between its edges, the ends what lies beyond them."""
    histogram = histogram_of(results, lambda item: item.confidence, limits=(0.0, 1.0))

    edges = histogram.edges
    assert (edges[0], edges[-1]) == (0.0, pytest.approx(1.0))
    for counts, wanted in (
        (histogram.right, [r.confidence for r in results if r.open_set is False and r.correct]),
        (histogram.wrong, [r.confidence for r in results if r.open_set is False and not r.correct]),
        (histogram.open_set, [r.confidence for r in results if r.open_set]),
    ):
        expected = [
            sum(low <= min(max(value, 0.0), 0.999999) < high for value in wanted) for low, high in pairwise(edges)
        ]
        assert counts.tolist() == expected


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
@example([-0.625, -0.0625])
def test_the_bins_hold_all_similarities_and_are_few(values: list[float]) -> None:
    """Whatever the cosines, there are 1 to 30 bins of a round width around them."""
    results = [replace(RESULTS[0], confidence=value) for value in values]

    histogram = histogram_of(results, lambda item: item.confidence)

    comparable = [value for value in values if value > -1]
    assert 1 <= len(histogram.right) <= 30
    assert (histogram.right + histogram.wrong).sum() == len(values)
    for value in comparable:
        assert histogram.edges[0] - 1e-9 <= value <= histogram.edges[-1] + 1e-9


def placed(lat: float, lon: float, split: str = "gallery") -> Photo:
    """A photo at a position."""
    position = Position(lat, lon)
    name = PurePosixPath(f"{lat}_{lon}.jpg")
    return Photo(name, "gallery" if split == "gallery" else "query", "a", position)


@pytest.mark.parametrize("lon", [0.0, 16.37, 179.9999, -180.0])
def test_the_map_is_in_metres(lon: float) -> None:
    """A thousandth of a degree north is 111 m, east it is cos(latitude) of that, also across the 180th meridian."""
    east = (lon + 0.001 + 180) % 360 - 180
    gallery = (placed(48.0, lon), placed(48.001, lon), placed(48.0, east))
    query = placed(48.0005, lon, "query")
    asked = replace(RESULTS[1], query=query, hits=(Hit(gallery[2], 0.8),))

    ground = ground_of([asked], TAU, Source(Path(), (*gallery, query)))

    assert ground is not None
    here, north, right = ground.gallery
    assert north - here == pytest.approx([0, 111.195], abs=0.01)
    assert right - here == pytest.approx([111.195 * math.cos(math.radians(48.0005)), 0], abs=0.01)
    assert ground.gallery.max(axis=0) == pytest.approx(-ground.gallery.min(axis=0))
    spot = ground.spots[0]
    assert spot.outcome == "wrong place"
    assert spot.hit_at == pytest.approx(tuple(right))


def test_only_mistakes_of_place_are_tied_to_their_hit() -> None:
    """A right answer, a right place that was rejected and a rightly UNKNOWN one have no line on the map."""
    gallery, query = placed(48.0, 16.0), placed(48.1, 16.0, "query")
    source = Source(Path(), (gallery, query))

    def tied(item: QueryResult) -> bool:
        ground = ground_of([replace(item, query=query, hits=(Hit(gallery, 0.8),))], TAU, source)
        return ground is not None and ground.spots[0].hit_at is not None

    assert [tied(replace(item, correct=False)) for item in RESULTS[:6]] == [True] * 6
    assert [tied(replace(item, correct=True)) for item in (*RESULTS[:6], RESULTS[7])] == [False] * 7


def test_without_positions_there_is_no_map() -> None:
    """Positions of one split only cannot show where answers point."""
    bare = Photo(PurePosixPath("b.jpg"), "query", "a")
    source = Source(Path(), (placed(48.0, 16.0), bare))

    assert ground_of([replace(RESULTS[0], query=bare)], TAU, source) is None


def test_the_json_holds_the_numbers_that_are_drawn(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Curves, histograms, places and confusions are strict JSON, short, and agree with the headline numbers."""
    source = read_source(tiny_dataset)
    evaluation = evaluate_source(source, tiny_model, tau=0.9)

    figures = figures_of(evaluation, source)
    document = json.loads(json.dumps(figures_json(figures), allow_nan=False))

    assert document["curves"]["recall"]["recall"][0] == evaluation.retrieval["recall@1"]
    assert figures.roc.area == pytest.approx(evaluation.open_set["auroc"], abs=1e-3)
    assert figures.oscr.area == pytest.approx(evaluation.open_set["oscr"], abs=1e-3)
    assert document["curves"]["roc"]["known_accepted"][-1] == 1.0
    assert sum(row["queries"] for row in document["places"]) == len(evaluation.results)
    assert {row["place"] for row in document["places"] if row["recall@1"] is None} == {"place 4", "place 5"}
    assert sum(map(sum, (document["histograms"]["similarity"][key] for key in ("right", "wrong", "open_set")))) == 6


def test_ten_thousand_queries_make_a_short_document() -> None:
    """Curves are thinned to what a plot can show, so that the document does not grow with the queries."""
    from placewise import metrics

    rng = np.random.default_rng(0)
    known, open_set = rng.normal(1, 1, 8000), rng.normal(0, 1, 2000)
    correct = rng.random(8000) < 0.9
    for curve in (
        metrics.roc_curve(known, open_set),
        metrics.answer_curve(known, correct, open_set),
        metrics.unknown_curve(known, open_set),
    ):
        thin = curve.thinned(0.001)

        assert thin.x.size < 1000
        assert thin.area == pytest.approx(curve.area, abs=0.001)
