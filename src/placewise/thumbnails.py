"""Small pictures of photos, inside a page."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from placewise import images
from placewise.errors import ImageError
from placewise.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterable

    from placewise.core import Photo, Source

LONGER_SIDE = 240
"""In pixels."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small JPEG as a data address, with its size in pixels; an empty address where the photo is unreadable."""

    address: str = ""
    width: int = 4
    height: int = 3


def thumbnails(source: Source, photos: Iterable[Photo]) -> dict[Photo, Thumbnail]:
    """A thumbnail of each photo, made once each and in all cores."""
    wanted = tuple(dict.fromkeys(photos))
    with ThreadPoolExecutor(usable_cores()) as pool:
        return dict(zip(wanted, pool.map(partial(_thumbnail, source), wanted), strict=True))


def _thumbnail(source: Source, photo: Photo) -> Thumbnail:
    try:
        image = images.decode(images.read_bytes(source.file(photo)), at_least=LONGER_SIDE)
    except ImageError:
        return Thumbnail()
    jpeg = images.thumbnail(image, longer_side=LONGER_SIDE)
    width, height = images.header_size(jpeg)
    return Thumbnail("data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"), width, height)
