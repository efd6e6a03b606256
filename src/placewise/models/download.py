"""Brings published weights to this machine. The only module that uses the network, and only when asked to."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from placewise.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from placewise.core import ModelCard

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30.0


def pull(card: ModelCard, folder: Path, *, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a card's weights into ``folder``, check their hash, and only then give them their name.

    An interrupted pull leaves a ``.part`` file that the next one continues.

    Args:
        card: its ``source`` must be an address, its ``weights_file`` end in the first digits of the SHA-256.
        folder: made where it is missing.
        on_progress: called with (bytes here, bytes in all).

    Raises:
        DownloadError: if the source cannot be reached or the bytes are not the published ones.
    """
    target = folder / card.weights_file
    part = folder / f"{card.weights_file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(card, part, on_progress)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        message = (
            f"{card.source} must be reachable and {folder} writable, got {reason}; type the command again to go on"
        )
        raise DownloadError(message) from error
    _check(card, part)
    part.replace(target)
    return target


def _fetch(card: ModelCard, part: Path, on_progress: Callable[[int, int], None] | None) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if have >= card.size_bytes:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(card.source, headers=headers)  # noqa: S310  # the address is a card's constant
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310  # likewise
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            # Never more than the card says: a wrong server must not fill the disk.
            while have < card.size_bytes and (chunk := response.read(min(_CHUNK_BYTES, card.size_bytes - have))):
                file.write(chunk)
                have += len(chunk)
                if on_progress:
                    on_progress(have, card.size_bytes)
            file.flush()
            os.fsync(file.fileno())


def _check(card: ModelCard, part: Path) -> None:
    size = part.stat().st_size
    if size < card.size_bytes:
        message = (
            f"{card.source} must bring {card.size_bytes} bytes, got {size} so far; type the command again to go on"
        )
        raise DownloadError(message)
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    published = re.search(r"-([0-9a-f]{8,})\.", card.weights_file)
    if published is None or not digest.startswith(published[1]):
        part.unlink()  # or every later pull would start from the same wrong bytes
        message = (
            f"{card.weights_file} must have the SHA-256 that its name begins to tell, got {digest[:8]}…; "
            f"the bytes were thrown away: type the command again"
        )
        raise DownloadError(message)
