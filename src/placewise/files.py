"""Writing files whole or not at all, and never over something else."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from placewise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_output(path: Path, suffix: str) -> None:
    """Refuse an output file before the work that fills it is done.

    An existing file is replaced only if its name ends in ``suffix``: a typo must not cost a photo or a gallery.

    Raises:
        OptionError: if the folder does not exist or may not be written, or something else is in the way.
    """
    if not path.parent.is_dir():
        message = f"an output file must lie in a folder that exists, got {path}; make the folder or name another"
        raise OptionError(message)
    if not os.access(path.parent, os.W_OK):
        message = f"an output file must lie in a folder that may be written, got {path}; name another"
        raise OptionError(message)
    if path.exists() and (not path.is_file() or path.suffix.lower() != suffix):  # a pipe would wait for a reader
        message = f"an output file must be new or end in {suffix} to be replaced, got {path}; name another"
        raise OptionError(message)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` when the block ends.

    At every moment there is the old one or the new one, also after a power cut. If the block fails, nothing is left
    behind.
    """
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            yield file.file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that at every moment there is the old one or the new one, also after a power cut.

    Raises:
        OptionError: if it cannot be written; then nothing is left behind.
    """
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        message = f"{path} must be writable, got {error.strerror or error}; name another file"
        raise OptionError(message) from error


def _umask() -> int:
    """The process's mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
