"""Brings published weights to this machine. The only module that uses the network, and only when asked to."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Protocol

from placewise.errors import CheckpointError, DownloadError, OptionError
from placewise.models import checkpoint, digests, onnx_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from placewise.core import ModelCard

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30.0
_REPORT = "report this, or name a file with --weights"


def pull(
    card: ModelCard,
    folder: Path,
    *,
    on_size: Callable[[int], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Download a card's weights into ``folder``, check them, and only then give them their name.

    An interrupted pull leaves a ``.part`` file that the next one continues. Weights whose name does not tell their
    SHA-256 must be readable, and those of the first pull, whose digest is recorded beside them.

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
        _check_digest(card, part, target)
        part.replace(target)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(card, error) from error
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: an address that no name has
        reason = _line(error.reason if isinstance(error, urllib.error.URLError) else error)
        message = (
            f"{card.source} must be reachable and {folder} writable, got {reason}; type the command again to go on"
        )
        raise DownloadError(message) from error
    return target


def _refusal(card: ModelCard, error: urllib.error.HTTPError) -> DownloadError:
    """What a server's error comes down to: only one that may pass is worth another try."""
    status = error.status or 0
    advice = "type the command again later" if status in {408, 429} or status >= 500 else _REPORT
    return DownloadError(f"{card.source} must have the weights, the server answered {_line(error)}; {advice}")


def _line(text: object) -> str:
    """Foreign text, or the name of an error without one, in one line."""
    return onnx_files.plain(" ".join(str(text).split()) or type(text).__name__)


def verify(card: ModelCard, weights: Path) -> None:
    """Check weights that are here already as a pull would.

    Weights that were put here by hand are recorded as if they had been pulled, if they can be read.

    Args:
        card: whose weights they are.
        weights: the file; it is left alone, whatever it holds.

    Raises:
        DownloadError: if they are not the right ones.
    """
    try:
        _check_digest(card, weights, weights.with_name(card.weights_file))
    except OSError as error:
        message = f"{weights} must be readable and its folder writable, got {error.strerror or error}; correct this"
        raise DownloadError(message) from error


class _Response(Protocol):
    """What is used of an HTTP response."""

    status: int
    headers: Mapping[str, str]

    def close(self) -> None: ...

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
    response, have = _open(card, part, have)
    if response is None:
        return have
    with contextlib.closing(response):
        size = _size(card, response)
        if on_size:
            on_size(size)
        if not have:
            _remember_version(part, response.headers.get("ETag"))
        _write(response, part, have, size, on_progress)
    return size


def _open(card: ModelCard, part: Path, have: int) -> tuple[_Response | None, int]:
    """Ask for what is missing; the answer, and the bytes that it goes on from.

    No answer, and the bytes in all, where nothing is missing. Everything is asked for where the server would go on
    from another byte than wanted: its bytes must not be joined to these.
    """
    try:
        response = urllib.request.urlopen(_request(card, part, have), timeout=_TIMEOUT_S)  # noqa: S310  # see _request
    except urllib.error.HTTPError as error:
        if error.status != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        with error:
            size = _told(error)
        return _open(card, part, 0) if size is None or size > have else (None, _checked(card, size))
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return response, 0
    if (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
        return response, have
    response.close()
    if not have:
        message = f"{card.source} must bring the file from its start, got another part of it; {_REPORT}"
        raise DownloadError(message)
    return _open(card, part, 0)


def _request(card: ModelCard, part: Path, have: int) -> urllib.request.Request:
    """Ask for what is missing, and for everything where the server has another version than the one begun."""
    headers = {"Accept-Encoding": "identity"}
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


def _size(card: ModelCard, response: _Response) -> int:
    """The bytes in all: the card's, or the server's where the card has none."""
    encoding = response.headers.get("Content-Encoding") or "identity"
    if encoding.strip().lower() != "identity":
        message = f"{card.source} must send the file as it is, got it in the encoding {_line(encoding)}; {_REPORT}"
        raise DownloadError(message)
    size = _told(response)
    if size is None and card.size_bytes is None:
        message = f"{card.source} must say how many bytes it has, got no size; pull it with another tool"
        raise DownloadError(message)
    return _checked(card, size)


def _told(answer: _Response | urllib.error.HTTPError) -> int | None:
    """The bytes of the whole file as the server tells them."""
    content_range = answer.headers.get("Content-Range")
    text = content_range.rpartition("/")[2] if content_range else answer.headers.get("Content-Length")
    partial = answer.status != http.HTTPStatus.OK and not content_range
    return int(text) if text and text.isdecimal() and not partial else None


def _checked(card: ModelCard, size: int | None) -> int:
    """The bytes to bring, of a server that has ``size``; one with fewer than were published has another file."""
    wanted = card.size_bytes
    if size == 0 or (size is not None and wanted is not None and size < wanted):
        published = "weights" if wanted is None else f"the published file of {wanted} bytes"
        message = f"{card.source} must have {published}, got a file of {size} bytes; {_REPORT}"
        raise DownloadError(message)
    return wanted if wanted is not None else int(size or 0)


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


def _check_digest(card: ModelCard, file: Path, target: Path) -> None:
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
    if recorded not in {None, digest}:
        message = (
            f"{target.name} must have the SHA-256 that was recorded at the first pull, {str(recorded)[:8]}…, got "
            f"{digest[:8]}…; {_thrown_away(file, target)}, "
            f"or delete {digests.record_of(target).name} to trust the new ones"
        )
        raise DownloadError(message)
    _check_readable(card, file, target)
    if recorded is None:
        _record(target, digest)


def _check_readable(card: ModelCard, file: Path, target: Path) -> None:
    """Refuse bytes that are no weights, which nobody's hash speaks against: a page of a captive portal, say."""
    try:
        if target.suffix == ".onnx":
            onnx_files.read_graph(file)
        else:
            checkpoint.read_checkpoint(file)
    except CheckpointError as error:
        got = str(error).replace(str(file), target.name).partition(", got ")[2].rpartition("; ")[0]
        record = digests.record_of(target)
        if file != target:
            _discard(file)
            record.unlink(missing_ok=True)  # it vouches for what was no weights either
            message = f"{card.source} must bring weights, got {got}; the bytes were thrown away: {_REPORT}"
        else:
            both = f"{target} and {record.name}" if record.is_file() else target
            message = f"{target} must hold weights, got {got}; delete {both} and type the command again"
        raise DownloadError(message) from error


def _record(target: Path, digest: str) -> None:
    try:
        digests.record(target, digest)
    except OptionError as error:
        message = f"{digests.record_of(target)} must be writable, got {_line(error.__cause__)}; correct this"
        raise DownloadError(message) from error


def _thrown_away(file: Path, target: Path) -> str:
    """Remove a wrong part, or every later pull would start from the same bytes; a user's file is left to the user."""
    if file == target:
        return f"delete {target} and type the command again"
    _discard(file)
    return "the bytes were thrown away: type the command again"


def _discard(part: Path) -> None:
    part.unlink()
    _version_file(part).unlink(missing_ok=True)
