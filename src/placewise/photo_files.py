"""The files of photos: their bytes, bounded in size, and what is wrong with those that cannot be read."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

from placewise.errors import ImageError
from placewise.turns import Budget

MAX_BYTES = 192 * 2**20
"""The largest file that is read."""

MAX_HELD = 100 * 10**6
"""Bytes of files that threads may hold between them while they wait for their turn; a larger file is held alone."""

_held = Budget()


def read_bytes(path: Path, *, at_most: int | None = None) -> bytes:
    """The bytes of a file, or the first of them: no more than it has now, however it grows or shrinks.

    Raises:
        ImageError: ``missing``; ``unreadable`` for a folder, a device or a file that may not be read; ``too_large``
            above ``MAX_BYTES``.
    """
    size = _size(path)
    with _access(path), path.open("rb") as file:
        return file.read(size if at_most is None else min(size, at_most))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[bytes]:
    """The bytes of a file, within ``MAX_HELD`` for all threads; not to be nested, nor inside the budget of decoding.

    Raises:
        ImageError: As ``read_bytes``.
    """
    with _held.taken(_size(path), of=MAX_HELD):
        yield read_bytes(path)


def _size(path: Path) -> int:
    """The bytes of a file, of a size that is read."""
    with _access(path):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        message = "the photo must be a file, got a folder or a device; correct the path"
        raise ImageError(message, kind="unreadable")
    if status.st_size > MAX_BYTES:
        message = f"a photo's file must have at most {MAX_BYTES} bytes, got {status.st_size}; save it smaller"
        raise ImageError(message, kind="too_large")
    return status.st_size


@contextlib.contextmanager
def _access(path: Path) -> Iterator[None]:
    """Say what the system's refusals mean."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "link leads to no file" if path.is_symlink() else "file does not exist"
        message = f"the photo's {what}; correct the path or remove the row"
        raise ImageError(message, kind="missing") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        message = f"the photo's file cannot be read ({reason}); correct the path or its permissions"
        raise ImageError(message, kind="unreadable") from error
