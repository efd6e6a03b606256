"""Anyone's predictions → what was answered to each query of a truth, or one line that says why they do not fit it."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placewise.errors import EvaluationError
from placewise.scoring.predictions import Prediction
from placewise.scoring.truth import Truth, rows_by
from placewise.sources.table import long_cells

_ALIASES = {"prediction": "path", "hit": "path", "reference": "path", "score": "similarity"}
"""Other names of our columns."""


@dataclass(slots=True)
class _Answer:
    """What the file says of one query, before it is checked."""

    rows: list[int] = field(default_factory=list)
    ranks: list[str] = field(default_factory=list)
    similarities: list[str] = field(default_factory=list)
    confidences: list[str] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    without_hit: tuple[str, str | None] = ("", None)

    def best(self, order: NDArray[np.int64]) -> tuple[str, str | None]:
        """Confidence and answer, each from the best hit's line that has one, or else from the line without a hit."""
        confidences = [*(self.confidences[row] for row in order), self.without_hit[0]]
        answers = [*(self.answers[row] for row in order), self.without_hit[1]]
        confidence = next((text for text in confidences if text), "")
        return confidence, next((text for text in answers if text), answers[0])


def read_predictions(path: Path, truth: Truth) -> tuple[Prediction | None, ...]:
    """Read predictions for a truth's queries; None for a query that the file does not name.

    A file is CSV, also ``.csv.gz``, with one of these headers:

    * ``query, path`` (or ``prediction``), and ``rank`` or ``similarity`` or both; ``confidence`` and ``answer`` may be
      added. The hits of a query are sorted by rank, or else by similarity from high to low, ties in the file's order.
    * ``id, images``: for each query the hits, best first, separated by spaces; a photo may be repeated.
    * ``id, landmarks``: for each query a place and a confidence, separated by a space; the last word is the confidence.

    Raises:
        EvaluationError: if it is none of them, or names a photo or query that there is not, a photo twice for one
            query, one that the protocol does not let the query see, or a number that is none.
    """
    header, lines = _lines(path)
    header = [_ALIASES.get(name, name) if _ALIASES.get(name) not in header else name for name in header]
    for columns, read in _FORMATS:
        if set(columns) <= set(header):
            return read([_cells(header, line, row, path) for line, row in lines], truth, path)
    wanted = " or ".join(",".join(columns) for columns, _ in _FORMATS)
    message = f"predictions must have the columns {wanted}, got {','.join(header)[:200]!r} in {str(path)!r}"
    message += "; rename them"
    raise EvaluationError(message)


