"""The file of an approximate index: its bytes, a JSON footer with their digest, the footer's digest and length, a mark.

The digests are checked before anything is made of the bytes, since FAISS trusts what it reads.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from placewise.errors import GalleryError
from placewise.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MAGIC = b"placeANN"
_VERSION = 1
_DIGEST = 32
_TAIL = _DIGEST + 8 + len(_MAGIC)
_PIECE = 1 << 20
_FOOTER_LIMIT = 1 << 16


class HashingWriter:
    """Writes to a file and knows the digest of what went there."""

    def __init__(self, file: IO[bytes]) -> None:
        """Start with what is written from now on."""
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write some bytes."""
        self.digest.update(data)
        return self._file.write(data)


def write_index(path: Path, footer: dict[str, Any], write: Callable[[HashingWriter], None]) -> None:
    """Write what ``write`` writes and the footer; at every moment there is the old file or the new one.

    Raises:
        GalleryError: if it cannot be written; then nothing is left behind.
    """
    try:
        with replacing(path) as file:
            writer = HashingWriter(file)
            write(writer)
            stated = {"version": _VERSION, "bytes": file.tell(), "sha256": writer.digest.hexdigest(), **footer}
            text = json.dumps(stated, sort_keys=True).encode()
            file.write(text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little") + _MAGIC)
    except OSError as error:
        message = f"{path} must be writable, got {error.strerror or error}; free some space or name another file"
        raise GalleryError(message) from error


def open_index(path: Path) -> BinaryIO:
    """Open an index file.

    Raises:
        GalleryError: if there is none.
    """
    try:
        return path.open("rb")
    except OSError as error:
        message = f"{path} must be a readable index, got {error.strerror}; build it again"
        raise GalleryError(message) from error


def read_footer(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The footer, checked against the length of the file; the file then stands at its start.

    Raises:
        GalleryError: if the file is truncated, foreign or of a newer version, or its footer is damaged.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    length = int.from_bytes(tail[_DIGEST:-8], "little")
    if tail[-8:] != _MAGIC or length > min(_FOOTER_LIMIT, size - _TAIL):
        message = f"{path} must be a whole index of Placewise, got another or a truncated file; build it again"
        raise GalleryError(message)
    file.seek(size - _TAIL - length)
    text = file.read(length)
    if hashlib.sha256(text).digest() != tail[:_DIGEST]:
        raise damaged(path)
    footer: dict[str, Any] = json.loads(text)
    if footer.get("version") != _VERSION:
        message = f"{path} must have the index version {_VERSION}, got {footer.get('version')!r}; build it again"
        raise GalleryError(message)
    if footer.get("bytes") != size - _TAIL - length:
        raise damaged(path)
    file.seek(0)
    return footer


def check_digest(path: Path, file: BinaryIO, footer: dict[str, Any]) -> None:
    """Compare the bytes with the footer's digest; the file then stands at its start.

    Raises:
        GalleryError: if they differ.
    """
    digest, left = hashlib.sha256(), int(footer["bytes"])
    while left > 0 and (piece := file.read(min(_PIECE, left))):
        digest.update(piece)
        left -= len(piece)
    if digest.hexdigest() != footer.get("sha256"):
        raise damaged(path)
    file.seek(0)


def damaged(path: Path) -> GalleryError:
    """What is said of a file whose parts contradict each other."""
    return GalleryError(f"{path} must be an undamaged index, got contradicting parts; build it again")
