"""A stack and a gallery → the steps that the gallery can take, and why it cannot take the others.

The law of this module: it alone leaves steps out. What answers queries, what examines the gallery and what measures it
take the steps that are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from placewise.rank.learned import SAMPLE
from placewise.stack import Augment, Centre, Expand, Island, Place, Stack, Step, Verify, Whiten

if TYPE_CHECKING:
    from placewise.photo_table import PhotoTable

LEAST_PHOTOS = 20
"""The mean of fewer photos is mostly one or another of them."""

MOST_AUGMENTED = 30_000
"""Photos up to which all are compared with all: half a minute on two cores."""


_NO_FEATURES = "the gallery keeps no local features; index its photos again with --features"


@dataclass(frozen=True, slots=True)
class Usable:
    """What a gallery makes of a stack.

    Attributes:
        stack: the steps that it takes.
        left_out: the name of each other step → why.
        lack: that a step that it takes passes photos over, and why; empty if none does.
    """

    stack: Stack
    left_out: Mapping[str, str] = field(default_factory=dict)
    lack: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each step that is left out, and the `lack`."""
        left_out = (f"step {name} is left out: {reason}" for name, reason in self.left_out.items())
        return (*left_out, *filter(None, [self.lack]))


class _Held(NamedTuple):
    """What decides which steps a gallery can take; see `usable`."""

    table: PhotoTable
    dim: int
    features: bool
    approximate: bool
    asks_itself: bool


def usable(  # each is a fact of its own
    stack: Stack,
    table: PhotoTable,
    dim: int,
    *,
    features: bool = True,
    approximate: bool = False,
    asks_itself: bool = False,
) -> Usable:
    """Leave out the steps for which a gallery is too small, too large, or has too little to teach.

    Args:
        stack: the steps that are wanted.
        table: the gallery's photos.
        dim: of their embeddings.
        features: whether local features of them are at hand.
        approximate: whether an approximate index proposes the hits.
        asks_itself: whether its own photos will ask it, so that no photo may be part of another's vector.
    """
    held, left_out = _Held(table, dim, features, approximate, asks_itself), {}
    for name, step in zip(stack.names, stack.steps, strict=True):
        if reason := _reason(step, stack, held):
            left_out[name] = reason
            stack = stack.without(name)
    return Usable(stack, left_out)


def _reason(step: Step, taken: Stack, held: _Held) -> str:
    """Why a step is left out; empty if it is not. ``taken`` lacks the earlier ones that are."""
    count = len(held.table)
    if isinstance(step, Augment | Place | Expand) and held.asks_itself:
        return "the photos that ask are in the gallery and would be part of their own answers"
    if isinstance(step, Augment | Expand) and held.approximate:
        return "the search is approximate"
    reason = ""
    match step:
        case Centre():
            reason = _too_few(LEAST_PHOTOS, count)
        case Whiten():
            reason = _no_whitening(step, min(count, SAMPLE), held.dim)
        case Augment():
            many = f"it compares all photos with all, up to {MOST_AUGMENTED}, got {count}"
            reason = many if count > MOST_AUGMENTED else _too_few(LEAST_PHOTOS, count)
        case Place():
            reason = "" if _has_pair(held.table.place_codes) else "no place has two photos"
        case Expand():
            least = max(LEAST_PHOTOS, 4 * step.hits)
            reason = f"{step.hits} hits need {least} photos or more, got {count}" if count < least else ""
        case Verify():
            reason = "" if held.features or not count else _NO_FEATURES
        case Island():
            reason = _no_island(taken, held.table)
    return reason


def _too_few(least: int, count: int) -> str:
    return f"it needs {least} photos or more, got {count}" if count < least else ""


def _no_whitening(step: Whiten, count: int, dim: int) -> str:
    wanted = step.dims or dim
    if wanted > dim:
        return f"embeddings of {dim} values have no {wanted} directions"
    return f"{wanted} directions need {2 * wanted} photos or more, got {count}" if count < 2 * wanted else ""


def _has_pair(codes: NDArray[np.integer]) -> bool:
    return bool((np.bincount(codes[codes >= 0]) > 1).any())


def _no_island(taken: Stack, table: PhotoTable) -> str:
    if taken.step(Verify) is None:
        return "no geometry is verified"
    if table.place_names:
        return "photos have places, which vote in the stead of frames"
    lines = table.lines
    if np.isin(lines[lines > 0] + 1, lines).any():
        return ""
    return "no sequence has two frames; a manifest with sequence and frame names them"
