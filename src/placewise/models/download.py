"""Brings published weights to this machine. The only module that uses the network, and only when asked to."""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Protocol

from placewise.errors import CheckpointError, DownloadError
from placewise.models import digests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from placewise.core import ModelCard

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30.0


def pull(
    card: ModelCard,
    folder: Path,
    *,
    on_size: Callable[[int], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Download a card's weights into ``folder``, check them, and only then give them their name.

    An interrupted pull leaves a ``.part`` file that the next one continues. Weights whose name does not tell their
    SHA-256 must be those of the first pull, whose digest is recorded beside them.

    Args:
        card: its ``source`` must be an address.
        folder: made where it is missing.
        on_size: called once with the bytes that there are in all, before they come.
        on_progress: called with (bytes here, bytes in all).

    Raises:
        DownloadError: if the source cannot be reached or the bytes are not the right ones.
    """
    target = folder / card.weights_file
    part = folder / f"{card.weights_file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        size = _fetch(card, part, on_size, on_progress)
        _check_size(card, part, size)
        _check_digest(part, target)
        part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        message = (
            f"{card.source} must be reachable and {folder} writable, got {reason}; type the command again to go on"
        )
        raise DownloadError(message) from error
    return target


def verify(card: ModelCard, weights: Path) -> None:
    """Check weights that are here already as a pull would.

    Weights that were put here by hand are recorded as if they had been pulled.

    Args:
        card: whose weights they are.
        weights: the file; it is left alone, whatever it holds.

    Raises:
        DownloadError: if they are not the right ones.
    """
    try:
        _check_digest(weights, weights.with_name(card.weights_file))
    except OSError as error:
        message = f"{weights} must be readable and its folder writable, got {error.strerror or error}; correct this"
        raise DownloadError(message) from error


class _Response(Protocol):
    """What is used of an HTTP response."""

    status: int

    def getheader(self, name: str) -> str | None: ...

    def read(self, amount: int) -> bytes: ...


def _fetch(
    card: ModelCard,
    part: Path,
    on_size: Callable[[int], None] | None,
    on_progress: Callable[[int, int], None] | None,
) -> int:
    """Bring what is missing of the part; the bytes that there should be in all."""
    have = part.stat().st_size if part.is_file() else 0
    if card.size_bytes is not None and have >= card.size_bytes:
        return card.size_bytes
    try:
        response = urllib.request.urlopen(_request(card, part, have), timeout=_TIMEOUT_S)  # noqa: S310  # see _request
    except urllib.error.HTTPError as error:
        with error:
            if error.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # nothing is left to bring
                return _size(card, error.headers.get("Content-Range"), None)
            raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        size = _size(
            card, response.getheader("Content-Range") if resumed else None, response.getheader("Content-Length")
        )
        if on_size:
            on_size(size)
        if not resumed:
            _remember_version(part, response.getheader("ETag"))
        _write(response, part, have if resumed else 0, size, on_progress)
    return size


def _request(card: ModelCard, part: Path, have: int) -> urllib.request.Request:
    """Ask for what is missing, and for everything where the server has another version than the one begun."""
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        version = _version_file(part)
        if version.is_file():
            headers["If-Range"] = version.read_text(encoding="ascii", errors="replace").strip()
    return urllib.request.Request(card.source, headers=headers)  # noqa: S310  # the address is a card's constant


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _remember_version(part: Path, version: str | None) -> None:
    """Keep what the server calls this version of the file: two versions must not be joined into one."""
    file = _version_file(part)
    if version and re.fullmatch(r'"[!#-~]*"', version):  # a strong one: weak ones do not vouch for bytes
        file.write_text(version, encoding="ascii")
    else:
        file.unlink(missing_ok=True)


def _size(card: ModelCard, content_range: str | None, content_length: str | None) -> int:
    """The bytes in all: the card's, or the server's where the card has none."""
    if card.size_bytes is not None:
        return card.size_bytes
    text = content_range.rpartition("/")[2] if content_range else content_length
    if text is None or not text.isdecimal():
        message = f"{card.source} must say how many bytes it has, got no size; pull it with another tool"
        raise DownloadError(message)
    return int(text)


def _write(
    response: _Response, part: Path, have: int, size: int, on_progress: Callable[[int, int], None] | None
) -> None:
    with part.open("ab" if have else "wb") as file:
        # Never more than there should be: a wrong server must not fill the disk.
        while have < size and (chunk := response.read(min(_CHUNK_BYTES, size - have))):
            file.write(chunk)
            have += len(chunk)
            if on_progress:
                on_progress(have, size)
        file.flush()
        os.fsync(file.fileno())


def _check_size(card: ModelCard, part: Path, size: int) -> None:
    got = part.stat().st_size
    if got < size:
        message = f"{card.source} must bring {size} bytes, got {got} so far; type the command again to go on"
        raise DownloadError(message)
    _version_file(part).unlink(missing_ok=True)
    if got > size:  # the server had more once
        _discard(part)
        message = (
            f"{card.source} must bring {size} bytes, got {got}; the bytes were thrown away: type the command again"
        )
        raise DownloadError(message)


def _check_digest(file: Path, target: Path) -> None:
    """Refuse a file that is not what ``target`` should be: by its name, or by the record, which a first pull makes."""
    digest = digests.sha256(file)
    published = digests.published_prefix(target.name)
    if published:
        if not digest.startswith(published):
            message = (
                f"{target.name} must have the SHA-256 that its name begins to tell, got {digest[:8]}…; "
                f"{_thrown_away(file, target)}"
            )
            raise DownloadError(message)
        return
    try:
        recorded = digests.recorded_digest(target)
    except CheckpointError as error:
        raise DownloadError(str(error)) from error
    if recorded is None:
        digests.record(target, digest)
    elif recorded != digest:
        message = (
            f"{target.name} must have the SHA-256 that was recorded at the first pull, {recorded[:8]}…, got "
            f"{digest[:8]}…; {_thrown_away(file, target)}, "
            f"or delete {digests.record_of(target).name} to trust the new ones"
        )
        raise DownloadError(message)


def _thrown_away(file: Path, target: Path) -> str:
    """Remove a wrong part, or every later pull would start from the same bytes; a user's file is left to the user."""
    if file == target:
        return f"delete {target} and type the command again"
    _discard(file)
    return "the bytes were thrown away: type the command again"


def _discard(part: Path) -> None:
    part.unlink()
    _version_file(part).unlink(missing_ok=True)
