"""How many closures of a loop are found before the first wrong one, and which step finds them?

PLACEWISE_PHOTOS=… python benchmarks/loop.py

On the frames of `city-centre`, each of which asks its own past but for the last 50 frames, with the photos seen as the
preset `accurate` sees them. An answer is right where it is one of the frames that the ground truth names (strict), or
one of these or a frame beside one (beside). The first half are the queries up to the middle of those that have a
closure: the share of `island` was chosen on these, and on `corridor` and `day-night`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from placewise import metrics
from placewise.checking import features_of_all
from placewise.embed import embed_all
from placewise.in_memory import MemoryGallery, Verified
from placewise.models import load_model
from placewise.presets import find_preset
from placewise.scoring.protocols import find_protocol, truth_of
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placewise.scoring.predictions import Prediction
    from placewise.scoring.truth import Truth


def main() -> None:
    """Embed and extract once, then print a line for each ranking."""
    folder = os.environ.get("PLACEWISE_PHOTOS")
    if not folder:
        print("skipped: PLACEWISE_PHOTOS is not set")
        return
    source, preset = read_source(Path(folder) / "city-centre"), find_preset("accurate")
    truth = truth_of(find_protocol("pairs"), source)
    rows = embed_all(source, truth.gallery, load_model(look=preset.look)).embeddings
    found = features_of_all(source, truth.gallery)
    verified = Verified(found, found)
    print(f"{len(truth.queries)} frames, {int(truth.evaluated.sum())} with a closure; recall at 100 % precision")
    print(f"{'':24s} Recall@1  strict  beside  first half  second half  beside")
    bare = preset.stack.without("verify")
    for name, stack in (
        ("similarity", bare),
        ("+ verify", preset.stack.without("island")),
        ("+ island (the preset)", preset.stack),
    ):
        held = MemoryGallery.of(truth.gallery, rows, stack, verified=verified, asks_itself=True)
        predicted = held.predict(rows, truth, held.rule("calibrated", labelled=False)[0], top=100)
        print(f"{name:24s} {line(predicted, truth)}", flush=True)


def line(predicted: Sequence[Prediction], truth: Truth) -> str:
    """Recall@1, and recall at 100 % precision of all queries and of either half."""
    asking = np.flatnonzero(truth.evaluated | truth.open_set)
    closed = np.flatnonzero(truth.evaluated)
    middle = int(closed[len(closed) // 2])
    halves = asking[asking < middle], asking[asking >= middle]
    first = np.mean([predicted[row].is_right(truth.positives[row]) for row in closed.tolist()])
    values = [recall(predicted, truth, part, reach) for part, reach in ((asking, 0), (asking, 1), (halves[0], 0))]
    values += [recall(predicted, truth, halves[1], reach) for reach in (0, 1)]
    return f"{first:8.3f}  {values[0]:6.3f}  {values[1]:6.3f}  {values[2]:10.3f}  {values[3]:11.3f}  {values[4]:6.3f}"


def recall(predicted: Sequence[Prediction], truth: Truth, part: NDArray[np.int64], reach: int) -> float:
    """Recall at 100 % precision of some queries, where frames within reach of a positive are right, too."""
    known, others = part[truth.evaluated[part]], part[truth.open_set[part]]
    right = [
        any(predicted[row].is_right(truth.positives[row] + step) for step in range(-reach, reach + 1)) for row in known
    ]
    known_values, other_values = ([predicted[row].confidence for row in rows] for rows in (known, others))
    return metrics.recall_at_100_precision(known_values, right, other_values)


if __name__ == "__main__":
    main()
