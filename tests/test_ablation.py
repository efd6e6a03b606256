"""What each step is worth: the table, its arithmetic and what it recommends."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

import pytest

from placewise.ablation import _recommended, ablate_source, ablation_json, check_table, save_ablation
from placewise.core import Finding
from placewise.errors import EvaluationError, OptionError
from placewise.evaluate import evaluate_source
from placewise.measuring import METRICS, Row
from placewise.presets import PRESETS
from placewise.show_scores import ablation_text
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import TinyModel

    from placewise.core import Embedder, Embeddings, Source
    from placewise.models import Look


@pytest.fixture
def source(tiny_dataset: Path) -> Source:
    """Small photos of places."""
    return read_source(tiny_dataset)


def without(source: Source, left: Sequence[str]) -> Source:
    """The same without some photos, named by the start of their paths and their split."""
    kept = [photo for photo in source.photos if not f"{photo.split} {photo.path}".startswith(tuple(left))]
    return dataclasses.replace(source, photos=tuple(kept))


def test_every_step_is_added_and_left_out_once(source: Source, tiny_model: TinyModel, tmp_path: Path) -> None:
    """The table has a row for each step, for each left out and for each preset, with what `evaluate` measures."""
    other = type(tiny_model)("other")
    found = ablate_source(source, lambda look: tiny_model if look == PRESETS["fast"].look else other)
    save_ablation(found, tmp_path / "a.json")
    by_name = {row.name: row for row in found.rows}
    plain = evaluate_source(source, tiny_model, intervals=False)
    document = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))

    names = PRESETS["accurate"].stack.names
    assert [row.name for row in found.rows] == [
        "fast",
        "+ look",
        *(f"+ {name}" for name in names),
        "- look",
        *(f"- {name}" for name in names),
        "balanced",
        "accurate",
    ]
    assert by_name["fast"].metrics == {
        **{name: plain.retrieval[name] for name in ("recall@1", "map")},
        "auroc": plain.open_set["auroc"],
    }
    assert by_name["+ verify"].metrics == by_name["accurate"].metrics
    assert by_name["fast"].bytes_per_photo == 4 * 48
    assert by_name["+ place"].notes[0] == "step centre is left out: it needs 20 photos or more, got 12"
    assert document == json.loads(json.dumps(ablation_json(found)))
    assert f"recommended: {found.recommended}: {found.because}" in ablation_text(found)
    for row in document["rows"]:
        assert {*METRICS, "gains", "left_out"} <= row.keys()


def test_a_step_that_is_always_left_out_says_so_in_its_row(source: Source, tiny_model: Embedder) -> None:
    """It has no figures: they would be those of the row before, which later rows are compared with in its stead."""
    found = ablate_source(source, lambda _: tiny_model)
    by_name = {row.name: row for row in found.rows}
    reasons = {
        "look": "the model sees photos in one way only",
        "centre": "it needs 20 photos or more, got 12",
        "island": "photos have places, which vote in the stead of frames",
    }
    wanted = {f"{sign} {step}": reason for step, reason in reasons.items() for sign in "+-"}

    assert {row.name: row.left_out for row in found.rows if row.left_out} == wanted
    assert by_name["+ place"].against == "fast"
    assert by_name["- place"].against == "+ verify"
    for line in ablation_text(found).splitlines():
        if line[:2] in {"+ ", "- "}:
            name = line[:8].strip()
            assert line.endswith(f"  left out: {wanted[name]}" if name in wanted else by_name[name].against)
    for name in wanted:
        assert (by_name[name].metrics, by_name[name].gains) == ({}, {})
        assert math.isnan(by_name[name].ms_per_query)
        assert {row["map"] for row in ablation_json(found)["rows"] if row["name"] == name} == {None}  # type: ignore[attr-defined]


def test_a_set_of_one_place_is_measured_by_the_fixed_tau(source: Source, tiny_model: Embedder) -> None:
    """What cannot calibrate itself says so; nothing is beyond chance with one place, and nothing dear recommended."""
    found = ablate_source(without(source, ["gallery p1", "gallery p2", "gallery p3"]), lambda _: tiny_model)
    text = ablation_text(found)

    assert found.recommended == "balanced"
    assert found.because == "the default, since 1 places tell too little; 6 are needed"
    assert "not calibrated: a gallery that examines itself must hold photos of two or more places, got 1" in text
    assert "nan" not in text


def test_without_a_known_query_there_is_nothing_to_recommend_by(source: Source, tiny_model: Embedder) -> None:
    """Only open-set queries: one line, before anything is embedded."""

    def load(look: Look) -> Embedder:
        raise AssertionError(look)

    only = without(source, [f"query p{place}" for place in range(4)])
    message = "some queries must be of places that the gallery holds, got 2 queries, 2 of them open-set; add known ones"
    with pytest.raises(EvaluationError, match=f"^{message}$"):
        ablate_source(only, load)
    known = ablate_source(without(source, ["query p4", "query p5"]), lambda _: tiny_model)

    assert all(math.isnan(row.metrics["auroc"]) for row in known.rows if row.metrics)
    assert "nan" not in ablation_text(known)


def row(name: str) -> Row:
    """A preset's row."""
    return Row(name, "preset", "", "", {}, "", {}, 1, 1, ())


UP, DOWN, NONE = (0.01, 0.2), (-0.3, -0.1), (-0.1, 0.1)
UNKNOWN = (math.nan, math.nan)
AT = ", and worse in nothing, at 1.0 times the time a query"


