"""Predictions, from us or from others, and what they score."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest

from placewise import metrics
from placewise.core import Grades, Photo, Source
from placewise.errors import EvaluationError, OptionError
from placewise.evaluate import evaluate_source
from placewise.evaluation import scores_json
from placewise.openset import Aim, SimilarityRule
from placewise.scoring.prediction_files import read_predictions
from placewise.scoring.predictions import save_predictions
from placewise.scoring.protocols import find_protocol, truth_of
from placewise.scoring.ranking import rank_all
from placewise.scoring.scored_files import score_predictions
from placewise.scoring.scores import Scores, score
from placewise.scoring.truth_files import Usage
from placewise.scoring.wording import AT_TAU
from placewise.show_scores import evaluation_text
from placewise.sources import read_source

if TYPE_CHECKING:
    from tests.conftest import TinyModel

MANIFEST = """path,place,split
a1,a,gallery
a2,a,gallery
b1,b,gallery
n1,,gallery
qa,a,query
qb,b,query
qz,z,query
"""


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Two places with three photos, one photo without a place, two known queries and an open-set one."""
    manifest = tmp_path / "truth.csv"
    manifest.write_text(MANIFEST, encoding="utf-8")
    return manifest


def scored(tmp_path: Path, truth: Path, text: str, protocol: str = "place", **options: float) -> Scores:
    """Score a file of this text."""
    file = tmp_path / "predictions.csv"
    file.write_text(text, encoding="utf-8")
    return score_predictions(file, truth, protocol=protocol, intervals=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz"])
@pytest.mark.parametrize("protocol", ["place", "landmarks-gap"])
@pytest.mark.parametrize("top", [10, None])
def test_saved_predictions_score_as_the_evaluation_did(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, name: str, protocol: str, top: int | None
) -> None:
    """Every number, count, interval and outcome comes again from the file, however few hits it holds."""
    file = tmp_path / name
    evaluation = evaluate_source(read_source(tiny_dataset), tiny_model, protocol=protocol, predictions=file, top=top)

    again = score_predictions(file, tiny_dataset, protocol=protocol, tau=evaluation.tau)

    assert scores_json(again) == scores_json(evaluation.scores)
    assert again.decisions == evaluation.counts
    data = file.read_bytes()
    text = (gzip.decompress(data) if name.endswith("gz") else data).decode()
    assert text.startswith("query,rank,path,similarity,confidence,answer\np0/3.png,1,p0/")
    assert (tmp_path / "p.csv").exists() == (name == "p.csv")


def test_predictions_are_saved_before_scoring(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if scoring fails, the predictions are on the disk."""
    monkeypatch.setattr("placewise.evaluate.score", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        evaluate_source(read_source(tiny_dataset), tiny_model, predictions=tmp_path / "p.csv")

    assert len((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()) == 1 + 6 * 12


def test_a_sequence_against_its_own_past_scores_again(photos_root: Path, tmp_path: Path) -> None:
    """Queries that saw nothing are one line of the file, and the positives below the top keep their ranks."""
    source = read_source(photos_root / "city-centre")
    protocol = find_protocol("pairs", exclude_last=100)
    truth = truth_of(protocol, source)
    rows = np.random.default_rng(0).normal(size=(len(truth.gallery), 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    predictions = rank_all(rows, rows, truth, SimilarityRule(None), top=10)
    save_predictions(predictions, truth, tmp_path / "p.csv")

    fresh = score(predictions, truth, protocol, intervals=False)
    again = score_predictions(tmp_path / "p.csv", photos_root / "city-centre", protocol=protocol, intervals=False)

    assert scores_json(again) == scores_json(fresh)
    assert (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[1] == "frames/0000.jpg,,,,-1.0,"
    assert 0 < fresh.retrieval["map"] < 0.2


def test_others_predictions_are_sorted_by_rank_or_similarity(tmp_path: Path, truth: Path) -> None:
    """Rank decides where it is given, whatever the order of lines; else similarity, ties in the order of lines."""
    by_rank = "query,prediction,rank\nqa,b1,2\nqa,a2,1\nqb,n1,1\nqb,b1,3\nqz,a1,1\n"
    by_similarity = "query,path,similarity\nqa,b1,0.5\nqa,a2,0.7\nqb,n1,0.9\nqb,a1,0.1\nqb,b1,0.1\nqz,a1,-3\n"

    ranked, similar = scored(tmp_path, truth, by_rank), scored(tmp_path, truth, by_similarity)

    for scores in (ranked, similar):
        assert scores.retrieval["recall@1"] == 0.5
        assert scores.outcomes.first_rank.tolist() == [1, 3, 0]
        assert scores.retrieval["map"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert ranked.open_set == {}
    assert similar.open_set["auroc"] == 1
    assert similar.open_set["gap"] == pytest.approx(metrics.gap([0.7, 0.9], [True, False], [-3]))


def test_missing_queries_are_misses_and_counted(tmp_path: Path, truth: Path) -> None:
    """A query that is not named lowers recall and is counted; one that is open-set cannot be a miss."""
    scores = scored(tmp_path, truth, "query,path,similarity\nqa,a1,0.5\n", tau=0.2)

    assert scores.counts["without_prediction"] == 1
    assert scores.retrieval["recall@1"] == 0.5
    assert scores.open_set["auroc"] == 0.75
    document = scores_json(scores)
    json.dumps(document, allow_nan=False)
    assert [row["confidence"] for row in document["queries"]] == [0.5, None, None]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("query,path\nqa,a1\n", "must have a column rank or similarity, got neither"),
        ("a,b\n1,2\n", "must have the columns query,path or id,images or id,landmarks, got 'a,b'"),
        (
            "query,path,rank\nqa,x9,1\nqb,x8,1\n",
            "must name each gallery photo as the truth does, got 2 that it lacks, 'x9'",
        ),
        ("query,path,rank\nq0,a1,1\n", "must name each query as the truth does, got 1 that it lacks, 'q0' first"),
        ("query,path,rank\nqa,a1,1\nqa,a1,2\n", "must name a photo once for a query, got one twice for 'qa'"),
        ("query,path,rank\nqa,a1,1\nqa,a2,1\n", "must give each photo of a query a rank of its own, got one twice"),
        ("query,path,rank\nqa,a1,0\n", "must have whole ranks from 1, got '0' for 'qa'"),
        ("query,path,rank\nqa,a1,1\nqa,a2,\n", "must have whole ranks from 1, got '' for 'qa'"),
        ("query,path,similarity\nqa,a1,nan\n", "must have a similarity for 'qa', got 'nan'"),
        ("query,path,similarity\nqa,a1,high\n", "must have a similarity for 'qa', got 'high'"),
        ("query,path,similarity\nqa,a1,\n", "must have a rank or a similarity in each line, got neither for 'qa'"),
        ("query,path,rank,answer\nqa,a1,1,x\n", "must name gallery photos that there are as answers, got 'x'"),
        ("query,path,rank\nqa,a1,1\nqb\n", "must have 3 columns in each line, got 1 on line 3"),
        ("query,path,rank\nqa,a1,1,2\n", "must have 3 columns in each line, got 4 on line 2"),
        ("id,images\nqa\n", "must have 2 columns in each line, got 1 on line 2"),
        ("id,landmarks\nqa\n", "must have 2 columns in each line, got 1 on line 2"),
        ("query,path,similarity\nqa,a1,inf\n", "must have a similarity for 'qa', got 'inf'"),
        (
            "query,path,similarity\nqa,a1,1e39\n",
            "must have similarities that a float32 can hold, got a",
        ),
        ("query,path,similarity,confidence\nqa,a1,1,-inf\n", "must have a confidence for 'qa', got '-inf'"),
        ("id,landmarks\nqa,a 1_0\n", "must have a place and a confidence for 'qa', got '1_0'"),
        ("", "must have the columns query,path or id,images or id,landmarks, got ''"),
    ],
)
def test_predictions_that_do_not_fit_are_refused_in_one_line(
    tmp_path: Path, truth: Path, text: str, fault: str
) -> None:
    """The line says what must hold and what came; nothing is guessed and nothing dropped."""
    with pytest.raises(EvaluationError) as info:
        scored(tmp_path, truth, text)

    assert fault in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x1f\x8bnot gzip", b'query,path,rank\n"qa,a1,1\n'])
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path: Path, truth: Path, data: bytes) -> None:
    """Other bytes, damaged compression and broken quotes are no traceback; nor is a file that is not there."""
    (tmp_path / "p.csv").write_bytes(data)
    for file in ("p.csv", "none.csv"):
        with pytest.raises(EvaluationError, match=r"^predictions must be a readable CSV file in UTF-8, got '"):
            score_predictions(tmp_path / file, truth)


def test_photos_that_the_protocol_hides_are_refused(tmp_path: Path) -> None:
    """A frame may not be found among those just before it."""
    folder = tmp_path / "loop"
    folder.mkdir()
    (folder / "frames.csv").write_text("path,frame\n" + "".join(f"{n}.jpg,{n}\n" for n in range(6)), encoding="utf-8")
    (folder / "positives.csv").write_text("frame,earlier_frame\n5,1\n", encoding="utf-8")
    (tmp_path / "p.csv").write_text("query,path,rank\n5.jpg,3.jpg,1\n", encoding="utf-8")
    protocol = find_protocol("pairs", exclude_last=2)

    with pytest.raises(
        EvaluationError, match=r"must name photos that the protocol compares a query with, got another "
    ):
        score_predictions(tmp_path / "p.csv", folder, protocol=protocol)


def test_the_recognition_task_of_google_landmarks(tmp_path: Path) -> None:
    """One place and a confidence a query; any of a query's landmarks is right, ignored ones are left out.

    Sorted by confidence: right, an open-set query, right, wrong; three known queries. GAP = (1 + 2/3) / 3.
    """
    solution = tmp_path / "solution.csv"
    solution.write_text(
        "id,landmarks,Usage\nq1,7 8,Private\nq2,,Public\nq3,9,Public\nq4,7,Public\nq5,7,Ignored\n", encoding="utf-8"
    )
    text = "id,landmarks\nq1,8 0.9\nq2,7 0.8\nq3,9 0.5\nq4,1234 0.1\nq5,9 1.0\n"

    scores = scored(tmp_path, solution, text, "landmarks-gap")

    assert scores.open_set["gap_in_order"] == pytest.approx((1 + 2 / 3) / 3)
    assert scores.counts == {
        "gallery": 3,
        "queries": 5,
        "evaluated": 3,
        "without_positives": 0,
        "open_set": 1,
        "excluded": 1,
        "without_prediction": 0,
    }


def test_each_leaderboard_of_a_solution_has_its_own_number(tmp_path: Path, truth: Path) -> None:
    """Public and private queries are scored apart, or together by default; other usages and truths are refused."""
    solution = tmp_path / "solution.csv"
    solution.write_text("id,landmarks,Usage\nq1,7,Private\nq2,,Public\nq3,9,Public\n", encoding="utf-8")
    (tmp_path / "p.csv").write_text("id,landmarks\nq1,8 0.9\nq2,7 0.8\nq3,9 0.5\n", encoding="utf-8")

    def gap(usage: Usage) -> float:
        found = score_predictions(tmp_path / "p.csv", solution, protocol="landmarks-gap", usage=usage)
        return found.open_set["gap"]

    assert (gap("public"), gap("private"), gap("all")) == pytest.approx((1 / 2, 0, 1 / 6))
    solution.write_text("id,landmarks\nq1,7\nq2,\nq3,9\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"must have a query whose usage is public, got none; "):
        gap("public")
    with pytest.raises(
        EvaluationError, match=r"^usage must come with a solution of Google Landmarks, got public with "
    ):
        score_predictions(tmp_path / "p.csv", truth, usage="public")


def test_groups_are_counted_by_what_rests_on_them(tmp_path: Path, truth: Path) -> None:
    """Places with known queries and with open-set ones are counted apart; those of excluded queries not at all."""
    truth.write_text(MANIFEST + "qa2,a,query\nnothing,,query\n", encoding="utf-8")

    scores = scored(tmp_path, truth, "query,path,similarity\nqa,a1,0.5\n")

    assert scores.outcomes.group_counts == {"count": 3, "known": 2, "open_set": 1}
    assert scores_json(scores)["groups"] == {"unit": "places", "count": 3, "known": 2, "open_set": 1}


def test_values_are_all_metrics_by_name(tmp_path: Path, truth: Path) -> None:
    """Rates at tau are among them only where something is decided."""
    text = "query,path,similarity\nqa,a1,0.5\nqb,a1,0.4\nqz,b1,0.3\n"

    undecided, decided = scored(tmp_path, truth, text).values, scored(tmp_path, truth, text, tau=0.45).values

    assert decided.keys() - undecided.keys() == set(AT_TAU)
    assert (decided["unknown_precision"], decided["false_reject_rate"]) == (0.5, 0.5)


def test_confidence_and_answer_are_those_of_the_best_hit_in_any_order(tmp_path: Path, truth: Path) -> None:
    """A file that is not sorted has the same confidence and answer as one that is."""
    header = "query,path,rank,confidence,answer\n"
    lines = ["qa,a1,1,0.9,a1\n", "qa,b1,2,0.1,b1\n", "qb,n1,1,0.4,b1\n", "qb,a1,2,0.3,\n", "qz,a1,1,0.2,\n"]

    for order in (lines, lines[::-1]):
        scores = scored(tmp_path, truth, header + "".join(order))
        assert scores.outcomes.confidence.tolist() == [0.9, 0.4, 0.2]
        assert scores.outcomes.correct.tolist() == [True, True, False]


def test_confidences_are_not_rounded_to_what_a_similarity_keeps(tmp_path: Path, truth: Path) -> None:
    """Similarities that differ in the ninth digit are no tie."""
    text = "query,path,similarity\nqa,a1,0.987654322\nqb,b1,0.987654322\nqz,a1,0.987654321\n"

    assert scored(tmp_path, truth, text).open_set["auroc"] == 1


@pytest.mark.parametrize("tau", [math.inf, -math.inf, math.nan])
def test_a_tau_that_is_no_number_is_refused(tmp_path: Path, truth: Path, tau: float) -> None:
    """It would decide nothing, or everything, without a word."""
    with pytest.raises(OptionError, match=r"^tau must be a finite number, got "):
        scored(tmp_path, truth, "query,path,similarity\nqa,a1,0.5\n", tau=tau)


def test_a_list_may_be_long_and_repeat_photos(tmp_path: Path) -> None:
    """A repeated photo takes a position each time and counts once; a cell of any length is read."""
    solution = tmp_path / "solution.csv"
    solution.write_text("id,images\nq1,a b\n", encoding="utf-8")

    assert scored(tmp_path, solution, "id,images\nq1,a x a x b\n", "pairs").retrieval["map@100"] == (1 + 2 / 5) / 2
    many = " ".join(f"{number:030}" for number in range(8000))
    assert scored(tmp_path, solution, f"id,images\nq1,{many} a\n", "pairs").retrieval["map"] == 1 / 8001 / 2


def test_both_gaps_without_a_mistake_have_the_interval_of_so_few_places(tmp_path: Path) -> None:
    """Neither promises that nothing will ever be wrong."""
    solution, file = tmp_path / "solution.csv", tmp_path / "p.csv"
    solution.write_text("id,landmarks\nq1,7\nq2,8\nq3,\nq4,\n", encoding="utf-8")
    file.write_text("id,landmarks\nq1,7 0.9\nq2,8 0.8\nq3,7 0.1\nq4,7 0.2\n", encoding="utf-8")

    found = score_predictions(file, solution, protocol="landmarks-gap").intervals

    assert found["gap_in_order"] == found["gap"]
    assert found["gap"].low == pytest.approx(0.025 ** (1 / 2))


def test_a_place_may_have_a_blank_in_its_name(tmp_path: Path) -> None:
    """The last word is the confidence."""
    truth = tmp_path / "truth.csv"
    truth.write_text("path,place,split\ng,St Paul,gallery\nq,St Paul,query\n", encoding="utf-8")

    assert scored(tmp_path, truth, "id,landmarks\nq,St Paul 0.5\n", "landmarks-gap").open_set["gap"] == 1


def test_ties_of_landmarks_are_broken_by_id(tmp_path: Path) -> None:
    """Of equally confident queries the one with the lower id comes first, whatever the order of the lines."""
    solution = tmp_path / "solution.csv"
    solution.write_text("id,landmarks\nq2,\nq1,7\n", encoding="utf-8")

    scores = scored(tmp_path, solution, "id,landmarks\nq2,7 0.5\nq1,7 0.5\n", "landmarks-gap")

    assert scores.open_set["gap_in_order"] == 1
    assert scores.open_set["gap"] == 0.5


def test_the_retrieval_task_of_google_landmarks(tmp_path: Path) -> None:
    """Lists of images, best first; images that the solution does not name are not right; min(n, 100) divides."""
    solution = tmp_path / "solution.csv"
    solution.write_text("id,images,Usage\nq1,i1 i2,Public\nq2,None,Ignored\nq3,i3,Private\n", encoding="utf-8")

    scores = scored(tmp_path, solution, "id,images\nq1,i9 i1 i8 i2\nq2,i1\nq3,\n", "pairs")

    assert scores.retrieval["map@100"] == pytest.approx((1 / 2 + 2 / 4) / 2 / 2)
    assert (scores.counts["evaluated"], scores.counts["excluded"]) == (2, 1)


def test_revisited_scores_are_those_of_the_formulas() -> None:
    """Each setup's mAP and mP@k are the metrics of the ranks; Recall@K is that of medium after junk has gone."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(45, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    gallery = [Photo(PurePosixPath(f"g{n}"), "gallery") for n in range(40)]
    queries = [Photo(PurePosixPath(f"q{n}"), "query") for n in range(5)]
    parts = [np.split(rng.permutation(40)[:12], [4, 8]) for _ in queries]
    grades = {
        query.path: Grades(*(tuple(gallery[row].path for row in part) for part in three))
        for query, three in zip(queries, parts, strict=True)
    }
    source = Source(Path(), (*gallery, *queries), grades=grades)
    protocol = find_protocol("revisited")
    truth = truth_of(protocol, source)

    scores = score(rank_all(rows[:40], rows[40:], truth, SimilarityRule(None), top=10), truth, protocol)

    place = np.argsort(np.argsort(-(rows[40:] @ rows[:40].T), axis=1), axis=1) + 1
    ranks = [[np.sort(place[n][part]) for part in three] for n, three in enumerate(parts)]
    for setup in ("easy", "medium", "hard"):
        expected = metrics.revisited_scores([metrics.GradedRanks(*three) for three in ranks], setup)  # type: ignore[arg-type]
        assert scores.retrieval[f"map_revisited_{setup}"] == pytest.approx(expected.mean_average_precision)
        for k, value in expected.mean_precisions.items():
            assert scores.retrieval[f"mp_revisited_{setup}@{k}"] == pytest.approx(value)
    first = [min(r - np.sum(junk < r) for r in (*easy, *hard)) for easy, hard, junk in ranks]
    assert scores.retrieval["recall@5"] == np.mean(np.array(first) <= 5)
    assert "map" not in scores.retrieval


def test_junk_on_top_of_a_file_is_no_wrong_answer(tmp_path: Path) -> None:
    """The first hit that is not junk answers, with its own similarity."""
    names = {name: PurePosixPath(name) for name in ("a", "b", "junk")}
    grades = {PurePosixPath("q"): Grades(easy=(names["a"],), hard=(), junk=(names["junk"],))}
    photos = (*(Photo(name, "gallery") for name in names.values()), Photo(PurePosixPath("q"), "query"))
    protocol = find_protocol("revisited")
    truth = truth_of(protocol, Source(Path(), photos, grades=grades))
    (tmp_path / "p.csv").write_text("query,path,similarity\nq,junk,0.9\nq,a,0.8\nq,b,0.1\n", encoding="utf-8")

    outcomes = score(read_predictions(tmp_path / "p.csv", truth), truth, protocol, intervals=False).outcomes

    assert (outcomes.confidence.tolist(), outcomes.correct.tolist()) == ([0.8], [True])


def test_large_galleries_have_larger_recalls(tmp_path: Path, truth: Path) -> None:
    """Recall@20 and Recall@100 are there as soon as the gallery holds as many photos."""
    few = scored(tmp_path, truth, "query,path,rank\nqa,a1,1\n")
    truth.write_text(MANIFEST + "".join(f"g{n},,gallery\n" for n in range(20)), encoding="utf-8")
    more = scored(tmp_path, truth, "query,path,rank\nqa,a1,1\n")

    assert "recall@20" not in few.retrieval
    assert "recall@20" in more.retrieval
    assert "recall@100" not in more.retrieval


def test_radius_misses_count_in_recall_only_where_they_are_counted(tmp_path: Path) -> None:
    """Both variants say how many queries have no positive; Recall@1 differs by them."""
    manifest = tmp_path / "truth.csv"
    manifest.write_text(
        "path,place,split,lat,lon\na,,gallery,52,13\nq,,query,52,13\nfar,,query,53,13\n", encoding="utf-8"
    )
    text = "query,path,similarity\nq,a,0.5\nfar,a,0.6\n"

    counted, dropped = (scored(tmp_path, manifest, text, f"radius:25m{variant}") for variant in ("", ":drop"))

    assert (counted.retrieval["recall@1"], dropped.retrieval["recall@1"]) == (0.5, 1)
    assert (counted.counts["without_positives"], dropped.counts["without_positives"]) == (1, 0)
    assert counted.open_set["gap"] == dropped.open_set["gap"] == 0.5


def test_intervals_are_there_for_every_number_and_can_be_left_out(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Each headline number lies in its interval; --no-intervals gives none."""
    source = read_source(tiny_dataset)
    evaluation = evaluate_source(source, tiny_model)

    for name, value in {**evaluation.retrieval, **evaluation.open_set}.items():
        if name != "ece":
            assert evaluation.intervals[name].low <= value <= evaluation.intervals[name].high
    assert evaluate_source(source, tiny_model, intervals=False).intervals == {}


def test_one_group_has_no_intervals_and_the_text_says_so(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Ten frames of one sequence are one stretch: there is nothing to draw, which is stated instead of a number."""
    evaluation = evaluate_source(read_source(tiny_dataset), tiny_model, protocol="frames:3")

    assert all(math.isnan(interval.low) for interval in evaluation.intervals.values())
    text = evaluation_text(evaluation)
    assert "; 95 % intervals are not defined: stretches of 50 frames are too few" in text
    assert "nan" not in text


def test_without_labels_nothing_is_decided_but_by_a_fixed_tau(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """A protocol that goes by frames has no calibration: decisions are undefined, or those of the tau that is given."""
    source = read_source(tiny_dataset)

    undecided = evaluate_source(source, tiny_model, protocol="frames:0")
    decided = evaluate_source(source, tiny_model, protocol="frames:0", tau=0.9)

    assert math.isnan(undecided.tau)
    assert undecided.calibration is None
    assert math.isnan(undecided.open_set["known_accepted_right"])
    assert decided.tau == 0.9
    assert decided.counts.true_positives + decided.counts.false_negatives == decided.open_set_queries
    with pytest.raises(OptionError, match=r"^a gallery calibrates itself by labels, got the protocol frames:±0; "):
        evaluate_source(source, tiny_model, protocol="frames:0", tau=Aim(0.2))


def test_read_predictions_keeps_ranks_as_they_are(tmp_path: Path, truth: Path) -> None:
    """A list with gaps is a list with gaps: ranks are not numbered anew."""
    (tmp_path / "p.csv").write_text("query,path,rank\nqa,a1,7\nqa,b1,2\n", encoding="utf-8")

    first, *others = read_predictions(tmp_path / "p.csv", truth_of(find_protocol("place"), read_source(truth)))

    assert first is not None
    assert first.ranks.tolist() == [2, 7]
    assert first.hits(10) == 0
    assert others == [None, None]
