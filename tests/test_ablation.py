"""What each step is worth: the table, its arithmetic and what it recommends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from placewise.ablation import Row, _recommended, ablate_source, ablation_json, save_ablation
from placewise.evaluate import evaluate_source
from placewise.presets import PRESETS
from placewise.show_scores import ablation_text
from placewise.sources import read_source

if TYPE_CHECKING:
    from pathlib import Path

    from placewise.core import Embedder


@pytest.fixture
def dataset(tiny_dataset: Path) -> Path:
    """Small photos of places."""
    return tiny_dataset


def test_every_step_is_added_and_left_out_once(dataset: Path, tiny_model: Embedder, tmp_path: Path) -> None:
    """The table has a row for each step, for each left out and for each preset, with what `evaluate` measures."""
    source = read_source(dataset)
    seen = []
    found = ablate_source(source, lambda look: seen.append(look) or tiny_model)  # type: ignore[func-returns-value]
    save_ablation(found, tmp_path / "a.json")
    by_name = {row.name: row for row in found.rows}
    plain = evaluate_source(source, tiny_model, intervals=False)

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
    assert by_name["fast"].metrics["map"] == plain.retrieval["map"]
    assert by_name["fast"].metrics["auroc"] == plain.open_set["auroc"]
    assert by_name["+ verify"].metrics == by_name["accurate"].metrics
    assert by_name["fast"].bytes_per_photo == 4 * 48
    assert by_name["+ centre"].notes == ("step centre is left out: it needs 20 photos or more, got 12",)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == json.loads(json.dumps(ablation_json(found)))
    assert f"recommended: {found.recommended}: " in ablation_text(found)


def row(name: str, gain: tuple[float, float], ms: float = 1.0) -> Row:
    """A preset's row."""
    return Row(name, "preset", "", "", {}, "", {"map": gain, "auroc": (-0.1, 0.1)}, ms, 1, ())


def test_a_dearer_preset_must_be_surely_better() -> None:
    """It is recommended if an interval is above zero and none below, and it is not too slow."""
    fast = row("fast", (0, 0))
    better, worse, none = (0.01, 0.2), (-0.3, -0.1), (-0.1, 0.1)

    assert _recommended([fast, row("balanced", better), row("accurate", better)])[0] == "accurate"
    assert _recommended([fast, row("balanced", better), row("accurate", none)])[0] == "balanced"
    assert _recommended([fast, row("balanced", better), row("accurate", better, ms=11)])[0] == "balanced"
    assert _recommended([fast, row("balanced", worse), row("accurate", better)])[0] == "fast"
