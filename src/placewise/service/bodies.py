"""Bytes of a request → photos and fields, held in memory and bounded while they come, whatever the head announced.

A body is a form (``multipart/form-data``) with fields and photos, or one photo as it is.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from placewise.service.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from fastapi import Request

    from placewise.service.limits import Share
    from placewise.service.settings import Settings

_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Body:
    """What a request brought.

    Attributes:
        photos: (name, bytes) of each; a name is only shown, and never a path of this machine.
        fields: the other fields of a form.
    """

    photos: tuple[tuple[str, bytes], ...]
    fields: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def read_body(
    request: Request, settings: Settings, memory: Share, *, fields: tuple[str, ...] = ()
) -> AsyncIterator[Body]:
    """Read what a request brings, within the limits; its part of the memory is given back when the block ends.

    Args:
        request: the request.
        settings: the limits.
        memory: bytes that all bodies together may take.
        fields: the fields that a form may have beside ``image``.

    Raises:
        Problem: 400 for no form or a part of a body, 408 if it takes too long, 413 if it is too large, 422 for other
            fields or none.
    """
    with _allowed(request, settings.max_body_bytes, memory) as stream:
        yield await _read(request, settings, stream, fields)


async def _read(
    request: Request, settings: Settings, stream: AsyncGenerator[bytes, None], fields: tuple[str, ...]
) -> Body:
    try:
        async with asyncio.timeout(settings.upload_timeout_s):
            if request.headers.get("content-type", "").lower().startswith("multipart/"):
                return await _form(request.headers, stream, settings.max_images, fields)
            return _raw(b"".join([chunk async for chunk in stream]))
    except ClientDisconnect as error:  # nobody hears this, but the log does
        message = "a body must arrive whole, got a part of it; send it again"
        raise Problem(400, "cut", message) from error
    except TimeoutError as error:
        message = f"a body must arrive within {settings.upload_timeout_s:g} s, got a part of it; send it faster"
        raise Problem(408, "slow", message) from error


@contextmanager
def _allowed(request: Request, most: int, memory: Share) -> Iterator[AsyncGenerator[bytes, None]]:
    """The chunks of a body, counted against its own limit and that of all bodies."""
    announced = request.headers.get("content-length", "0")
    _check_size(int(announced) if announced.isascii() and announced.isdigit() else 0, most)
    taken = 0

    async def chunks() -> AsyncGenerator[bytes, None]:
        nonlocal taken
        async for chunk in request.stream():
            _check_size(taken + len(chunk), most)
            memory.take(len(chunk))
            taken += len(chunk)
            yield chunk

    try:
        yield chunks()
    finally:
        memory.give(taken)


def _check_size(size: int, most: int) -> None:
    if size > most:
        message = f"a body must have at most {most} bytes, got {size} or more; send a smaller photo, or fewer"
        raise Problem(413, "too_large", message)


class _InMemory(MultiPartParser):
    """Reads forms without temporary files: the limit of the body is that of memory, too."""

    spool_max_size = 2**63 - 1

    def close(self) -> None:
        """Let go of what was read of a form that is refused."""
        for file in self._files_to_close_on_error:
            file.close()


async def _form(headers: Headers, stream: AsyncGenerator[bytes, None], most: int, allowed: tuple[str, ...]) -> Body:
    parser = _InMemory(headers, stream, max_files=most, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES)
    try:
        form = await parser.parse()
        return Body(*await _sorted(form.multi_items(), allowed))
    except (MultiPartException, LookupError, ValueError) as error:
        reason = error.message if isinstance(error, MultiPartException) else "a damaged form"
        if "Too many files" in reason:
            message = f"a request must have at most {most} photos, got more; send several requests"
            raise Problem(413, "too_many", message) from error
        message = f"a body must be a form of at most {_MAX_FIELDS} fields, got: {reason}"
        raise Problem(400, "form", message) from error
    finally:
        parser.close()


async def _sorted(
    items: list[tuple[str, UploadFile | str]], allowed: tuple[str, ...]
) -> tuple[tuple[tuple[str, bytes], ...], dict[str, str]]:
    """The photos and the fields of a form."""
    photos, fields = [], {}
    for name, value in items:
        if isinstance(value, UploadFile) and name == "image":
            photos.append((_shown(value.filename or ""), await value.read()))
        elif isinstance(value, str) and name in allowed and name not in fields:
            fields[name] = value
        else:
            known = " and ".join(("files named image", *allowed))
            message = f"a form must have {known}, each field once, got {_shown(name)!r}; curl -F image=@photo.jpg"
            raise Problem(422, "field", message)
    return _some(photos), fields


def _raw(data: bytes) -> Body:
    return Body(_some([("", data)] if data else []))


def _some(photos: list[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    if not photos:
        message = "a body must be a photo, or a form with files named image, got none; curl -F image=@photo.jpg"
        raise Problem(422, "no_image", message)
    return tuple(photos)


def _shown(name: str) -> str:
    """What a client calls its file, short enough to be shown."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)[-255:]
