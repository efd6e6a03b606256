"""Two models on the same queries."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from placewise import metrics
from placewise.contest import contest_json, contest_of, numbers_csv
from placewise.errors import EvaluationError
from placewise.evaluate import evaluate_source
from placewise.evaluation import scores_json, to_json
from placewise.scoring.compared_files import compare_files
from placewise.scoring.comparing import comparison_json
from placewise.scoring.scored_files import score_predictions
from placewise.show_scores import comparison_text
from placewise.sources import read_source

if TYPE_CHECKING:
    from tests.conftest import TinyModel

PLACES = 30


@pytest.fixture
def evaluated(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the document of a made-up model, which is right about a share of 120 queries."""
    rows = ["path,place,split"]
    rows += [f"g{place},{place},gallery" for place in range(PLACES)]
    rows += [f"q{query},{query % PLACES},query" for query in range(120)]
    rows += [f"u{query},u{query % 5},query" for query in range(20)]
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join(rows) + "\n", encoding="utf-8")

    def evaluate(name: str, share: float, *, protocol: str = "place", queries: int = 120) -> Path:
        luck = np.random.default_rng(0).random(120)
        lines = ["query,path,similarity"]
        for query in range(queries):
            right, wrong = f"g{query % PLACES}", f"g{(query + 1) % PLACES}"
            first, second = (right, wrong) if luck[query] < share else (wrong, right)
            lines += [f"q{query},{first},{0.5 + share * luck[query] / 2}", f"q{query},{second},0.3"]
        lines += [f"u{query},g0,{0.2 + query / 100}" for query in range(20)]
        predictions = tmp_path / "predictions.csv"
        predictions.write_text("\n".join(lines) + "\n", encoding="utf-8")
        document = scores_json(score_predictions(predictions, truth, protocol=protocol, tau=0.6))
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return evaluate


def test_a_difference_that_is_there_is_seen(evaluated: Callable[..., Path]) -> None:
    """Forty points of Recall@1 over thirty places: the sentence names the better model, whichever comes first."""
    worse, better = evaluated("worse", 0.5), evaluated("better", 0.9)

    comparison, turned = compare_files(worse, better), compare_files(better, worse)

    rows = {one.metric: one for one in comparison.differences}
    assert rows["recall@1"].difference == pytest.approx(
        json.loads(better.read_text())["retrieval"]["recall@1"] - json.loads(worse.read_text())["retrieval"]["recall@1"]
    )
    assert rows["recall@1"].interval.low > 0
    assert rows["recall@1"].better == 1
    assert comparison.sentence.startswith("better finds the right place more often: +")
    assert comparison.sentence.endswith("with 120 queries in 30 places.")
    assert turned.sentence == comparison.sentence
    json.dumps(comparison_json(comparison), allow_nan=False)


def test_no_difference_is_said_to_be_none(evaluated: Callable[..., Path]) -> None:
    """A model against itself answers alike, without an interval of width 0; one hardly better is not seen to be."""
    path = evaluated("a", 0.7)

    itself, hardly = compare_files(path, path), compare_files(path, evaluated("b", 0.72))

    assert itself.sentence == "Both answered alike: none of 120 queries in 30 places differs in Recall@1."
    assert {one.difference for one in itself.differences} == {0}
    assert all(math.isnan(one.better) for one in itself.differences)
    assert hardly.sentence.startswith("No difference can be seen with 120 queries in 30 places: +")


def test_the_numbers_of_a_comparison_are_those_of_the_documents(evaluated: Callable[..., Path]) -> None:
    """Every metric that both documents state is compared, with their values, and no other one."""
    first, second = evaluated("a", 0.5), evaluated("b", 0.6)
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in (first, second)]

    comparison = compare_files(first, second)

    stated = {
        name
        for part in ("retrieval", "open_set")
        for name, value in documents[0][part].items()
        if value is not None and name != "tau" and not name.endswith(("positives", "negatives"))
    }
    for one in comparison.differences:
        if one.metric in stated:
            part = "retrieval" if one.metric in documents[0]["retrieval"] else "open_set"
            assert [one.first, one.second] == pytest.approx([document[part][one.metric] for document in documents])
    assert stated <= {one.metric for one in comparison.differences}


def test_where_less_is_better_less_counts_as_better(evaluated: Callable[..., Path]) -> None:
    """The share of draws in which the second is better counts lower false-accept rates, not higher ones."""
    comparison = compare_files(evaluated("a", 0.5), evaluated("b", 0.9))

    rows = {one.metric: one for one in comparison.differences}
    assert rows["aurc"].difference < 0
    assert rows["aurc"].better == 1 - rows["aurc"].interval.share_above_zero > 0.9


