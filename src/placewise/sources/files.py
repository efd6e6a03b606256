"""Photo files below a folder, and what may be a photo's path."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from placewise.core import Finding

ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".heif"),
    "HEIC": (".heic", ".heif", ".hif"),
}
"""How the names of photos end, by format, in lower case; other endings promise nothing."""

SUFFIXES = frozenset(ending for endings in ENDINGS.values() for ending in endings)
"""Endings of photos' names in a folder."""

UNREAD = frozenset(
    (
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".dng",
        ".erf",
        ".iiq",
        ".kdc",
        ".mrw",
        ".nef",
        ".nrw",
        ".orf",
        ".pef",
        ".raf",
        ".raw",
        ".rw2",
        ".rwl",
        ".sr2",
        ".srf",
        ".srw",
        ".x3f",
        ".j2c",
        ".j2k",
        ".jp2",
        ".jpf",
        ".jpx",
        ".jxl",
        ".psd",
        ".xcf",
    )
)
"""Endings of pictures that are not read: cameras' raw data, JPEG 2000, JPEG XL, those of editors."""

_NAMES_SHOWN, _LONGEST = 4, 80

MAX_VISITS = 100
"""How often a folder is entered by different links: links to links would otherwise multiply without end."""


def photo_files(folder: Path) -> tuple[list[PurePosixPath], list[PurePosixPath], list[Finding]]:
    """Photos below a folder in the order of the names, pictures that are not read, a finding for each closed folder.

    Hidden ones are skipped. A folder that contains itself by a link is not entered again; links that lead nowhere, or
    to each other in a circle, are photos if they are called so, and whoever reads them finds out.
    """
    files: list[PurePosixPath] = []
    unread: list[PurePosixPath] = []
    findings: list[Finding] = []
    above: list[tuple[int, int]] = []
    visits: Counter[tuple[int, int]] = Counter()
    # What is still to do, the next at the end: an entry, or None where the folder on top of `above` is left.
    todo: list[tuple[Path, PurePosixPath] | None] = [(folder, PurePosixPath())]
    while todo:
        if (entry := todo.pop()) is None:
            above.pop()
            continue
        path, shown = entry
        try:
            status = path.stat()
            here = (status.st_dev, status.st_ino)
            if stat.S_ISDIR(status.st_mode):
                if here not in above and visits[here] < MAX_VISITS:
                    inside = sorted(path.iterdir(), key=lambda entry: entry.name, reverse=True)
                    visits[here] += 1
                    above.append(here)
                    todo += [None, *((one, shown / one.name) for one in inside if not one.name.startswith("."))]
                continue
        except OSError as error:
            if shown.suffix.lower() not in SUFFIXES:
                if error.errno not in {errno.ENOENT, errno.ELOOP}:
                    detail = f"the folder cannot be read ({error.strerror}); correct its permissions or move it up"
                    findings.append(bad_row(str(shown), detail))
                continue
        if shown.suffix.lower() in SUFFIXES:
            files.append(shown)
        elif shown.suffix.lower() in UNREAD:
            unread.append(shown)
    return files, unread, findings


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


def skipped(paths: Sequence[PurePosixPath], detail: str) -> tuple[Finding, ...]:
    """The finding for pictures that are no part of a source, if there are any."""
    return (Finding("skipped", "warning", tuple(map(str, paths)), detail),) if paths else ()


def bad_name(path: PurePosixPath) -> Finding | None:
    """The finding for a file whose name cannot be stored as text; file systems allow such names."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        name = os.fsencode(path).decode(errors="backslashreplace")
        return bad_row(name, "the file's name must be UTF-8, got other bytes; rename it")
    return None


def listed(names: Sequence[str]) -> str:
    """The first names, long ones cut, and how many more there are."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in names[:_NAMES_SHOWN]) + more
