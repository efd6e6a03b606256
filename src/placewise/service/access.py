"""Who may do what: a key in the head of a request, how often it may ask, and what those without one may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from placewise.service.problems import Problem
from placewise.service.state import State

if TYPE_CHECKING:
    from placewise.service.settings import Scope

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key that 'placewise keys new' printed: Authorization: Bearer KEY",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name of the key, empty without one, and what it allows."""

    name: str
    scope: Scope


async def state_of(request: Request) -> State:
    """The service that a request came to."""
    return cast("State", request.app.state.service)


Service = Annotated[State, Depends(state_of)]


async def reader(
    request: Request,
    service: Service,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    """A caller who may read.

    Raises:
        Problem: 401 without a key that is known, 403 for a page of another site, 429 if it asks too often.
    """
    caller = _caller(request, service, credentials)
    request.scope["placewise.caller"] = caller.name
    if caller.name:
        service.rates.count(caller.name)
    elif not service.settings.is_loopback:
        service.rates.count(_address(request))
    return caller


def _caller(request: Request, service: State, credentials: HTTPAuthorizationCredentials | None) -> Caller:
    if credentials is not None:
        key = service.keys.find(credentials.credentials)
        if key is None:
            service.rates.count(_address(request))
            message = "a key must be one that the service knows, got another; ask who runs it for one"
            raise _unauthorised(message)
        return Caller(key.name, key.scope)
    if service.settings.anyone is None:
        message = "a request must show a key, got none; send it as Authorization: Bearer KEY"
        raise _unauthorised(message)
    _refuse_other_sites(request, service)
    return Caller("", service.settings.anyone)


def _address(request: Request) -> str:
    """Whence a request comes, told from the names of keys."""
    return f" {request.client.host if request.client else ''}"


def _unauthorised(detail: str) -> Problem:
    return Problem(401, "key", detail, {"WWW-Authenticate": "Bearer"})


def _refuse_other_sites(request: Request, service: State) -> None:
    """Where no key is asked for, any page that the user's browser shows could ask, if it were let."""
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if service.settings.is_loopback and name.lower() not in service.settings.local_names:
        message = f"a request without a key must be to this machine by its own name, got {name[:80]!r}; use localhost"
        raise Problem(403, "other_host", message)
    origin = request.headers.get("origin", "")  # of a browser that says no more, as some do
    came_from = request.headers.get("sec-fetch-site", "same-origin" if origin.endswith(f"//{host}") else "")
    if (origin or came_from) and came_from not in {"none", "same-origin"}:
        message = "a request without a key must not come from a page of another site, got one that does"
        raise Problem(403, "other_site", message)


async def writer(caller: Annotated[Caller, Depends(reader)]) -> Caller:
    """A caller who may write.

    Raises:
        Problem: 403 for one who may not.
    """
    if caller.scope != "write":
        message = "a change of the gallery must be asked for with a key that may write, got none; see 'placewise keys'"
        raise Problem(403, "scope", message)
    return caller


Reader = Annotated[Caller, Depends(reader)]
Writer = Annotated[Caller, Depends(writer)]
