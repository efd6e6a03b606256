"""The local features that a gallery keeps: what is damaged is named, with what mends it, and never compared.

The law of this module: bytes are whole or damaged, and nothing between. Whoever cannot do without those of a photo gets
an error; whoever can, nothing, and `KeptFeatures.damage` says of whom. Photos of which none are kept are no damage:
`lack_of` counts them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from placewise.errors import FeaturesDamagedError, StoreError
from placewise.features import KIND, Features, is_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placewise.gallery_file import GalleryFile

_NAMED = 5
"""Photos named in a message about more of them."""

_ROWS = 64
"""Photos whose features are read at a time: 3 MB."""


class KeptFeatures:
    """The local features of a gallery's photos, read by id when they are needed. Threads may share it."""

    def __init__(self, gallery: GalleryFile) -> None:
        self._gallery = gallery
        self._damaged: dict[int, str] = {}
        self._lock = threading.Lock()

    def of(self, number: int) -> Features | None:
        """Those of the photo with this id; None where none are kept.

        Raises:
            FeaturesDamagedError: if they are not what was written.
        """
        found = self._read(number)
        if isinstance(found, str):
            raise FeaturesDamagedError(damage_of(self._gallery, [found]))
        return found

    def usable(self, number: int) -> Features | None:
        """Likewise, but None also where they are not what was written: `damage` says so from then on."""
        found = self._read(number)
        if isinstance(found, str):
            with self._lock:
                self._damaged[number] = found
            return None
        if number in self._damaged:  # they have been extracted again since
            with self._lock:
                self._damaged.pop(number, None)
        return found

    def _read(self, number: int) -> Features | str | None:
        """Features, or the name of a photo whose are damaged."""
        data = self._gallery.features(KIND, [number]).get(number)
        try:
            return None if data is None else Features.from_bytes(data)
        except StoreError:
            return self._gallery.path_of(number) or None  # a photo that has gone meanwhile has none

    @property
    def damage(self) -> str:
        """Whose features `usable` found damaged, and what mends them, in one line; empty if nobody's."""
        with self._lock:
            names = list(self._damaged.values())
        return damage_of(self._gallery, names) if names else ""


def damaged_features(gallery: GalleryFile) -> Iterator[str]:
    """The names of the photos whose local features are damaged; every one is looked at. Inside `GalleryFile.reading`.

    Features of other kinds are nobody's who could judge them.
    """
    query = "SELECT path, CAST(data AS BLOB) FROM features JOIN photos USING (id) WHERE kind = ? ORDER BY id"
    rows = gallery.store.blocks(query, _ROWS, (KIND,))
    return (path for block in rows for path, data in block if not is_whole(data))


def are_whole(gallery: GalleryFile, path: str) -> bool:
    """Whether the gallery keeps local features of the photo of this path, as they were written."""
    rows = gallery.store.execute(
        "SELECT CAST(data AS BLOB) FROM features JOIN photos USING (id) WHERE path = ? AND kind = ?", (path, KIND)
    )
    return bool(rows) and is_whole(rows[0][0])


def lack_of(gallery: GalleryFile) -> str:
    """How many photos have no local features and cannot be verified, and what mends that; empty if all have some."""
    with gallery.reading():
        lacking, photos = gallery.lacking_features, len(gallery)
    if not lacking:
        return ""
    return f"{lacking} of {photos} photos have no local features and are not verified; {extracting(gallery)}"


def extracting(gallery: GalleryFile) -> str:
    """What to type for photos without local features."""
    return f"'placewise index SOURCE --gallery {gallery.path} --features' extracts them"


def damage_of(gallery: GalleryFile, names: Sequence[str]) -> str:
    """That the local features of one or more photos are damaged, and what mends them, in one line."""
    shown, more = ", ".join(names[:_NAMED]), len(names) - _NAMED
    return (
        f"the local features of {shown}{f' and {more} more' if more > 0 else ''} in gallery {gallery.path} are not "
        f"what was written; 'placewise index SOURCE --gallery {gallery.path} --rehash' extracts them again"
    )
