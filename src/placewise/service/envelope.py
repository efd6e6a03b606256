"""Around every request: an id, the headers that protect a browser, one line in the log, one count.

It is the outermost layer: the causes of what goes wrong inside go to the log, and nothing of them to the client.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders

from placewise.service import logs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from placewise.service.metrics_page import Metrics

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page of this service may load: its own files, and photos that the user has just chosen."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_DRAIN_BYTES = 2**20
_DRAIN_S = 1.0
"""How much of a body that nobody wants is read, so that a client that is still sending hears the answer."""


@dataclass(slots=True)
class _Exchange:
    """One request and its answer."""

    scope: Scope
    receive: Receive
    send: Send
    id: str
    began: float = field(default_factory=time.perf_counter)
    status: int = 0
    received: int = 0
    is_read: bool = False
    is_answered: bool = False

    async def receiving(self) -> Message:
        message = await self.receive()
        self.received += len(message.get("body", b""))
        self.is_read = self.is_read or not message.get("more_body", False)
        return message

    async def sending(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Request-ID"] = self.id
            if await self._is_left_unread():
                headers["Connection"] = "close"
        await self.send(message)
        self.is_answered = message["type"] == "http.response.body" and not message.get("more_body", False)

    async def _is_left_unread(self) -> bool:
        """Whether a part of the body is never read, after a little of it was."""
        request = Headers(scope=self.scope)
        if self.is_read or not (request.get("content-length", "0") != "0" or "transfer-encoding" in request):
            return False
        if request.get("expect", "").lower() != "100-continue" or self.received:
            drained = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    while not self.is_read and drained < _DRAIN_BYTES:
                        drained += len((await self.receiving()).get("body", b""))
        return not self.is_read


class Envelope:
    """The ASGI application around another one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """``metrics`` counts the requests."""
        self._app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # the server leaves out the body
            scope = {**scope, "method": "GET"}
        given = Headers(scope=scope).get("x-request-id", "")
        exchange = _Exchange(scope, receive, send, given if _ID.fullmatch(given) else secrets.token_hex(8))
        scope["placewise.request_id"] = exchange.id
        try:
            await self._app(scope, exchange.receiving, exchange.sending)
        except Exception:  # it has been answered with a problem, unless an answer had begun
            logs.events.exception("a request failed", extra={"fields": {"request_id": exchange.id}})
            if not exchange.is_answered:
                raise
        finally:
            self._note(exchange)

    def _note(self, exchange: _Exchange) -> None:
        scope, seconds = exchange.scope, time.perf_counter() - exchange.began
        route = _route(scope)
        self.metrics.request(route, scope["method"], exchange.status, seconds)
        fields = {
            "request_id": exchange.id,
            "client": (scope.get("client") or ("",))[0],
            "key": scope.get("placewise.caller", ""),
            "method": scope["method"][:16],
            "route": route,
            "status": exchange.status,
            "bytes_in": exchange.received,
            "seconds": round(seconds, 4),
        }
        logs.access.info("request", extra={"fields": fields})


def _route(scope: dict[str, Any] | Scope) -> str:
    """The route as it is described, not as it was asked for: a path may hold anything."""
    return str(getattr(scope.get("route"), "path", "(none)"))
