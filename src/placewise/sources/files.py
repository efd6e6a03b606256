"""Photo files below a folder, and what may be a photo's path."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from placewise.core import Finding

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".avif"})
"""Endings of photos' names in a folder, in lower case."""


_HERE = PurePosixPath()


def photo_files(
    folder: Path, name: PurePosixPath = _HERE, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[PurePosixPath]:
    """Photos below a folder as ``name/…``, in the order of the names.

    Hidden ones are skipped, and a folder that contains itself by a link is not entered again.
    """
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from photo_files(entry, name / entry.name, above | {here})
        elif entry.suffix.lower() in SUFFIXES:
            yield name / entry.name


def path_of(text: str) -> PurePosixPath:
    """A path below the source's folder, with ``.`` and ``..`` resolved by their text.

    Raises:
        ValueError: if it is empty, absolute, or leads out of the folder.
    """
    if not text:
        message = "path must not be empty"
        raise ValueError(message)
    if text.startswith("/") or PureWindowsPath(text).drive:
        message = f"path must be relative to the manifest's folder, got {text!r}"
        raise ValueError(message)
    slashed = text.replace(os.sep, "/")
    path = PurePosixPath(posixpath.normpath(slashed))
    if path.is_absolute() or path.parts[:1] == ("..",) or not path.name:
        message = f"path must name a file below the manifest's folder, got {text!r}"
        raise ValueError(message)
    return path


def bad_row(path: str, detail: str) -> Finding:
    """The finding for a row that cannot be used."""
    return Finding("bad_row", "error", (path,) if path else (), detail)


def bad_name(path: PurePosixPath) -> Finding | None:
    """The finding for a file whose name cannot be stored as text; file systems allow such names."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        name = os.fsencode(path).decode(errors="backslashreplace")
        return bad_row(name, "the file's name must be UTF-8, got other bytes; rename it")
    return None
