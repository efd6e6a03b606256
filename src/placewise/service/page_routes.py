"""The page: its files are read once, when the service starts, so that no path from a request leads to a file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Path, Response

from placewise.service.problems import Problem

_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}

page = APIRouter(include_in_schema=False)


@cache
def page_files() -> dict[str, tuple[bytes, str]]:
    """Name → (bytes, media type) of the files of the page."""
    folder = files("placewise.service").joinpath("page")
    if not folder.is_dir():
        return {}
    return {
        file.name: (file.read_bytes(), _MEDIA_TYPES[suffix])
        for file in folder.iterdir()
        if (suffix := file.name.rpartition(".")[2]) in _MEDIA_TYPES
    }


@page.get("/")
async def index() -> Response:
    """The page itself; it holds nothing of the gallery, and asks for a key where one is needed."""
    return _file("index.html")


@page.get("/static/{name}")
async def static(name: Annotated[str, Path(max_length=100)]) -> Response:
    """A file of the page."""
    return _file(name)


def _file(name: str) -> Response:
    found = page_files().get(name)
    if found is None:
        raise Problem(404, "not_found", "the page must have a file of that name, got another; see /")
    content, media_type = found
    return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})
