"""Similarities → ranked photos and places: what a gallery's own photos teach about ranking them."""

from __future__ import annotations

from placewise.rank.answers import answer, positive_ranks
from placewise.rank.islands import Islands, islands_of
from placewise.rank.learned import Learned, SelfTaught, learn
from placewise.rank.ranker import Asked, Ranker, open_ranker
from placewise.rank.usable import Usable, usable
from placewise.stack import (
    MOST_VERIFIED,
    NO_STACK,
    STEPS,
    Augment,
    Centre,
    Expand,
    Island,
    Place,
    Stack,
    Verify,
    Whiten,
    stack_from_json,
)

__all__ = [
    "MOST_VERIFIED",
    "NO_STACK",
    "STEPS",
    "Asked",
    "Augment",
    "Centre",
    "Expand",
    "Island",
    "Islands",
    "Learned",
    "Place",
    "Ranker",
    "SelfTaught",
    "Stack",
    "Usable",
    "Verify",
    "Whiten",
    "answer",
    "islands_of",
    "learn",
    "open_ranker",
    "positive_ranks",
    "stack_from_json",
    "usable",
]
