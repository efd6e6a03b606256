"""What was answered to each query, and the file that holds it: saved before anything is scored, scored without a model.

A file of ours has the columns ``query, rank, path, similarity, confidence, answer``: for each query the first hits, and
below them every photo that matters to a metric with its true rank, so that nothing is lost by leaving out the others.
Confidence and answer stand in the first line of a query; a query without hits is one line.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placewise.files import check_output, write_atomically
from placewise.scoring.truth import Truth

TOP = 100
"""Hits kept for each query: as many as Recall@100 and mAP@100 want."""

NOTHING = -1.0
"""The confidence where there is nothing to compare: below every tau."""

COLUMNS = ("query", "rank", "path", "similarity", "confidence", "answer")


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What was answered to one query.

    Attributes:
        rows: ``(H,)`` numbers of gallery photos, best first: the first hits, then those below that matter; -1 for a
            photo that the truth does not know.
        ranks: ``(H,)`` their 1-based ranks in the whole gallery, ascending.
        similarities: ``(H,)`` float32; NaN where it is not known.
        confidence: what tau is compared with.
        answer: the number of the gallery photo that names the answer; -1 where none does.
        reason: why it was accepted or not, in one line.
        inliers: ``(H,)`` int64 of those whose geometry was verified, -1 for the others; None where none was.
    """

    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]
    similarities: NDArray[np.float32]
    confidence: float
    answer: int
    reason: str = ""
    inliers: NDArray[np.int64] | None = None

    def is_right(self, positives: NDArray[np.int64]) -> bool:
        """Whether the photo that names the answer is a positive."""
        return self.answer >= 0 and bool(np.isin(self.answer, positives))

    def hits(self, k: int) -> int:
        """How many of its rows are the first hits, at most k, with no gap between them."""
        return int(np.sum(self.ranks[:k] == np.arange(1, len(self.ranks[:k]) + 1)))


def ranks_among(prediction: Prediction, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranks of the wanted rows that it lists, ascending."""
    return prediction.ranks[np.isin(prediction.rows, wanted)] if wanted.size else prediction.ranks[:0]


def check_predictions_output(path: Path) -> None:
    """Refuse a file before the work that fills it is done.

    Raises:
        OptionError: if it cannot be written, or would replace something else.
    """
    check_output(path, ".gz" if path.name.lower().endswith(".csv.gz") else ".csv")


def save_predictions(predictions: Sequence[Prediction], truth: Truth, path: Path) -> None:
    """Write the predictions for a truth's queries as CSV, compressed where the name ends in .gz.

    Raises:
        OptionError: if the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    gallery = [str(photo.path) for photo in truth.gallery]
    for query, prediction in zip(truth.queries, predictions, strict=True):
        writer.writerows(_lines(str(query.path), prediction, gallery))
    data = text.getvalue().encode()
    write_atomically(path, gzip.compress(data, mtime=0) if path.name.lower().endswith(".gz") else data)


def _lines(query: str, prediction: Prediction, gallery: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """The lines of one query; a similarity is written as the shortest text that gives the same float32."""
    answer = gallery[prediction.answer] if prediction.answer >= 0 else ""
    last: tuple[object, object] = (repr(prediction.confidence), answer)
    if not prediction.rows.size:
        yield query, "", "", "", *last
    for row, rank, similarity in zip(
        prediction.rows.tolist(), prediction.ranks.tolist(), prediction.similarities.astype(str).tolist(), strict=True
    ):
        yield query, rank, gallery[row], similarity, *last
        last = ("", "")
