"""The server: a socket, connections that may not dawdle, and a stop that finishes what it began."""

from __future__ import annotations

import asyncio
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from placewise.errors import OptionError
from placewise.service import logs
from placewise.service.app import create_app
from placewise.service.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Gauge

    from placewise.service.envelope import Envelope
    from placewise.service.settings import Settings

_BACKLOG = 256


class GuardedProtocol(H11Protocol):
    """One connection: its requests' heads must arrive, and its answers must be taken, within a time."""

    def __init__(self, *args: Any, limits: Settings, opened: Gauge, **kwargs: Any) -> None:
        """Take what uvicorn gives, the settings, and what counts the open connections."""
        super().__init__(*args, **kwargs)
        self._limits, self._opened = limits, opened
        self._head: asyncio.TimerHandle | None = None
        self._answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Refuse what is too much; begin to wait for a request."""
        super().connection_made(transport)
        self._opened.inc()
        if len(self.connections) > self._limits.connections:
            transport.abort()
        else:
            self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Once a request's head is there, its time is no matter any more."""
        super().data_received(data)
        if self._is_at_work():
            self._cancel()
        elif self._head is None:
            self._expect_head()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may be there already."""
        super().on_response_complete()
        if not self._is_at_work():
            self._expect_head()

    def pause_writing(self) -> None:
        """The client does not take its answer: not for long."""
        super().pause_writing()
        self._answer = self.loop.call_later(self._limits.timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It takes it."""
        super().resume_writing()
        if self._answer:
            self._answer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._opened.dec()
        self._cancel()
        if self._answer:
            self._answer.cancel()
        super().connection_lost(exc)

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        self._cancel()
        self._head = self.loop.call_later(self._limits.header_timeout_s, self.transport.abort)

    def _cancel(self) -> None:
        if self._head:
            self._head.cancel()
        self._head = None


def run(settings: Settings, *, on_start: Callable[[str], None]) -> None:
    """Serve a gallery until a signal comes; then finish what was begun.

    Args:
        settings: how.
        on_start: called with the address, once requests are answered there.

    Raises:
        OptionError: if the address cannot be used, or the keys cannot be read.
        PlacewiseError: if the gallery or its model cannot be used.
    """
    desk = Desk.open(settings.gallery, max_pixels=settings.max_pixels)
    logs.configure()
    try:
        app = create_app(settings, desk)
        listening = listen(settings)
    except BaseException:
        desk.close()
        raise
    with listening:
        server = _Server(configured(app, settings), started=partial(on_start, address(listening)))
        for number in (signal.SIGTERM, signal.SIGINT):  # the server raises what stopped it again, when it is done
            signal.signal(number, lambda *_: None)
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that says when it has started."""

    def __init__(self, config: uvicorn.Config, *, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


def configured(app: Envelope, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        app,
        http=partial(GuardedProtocol, limits=settings, opened=app.metrics.connections),  # type: ignore[arg-type]  # it is called like the class
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, round(settings.header_timeout_s)),
        timeout_graceful_shutdown=max(1, round(settings.grace_s)),
    )


def listen(settings: Settings) -> socket.socket:
    """A socket that listens at the address of the settings.

    Raises:
        OptionError: if it cannot.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        message = f"the address must be one of this machine, got {settings.host}: {error}; such as 127.0.0.1"
        raise OptionError(message) from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(where)
        found.listen(_BACKLOG)
    except OSError as error:
        found.close()
        message = (
            f"the address must be free, got {settings.host}:{settings.port}: {error.strerror}; give another --port"
        )
        raise OptionError(message) from error
    return found


def address(listening: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
