"""What became of a query at tau, in one word each; where nothing is decided, whether its best hit is right."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from placewise.evaluation import QueryResult

Outcome = Literal["right", "right UNKNOWN", "wrong place", "false accept", "false reject", "open-set", "not scored"]
MISTAKES: tuple[Outcome, ...] = ("wrong place", "false accept", "false reject")


def outcome(result: QueryResult, tau: float) -> Outcome:
    """What became of a query.

    Args:
        result: what was answered.
        tau: below it the answer is UNKNOWN; NaN where nothing is decided.
    """
    accepted = result.confidence >= tau or math.isnan(tau)
    if result.open_set is None:
        return "not scored"
    if result.open_set and math.isnan(tau):
        return "open-set"
    if result.open_set:
        return "false accept" if accepted else "right UNKNOWN"
    if not accepted:
        return "false reject"
    return "right" if result.correct else "wrong place"
