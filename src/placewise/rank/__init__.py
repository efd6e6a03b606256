"""Similarities → ranked photos and places: what a gallery's own photos teach about ranking them."""

from __future__ import annotations

from placewise.rank.answers import answer, positive_ranks
from placewise.rank.learned import Learned, SelfTaught, learn
from placewise.rank.ranker import Asked, Ranker, open_ranker
from placewise.rank.stack import NO_STACK, STEPS, Augment, Centre, Expand, Place, Stack, Verify, Whiten, stack_from_json

__all__ = [
    "NO_STACK",
    "STEPS",
    "Asked",
    "Augment",
    "Centre",
    "Expand",
    "Learned",
    "Place",
    "Ranker",
    "SelfTaught",
    "Stack",
    "Verify",
    "Whiten",
    "answer",
    "learn",
    "open_ranker",
    "positive_ranks",
    "stack_from_json",
]
