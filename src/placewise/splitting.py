"""A gallery, known queries and open-set queries out of one collection, such that no two sides share a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from placewise.core import Photo, Source
from placewise.doctor import Examination, connected, examine
from placewise.doctor.kinds import is_null
from placewise.doctor.positions import near_any
from placewise.errors import OptionError, SourceError
from placewise.openset.places import Places


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

    Where no photo has a place, whole sequences are drawn for the queries, and none for the open set, since nothing says
    what they show; or else spots, photos within some 25 m of one another, stand for places.

    Args:
        source: photos with places, sequences or positions; its splits do not count.
        open_set: the share of the places that the gallery is not to hold, from 0 to less than 1.
        queries: the share of the photos of the other places that become queries, between 0 and 1.
        seed: chooses; 0 or more.
        on_progress: called with (photos read, in all).

    Raises:
        OptionError: if a share is none, or the seed.
        SourceError: if nothing says what to divide, fewer than two places would be left, or none can be divided.
    """
    for name, share, least in (("open_set", open_set, 0.0), ("queries", queries, 1e-9)):
        if not least <= share < 1:
            message = f"{name} must be a share below 1, and that of queries above 0, got {share}"
            raise OptionError(message)
    if seed < 0:
        message = f"seed must be a whole number from 0, got {seed}"
        raise OptionError(message)
    _units(source.photos)  # refused before the work
    examination = examine(source, on_progress=on_progress)
    photos = examination.readable
    what, units = _units(photos)
    rng = np.random.default_rng(seed)
    names = sorted({unit for unit in units if unit is not None})
    unknown = _unknown(names, open_set, rng) if what != "sequence" else set()
    together = _together(photos, examination)
    chosen = {name for name, rows in together.items() if any(units[row] in unknown for row in rows)}
    for name in names:
        if name not in unknown:
            chosen |= _drawn(name, units, together, chosen, queries, rng)
    asking = {row for name in chosen for row in together[name]}
    known = {units[row] for row in range(len(photos)) if row not in asking} - {None}
    if not any(units[row] in known for row in asking):
        message = (
            "sequences must be two or more that share no copies, got one; add photos"
            if what == "sequence"
            else f"a {what} must hold two photos that are no copies and no frames of one sequence, got none; add photos"
        )
        raise SourceError(message)
    return tuple(replace(photo, split="query" if row in asking else "gallery") for row, photo in enumerate(photos))


def known_queries(photos: Sequence[Photo]) -> int | None:
    """How many queries the gallery can answer, by place or else by position; None where photos have neither."""
    held = [photo for photo in photos if photo.split == "gallery"]
    asking = [photo for photo in photos if photo.split == "query"]
    places = {photo.place for photo in held} - {None}
    if places:
        return sum(photo.place in places for photo in asking)
    there = [photo.position for photo in held if photo.position is not None]
    if not there:
        return None
    return sum(near_any([photo.position for photo in asking if photo.position is not None], there))


def _units(photos: Sequence[Photo]) -> tuple[str, list[str | None]]:
    """What is divided, and of each photo to which it belongs: places, or all there is by sequence, or spots."""
    if any(photo.place is not None for photo in photos):
        return "place", [photo.place for photo in photos]
    if len({photo.sequence for photo in photos} - {None}) > 1:
        return "sequence", [""] * len(photos)
    where = [photo.position for photo in photos]
    degrees = [(math.nan, math.nan) if one is None or is_null(one) else (one.lat, one.lon) for one in where]
    spots = Places.of_positions(np.array(degrees, dtype=np.float64).reshape(-1, 2))
    if spots.count < 1:
        message = (
            "photos must have places, positions or two sequences to be divided by, got none of them; "
            "put the photos of each place into a folder"
        )
        raise SourceError(message)
    return "spot", [None if code < 0 else spots.names[code] for code in spots.codes]


def _unknown(names: Sequence[str], share: float, rng: np.random.Generator) -> set[str]:
    """The places that the gallery is not to hold."""
    if len(names) < 2:
        message = f"photos must be of at least two places, got {len(names)}; add photos of others"
        raise SourceError(message)
    unknown = {names[number] for number in rng.permutation(len(names))[: round(share * len(names))]}
    if len(names) - len(unknown) < 2:
        message = (
            f"at least two places must be left for the gallery, got {len(names)} and open_set {share}; "
            f"name a smaller share"
        )
        raise SourceError(message)
    return unknown


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
    name: str,
    units: Sequence[str | None],
    together: dict[int, list[int]],
    chosen: set[int],
    share: float,
    rng: np.random.Generator,
) -> set[int]:
    """What becomes queries of one place: at random up to the wanted share of its photos, never all of it."""
    own = {first: sum(units[row] == name for row in rows) for first, rows in together.items()}
    own = {first: count for first, count in own.items() if count}
    wanted = share * sum(own.values())
    drawn = {first for first in own if first in chosen}
    have = sum(own[first] for first in drawn)
    free = [first for first in own if first not in chosen]
    for first in (free[number] for number in rng.permutation(len(free))[: max(0, len(free) - 1)]):
        if have + own[first] / 2 <= wanted or (not drawn and own[first] < sum(own.values()) / 2):
            drawn.add(first)
            have += own[first]
    return drawn
