"""The report of each protocol: right in its words, and silent about what the protocol does not have."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from tests.test_report import Page

from placewise.core import Grades, Photo, Position, Source
from placewise.evaluate import evaluate_source
from placewise.figures import evaluation_json, figures_of
from placewise.report import write_report
from placewise.scoring.protocols import find_protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import TinyModel

    from placewise.core import Split
    from placewise.evaluation import Evaluation

PLACES = 6
"""Three photos of each in the gallery but for the last two, and one query of each."""


def reader_text(path: Path) -> str:
    """What a reader sees."""
    page = Page(path.read_text(encoding="utf-8"))
    return " ".join(" ".join(page.texts[4:]).split())


@pytest.fixture
def source(tmp_path: Path, save_photo: Callable[..., Path]) -> Source:
    """Photos with positions 111 m apart from place to place and 11 m within, frames, grades and known matches."""
    photos = []
    for place in range(PLACES):
        for view in range(4):
            if place >= 4 and view < 3:
                continue
            name = PurePosixPath(f"{place}_{view}.png")
            save_photo(tmp_path / name, place=place, view=view)
            position = Position(48 + place / 1000 + view / 10_000, 16.0)
            split: Split = "query" if view == 3 else "gallery"
            photos.append(Photo(name, split, f"place {place}", position, split, 10 * place + view))
    there = [photo for photo in photos if photo.split == "gallery"]
    asking = [photo for photo in photos if photo.split == "query"]

    def views(query: Photo, *wanted: int) -> tuple[PurePosixPath, ...]:
        return tuple(p.path for p in there if p.place == query.place and int(p.path.stem[-1]) in wanted)

    return Source(
        tmp_path,
        tuple(photos),
        positives={query.path: views(query, 0, 1) for query in asking},
        grades={query.path: Grades(views(query, 0), views(query, 1), views(query, 2)) for query in asking},
    )


def reported(source: Source, model: TinyModel, protocol: str, path: Path) -> tuple[Evaluation, str]:
    """An evaluation, and the text of its report."""
    evaluation = evaluate_source(source, model, protocol=find_protocol(protocol))
    write_report(evaluation, source, path)
    return evaluation, reader_text(path)


@pytest.mark.parametrize(
    "protocol", ["place", "radius:25m", "radius:25m:drop", "frames:±3", "pairs", "revisited", "landmarks-gap"]
)
def test_every_protocol_has_a_report(source: Source, tiny_model: TinyModel, tmp_path: Path, protocol: str) -> None:
    """The page names the protocol, its counts and its groups; every number of it has words, and is in the JSON."""
    evaluation, text = reported(source, tiny_model, protocol, tmp_path / "out.html")

    scores = evaluation.scores
    assert f"Protocol {scores.protocol.spelled}: {scores.protocol.law}." in text
    assert f"6 queries: {scores.counts['evaluated']} evaluated, 2" in text
    assert (
        f"95 % intervals over {len(set(scores.outcomes.groups.codes.tolist()))} {scores.outcomes.groups.unit}" in text
    )
    document = json.loads(json.dumps(evaluation_json(evaluation, source), allow_nan=False))
    for name, value in evaluation.values.items():
        written = {**document["retrieval"], **document["open_set"]}[name]
        assert written == value or (written is None and math.isnan(value))
    assert " nan" not in text
    assert document["curves"]["recall"]["recall"][0] == pytest.approx(scores.retrieval["recall@1"], abs=1e-6)


@pytest.mark.parametrize("protocol", ["radius:25m", "frames:±3", "pairs", "revisited"])
def test_where_nothing_is_decided_the_report_speaks_of_no_decision(
    source: Source, tiny_model: TinyModel, tmp_path: Path, protocol: str
) -> None:
    """No UNKNOWN precision, no false accepts, no thresholds, no confusions; instead what any threshold would meet."""
    evaluation, text = reported(source, tiny_model, protocol, tmp_path / "out.html")

    assert math.isnan(evaluation.tau)
    assert "Nothing is decided here" in text
    for absent in ("UNKNOWN F1", "False accepts", "at tau", "Thresholds", "What was answered", "accepted right"):
        assert absent not in text
    # A revisited set has no open-set queries: what has only junk is left out.
    looks_known = "Open-set queries that look known: 2" if protocol != "revisited" else ""
    for heading in ("Confident and wrong: ", looks_known, "Right and unsure: "):
        assert heading in text
    document = evaluation_json(evaluation, source)
    open_set = document["open_set"]
    assert isinstance(open_set, dict)
    assert open_set["true_positives"] is open_set["unknown_precision"] is None
    assert document["confusions"] == []


def test_a_fixed_tau_decides_by_any_protocol(source: Source, tiny_model: TinyModel, tmp_path: Path) -> None:
    """With a tau the tiles, panels and rates of decisions are there, but labels still do not say what is right."""
    evaluation = evaluate_source(source, tiny_model, protocol="frames:±3", tau=0.9)

    write_report(evaluation, source, tmp_path / "out.html")

    text = reader_text(tmp_path / "out.html")
    for shown in ("UNKNOWN precision", "False accepts: ", "Thresholds", "UNKNOWN is decided at tau = 0.900"):
        assert shown in text
    assert "What was answered" not in text


def test_a_sequence_that_asks_its_own_past_has_a_report(source: Source, tiny_model: TinyModel, tmp_path: Path) -> None:
    """The first frames have nothing to be compared with; they are no similarity of -1, and photos count once."""
    frames = tuple(replace(photo, split="gallery", place=None, sequence=None) for photo in source.photos)
    loop = replace(source, photos=frames, grades={})
    protocol = find_protocol("pairs", exclude_last=1)

    evaluation = evaluate_source(loop, tiny_model, protocol=protocol)
    write_report(evaluation, loop, tmp_path / "out.html")

    text = reader_text(tmp_path / "out.html")
    figures = figures_of(evaluation, loop)
    assert not evaluation.results[0].hits
    assert f"{len(frames)} photos asked their own past" in text
    assert f"photos embedded {len(frames)} of {len(frames)} " in text
    assert figures.similarity.open_set.sum() == sum(bool(r.hits) for r in evaluation.results if r.open_set)
    assert figures.places == ()
    assert "Places" not in text
    assert "frame 33" in text
    assert figures.ground is not None
    assert len(figures.ground.spots) == len(figures.ground.gallery) == len(frames)


def test_junk_is_neither_right_nor_wrong(source: Source, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Of a graded set the report says which hits are junk, and the curve of Recall@K has it removed."""
    evaluation, text = reported(source, tiny_model, "revisited", tmp_path / "out.html")

    junk = sum(sum(result.junk) for result in evaluation.results)
    assert junk == 4  # one of each known query
    assert "– is junk and counts neither way" in text
    assert text.count("– place") >= 1
    for words in ("mAP, easy", "mP@10, hard", "junk removed"):
        assert words in text


def test_positions_say_how_far_off_the_best_hits_are(source: Source, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Right hits were taken 11 to 33 m away along a meridian; the shares within each distance are the report's."""
    evaluation, text = reported(source, tiny_model, "place", tmp_path / "out.html")

    offsets = figures_of(evaluation, source).offsets
    assert offsets is not None
    known = [result for result in evaluation.results if result.open_set is False]
    apart = [
        6_371_000 * math.radians(abs(r.query.position.lat - r.hits[0].photo.position.lat))
        for r in known
        if r.query.position and r.hits[0].photo.position
    ]
    assert offsets.queries == len(apart) == 4
    assert offsets.median_m == pytest.approx(sorted(apart)[1] / 2 + sorted(apart)[2] / 2, rel=0.01)
    assert dict(offsets.within) == {
        reach: sum(one <= reach for one in apart) / 4 for reach in (5, 10, 25, 50, 100, 250, 1000)
    }
    assert "How far off the best hit was taken" in text
    bare = tuple(replace(photo, position=None) for photo in source.photos)
    without = replace(source, photos=bare)
    assert figures_of(evaluate_source(without, tiny_model), without).offsets is None
