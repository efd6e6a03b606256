"""Documents of two evaluations → their comparison."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placewise.errors import EvaluationError
from placewise.scoring.comparing import Compared, Comparison, compare
from placewise.scoring.scores import Outcomes, recalls
from placewise.scoring.truth import Groups


def compare_files(first: Path, second: Path) -> Comparison:
    """Compare two documents of ``evaluate --json`` or ``score --json``.

    Raises:
        EvaluationError: if one is no such document, or they are not of the same queries by the same protocol.
    """
    names = (first.stem, second.stem) if first.stem != second.stem else (str(first), str(second))
    return compare(*(_read(path, name) for path, name in zip((first, second), names, strict=True)))


def _read(path: Path, name: str) -> Compared:
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        if isinstance(document, dict) and "models" in document:
            message = f"an evaluation must be of one model, got {str(path)!r} of {len(document['models'])}"
            message += "; its comparisons are in it, or evaluate each model by itself"
            raise EvaluationError(message)
        tau = document["open_set"].get("tau")
        outcomes = _outcomes_of(document["queries"], document["groups"]["unit"], document["retrieval"])
        tau = math.nan if tau is None else float(tau)
        gallery = int(document["counts"]["gallery"])
        return Compared(name, str(document["protocol"]), str(document["right"]), gallery, tau, outcomes)
    except OSError as error:
        message = f"an evaluation must be a readable file, got {str(path)!r}: {error.strerror}; correct the path"
        raise EvaluationError(message) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = (
            f"an evaluation must be what 'placewise evaluate --json' or 'placewise score --json' printed, got "
            f"{str(path)!r} ({type(error).__name__}: {error}); make it anew"
        )
        raise EvaluationError(" ".join(message.split())) from error


def _refuse_constant(text: str) -> float:
    message = f"a number must be finite, got {text}"
    raise ValueError(message)


def _check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse rows that no evaluation has written: a query twice, or values of some queries only."""
    names = [row["query"] for row in rows]
    if len(set(names)) < len(names):
        message = f"a query must come once, got {next(name for name in names if names.count(name) > 1)!r} again"
        raise ValueError(message)
    for row in rows:
        if row["values"].keys() != rows[0]["values"].keys():
            message = f"each query must have the same values, got others for {row['query']!r}"
            raise ValueError(message)
        if row["positives"] is None and (row["evaluated"] or row["open_set"] or row["correct"]):
            message = f"a query of which nothing is known must not be judged, got {row['query']!r}"
            raise ValueError(message)
        if row["positives"] is not None and bool(row["positives"]) == bool(row["open_set"]):
            message = f"a query must have positives or be open-set, got {row['query']!r}"
            raise ValueError(message)
        if row["evaluated"] and row["positives"] and None in row["values"].values():
            graded = any("revisited" in name for name in row["values"])
            if not graded:
                message = f"an evaluated query must have all values, got null for {row['query']!r}"
                raise ValueError(message)


def _outcomes_of(rows: Sequence[Mapping[str, Any]], unit: str, retrieval: Mapping[str, Any]) -> Outcomes:
    """What `placewise.evaluation.scores_json` has written."""
    _check_rows(rows)
    known = [row["positives"] is not None for row in rows]
    open_set = np.array([bool(row["open_set"]) for row in rows], dtype=bool)
    first_rank = np.array([row["first_positive_rank"] or 0 for row in rows], dtype=np.int64)
    nothing = math.nan if all(row["confidence"] is None for row in rows) else -math.inf
    names = rows[0]["values"].keys() if rows else ()
    values = {name: _column([row["values"][name] for row in rows], math.nan) for name in names}
    evaluated = np.array([bool(row["evaluated"]) for row in rows], dtype=bool)
    largest = max((int(name.partition("@")[2]) for name in retrieval if name.startswith("recall@")), default=0)
    return Outcomes(
        queries=tuple(str(row["query"]) for row in rows),
        places=tuple(row["place"] for row in rows),
        groups=Groups(np.array([row["group"] for row in rows], dtype=np.int64), unit),
        positives=np.array([row["positives"] if there else -1 for row, there in zip(rows, known, strict=True)]),
        evaluated=evaluated,
        open_set=open_set,
        first_rank=first_rank,
        confidence=_column([row["confidence"] for row in rows], nothing),
        correct=np.array([bool(row["correct"]) for row in rows], dtype=bool),
        values={**recalls(first_rank, evaluated, largest), **values},
    )


def _column(values: Sequence[float | None], nothing: float) -> NDArray[np.float64]:
    return np.array([nothing if value is None else value for value in values], dtype=np.float64)
