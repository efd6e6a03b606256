"""The words beside the numbers: what intervals draw, and which metrics a reader looks for first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from placewise.core import Photo
from placewise.evaluate import evaluate_source
from placewise.evaluation import scores_json
from placewise.scoring.wording import counted, counts_text, has_intervals, heads_of, intervals_meaning, intervals_text
from placewise.show_scores import evaluation_text
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import TinyModel


def test_intervals_are_over_the_groups_of_each_kind_of_query(
    tiny_dataset: Path, tiny_model: TinyModel, save_photo: Callable[..., Path]
) -> None:
    """Places of known and of open-set queries are counted apart, for metrics draw from one or both; excluded do not."""
    source = read_source(tiny_dataset)
    save_photo(source.root / "nobody.png", place=9)
    nobody = Photo(PurePosixPath("nobody.png"), "query", None)

    scores = evaluate_source(replace(source, photos=(*source.photos, nobody)), tiny_model).scores

    assert scores.counts["excluded"] == 1
    assert intervals_text(scores) == "95 % intervals over places, 4 with known queries and 2 with open-set ones"
    assert scores_json(scores)["groups"] == {"unit": "places", "count": 6, "known": 4, "open_set": 2}


def test_one_kind_of_query_is_named_alone(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Where no query is open-set, nothing is said of those."""
    source = read_source(tiny_dataset)
    known = tuple(photo for photo in source.photos if photo.place not in ("place 4", "place 5"))

    scores = evaluate_source(replace(source, photos=known), tiny_model).scores

    assert intervals_text(scores) == "95 % intervals over places, 4 with known queries"


def test_an_interval_is_explained_only_where_there_is_one(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """It is about the value over all such groups, not about the next set; without intervals nothing is explained."""
    source = read_source(tiny_dataset)

    some = evaluate_source(source, tiny_model).scores
    undefined = evaluate_source(source, tiny_model, protocol="frames:3").scores
    unasked = evaluate_source(source, tiny_model, intervals=False).scores

    assert has_intervals(some)
    assert "95 of 100 sets of places like these it holds the value over all such places" in intervals_meaning(some)
    for scores in (undefined, unasked):
        assert not has_intervals(scores)
        assert not intervals_meaning(scores)


def test_both_errors_of_tau_are_printed(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """The rate that a user asks for, of false accepts, and what it costs, each with its interval."""
    evaluation = evaluate_source(read_source(tiny_dataset), tiny_model, tau=0.9)

    lines = evaluation_text(evaluation).splitlines()
    for label, value in (
        ("false-accept rate", evaluation.counts.false_accept_rate),
        ("false-reject rate", evaluation.counts.false_reject_rate),
    ):
        (line,) = (line for line in lines if line.startswith(label))
        assert line.split()[2] == f"{value:.4f}"
    assert "false_accept_rate" in heads_of(evaluation.scores)
    assert len(heads_of(evaluation.scores)) <= 8


@pytest.mark.parametrize(("count", "text"), [(0, "0 queries"), (1, "1 query"), (2, "2 queries")])
def test_one_is_singular(count: int, text: str) -> None:
    """A number of things is in words."""
    assert counted(count, "query", "queries") == text


def test_one_query_is_counted_in_words(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """A set of one query has one query."""
    source = read_source(tiny_dataset)
    one = (*source.of("gallery"), source.of("query")[0])

    scores = evaluate_source(replace(source, photos=one), tiny_model).scores

    assert counts_text(scores) == "1 query: 1 evaluated"
