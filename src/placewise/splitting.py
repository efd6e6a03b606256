"""A gallery, known queries and open-set queries out of one collection, such that no two sides share a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from placewise.core import Photo, Source
from placewise.doctor import Examination, connected, examine
from placewise.errors import OptionError, SourceError


def split_source(
    source: Source,
    *,
    open_set: float = 0.2,
    queries: float = 0.3,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Photo, ...]:
    """Divide the photos of a source anew; returns those that can be read, in their order, with their new splits.

    Copies of one picture and frames of one sequence stay together. Places are drawn for the open set, and all of their
    photos become queries; of each other place, some of what stays together becomes queries, and some stays in the
    gallery. Photos without a place stay in the gallery, unless they belong to what becomes a query.

    Args:
        source: photos with places; its splits do not count.
        open_set: the share of the places that the gallery is not to hold, from 0 to less than 1.
        queries: the share of the photos of the other places that become queries, between 0 and 1.
        seed: chooses.
        on_progress: called with (photos read, in all).

    Raises:
        OptionError: if a share is none.
        SourceError: if fewer than two places would be left, or none of them can be divided.
    """
    for name, share, least in (("open_set", open_set, 0.0), ("queries", queries, 1e-9)):
        if not least <= share < 1:
            message = f"{name} must be a share below 1, and that of queries above 0, got {share}"
            raise OptionError(message)
    examination = examine(source, on_progress=on_progress)
    photos = examination.readable
    rng = np.random.default_rng(seed)
    places = sorted({photo.place for photo in photos if photo.place is not None})
    unknown = {places[number] for number in rng.permutation(len(places))[: round(open_set * len(places))]}
    if len(places) - len(unknown) < 2:
        message = (
            f"at least two places must be left for the gallery, got {len(places)} and open_set {open_set}; "
            f"name a smaller share"
        )
        raise SourceError(message)
    together = _together(photos, examination)
    chosen = {name for name, rows in together.items() if any(photos[row].place in unknown for row in rows)}
    for place in places:
        if place not in unknown:
            chosen |= _drawn(place, photos, together, chosen, queries, rng)
    asking = {row for name in chosen for row in together[name]}
    divided = tuple(replace(photo, split="query" if row in asking else "gallery") for row, photo in enumerate(photos))
    known = {photo.place for photo in divided if photo.split == "gallery"}
    if not any(photo.split == "query" and photo.place in known for photo in divided):
        message = "a place must hold two photos that are no copies and no frames of one sequence, got none; add photos"
        raise SourceError(message)
    return divided


def _together(photos: Sequence[Photo], examination: Examination) -> dict[int, list[int]]:
    """Rows of what must stay on one side, by the first of them: copies of a picture, frames of a sequence."""
    numbers = {photo.path: row for row, photo in enumerate(photos)}
    sets = [[numbers[photo.path] for photo in group.photos] for group in examination.groups]
    sequences: dict[str, list[int]] = {}
    for row, photo in enumerate(photos):
        if photo.sequence is not None:
            sequences.setdefault(photo.sequence, []).append(row)
    pairs = [pair for members in (*sets, *sequences.values()) for pair in pairwise(members)]
    groups = connected(len(photos), np.arange(len(photos)), np.array(pairs, dtype=np.int64).reshape(-1, 2))
    return {group[0]: group for group in groups}


def _drawn(
    place: str,
    photos: Sequence[Photo],
    together: dict[int, list[int]],
    chosen: set[int],
    share: float,
    rng: np.random.Generator,
) -> set[int]:
    """What becomes queries of one place: at random up to the wanted share of its photos, never all of it."""
    own = {name: sum(photos[row].place == place for row in rows) for name, rows in together.items()}
    own = {name: count for name, count in own.items() if count}
    wanted = share * sum(own.values())
    drawn = {name for name in own if name in chosen}
    have = sum(own[name] for name in drawn)
    free = [name for name in own if name not in chosen]
    for name in (free[number] for number in rng.permutation(len(free))[: max(0, len(free) - 1)]):
        if have + own[name] / 2 <= wanted or (not drawn and own[name] < sum(own.values()) / 2):
            drawn.add(name)
            have += own[name]
    return drawn
