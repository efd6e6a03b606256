"""How a gallery is to rank, and how it does: the steps that it holds, and those that its photos and its search allow.

Whatever answers a gallery's queries, examines it or speaks of its ranking asks here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from placewise.errors import GalleryError, OptionError
from placewise.kept_features import lack_of
from placewise.presets import PRESETS
from placewise.rank import NO_STACK, Augment, Expand, Stack, Usable, Verify, stack_from_json, usable
from placewise.search.sidecar import searches_approximately

if TYPE_CHECKING:
    from placewise.gallery_file import GalleryFile
    from placewise.photo_table import PhotoTable

_SHOWN = 40
"""Characters of a damaged name that a message shows."""


def read_stack(gallery: GalleryFile) -> Stack:
    """How a gallery ranks.

    Raises:
        GalleryError: if what it holds of that is damaged.
    """
    text = gallery.ranking
    try:
        return NO_STACK if text is None else stack_from_json(text)
    except OptionError as error:
        name = gallery.preset if gallery.preset in PRESETS else "NAME"
        message = f"the ranking of gallery {gallery.path} is damaged or of another version: {error}; " + _mend(
            gallery, name
        )
        raise GalleryError(message) from error


def read_preset(gallery: GalleryFile) -> str:
    """The name of the preset that a gallery's ranking came with; empty where it came with none.

    Raises:
        GalleryError: if there is no such preset.
    """
    name = gallery.preset
    if name and name not in PRESETS:
        message = (
            f"the preset of gallery {gallery.path} must be one of {', '.join(PRESETS)}, got {name[:_SHOWN]!r}; "
            + _mend(gallery, "NAME")
        )
        raise GalleryError(message)
    return name


def _mend(gallery: GalleryFile, preset: str) -> str:
    return f"'placewise index SOURCE --gallery {gallery.path} --preset {preset}' writes it again"


def ranking_of(gallery: GalleryFile, table: PhotoTable, *, approximate: bool | None = None) -> Usable:
    """How a gallery does rank: which of the steps it takes, and why not the others. Inside `GalleryFile.reading`.

    Of hits that it verifies, photos without local features are counted, too.

    Args:
        gallery: the gallery.
        table: its photos.
        approximate: whether an index proposes the hits; if None, as `locate` searches by itself.

    Raises:
        GalleryError: if what it holds of that is damaged.
    """
    stack = read_stack(gallery)
    if approximate is None:  # asked only where it matters: to say so is to read the index
        mixes = stack.step(Augment) is not None or stack.step(Expand) is not None
        approximate = mixes and searches_approximately(gallery, table.ids)
    found = usable(stack, table, gallery.card.dim, features=gallery.has_features, approximate=approximate)
    return replace(found, lack=lack_of(gallery) if found.stack.step(Verify) else "")


def current_ranking(gallery: GalleryFile) -> Usable:
    """The same of the photos that the gallery holds now."""
    with gallery.reading():
        return ranking_of(gallery, gallery.table()) if read_stack(gallery).steps else Usable(NO_STACK)


def steps_text(stack: Stack) -> str:
    """What a gallery ranks by, in words.

    >>> steps_text(NO_STACK)
    'plain similarity'
    """
    return str(stack) if stack.steps else "plain similarity"
