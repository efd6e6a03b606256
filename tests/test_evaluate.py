"""The place protocol, on made-up and on real photos."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from placewise import evaluate as stage
from placewise.cache import Cache
from placewise.core import Source
from placewise.errors import EvaluationError, ModelError, OptionError
from placewise.evaluate import evaluate_source
from placewise.evaluation import to_json
from placewise.models import load_model
from placewise.scoring import ranking
from placewise.sources import read_source

if TYPE_CHECKING:
    from tests.conftest import TinyModel


def naive_scores(source: Source, model: TinyModel, tau: float) -> dict[str, float]:
    """The metrics from their definitions, one query at a time, with sorted lists and loops."""
    vectors = {photo: model.infer([model.read(source.file(photo).read_bytes())])[0] for photo in source.photos}
    places = {photo.place for photo in source.of("gallery")}
    hits, precisions, detected, rejected = [], [], 0, 0
    for query in source.of("query"):
        gallery = sorted(source.of("gallery"), key=lambda photo: -float(vectors[photo] @ vectors[query]))
        unknown = float(vectors[gallery[0]] @ vectors[query]) < tau
        if query.place not in places:
            detected += unknown
            continue
        rejected += unknown
        right = [photo.place == query.place for photo in gallery]
        hits.append([any(right[:k]) for k in (1, 5, 10)])
        precisions.append(np.mean([sum(right[: i + 1]) / (i + 1) for i, positive in enumerate(right) if positive]))
    return {
        **dict(zip(("recall@1", "recall@5", "recall@10"), np.mean(hits, axis=0), strict=True)),
        "map": float(np.mean(precisions)),
        "true_positives": detected,
        "false_positives": rejected,
    }


@pytest.mark.parametrize("at_a_time", [2, 256])
def test_an_evaluation_equals_the_naive_one(
    tiny_dataset: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    """Recall, mAP and the decisions equal a naive evaluation, however many queries are ranked at a time."""
    monkeypatch.setattr(ranking, "_BLOCK_VALUES", 12 * at_a_time)
    source = read_source(tiny_dataset)
    expected = naive_scores(source, tiny_model, 0.9)

    evaluation = evaluate_source(source, tiny_model, tau=0.9)

    for name in ("recall@1", "recall@5", "recall@10", "map"):
        assert evaluation.retrieval[name] == pytest.approx(expected[name], abs=1e-6)
    assert evaluation.counts.true_positives == expected["true_positives"]
    assert evaluation.counts.false_positives == expected["false_positives"]
    assert (evaluation.records, evaluation.gallery, len(evaluation.results)) == (18, 12, 6)
    assert evaluation.open_set_queries == 2


def test_the_json_has_every_promised_key(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """The documented keys are there, numbers are numbers, and the text is strict JSON."""
    document = to_json(evaluate_source(read_source(tiny_dataset), tiny_model))

    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document
    assert {"records", "gallery", "queries", "open_set_queries"} <= document["dataset"].keys()  # type: ignore[attr-defined]
    assert {"name", "dim", "fingerprint"} <= document["model"].keys()  # type: ignore[attr-defined]
    assert {"recall@1", "recall@5", "recall@10", "map"} <= document["retrieval"].keys()  # type: ignore[attr-defined]
    assert {
        "tau",
        "unknown_precision",
        "unknown_recall",
        "unknown_f1",
        "false_accept_rate",
        "false_reject_rate",
        "auroc",
        "fpr95",
        "oscr",
        "true_positives",
        "false_positives",
        "false_negatives",
    } <= document["open_set"].keys()  # type: ignore[attr-defined]


def test_without_open_set_queries_their_metrics_are_null(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """What cannot be measured is null in JSON, not 0 or 1."""
    lines = tiny_dataset.read_text(encoding="utf-8").splitlines()
    tiny_dataset.write_text("\n".join(line for line in lines if "p4/" not in line and "p5/" not in line), "utf-8")

    evaluation = evaluate_source(read_source(tiny_dataset), tiny_model)
    document = to_json(evaluation)

    assert math.isnan(evaluation.open_set["auroc"])
    open_set = document["open_set"]
    assert isinstance(open_set, dict)
    assert open_set["auroc"] is None
    assert open_set["unknown_recall"] is None
    assert open_set["false_reject_rate"] is not None


def test_queries_without_a_place_are_answered_and_not_scored(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Emptying the label of an open-set query takes it out of the counts and reports it."""
    text = tiny_dataset.read_text(encoding="utf-8").replace("place 5", "")
    tiny_dataset.write_text(text, encoding="utf-8")

    evaluation = evaluate_source(read_source(tiny_dataset), tiny_model)

    assert (evaluation.open_set_queries, evaluation.unlabelled_queries, len(evaluation.results)) == (1, 1, 6)
    counts = evaluation.counts
    assert counts.true_positives + counts.false_negatives == 1


