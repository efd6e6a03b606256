"""What pictures and their files say: shapes, sizes, formats, what EXIF data tell. One finding for all photos alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from placewise.core import Finding, Photo
from placewise.doctor.kinds import counted, finding, is_null
from placewise.doctor.look import PhotoFacts
from placewise.sources.files import ENDINGS, SUFFIXES

_WIDEST = 4.0
"""Sides beyond this ratio: a network that looks at a square in the middle sees less than a quarter of the photo."""

_SIZES_APART = 4.0
"""The longer sides of the middle nine tenths differ by this factor: an object takes 4 or 16 times the pixels."""

_SPLITS_APART = 2.0
"""The typical sizes of gallery and queries differ by this factor: each query is compared across it."""


def judge_pictures(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    """Findings about the photos that decode."""
    sound = [fact for fact in facts if not fact.fault]
    yield from _extreme_aspect(sound)
    yield from _blank(sound)
    yield from _wrong_extension(sound)
    yield from _exif_rotation(sound)
    yield from _mixed_resolutions(sound)
    yield from _gps_present(sound)


def _extreme_aspect(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    ratios = {fact.photo: max(fact.width, fact.height) / min(fact.width, fact.height) for fact in facts}
    found = {photo: ratio for photo, ratio in ratios.items() if ratio > _WIDEST}
    if found:
        worst = f"{max(found.values()):.1f}"
        detail = (
            f"{counted(len(found))} more than {_WIDEST:g} times as long as wide (up to {worst}): a network sees only "
            f"a part; cut to what shows the place"
        )
        yield finding("extreme_aspect", found, detail)


def _blank(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    found = [fact.photo for fact in facts if fact.blank]
    if found:
        yield finding(
            "blank", found, f"{counted(len(found))} of nearly one colour: look, and remove what shows nothing"
        )


def _wrong_extension(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    """One finding for each pair of ending and content."""
    found: defaultdict[tuple[str, str], list[Photo]] = defaultdict(list)
    for fact in facts:
        suffix = fact.photo.path.suffix.lower()
        if suffix in SUFFIXES and suffix not in ENDINGS.get(fact.format, suffix):
            found[suffix, fact.format].append(fact.photo)
    for (suffix, name), photos in found.items():
        detail = f"{counted(len(photos))} named {suffix} but {name} inside: read all the same; rename for other tools"
        yield finding("wrong_extension", photos, detail)


def _exif_rotation(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    found = [fact.photo for fact in facts if fact.orientation != 1]
    if found:
        detail = (
            f"{counted(len(found))} stored turned or mirrored, as EXIF says: shown upright here; "
            f"other tools may not, so save upright for them"
        )
        yield finding("exif_rotation", found, detail)


def _mixed_resolutions(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    if not facts:
        return
    sides = np.array([max(fact.width, fact.height) for fact in facts])
    low, middle, high = np.percentile(sides, [5, 50, 95], method="nearest")
    if high >= _SIZES_APART * low:
        small = [fact.photo for fact, side in zip(facts, sides, strict=True) if 2 * side < middle]
        detail = (
            f"the longer sides of nine in ten photos run from {low} to {high} pixels: "
            f"{counted(len(small))} smaller than half of the usual {middle}; small ones match worse"
        )
        yield finding("mixed_resolutions", small, detail)
    in_gallery = np.array([fact.photo.split == "gallery" for fact in facts])
    if in_gallery.all() or not in_gallery.any():
        return
    held, asking = np.median(sides[in_gallery]), np.median(sides[~in_gallery])
    if max(held, asking) >= _SPLITS_APART * min(held, asking):
        smaller = "gallery" if held < asking else "query"
        detail = (
            f"the longer side is usually {held:.0f} pixels in the gallery and {asking:.0f} of a query: "
            f"results on photos of one size may be better"
        )
        yield finding("mixed_resolutions", (fact.photo for fact in facts if fact.photo.split == smaller), detail)


def _gps_present(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    found = [fact.photo for fact in facts if fact.has_gps and not is_null(fact.position)]
    if found:
        detail = f"in {counted(len(found))} EXIF data tell where it was taken: think of that before you share the files"
        yield finding("gps_present", found, detail)
