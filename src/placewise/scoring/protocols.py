"""Protocols by name: what counts as right. Numbers can be compared only if they were measured by the same one.

A protocol is a value; the table `KINDS` says how each is spelled and how it finds what is right for each query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from placewise.core import Photo, Source
from placewise.errors import OptionError
from placewise.scoring.positives import EXCLUDE_LAST, by_frame, by_grade, by_pairs, by_place, by_radius
from placewise.scoring.truth import Protocol, Truth


@dataclass(frozen=True, slots=True)
class _Kind:
    """A row of the table: how it is spelled, how that is read, and how it finds what is right."""

    spelling: str
    read: Callable[[str], Protocol | None]
    truth: Callable[[Protocol, Source, Sequence[Photo], Sequence[Photo]], Truth]


def find_protocol(text: str, *, exclude_last: int | None = None) -> Protocol:
    """The protocol of a spelling.

    Args:
        text: as in ``radius:25m``; docs/evaluation.md lists them.
        exclude_last: for ``pairs`` of one sequence, the frames before the query that it is not compared with.

    Raises:
        OptionError: if there is none, or it takes no ``exclude_last``.
    """
    name, _, rest = text.partition(":")
    kind = KINDS.get(name)
    protocol = kind.read(rest) if kind else None
    if protocol is None:
        message = f"a protocol must be one of {', '.join(kind.spelling for kind in KINDS.values())}, got {text!r}"
        message += "; correct its spelling"
        raise OptionError(message)
    if exclude_last is None:
        return protocol
    if protocol.kind != "pairs" or exclude_last < 0:
        message = f"exclude_last must be 0 or more and come with the protocol pairs, got {exclude_last} with {text!r}"
        message += "; leave it out"
        raise OptionError(message)
    return _read_pairs(rest, exclude_last)


def truth_of(
    protocol: Protocol,
    source: Source,
    *,
    gallery: Sequence[Photo] | None = None,
    queries: Sequence[Photo] | None = None,
) -> Truth:
    """What a protocol wants of a source's queries.

    Args:
        protocol: see `find_protocol`.
        source: photos with what the protocol needs: places, positions, frames, known matches or grades.
        gallery: those of the source's gallery photos that are there; all if None.
        queries: those of its queries that are there; all if None.

    Raises:
        EvaluationError: if the source lacks what the protocol needs.
    """
    gallery = source.of("gallery") if gallery is None else gallery
    queries = source.of("query") if queries is None else queries
    return KINDS[protocol.kind].truth(protocol, source, gallery, queries)


# ---- how each is spelled ---------------------------------------------------------------------------------------------


_GRADED = tuple(
    f"{name}_revisited_{setup}{k}"
    for name, ks in (("map", ("",)), ("mp", ("@1", "@5", "@10")))
    for setup in ("easy", "medium", "hard")
    for k in ks
)

_OF_ITS_PLACE = "a gallery photo of the query's place is right; a query whose place the gallery lacks is open-set"

_PLACE = Protocol("place", "place", _OF_ITS_PLACE, labelled=True)
_REVISITED = Protocol(
    "revisited",
    "revisited",
    "easy, medium and hard positives with junk removed; Recall@K is that of medium",
    metrics=_GRADED,
)
_LANDMARKS = Protocol(
    "landmarks-gap",
    "landmarks-gap",
    f"one prediction a query, all in one list by confidence; {_OF_ITS_PLACE}",
    metrics=(*_PLACE.metrics, "gap_in_order"),
    labelled=True,
)


def _bare(protocol: Protocol) -> Callable[[str], Protocol | None]:
    """What reads a spelling that takes nothing after its name."""
    return lambda rest: None if rest else protocol


def _read_radius(rest: str) -> Protocol | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?m?(:drop)?", rest or "25m")
    if not found or float(found[1]) <= 0:
        return None
    radius = float(found[1])
    law = (
        f"a gallery photo within {radius:g} m of the query is right (UTM metres, inclusive, heading ignored); "
        f"a query without one is {'not counted by retrieval' if found[2] else 'a miss'}"
    )
    return Protocol("radius", f"radius:{radius:g}m{found[2] or ''}", law, reach=radius, misses=not found[2])


def _read_frames(rest: str) -> Protocol | None:
    found = re.fullmatch(r"(?:±|\+-|\+/-)?(\d{1,9})", rest)
    if not found:
        return None
    law = f"a gallery frame whose number is within {int(found[1])} of the query's is right"
    return Protocol("frames", f"frames:±{int(found[1])}", law, reach=int(found[1]))


def _read_pairs(rest: str, exclude_last: int | None = None) -> Protocol:
    law = (
        f"what {Path(rest).name if rest else 'the source'} says to show the same is right; a sequence without queries "
        f"asks its own past but for the last {EXCLUDE_LAST if exclude_last is None else exclude_last} frames"
    )
    pairs = Path(rest) if rest else None
    return Protocol("pairs", f"pairs:{rest}" if rest else "pairs", law, exclude_last=exclude_last, pairs=pairs)


KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "place": _Kind("place", _bare(_PLACE), by_place),
        "radius": _Kind("radius:25m[:drop]", _read_radius, by_radius),
        "frames": _Kind("frames:±10", _read_frames, by_frame),
        "pairs": _Kind("pairs[:FILE]", _read_pairs, by_pairs),
        "revisited": _Kind("revisited", _bare(_REVISITED), by_grade),
        "landmarks-gap": _Kind("landmarks-gap", _bare(_LANDMARKS), by_place),
    }
)
"""Every protocol by the name that its spelling begins with."""
