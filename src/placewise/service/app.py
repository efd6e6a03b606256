"""The application: routes, errors and what runs beside them, put together."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from placewise.errors import PlacewiseError
from placewise.machine import versions
from placewise.service import logs, problems
from placewise.service.envelope import Envelope
from placewise.service.page_routes import page, page_files
from placewise.service.routes import api, health
from placewise.service.state import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from placewise.service.desk import Desk
    from placewise.service.settings import Settings

_ABOUT = (
    "Which of my places does a photo show, or is it UNKNOWN? Errors are problem details (RFC 9457) whose `kind` is "
    "one word for programs."
)


def create_app(settings: Settings, desk: Desk) -> Envelope:
    """The ASGI application that serves a gallery; it closes the gallery when it ends.

    Raises:
        OptionError: if the keys cannot be read.
    """
    service = State(settings, desk)
    page_files()
    app = FastAPI(
        title="Placewise",
        version=versions().get("placewise", ""),
        description=_ABOUT,
        openapi_url=None,  # it is a route of its own, for those who may read
        redirect_slashes=False,
        lifespan=_running,
    )
    app.state.service = service
    for router in (api, health, page):
        app.include_router(router)
    app.add_exception_handler(problems.Problem, problems.on_problem)
    app.add_exception_handler(PlacewiseError, problems.on_library_error)
    app.add_exception_handler(RequestValidationError, cast("Any", problems.on_invalid))
    app.add_exception_handler(HTTPException, cast("Any", problems.on_http_error))
    app.add_exception_handler(Exception, problems.on_fault)
    app.openapi = _described(app)  # type: ignore[method-assign]  # as FastAPI's documentation says
    return Envelope(app, service.metrics)


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    service: State = app.state.service
    tasks = [asyncio.create_task(service.run()), asyncio.create_task(_follow(service))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(service.close)


async def _follow(service: State) -> None:
    """Take in what other processes write to the gallery and to the keys."""
    while True:
        await asyncio.sleep(service.settings.reload_s)
        for what, follow in service.followed.items():
            try:
                await follow()
                service.troubles.pop(what, None)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next look may succeed
                if str(error) != service.troubles.get(what):
                    fields = {"what": what, "reason": str(error)}
                    logs.events.error("what has changed cannot be taken in", extra={"fields": fields})
                service.troubles[what] = str(error)


def _described(app: FastAPI) -> Any:
    """FastAPI's description, with the problems that every route has in common."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            schemas = document["components"]["schemas"]
            schemas["ProblemDetails"] = problems.ProblemDetails.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        return cast("dict[str, Any]", app.openapi_schema)

    return openapi
