"""Pulling weights, from a server on this machine that misbehaves on request."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from placewise.core import ModelCard
from placewise.errors import DownloadError
from placewise.models import find_card
from placewise.models.download import pull

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, or as much of it as ``serve`` says; remembers the ranges asked for."""

    serve = CONTENT
    understands_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    """GET with ranges."""

    server: Server

    def do_GET(self) -> None:
        """Answer with what is left from the range's start."""
        wanted = self.headers["Range"]
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.understands_ranges else 0
        body = self.server.serve[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def card(server: Server) -> ModelCard:
    """A card whose weights the server has."""
    return dataclasses.replace(
        find_card("resnet50"),
        source=f"http://127.0.0.1:{server.server_port}/weights",
        weights_file=f"weights-{DIGEST[:8]}.pth",
        size_bytes=len(CONTENT),
    )


def test_a_pull_brings_the_published_bytes(card: ModelCard, tmp_path: Path) -> None:
    """The file is whole, under its own name, alone in its folder; progress ends at its size."""
    seen: list[tuple[int, int]] = []

    path = pull(card, tmp_path / "models", on_progress=lambda done, total: seen.append((done, total)))

    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == [card.weights_file]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("understands_ranges", [True, False])
def test_a_broken_pull_goes_on_where_it_stopped(
    card: ModelCard, server: Server, tmp_path: Path, *, understands_ranges: bool
) -> None:
    """A connection that ends early leaves a part; the next pull asks for the rest only, or takes all of it again."""
    server.serve = CONTENT[:500_000]
    with pytest.raises(DownloadError, match=r" must bring 1280000 bytes, got 500000 so far; type the command again"):
        pull(card, tmp_path)
    server.serve, server.understands_ranges = CONTENT, understands_ranges

    path = pull(card, tmp_path)

    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=500000-"]


def test_wrong_bytes_never_get_the_name(card: ModelCard, server: Server, tmp_path: Path) -> None:
    """Bytes of another hash are thrown away, with a line that says so; the next pull starts afresh."""
    server.serve = b"x" * len(CONTENT)
    with pytest.raises(DownloadError, match=r"^weights-.* must have the SHA-256 that its name begins to tell, got "):
        pull(card, tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_server_that_sends_too_much_is_cut_off(card: ModelCard, server: Server, tmp_path: Path) -> None:
    """No more bytes are taken than the card says there are."""
    server.serve = CONTENT + b"more" * 1_000_000

    assert pull(card, tmp_path).read_bytes() == CONTENT


def test_a_source_that_cannot_be_reached_is_one_line(card: ModelCard, server: Server, tmp_path: Path) -> None:
    """A closed port is reported with the address and what to do."""
    closed = dataclasses.replace(card, source="http://127.0.0.1:9/weights")
    del server

    with pytest.raises(DownloadError, match=r"^http://127\.0\.0\.1:9/weights must be reachable and .*; type the"):
        pull(closed, tmp_path)
