"""The photos of a gallery in columns: a million of them in about 150 MB, and filters without a look at the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from placewise.core import Filter, Photo, Position
from placewise.errors import OptionError
from placewise.openset import Places
from placewise.openset.places import Unit

COLUMNS = "path, place, lat, lon, heading, sequence, frame"
"""The columns of a photo, as `row_of` gives and `photo_of` takes them."""

_TEXT = np.dtypes.StringDType()
_NO_FRAME = np.iinfo(np.int64).min


def row_of(photo: Photo) -> tuple[object, ...]:
    """A photo as values for `COLUMNS`; its split is not kept."""
    position = photo.position
    where = (position.lat, position.lon, position.heading) if position else (None, None, None)
    return (str(photo.path), photo.place, *where, photo.sequence, photo.frame)


def photo_of(row: Sequence[Any]) -> Photo:
    """The gallery photo of a row of `COLUMNS`."""
    path, place, lat, lon, heading, sequence, frame = row
    position = None if lat is None else Position(lat, lon, heading)
    return Photo(PurePosixPath(str(path)), "gallery", place, position, sequence, frame)


class PhotoTable:
    """The photos of a gallery as they were at one moment, in the order of their ids. It does not change.

    Attributes:
        ids: ``(N,)`` int64, ascending.
        place_codes: ``(N,)`` int32, indices into ``place_names``; -1 where a photo has no place.
        place_names: the places that occur.
    """

    def __init__(self, blocks: Iterable[Sequence[tuple[Any, ...]]]) -> None:
        """Take rows of (id, *`COLUMNS`), ascending by id, in blocks of any size.

        Raises:
            OptionError: if a position is none.
            ValueError: if a value is of another kind, or TypeError or OverflowError.
        """
        places: dict[str | None, int] = {None: -1}
        sequences: dict[str | None, int] = {None: -1}
        columns = [_columns(block, places, sequences) for block in blocks]
        columns = columns or [_columns((), places, sequences)]
        joined = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
        self.ids: NDArray[np.int64] = joined[0]
        self._paths, self.place_codes, self._positions, self._sequence_codes, self._frames = joined[1:]
        # Checked here, at once, and not when a photo is asked for: what is damaged is found on opening.
        half = np.isnan(self._positions[:, 0]) != np.isnan(self._positions[:, 1])
        if half.any() or (np.abs(self._positions) > np.array([90, 180, 360])).any():
            message = "a position must be two numbers of degrees on Earth, got others"
            raise OptionError(message)
        self.place_names = tuple(name for name in places if name is not None)
        self._sequence_names = tuple(name for name in sequences if name is not None)

    @classmethod
    def of(cls, ids: Sequence[int], photos: Sequence[Photo]) -> Self:
        """The table of photos that are at hand."""
        return cls([[(number, *row_of(photo)) for number, photo in zip(ids, photos, strict=True)]] if photos else [])

    def __len__(self) -> int:
        return len(self.ids)

    def photo(self, number: int) -> Photo:
        """The photo with this id; KeyError if there is none."""
        row = int(np.searchsorted(self.ids, number))
        if row == len(self) or self.ids[row] != number:
            raise KeyError(number)
        lat, lon, heading = (None if np.isnan(value) else float(value) for value in self._positions[row])
        place, sequence, frame = self.place_codes[row], self._sequence_codes[row], int(self._frames[row])
        return photo_of(
            (
                self._paths[row],
                None if place < 0 else self.place_names[place],
                lat,
                lon,
                heading,
                None if sequence < 0 else self._sequence_names[sequence],
                None if frame == _NO_FRAME else frame,
            )
        )

    def photos(self) -> tuple[Photo, ...]:
        """All of them, in the order of their ids."""
        return tuple(self.photo(int(number)) for number in self.ids)

    def places_by(self, unit: Unit) -> Places:
        """What each photo shows, by its place, by its position, or by its sequence."""
        if unit == "position":
            return Places.of_positions(self._positions[:, :2])
        if unit == "sequence":
            return Places.of_codes(self._sequence_codes, self._sequence_names, unit)
        return Places.of_codes(self.place_codes, self.place_names)

    def places(self) -> Places:
        """What each photo shows: its place; where fewer than two are labelled, its position, or else its sequence.

        Sequences do not stand for places where photos of two of them have the one label, or lie at the one spot.

        Raises:
            CalibrationError: if nothing tells one place from another.
        """
        label = self.places_by("place")
        if label.count > 1:
            return label
        spot = self.places_by("position")
        if spot.count > 1:
            return spot
        if self._sequences_of(label) < 2 and self._sequences_of(spot) < 2 and len(self._sequence_names) > 1:
            return self.places_by("sequence")
        return max(label, spot, key=lambda places: places.count).several()

    def _sequences_of(self, place: Places) -> int:
        """How many sequences have photos of a place."""
        codes = self._sequence_codes[place.labelled]
        return len(np.unique(codes[codes >= 0]))

    @property
    def lines(self) -> NDArray[np.int64]:
        """Where each photo stands in its sequence, ``(N,)``: neighbouring frames have neighbouring numbers from 1 on.

        Frames that the gallery lacks are passed over; those of other sequences are 2 or more apart; -1 for a photo
        without a frame. Frames without a sequence are one.
        """
        lines = np.full(len(self), -1, dtype=np.int64)
        framed = np.flatnonzero(self._frames != _NO_FRAME)
        order = framed[np.lexsort((self._frames[framed], self._sequence_codes[framed]))]
        frames, names = self._frames[order], self._sequence_codes[order]
        other = np.diff(names, prepend=names[:1]) != 0
        lines[order] = 1 + np.cumsum((other | (np.diff(frames, prepend=frames[:1]) != 0)) + other.astype(np.int64))
        return lines

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """The rows of ids that are there, in the same shape."""
        return np.searchsorted(self.ids, ids)

    def ids_of(self, chosen: Filter) -> NDArray[np.int64]:
        """The ids, ascending, of the photos that a filter lets through.

        Raises:
            OptionError: if it names a place or a sequence that no photo has.
        """
        keep = np.ones(len(self), dtype=bool)
        if chosen.places:
            keep &= np.isin(self.place_codes, _codes("place", chosen.places, self.place_names))
        if chosen.sequences:
            keep &= np.isin(self._sequence_codes, _codes("sequence", chosen.sequences, self._sequence_names))
        if chosen.box:
            south, west, north, east = chosen.box
            lat, lon = self._positions[:, 0], self._positions[:, 1]
            across = (lon >= west) & (lon <= east) if west <= east else (lon >= west) | (lon <= east)
            keep &= (lat >= south) & (lat <= north) & across  # without a position: NaN, which is nowhere
        return self.ids[keep]


def _columns(
    rows: Sequence[tuple[Any, ...]], places: dict[str | None, int], sequences: dict[str | None, int]
) -> tuple[NDArray[Any], ...]:
    """One block as arrays: ids, paths, place codes, positions ``(n, 3)``, sequence codes, frames."""
    ids, paths, place, lat, lon, heading, sequence, frames = zip(*rows, strict=True) if rows else ((),) * 8
    return (
        np.array(ids, dtype=np.int64),
        np.array(paths, dtype=_TEXT),
        np.array([places.setdefault(name, len(places) - 1) for name in place], dtype=np.int32),
        np.array([lat, lon, heading], dtype=np.float64).T.reshape(-1, 3),
        np.array([sequences.setdefault(name, len(sequences) - 1) for name in sequence], dtype=np.int32),
        np.array([_NO_FRAME if frame is None else frame for frame in frames], dtype=np.int64),
    )


def _codes(noun: str, wanted: Sequence[str], names: Sequence[str]) -> list[int]:
    codes = {name: code for code, name in enumerate(names)}
    for name in wanted:
        if name not in codes:
            message = f"a {noun} to search in must be one that the gallery holds, got {name!r}; correct the name"
            raise OptionError(message)
    return [codes[name] for name in wanted]