def _lines(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header in lower case, and each row that is not blank with the number of its last line."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
        with long_cells(len(text)):
            reader = csv.reader(io.StringIO(text, newline=""), strict=True)
            rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"predictions must be a readable CSV file in UTF-8, got {str(path)!r} ({reason}); correct the path"
        raise EvaluationError(message) from error
    return ([name.strip().lower() for name in rows[0][1]] if rows else []), rows[1:]


def _cells(header: Sequence[str], line: int, row: Sequence[str], path: Path) -> dict[str, str]:
    """A row by its columns; only empty cells may be left over."""
    if len(row) < len(header) or any(cell.strip() for cell in row[len(header) :]):
        raise _fault(path, f"must have {len(header)} columns in each line, got {len(row)} on line {line}")
    return dict(zip(header, row, strict=False))


# ---- the formats -----------------------------------------------------------------------------------------------------


def _ranked_table(lines: Sequence[Mapping[str, str]], truth: Truth, path: Path) -> tuple[Prediction | None, ...]:
    columns = lines[0].keys() if lines else {"rank"}
    if not {"rank", "similarity"} & set(columns):
        message = f"predictions must have a column rank or similarity, got neither in {str(path)!r}; add one"
        raise EvaluationError(message)
    names, rows = _queries(truth), {str(photo.path): row for row, photo in enumerate(truth.gallery)}
    answers: dict[int, _Answer] = {}
    strange: dict[str, list[str]] = {"query": [], "gallery photo": []}
    for line in lines:
        query, hit = line["query"].strip(), line.get("path", "").strip()
        if query not in names:
            strange["query"].append(query)
            continue
        answer = answers.setdefault(names[query], _Answer())
        said = line.get("confidence", "").strip(), line["answer"].strip() if "answer" in line else None
        if not hit:
            answer.without_hit = said
            continue
        if hit not in rows and truth.whole:
            strange["gallery photo"].append(hit)
        answer.rows.append(rows.get(hit, -1 - len(answer.rows)))
        answer.ranks.append(line.get("rank", ""))
        answer.similarities.append(line.get("similarity", ""))
        answer.confidences.append(said[0])
        answer.answers.append(said[1])
    _refuse_strange(strange, path)
    return tuple(
        _prediction(number, answers[number], truth, rows, path) if number in answers else None
        for number in range(len(truth.queries))
    )


def _image_lists(lines: Sequence[Mapping[str, str]], truth: Truth, path: Path) -> tuple[Prediction | None, ...]:
    ranked = []
    for line in lines:
        # A photo that is repeated takes up a position each time and counts once, as in the code of Google Landmarks.
        first: dict[str, int] = {}
        for rank, hit in enumerate(line["images"].split() or [""], 1):
            first.setdefault(hit, rank)
        ranked += [{"query": line["id"].strip(), "path": hit, "rank": str(rank)} for hit, rank in first.items()]
    return _ranked_table(ranked, truth, path)


def _landmarks(lines: Sequence[Mapping[str, str]], truth: Truth, path: Path) -> tuple[Prediction | None, ...]:
    """One place a query; any photo of it stands for it. An empty line is no prediction."""
    names, places = _queries(truth), rows_by([photo.place for photo in truth.gallery])
    found: list[Prediction | None] = [None] * len(truth.queries)
    strange: dict[str, list[str]] = {"query": []}
    seen: set[str] = set()
    for line in lines:
        query, words = line["id"].strip(), line["landmarks"].rsplit(maxsplit=1)
        if query in seen:
            raise _fault(path, f"must name a query once, got {query!r} again")
        seen.add(query)
        if query not in names:
            strange["query"].append(query)
        elif words:
            confidence = _number(words[1] if len(words) == 2 else "", path, f"a place and a confidence for {query!r}")
            place = words[0].strip()
            row = int(places[place][0]) if place in places else -1
            one, similarity = np.array([row]), np.array([confidence], dtype=np.float32)
            found[names[query]] = Prediction(one, np.array([1]), similarity, confidence, row)
    _refuse_strange(strange, path)
    return tuple(found)


_FORMATS: tuple[
    tuple[tuple[str, ...], Callable[[Sequence[Mapping[str, str]], Truth, Path], tuple[Prediction | None, ...]]], ...
] = (
    (("query", "path"), _ranked_table),
    (("id", "images"), _image_lists),
    (("id", "landmarks"), _landmarks),
)


# ---- one query -------------------------------------------------------------------------------------------------------


def _prediction(number: int, said: _Answer, truth: Truth, row_of: Mapping[str, int], path: Path) -> Prediction:
    query = str(truth.queries[number].path)
    rows = np.array(said.rows, dtype=np.int64)
    if len(set(said.rows)) < len(said.rows):
        raise _fault(path, f"must name a photo once for a query, got one twice for {query!r}")
    low, high = truth.candidates[number].tolist()
    if ((rows >= 0) & ((rows < low) | (rows >= high))).any():
        raise _fault(path, f"must name photos that the protocol compares a query with, got another for {query!r}")
    similarities = np.array(
        [_number(text, path, f"a similarity for {query!r}") if text.strip() else math.nan for text in said.similarities]
    )
    order, ranks = _order(said, similarities, query, path)
    if (np.abs(similarities) > np.finfo(np.float32).max).any():
        raise _fault(path, f"must have similarities that a float32 can hold, got a larger one for {query!r}")
    counts = np.flatnonzero(~np.isin(rows[order], truth.junk[number]))  # junk answers nothing
    first = int(order[counts[0]]) if counts.size else -1
    confidence, answer = said.best(order)
    if confidence:
        sure = _number(confidence, path, f"a confidence for {query!r}")
    else:
        sure = float(similarities[first]) if first >= 0 else -math.inf
    if answer and answer not in row_of:
        raise _fault(path, f"must name gallery photos that there are as answers, got {answer!r}")
    named = row_of[answer] if answer else int(rows[first]) if first >= 0 and answer is None else -1
    kept = similarities[order].astype(np.float32)
    return Prediction(np.maximum(rows[order], -1), ranks[order], kept, sure, max(named, -1))


def _order(
    said: _Answer, similarities: NDArray[np.float64], query: str, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order of a query's hits, best first, and the rank of each as it stands."""
    if any(text.strip() for text in said.ranks):
        ranks = np.array([_rank(text, path, query) for text in said.ranks], dtype=np.int64)
        if len(np.unique(ranks)) < len(ranks):
            raise _fault(path, f"must give each photo of a query a rank of its own, got one twice for {query!r}")
        order = np.argsort(ranks)
    else:
        if np.isnan(similarities).any():
            raise _fault(path, f"must have a rank or a similarity in each line, got neither for {query!r}")
        order = np.argsort(-similarities, kind="stable")
        ranks = np.empty(len(said.rows), dtype=np.int64)
        ranks[order] = np.arange(1, len(said.rows) + 1)
    return order, ranks


def _queries(truth: Truth) -> dict[str, int]:
    return {str(photo.path): number for number, photo in enumerate(truth.queries)}


def _rank(text: str, path: Path, query: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and 1 <= int(text) < 2**62):
        raise _fault(path, f"must have whole ranks from 1, got {text!r} for {query!r}")
    return int(text)


def _number(text: str, path: Path, what: str) -> float:
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _fault(path, f"must have {what}, got {text!r}")
    return value


def _refuse_strange(strange: Mapping[str, Sequence[str]], path: Path) -> None:
    for what, names in strange.items():
        if names:
            found = len(set(names))
            raise _fault(
                path, f"must name each {what} as the truth does, got {found} that it lacks, {names[0]!r} first"
            )


def _fault(path: Path, fault: str) -> EvaluationError:
    return EvaluationError(f"the predictions {str(path)!r} {fault}; correct the file or name another truth")