@pytest.mark.parametrize(
    ("balanced", "accurate", "chosen", "against", "because"),
    [
        (
            {"map": UP},
            {"auroc": UP, "recall@1": UP, "map": NONE},
            "accurate",
            "balanced",
            (
                f"balanced is better in mAP than fast beyond chance{AT}",
                f"accurate is better in Recall@1 and AUROC than balanced beyond chance{AT}",
            ),
        ),
        (
            {"recall@1": NONE, "map": UP, "auroc": DOWN},
            {"map": UP},
            "accurate",
            "fast",
            (
                "balanced is better in mAP but worse in AUROC than fast beyond chance",
                f"accurate is better in mAP than fast beyond chance{AT}",
            ),
        ),
        (
            {"map": UP},
            {"recall@1": DOWN},
            "balanced",
            "balanced",
            (
                f"balanced is better in mAP than fast beyond chance{AT}",
                "accurate is worse in Recall@1 than balanced beyond chance",
            ),
        ),
        (
            {"map": NONE},
            {"map": UNKNOWN},
            "fast",
            "fast",
            (
                "balanced differs from fast in nothing beyond chance",
                "accurate differs from fast in nothing beyond chance",
            ),
        ),
    ],
)
def test_a_dearer_preset_must_be_better_in_something_and_worse_in_nothing(
    balanced: dict[str, tuple[float, float]],
    accurate: dict[str, tuple[float, float]],
    chosen: str,
    against: str,
    because: tuple[str, str],
) -> None:
    """Each is compared with the one chosen so far, so that one that is not better does not hide a better one."""
    compared = []

    def gains(first: str, second: str) -> dict[str, tuple[float, float]]:
        compared.append((first, second))
        return balanced if second == "balanced" else accurate

    rows, name, why = _recommended(row("fast"), [row("balanced"), row("accurate")], gains, (6, 6))

    assert (name, why) == (chosen, "; ".join(because))
    assert compared == [("fast", "balanced"), (against, "accurate")]
    assert [(one.against, one.gains) for one in rows] == [("fast", balanced), (against, accurate)]


def test_too_few_places_tell_nothing() -> None:
    """Of five places all can gain by luck: the default stays; AUROC counts only with six places of either kind."""
    presets = [row("balanced"), row("accurate")]

    def gains(_: str, __: str) -> dict[str, tuple[float, float]]:
        return {"map": NONE, "auroc": UP}

    few = _recommended(row("fast"), presets, gains, (5, 9))
    some = _recommended(row("fast"), presets, gains, (9, 5))
    enough = _recommended(row("fast"), presets, gains, (6, 6))

    assert few[1:] == ("balanced", "the default, since 5 places tell too little; 6 are needed")
    assert some[1] == "fast"
    assert some[2].endswith("; AUROC is not weighed, since 5 places tell too little; 6 are needed")
    assert enough[1] == "accurate"


def test_rows_that_cannot_be_used_are_refused(source: Source, tiny_model: Embedder) -> None:
    """As by `evaluate`: or the numbers would be of another dataset."""
    bad = dataclasses.replace(source, bad_rows=(Finding("bad_row", "error", (), "line 3: no path"),))

    with pytest.raises(EvaluationError, match=r"^every row must be usable, .* got 1 bad \(first: line 3: no path\)"):
        ablate_source(bad, lambda _: tiny_model)


def test_a_photo_that_cannot_be_read_is_left_out(tiny_dataset: Path, tiny_model: Embedder) -> None:
    """The figures are those that `evaluate` gives of the same set, and the photo is named."""
    (tiny_dataset.parent / "p0" / "1.png").write_bytes(b"no photo")
    source = read_source(tiny_dataset)
    found = ablate_source(source, lambda _: tiny_model)
    plain = evaluate_source(source, tiny_model, intervals=False)

    assert [str(one.photo.path) for one in found.failures] == ["p0/1.png"]
    assert found.rows[0].metrics["map"] == plain.retrieval["map"]
    assert "p0/1.png" in json.dumps(ablation_json(found)["failures"])


def test_what_is_the_same_is_measured_once(source: Source, tiny_model: TinyModel) -> None:
    """A model of one look embeds each photo once, and the last step has the figures of the preset that it makes."""
    seen: list[int] = []
    infer = tiny_model.infer

    def counted(inputs: Sequence[object]) -> Embeddings:
        seen.append(len(inputs))
        return infer(inputs)  # type: ignore[arg-type]

    tiny_model.infer = counted  # type: ignore[method-assign]
    found = ablate_source(source, lambda _: tiny_model)
    by_name = {row.name: row for row in found.rows}

    timed = 2 * min(16, len(source.of("query")))
    assert sum(seen) <= len(source.photos) + timed
    assert by_name["+ verify"].ms_per_query == by_name["accurate"].ms_per_query > by_name["+ place"].ms_per_query


def test_the_table_replaces_only_a_table(tmp_path: Path) -> None:
    """Somebody's own file is not lost, and a table is JSON by its name, too."""
    mine = tmp_path / "ablation.json"
    mine.write_text('{"mine": 1}', encoding="utf-8")
    for path in (mine, tmp_path / "table.txt"):
        with pytest.raises(OptionError, match=r"^a table must be kept in a new file ending in \.json or in an earlier"):
            check_table(path)
    mine.write_text('{"recommended": "fast"}', encoding="utf-8")

    check_table(mine)
    check_table(tmp_path / "new.json")
