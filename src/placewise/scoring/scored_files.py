"""Files of predictions and a truth → scores: anyone's, without a model and without a photo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from placewise.errors import OptionError
from placewise.scoring.prediction_files import read_predictions
from placewise.scoring.protocols import find_protocol
from placewise.scoring.scores import Scores, score
from placewise.scoring.truth import Protocol
from placewise.scoring.truth_files import Usage, read_truth


def score_predictions(  # noqa: PLR0913  # each is an option of its own
    predictions: Path,
    truth: Path,
    *,
    protocol: Protocol | str = "place",
    tau: float | None = None,
    intervals: bool = True,
    columns: Mapping[str, str] | None = None,
    usage: Usage = "all",
) -> Scores:
    """Score anyone's predictions; no photo is opened and no model is loaded.

    Args:
        predictions: a file that `read_predictions` reads.
        truth: a source, or a solution of Google Landmarks.
        protocol: what counts as right, or its spelling.
        tau: below this confidence an answer is UNKNOWN; None decides nothing.
        intervals: whether to resample for the intervals of the metrics.
        columns: for a truth that is a table, what its columns are called, as for `read_source`.
        usage: of a solution of Google Landmarks, which queries count.

    Raises:
        EvaluationError: if the truth lacks what the protocol needs, or the predictions do not fit it.
        SourceError: if the truth cannot be read.
        OptionError: if there is no such protocol, or tau is no number.
    """
    if tau is not None and not math.isfinite(tau):
        message = f"tau must be a finite number, got {tau}; name another, or none to decide nothing"
        raise OptionError(message)
    protocol = find_protocol(protocol) if isinstance(protocol, str) else protocol
    wanted = read_truth(truth, protocol, columns=columns, usage=usage)
    read = read_predictions(predictions, wanted)
    return score(read, wanted, protocol, tau=math.nan if tau is None else tau, intervals=intervals)
