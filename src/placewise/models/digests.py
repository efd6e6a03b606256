"""Whether a weights file is the one it should be: its SHA-256, as published or as recorded at the first pull.

Where the publisher puts the first digits into the file's name, as PyTorch Hub does, they are the check. Elsewhere the
digest of the first pull is kept beside the file, in the format of ``sha256sum``, and every later pull and load must
agree with it: this does not prove what came first, but shows every change since.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from placewise.errors import CheckpointError
from placewise.files import write_atomically
from placewise.folders import models_folder

PUBLISHED = "published prefix"
RECORDED = "recorded at first pull"


def published_prefix(file_name: str) -> str | None:
    """The first digits of the SHA-256 that a file name of the form ``name-<8 or more digits>.suffix`` tells."""
    found = re.fullmatch(r".*-([0-9a-f]{8,64})\.\w+", file_name)
    return found[1] if found else None


def check_of(file_name: str) -> str:
    """Which of the two checks a file of this name gets: `PUBLISHED` or `RECORDED`."""
    return PUBLISHED if published_prefix(file_name) else RECORDED


def record_of(weights: Path) -> Path:
    """The file beside the weights that keeps the digest of their first pull."""
    return weights.with_name(f"{weights.name}.sha256")


def recorded_digest(weights: Path) -> str | None:
    """The digest of the first pull, or None where none was recorded.

    Raises:
        CheckpointError: if the record cannot be read or holds no digest.
    """
    path = record_of(weights)
    if not path.is_file():
        return None
    try:
        digest = path.read_bytes()[:64].decode("ascii", "replace")
    except OSError as error:
        message = f"{path} must be readable, got {error.strerror or error}; correct its permissions"
        raise CheckpointError(message) from error
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        message = f"{path} must begin with a SHA-256 of 64 digits, got {digest[:16]!r}; delete it and pull again"
        raise CheckpointError(message)
    return digest


def record(weights: Path, digest: str) -> None:
    """Keep the digest of a first pull.

    Raises:
        OptionError: if it cannot be written.
    """
    write_atomically(record_of(weights), f"{digest}  {weights.name}\n".encode())


def check_record(weights: Path, digest: str) -> None:
    """Refuse a digest that is not the one recorded at the first pull; pass where none was recorded.

    Only the folder of pulled weights has such records: a file of that name beside a user's own file is the user's.

    Raises:
        CheckpointError: if they differ.
    """
    if not weights.parent.resolve().is_relative_to(models_folder().resolve()):
        return
    recorded = recorded_digest(weights)
    if recorded not in {None, digest}:
        message = (
            f"{weights.name} must have the SHA-256 that was recorded when it was pulled first, {str(recorded)[:8]}…, "
            f"got {digest[:8]}…; delete it to pull it again, or {record_of(weights).name} to trust what came now"
        )
        raise CheckpointError(message)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 lower-case hexadecimal digits. OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
