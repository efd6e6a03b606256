"""The page that compares models, and what is drawn on it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import TinyModel
from tests.test_figures import result
from tests.test_report import Page

from placewise.contest import contest_json, contest_of
from placewise.contest_report import write_contest_report
from placewise.evaluate import evaluate_source
from placewise.figures import disagreements_of
from placewise.forest import forest_of
from placewise.metrics import Interval
from placewise.scoring.wording import words_of
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placewise.core import Embeddings


class Blind(TinyModel):
    """Sees nothing, and guesses the same each time."""

    def infer(self, inputs: Sequence[NDArray[np.uint8]]) -> Embeddings:
        """Inputs → embeddings."""
        seeds = [int(item.astype(np.int64).sum()) for item in inputs]
        noise = [np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8) for seed in seeds]
        return super().infer(noise)


@pytest.mark.parametrize("protocol", ["place", "frames:±1"])
def test_the_page_holds_the_numbers_of_the_document(tiny_dataset: Path, tmp_path: Path, protocol: str) -> None:
    """Each model's headline, each difference with its words, the queries that one gets wrong, and both cards."""
    source = read_source(tiny_dataset)
    contest = contest_of([evaluate_source(source, model, protocol=protocol) for model in (TinyModel(), Blind("blind"))])

    write_contest_report(contest, source, tmp_path / "out.html", title="Tiny", command="placewise evaluate <x>")

    page = Page((tmp_path / "out.html").read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.texts[4:]).split())
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    links = [address for address in page.addresses if not address.startswith("data:image/jpeg;base64,")]
    assert {link.removeprefix("#") for link in links} <= set(page.ids)
    assert contest.comparisons[0].sentence in text
    assert "placewise evaluate <x>" in text
    for evaluation in contest.evaluations:
        assert evaluation.card.fingerprint in text
        assert f"{evaluation.retrieval['recall@1']:.3f}" in text
    for difference in contest.comparisons[0].differences:
        assert f"{words_of(difference.metric).label} {difference.first:.3f}" in text or math.isnan(difference.first)
    assert " nan" not in text
    lost = sum(
        a.correct and not b.correct
        for a, b in zip(contest.evaluations[0].results, contest.evaluations[1].results, strict=True)
    )
    assert lost
    assert f"Only tiny is right: {lost}" in text
    document = contest_json(contest, source)
    models = document["models"]
    assert isinstance(models, list)
    assert [model["retrieval"]["recall@1"] for model in models] == [
        evaluation.retrieval["recall@1"] for evaluation in contest.evaluations
    ]


def test_what_lies_right_of_zero_is_better(tiny_dataset: Path, tmp_path: Path) -> None:
    """The plot of differences has no rate of errors, whose rise is no gain; the table has it."""
    source = read_source(tiny_dataset)
    contest = contest_of([evaluate_source(source, model, tau=0.9) for model in (TinyModel(), Blind("blind"))])

    write_contest_report(contest, source, tmp_path / "out.html")

    html = (tmp_path / "out.html").read_text(encoding="utf-8")
    label = words_of("false_accept_rate").label
    plot = html.partition('id="difference-1"')[2].partition("</figure>")[0]
    assert words_of("auroc").label in plot
    assert label not in plot
    assert f'<th scope="row">{label}</th>' in html


def test_names_are_read_as_they_are_written(tiny_dataset: Path, tmp_path: Path) -> None:
    """Apostrophes and ampersands of a place reach the reader of the contest unchanged."""
    text = tiny_dataset.read_text(encoding="utf-8").replace(",place ", ",St Paul's & Co ")
    tiny_dataset.write_text(text, encoding="utf-8")
    source = read_source(tiny_dataset)
    contest = contest_of([evaluate_source(source, model) for model in (TinyModel(), Blind("blind"))])

    write_contest_report(contest, source, tmp_path / "out.html")

    texts = Page((tmp_path / "out.html").read_text(encoding="utf-8")).texts
    assert any(shown.startswith("✓ St Paul's & Co ") for shown in texts)
    assert not [shown for shown in texts if "&#39;" in shown or "&amp;" in shown]


def test_disagreements_are_known_queries_that_one_gets_right() -> None:
    """Of three known queries one is lost and one is gained, in whatever order; an open-set one does not count."""
    mine = [
        result("a", answered, 0.5, open_set=open_set, number=number)
        for number, (answered, open_set) in enumerate([("a", False), ("b", False), ("a", False), ("b", True)])
    ]
    other = [replace(one, correct=right) for one, right in zip(mine, (False, True, True, True), strict=True)]

    gained, lost = disagreements_of(("first", "second"), mine, other[::-1])

    assert (gained.right, gained.wrong, gained.count) == ("second", "first", 1)
    assert [one.query for one, _ in gained.pairs] == [mine[1].query]
    assert (lost.right, lost.wrong, lost.count) == ("first", "second", 1)
    assert [one.correct for one, _ in lost.pairs] == [True]
    assert set(lost.photos) == {mine[0].query, mine[0].hits[0].photo}


def test_the_hit_that_is_marked_is_the_one_that_answers(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """A best hit without a label answers nothing: the first that has one is shown, with its photo and similarity."""
    source = read_source(tiny_dataset)
    bare = (replace(photo, place=None) if photo.path.name == "0.png" else photo for photo in source.photos)
    source = replace(source, photos=tuple(bare))
    evaluation = evaluate_source(source, tiny_model)
    wrong = tuple(replace(one, correct=False) for one in evaluation.results)
    other = replace(evaluation, results=wrong, card=replace(evaluation.card, name="other"))

    write_contest_report(contest_of([evaluation, other]), source, tmp_path / "out.html")

    apart = [one for one in evaluation.results if one.correct and one.hits[0].photo.place is None]
    assert apart
    for one in apart:
        assert one.answered is not None
        assert one.answered == next(hit for hit in one.hits if hit.photo.place is not None)
        assert one.answered.photo.place == one.place
    texts = Page((tmp_path / "out.html").read_text(encoding="utf-8")).texts
    marked = [text for text in texts if text.startswith("✓ ")]
    assert sorted(marked) == [f"✓ {one.place}" for one in evaluation.results if one.correct and one.open_set is False]


def test_a_forest_has_every_value_within_its_interval_and_its_frame() -> None:
    """Values without an interval are points, those that are not defined are left out, and differences have a zero."""
    rows = [
        ("a", 0.5, Interval(0.4, 0.7, 1.0)),
        ("b", 0.9, None),
        ("c", math.nan, None),
        ("d", 0.8, Interval(math.nan, math.nan, math.nan)),
    ]

    forest = forest_of(rows, "Recall@1")
    differences = forest_of(rows, "b minus a", differences=True)

    assert forest is not None
    assert differences is not None
    assert [row.name for row in forest.whiskers] == ["a", "b", "d"]
    assert forest_of([rows[2]], "") is None
    for row in forest.whiskers:
        assert forest.x.start < row.low <= row.at <= row.high < forest.x.end
        assert row.y < forest.height
    assert forest.whiskers[0].low < forest.whiskers[0].at
    assert forest.whiskers[1].low == forest.whiskers[1].high
    assert forest.zero is None
    assert differences.zero is not None
    assert differences.zero < differences.whiskers[0].low
    assert differences.whiskers[0].text == "+0.500"
