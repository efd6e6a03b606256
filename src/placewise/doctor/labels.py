"""What places and splits say: photos without a place, places without photos, queries that nothing can answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from placewise.core import Finding, Photo, Source
from placewise.doctor.kinds import finding, listed
from placewise.doctor.positions import near_any
from placewise.openset.places import MATCH_M

_QUERIES_PER_PHOTO = 10
"""A place with so many times more queries than gallery photos measures few photos, not the place."""

_LARGEST_PLACE = 20
"""A place with so many times more gallery photos than a usual one wins by number."""

_MANY = 20
"""Fewer queries, or gallery photos, of a place than this are too few to speak of proportions."""


def judge_labels(source: Source) -> Iterator[Finding]:
    """Findings about the rows, whatever state their files are in."""
    gallery, queries = source.of("gallery"), source.of("query")
    yield from _unlabelled(source.photos)
    yield from _single_photo_places(gallery, queries)
    yield from _split_imbalance(gallery, queries)
    if gallery:
        yield from _without_positives(source, gallery, queries)


def _unlabelled(photos: Sequence[Photo]) -> Iterator[Finding]:
    found = [photo for photo in photos if photo.place is None]
    if 0 < len(found) < len(photos):
        detail = (
            f"{len(found)} of {len(photos)} photos carry no place: no answer can name theirs; label them if you can"
        )
        yield finding("unlabelled", found, detail)


def _single_photo_places(gallery: Sequence[Photo], queries: Sequence[Photo]) -> Iterator[Finding]:
    counts = Counter(photo.place for photo in (*gallery, *queries))
    found = [photo for photo in gallery if photo.place is not None and counts[photo.place] == 1]
    if found:
        detail = (
            f"{len(found)} of {len(counts.keys() - {None})} places have one photo only: "
            f"calibrate and evaluate learn nothing from them; add photos if you can"
        )
        yield finding("single_photo_place", found, detail)


def _split_imbalance(gallery: Sequence[Photo], queries: Sequence[Photo]) -> Iterator[Finding]:
    if queries and not gallery:
        detail = f"no photo is in the gallery, and {len(queries)} are queries: nothing can be found; divide them anew"
        yield finding("split_imbalance", (), detail)
        return
    held, asked = (Counter(photo.place for photo in photos if photo.place is not None) for photos in (gallery, queries))
    thin = [
        place for place, count in asked.items() if held[place] and count >= max(_MANY, _QUERIES_PER_PHOTO * held[place])
    ]
    if thin:
        detail = (
            f"{listed(thin)}: {_QUERIES_PER_PHOTO} times more queries than gallery photos or more; "
            f"results hang on few photos; move some of the queries to the gallery"
        )
        yield finding("split_imbalance", _of_places(gallery, thin), detail)
    usual = median(held.values()) if len(held) > 1 else 0
    huge = [place for place, count in held.items() if usual and count >= max(_MANY, _LARGEST_PLACE * usual)]
    if huge:
        detail = (
            f"{listed(huge)}: {_LARGEST_PLACE} times more gallery photos than the usual {usual:g} or more; "
            f"results mostly speak of them; thin them out or add photos of others"
        )
        yield finding("split_imbalance", _of_places(gallery, huge), detail, "info")


def _of_places(photos: Sequence[Photo], places: Sequence[str]) -> list[Photo]:
    wanted = frozenset(places)
    return [photo for photo in photos if photo.place in wanted]


def _without_positives(source: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Iterator[Finding]:
    """One finding for all queries of which it is known that the gallery does not show what they show."""
    found, judged, basis = _unanswerable(source, gallery, queries)
    if not found:
        return
    if len(found) == judged:
        detail = (
            f"none of {judged} queries has {basis}: the right answer is always UNKNOWN; "
            f"if that is not meant, look whether gallery and queries belong together"
        )
        yield finding("query_without_positives", found, detail, "warning")
        return
    detail = f"{len(found)} of {judged} queries are open-set, without {basis}: the right answer is UNKNOWN"
    yield finding("query_without_positives", found, detail)


def _unanswerable(source: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> tuple[list[Photo], int, str]:
    """The queries without positives, of how many that can be judged, and what a positive would be."""
    places = {photo.place for photo in gallery} - {None}
    if source.positives:
        known = [photo for photo in queries if photo.path not in source.positives]
        return known, len(queries), "a known match"
    if places:
        judged = [photo for photo in queries if photo.place is not None]
        return (
            [photo for photo in judged if photo.place not in places],
            len(judged),
            "a photo of their place in the gallery",
        )
    held = [photo.position for photo in gallery if photo.position is not None]
    judged = [photo for photo in queries if photo.position is not None]
    if not held or not judged:
        return [], 0, ""
    near = near_any([photo.position for photo in judged if photo.position is not None], held)
    lone = [photo for photo, is_near in zip(judged, near, strict=True) if not is_near]
    return lone, len(judged), f"a gallery photo within {MATCH_M:.0f} m"
