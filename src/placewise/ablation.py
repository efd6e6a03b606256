"""What is each step worth? A labelled set → a table of rankings, step by step and each left out, and a recommendation.

Every row answers the same queries; intervals are of paired differences, by places. A row's time is that of one query on
this machine: reading, embedding, features and ranking, one photo after the other.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placewise.errors import OptionError
from placewise.files import check_output, write_atomically
from placewise.measuring import METRICS, Bench, Row, Way
from placewise.presets import DEFAULT_PRESET, PRESETS
from placewise.scoring.comparing import Compared, compare

if TYPE_CHECKING:
    from pathlib import Path

    from placewise.core import Source
    from placewise.embed import Failure
    from placewise.measuring import Caching, Load
    from placewise.rank import Stack
    from placewise.scoring.scores import Scores

Gains = Mapping[str, tuple[float, float]]
"""Metric → the 95 % interval of its difference."""

LEAST_PLACES = 6
"""Of fewer, all differ in one direction by luck more often than 1 time in 20, and no interval can tell."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """The table.

    Attributes:
        gallery: photos.
        queries: those that retrieval metrics count.
        open_set: open-set queries.
        rows: the table's.
        recommended: the name of a preset.
        because: why, in one line.
        failures: photos that could not be read, and were left out.
    """

    gallery: int
    queries: int
    open_set: int
    rows: tuple[Row, ...]
    recommended: str
    because: str
    failures: tuple[Failure, ...] = ()


def ablate_source(
    source: Source,
    load: Load,
    *,
    caching: Caching | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Ablation:
    """Measure every step of the most thorough preset on a labelled set.

    Args:
        source: a gallery and queries with places.
        load: gives the model that sees photos in a way.
        caching: opens the cache of a model's embeddings of earlier runs, or None; without it none is used.
        on_progress: called with (stage, done, in all).

    Raises:
        EvaluationError: if a row cannot be used, no query is of a place that the gallery holds, or photos that cannot
            be read change what is right.
    """
    bench = Bench(source, load, on_progress, caching)
    ways, table = _ways(), _Table(bench)
    for number, way in enumerate(ways):
        table.add(way)
        if on_progress:
            on_progress("rankings", number + 1, len(ways))
    fast, *others = (row for row in table.rows if row.kind == "preset")
    others, recommended, because = _recommended(fast, others, table.gains, bench.places)
    rows = (fast, *(row for row in table.rows if row.kind != "preset"), *others)
    counts = table.scored[fast.name].counts
    of = counts["gallery"], counts["evaluated"], counts["open_set"]
    return Ablation(*of, rows, recommended, because, bench.failures)


def _ways() -> list[Way]:
    """Step by step from the fastest preset to the most thorough, then each step left out, then the other presets."""
    fast, *others = PRESETS.values()
    look, stack = others[-1].look, others[-1].stack
    ways = [
        Way(fast.name, "preset", fast.look, fast.stack),
        Way("+ look", "step", look, fast.stack, fast.name, "look"),
    ]
    for count, name in enumerate(stack.names, 1):
        ways.append(Way(f"+ {name}", "step", look, stack.upto(count), ways[-1].name, name))
    whole = ways[-1].name
    ways.append(Way("- look", "without", fast.look, stack, whole, "look"))
    ways += [Way(f"- {name}", "without", look, stack.without(name), whole, name) for name in stack.names]
    return [*ways, *(Way(preset.name, "preset", preset.look, preset.stack) for preset in others)]


class _Table:
    """The rows so far.

    What would only repeat the row that it is compared with is not measured, and that row stands for it.
    """

    def __init__(self, bench: Bench) -> None:
        fast, *_, full = PRESETS.values()
        self._bench = bench
        self._left_out = dict(bench.usable(full.look, full.stack).left_out)
        if bench.embedder(fast.look).card.fingerprint == bench.embedder(full.look).card.fingerprint:
            self._left_out["look"] = "the model sees photos in one way only"
        self._stand_ins: dict[str, str] = {}
        self._same: dict[tuple[str, Stack], tuple[Scores, Row]] = {}
        self.scored: dict[str, Scores] = {}
        self.rows: list[Row] = []

    def add(self, way: Way) -> None:
        """Measure one more way, if it can differ."""
        way = dataclasses.replace(way, against=self._stand_ins.get(way.against, way.against))
        reason = self._left_out.get(way.differs, "")
        if reason:
            self._stand_ins[way.name] = way.against
            row = self._bench.row(way, left_out=reason)
        else:
            self.scored[way.name], row = self._measured(way)
        gains = self.gains(way.against, way.name) if way.against and not reason else {}
        self.rows.append(dataclasses.replace(row, gains=gains))

    def _measured(self, way: Way) -> tuple[Scores, Row]:
        """What a way scores; of ways that come to the same, as a preset and its last step, measured once."""
        taken = self._bench.usable(way.look, way.stack)
        key = self._bench.embedder(way.look).card.fingerprint, taken.stack
        if key not in self._same:
            self._same[key] = self._bench.run(way)
        scores, row = self._same[key]
        return scores, dataclasses.replace(
            row,
            name=way.name,
            kind=way.kind,
            ranking=str(way.stack),
            against=way.against,
            notes=(*taken.notes, *row.notes),
        )

    def gains(self, first: str, second: str) -> Gains:
        """How the second of two rows differs from the first."""
        found = compare(*(Compared.of(name, self.scored[name]) for name in (first, second)))
        return {one.metric: (one.interval.low, one.interval.high) for one in found.differences if one.metric in METRICS}


def _recommended(
    fast: Row, others: Sequence[Row], gains: Callable[[str, str], Gains], places: tuple[int, int]
) -> tuple[list[Row], str, str]:
    """The other presets' rows, each compared with the one chosen before it, which one is chosen, and why.

    A dearer preset is chosen where something is better beyond chance, its interval above zero, and nothing is worse.
    ``places`` are those of known and of open-set queries: where there are too few, nothing tells.
    """
    known, strangers = places
    telling = [name for name in METRICS if (min(places) if name == "auroc" else known) >= LEAST_PLACES]
    chosen, rows, reasons = fast, [], []
    for other in others:
        row = dataclasses.replace(other, against=chosen.name, gains=gains(chosen.name, other.name))
        better = [METRICS[name] for name in telling if row.gains.get(name, (0, 0))[0] > 0]
        worse = [METRICS[name] for name in telling if row.gains.get(name, (0, 0))[1] < 0]
        why = _compared(row, better, worse)
        if better and not worse:
            why += f", and worse in nothing, at {row.ms_per_query / chosen.ms_per_query:.1f} times the time a query"
            chosen = row
        rows.append(row)
        reasons.append(why)
    if not telling:
        return rows, DEFAULT_PRESET, f"the default, since {known} places tell too little; {LEAST_PLACES} are needed"
    if strangers and "auroc" not in telling:
        reasons.append(f"AUROC is not weighed, since {min(places)} places tell too little; {LEAST_PLACES} are needed")
    return rows, chosen.name, "; ".join(reasons)


def _compared(row: Row, better: Sequence[str], worse: Sequence[str]) -> str:
    """How a preset compares with the one chosen before it, in words."""
    if not better and not worse:
        return f"{row.name} differs from {row.against} in nothing beyond chance"
    found = [f"{what} in {' and '.join(names)}" for what, names in (("better", better), ("worse", worse)) if names]
    return f"{row.name} is {' but '.join(found)} than {row.against} beyond chance"


def ablation_json(ablation: Ablation) -> dict[str, object]:
    """The table as one JSON document; what is undefined is null."""
    rows = [
        {
            "name": row.name,
            "kind": row.kind,
            "sight": row.sight,
            "ranking": row.ranking,
            **{name: _number(row.metrics.get(name, math.nan)) for name in METRICS},
            "against": row.against or None,
            "gains": {name: [_number(limit) for limit in limits] for name, limits in row.gains.items()},
            "ms_per_query": _number(row.ms_per_query),
            "bytes_per_photo": _number(row.bytes_per_photo),
            "notes": list(row.notes),
            "left_out": row.left_out or None,
        }
        for row in ablation.rows
    ]
    counts = {"gallery": ablation.gallery, "queries": ablation.queries, "open_set_queries": ablation.open_set}
    failures = [{"path": str(one.photo.path), "reason": one.reason} for one in ablation.failures]
    said = {"recommended": ablation.recommended, "because": ablation.because}
    return {**counts, "failures": failures, "rows": rows, **said}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def check_table(path: Path) -> None:
    """Refuse a file that the table must not replace, before anything is measured.

    Raises:
        OptionError: if it does not end in .json, cannot be written, or is something else than such a table.
    """
    check_output(path, ".json")
    try:
        known = not path.exists() or "recommended" in json.loads(path.read_bytes())
    except (ValueError, TypeError):
        known = False
    if not known or path.suffix.lower() != ".json":
        message = f"a table must be kept in a new file ending in .json or in an earlier table, got {path}; name another"
        raise OptionError(message)


def save_ablation(ablation: Ablation, path: Path) -> None:
    """Write the table as JSON, whole or not at all."""
    write_atomically(path, (json.dumps(ablation_json(ablation), indent=1) + "\n").encode())