def test_answers_are_saved_before_scoring(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if scoring fails, the answers are on the disk, one JSON object for each query."""
    monkeypatch.setattr(stage, "sweep", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        evaluate_source(read_source(tiny_dataset), tiny_model, answers=tmp_path / "answers.jsonl")

    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["query"] for row in rows] == [f"p{place}/3.png" for place in range(6)]
    assert rows[0]["positive_ranks"] == [1, 2, 3]
    assert rows[5]["open_set"] is True
    assert len(rows[0]["hits"]) == 10


def test_sources_that_cannot_be_evaluated_are_refused(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Bad rows, a gallery without places and queries without places are one line each; nothing is embedded."""
    text = tiny_dataset.read_text(encoding="utf-8")
    cases = {
        text + "x.png,place 1,train\n": r"^every row must be usable, .* got 1 bad \(first: .*\); see them all with",
        text.replace("gallery", "query"): r"^the gallery must hold a photo with a place, got none; ",
        text.replace("query", "gallery"): r"^there must be a query with a place, got none; ",
    }
    for manifest, message in cases.items():
        tiny_dataset.write_text(manifest, encoding="utf-8")
        with pytest.raises(EvaluationError, match=message):
            evaluate_source(read_source(tiny_dataset), tiny_model)
    with pytest.raises(OptionError, match=r"^tau must be between -1 and 1, got 5$"):
        evaluate_source(read_source(tiny_dataset), tiny_model, tau=5)
    assert tiny_model.computed == 0


def test_unreadable_photos_are_reported_and_never_change_a_label(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """One unreadable photo is left out and listed; when a place loses its last photo, the evaluation is refused."""
    (tiny_dataset.parent / "p0" / "0.png").write_bytes(b"")
    evaluation = evaluate_source(read_source(tiny_dataset), tiny_model)

    assert [str(failure.photo.path) for failure in evaluation.failures] == ["p0/0.png"]
    assert evaluation.gallery == 11
    for view in (1, 2):
        (tiny_dataset.parent / "p0" / f"{view}.png").unlink()
    with pytest.raises(
        EvaluationError, match=r"^at least one gallery photo of 'place 0' must be readable, got none \(p0/"
    ):
        evaluate_source(read_source(tiny_dataset), tiny_model)


def test_an_unreadable_photo_without_a_place_is_only_left_out(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Distractors carry no label that could be lost with them."""
    with tiny_dataset.open("a", encoding="utf-8") as file:
        file.write("none.png,,gallery\n")

    evaluation = evaluate_source(read_source(tiny_dataset), tiny_model)

    assert [str(failure.photo.path) for failure in evaluation.failures] == ["none.png"]


def test_a_model_that_gives_no_unit_vectors_is_refused(
    tiny_dataset: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Zeros and NaN are neither scored nor cached."""
    for value in (0, np.nan):
        monkeypatch.setattr(tiny_model, "infer", lambda rows, value=value: np.full((len(rows), 48), value, np.float32))
        with Cache(tmp_path / "cache", tiny_model) as cache:
            with pytest.raises(ModelError, match=r"^model tiny must give embeddings of unit length, got others from "):
                evaluate_source(read_source(tiny_dataset), tiny_model, cache=cache)
            assert not cache._store.execute("SELECT * FROM embeddings")


def test_answers_replace_nothing_but_answers(tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """A typo in --answers does not cost the manifest, and is found before anything is embedded."""
    before = tiny_dataset.read_bytes()

    with pytest.raises(OptionError, match=r"^an output file must be new or end in \.jsonl to be replaced, got "):
        evaluate_source(read_source(tiny_dataset), tiny_model, answers=tiny_dataset)

    assert tiny_dataset.read_bytes() == before
    assert tiny_model.computed == 0


def test_the_original_experiments_size_on_real_photos(photos_root: Path) -> None:
    """66 photos of landmarks: every query finds its place within five hits, and mAP reaches the reference."""
    evaluation = evaluate_source(read_source(photos_root / "landmarks" / "manifest-66.csv"), load_model())

    assert (evaluation.records, evaluation.gallery, len(evaluation.results)) == (66, 37, 29)
    assert evaluation.open_set_queries == 9
    assert evaluation.retrieval["recall@1"] >= 0.95
    assert evaluation.retrieval["recall@5"] == evaluation.retrieval["recall@10"] == 1
    assert evaluation.retrieval["map"] >= 0.83


def test_all_landmarks(photos_root: Path) -> None:
    """535 photos with a hard open set: the default model reaches the reference values."""
    evaluation = evaluate_source(read_source(photos_root / "landmarks" / "manifest.csv"), load_model())

    assert evaluation.open_set_queries == 152
    assert evaluation.retrieval["recall@1"] >= 0.96
    assert evaluation.retrieval["map"] >= 0.765
    assert evaluation.open_set["auroc"] >= 0.91