def edited(path: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a document with a change."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    other = path.with_name(f"{name}.json")
    other.write_text(json.dumps(document), encoding="utf-8")
    return other


def test_what_cannot_be_compared_is_refused_in_one_line(evaluated: Callable[..., Path], tmp_path: Path) -> None:
    """Other protocols, other queries, other truths, other documents and no documents: one line each."""
    path = evaluated("a", 0.5)
    cases = {
        evaluated(
            "b", 0.5, protocol="landmarks-gap"
        ): r"^two evaluations must be by the same protocol, got place and l",
        edited(path, "c", lambda d: d["queries"].pop()): r"must be of the same queries, got 1 that only one has, 'u19'",
        edited(path, "d", lambda d: d["queries"][0].update(positives=9)): r"must be of the same gallery, got the same ",
        edited(path, "e", lambda d: d.pop("queries")): r"^an evaluation must be what 'placewise evaluate --json' or ",
        edited(path, "f", lambda d: d["queries"][3].pop("group")): r"^an evaluation must be what 'placewise evaluate ",
        edited(path, "g", lambda d: d["counts"].update(gallery=31)): r"be of the same gallery, got 30 and 31 photos; ",
        edited(path, "h", lambda d: d["queries"].append(d["queries"][0])): r"a query must come once, got 'q0' again",
        edited(path, "i", lambda d: d["queries"][0].update(values={})): r"each query must have the same values, got ",
        edited(path, "j", lambda d: d["queries"][0]["values"].update(map=None)): r"must have all values, got null for ",
        edited(path, "k", lambda d: d["queries"][0].update(positives=None)): r"nothing is known must not be judged, ",
        edited(path, "l", lambda d: d["queries"][0].update(open_set=True)): r"must have positives or be open-set, got ",
        edited(path, "m", lambda d: d.update(models=[1, 2])): r"be of one model, got '.*' of 2; its ",
        edited(path, "n", lambda d: d["open_set"].update(tau=math.inf)): r"a number must be finite, got Infinity\)",
        tmp_path / "none.json": r"^an evaluation must be a readable file, got '",
    }

    for other, message in cases.items():
        with pytest.raises(EvaluationError, match=message) as info:
            compare_files(path, other)
        assert "\n" not in str(info.value)


def test_other_order_of_queries_is_no_difference(evaluated: Callable[..., Path]) -> None:
    """Queries are matched by name."""
    path = evaluated("a", 0.5)
    turned = edited(path, "b", lambda d: d["queries"].reverse())

    assert {one.difference for one in compare_files(path, turned).differences} == {0}


def test_too_few_places_say_nothing(tmp_path: Path) -> None:
    """One place cannot be drawn from: the sentence says so, and nothing is called a difference."""
    (tmp_path / "truth.csv").write_text("path,place,split\na,x,gallery\nb,y,gallery\nq,x,query\n", encoding="utf-8")
    for name, first in (("a", "a"), ("b", "b")):
        (tmp_path / "p.csv").write_text(f"query,path,rank\nq,{first},1\n", encoding="utf-8")
        document = scores_json(score_predictions(tmp_path / "p.csv", tmp_path / "truth.csv"))
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")

    comparison = compare_files(tmp_path / "b.json", tmp_path / "a.json")

    assert comparison.sentence == (
        "Nothing can be said with 1 query in 1 places: there are too few to draw from; they differ by +100.0 points of "
        "Recall@1."
    )


def test_a_handful_of_places_that_agree_is_no_certainty(tmp_path: Path) -> None:
    """Where all places differ by the same, no draw can differ: there is no interval and no share of better draws."""
    (tmp_path / "truth.csv").write_text(
        "path,place,split\na,x,gallery\nb,y,gallery\nq,x,query\nr,y,query\n", encoding="utf-8"
    )
    for name, hits in (("right", "ab"), ("wrong", "ba")):
        (tmp_path / "p.csv").write_text(f"query,path,rank\nq,{hits[0]},1\nr,{hits[1]},1\n", encoding="utf-8")
        document = scores_json(score_predictions(tmp_path / "p.csv", tmp_path / "truth.csv"))
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")

    comparison = compare_files(tmp_path / "wrong.json", tmp_path / "right.json")

    assert comparison.sentence.startswith("Nothing can be said with 2 queries in 2 places: there are too few to draw ")
    rows: Any = comparison_json(comparison)["differences"]
    assert rows["recall@1"] == {
        "first": 0,
        "second": 1,
        "difference": 1,
        "interval": [None, None],
        "second_is_better": None,
    }
    assert "nan" not in comparison_text(comparison)


def test_a_contest_compares_each_model_with_the_first(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Its document holds each evaluation's, its differences are those of the saved documents, its CSV all numbers."""
    source = read_source(tiny_dataset)
    first = evaluate_source(source, tiny_model)
    second = evaluate_source(source, type(tiny_model)("other"), tau=0.9)

    contest = contest_of([first, second, first])

    assert [comparison.names for comparison in contest.comparisons] == [("tiny", "other"), ("tiny", "tiny")]
    document: Any = contest_json(contest, source)
    assert document["models"][1]["retrieval"] == to_json(second)["retrieval"]
    assert len(document["comparisons"]) == 2
    lines = numbers_csv(contest.evaluations).decode().splitlines()
    assert lines[0] == "model,protocol,metric,value,low,high"
    assert f"other,place,tau,{0.9},," in lines
    interval = first.intervals["map"]
    assert f"tiny,place,map,{first.retrieval['map']},{interval.low},{interval.high}" in lines


def test_the_difference_is_that_of_a_paired_bootstrap(evaluated: Callable[..., Path]) -> None:
    """The interval of Recall@1 is the metrics' own for the outcomes that the documents hold."""
    first, second = evaluated("a", 0.5), evaluated("b", 0.6)
    rows = [json.loads(path.read_text(encoding="utf-8"))["queries"][:120] for path in (first, second)]
    hits = [[float(row["first_positive_rank"] == 1) for row in part] for part in rows]

    found = {one.metric: one.interval for one in compare_files(first, second).differences}["recall@1"]

    assert found == metrics.paired_bootstrap(hits[0], hits[1], [row["group"] for row in rows[0]])
