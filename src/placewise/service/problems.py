"""Errors as problem details (RFC 9457): what a client did wrong or what is full, with a word that programs can test.

``type`` is ``about:blank``, so that ``title`` is the phrase of the status; ``kind`` says more exactly what it is.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from fastapi.responses import Response
from pydantic import BaseModel, Field

from placewise.errors import (
    CalibrationError,
    FeaturesDamagedError,
    FeaturesMissingError,
    GalleryError,
    ImageError,
    NameTakenError,
    OptionError,
    PlacewiseError,
)
from placewise.service import logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class ProblemDetails(BaseModel):
    """What went wrong, after RFC 9457."""

    type: str = Field(description="Always about:blank: the status says what kind of problem it is.")
    title: str = Field(description="The phrase of the status.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What must hold, what came, what to do.")
    kind: str = Field(description="One word for programs.")


class Problem(Exception):  # noqa: N818  # RFC 9457 calls it so
    """A request that gets a problem for an answer.

    Attributes:
        status: the HTTP status.
        kind: one word for programs.
        headers: what else the response says.
    """

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        """Keep what the response is made of."""
        super().__init__(detail)
        self.status, self.kind, self.headers = status, kind, dict(headers or {})


def busy(detail: str, *, kind: str = "busy", retry_after_s: int = 1) -> Problem:
    """503: not now."""
    return Problem(503, kind, detail, {"Retry-After": str(retry_after_s)})


def not_an_image(error: ImageError) -> bool:
    """Whether the bytes are of no kind of image at all, and not of a broken one."""
    return error.kind == "unreadable" and "image, got" in str(error)


def image_problem(error: ImageError) -> Problem:
    """The problem of a photo: 415 for what is no image, 422 for a broken one."""
    if not_an_image(error):
        return Problem(415, "not_an_image", str(error))
    return Problem(422, f"image_{error.kind}", str(error))


_KINDS: tuple[tuple[type[PlacewiseError], int, str], ...] = (
    (OptionError, 422, "option"),
    (CalibrationError, 409, "calibration"),
    (NameTakenError, 409, "taken"),
)


def problem_of(error: PlacewiseError) -> Problem:
    """The problem that a library error is for a client."""
    if isinstance(error, ImageError):
        return image_problem(error)
    for kind_of_error, status, kind in _KINDS:
        if isinstance(error, kind_of_error):
            return Problem(status, kind, str(error))
    if isinstance(error, FeaturesMissingError):  # its message names a path of this machine, as those of the next
        message = (
            "the gallery must hold local features of photos to verify or match them, got none; "
            "'placewise index SOURCE --gallery FILE --features' extracts them"
        )
        return Problem(409, "features", message)
    if isinstance(error, FeaturesDamagedError):
        message = "the gallery's local features are damaged; the log of the service says whose, and what mends them"
        return Problem(500, "features", message)
    if isinstance(error, GalleryError):
        return busy("the gallery cannot be used at the moment; the log of the service says why", kind="gallery")
    return Problem(500, "error", "the service cannot answer this; its log says why")


def response_of(problem: Problem) -> Response:
    """A problem as a response."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": str(problem),
        "kind": problem.kind,
    }
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(body, problem.status, problem.headers, MEDIA_TYPE)


async def on_problem(_: Request, error: Exception) -> Response:
    """A refusal of this package."""
    return response_of(cast("Problem", error))


async def on_library_error(_: Request, error: Exception) -> Response:
    """An error of the library. What is no client's fault goes to the log."""
    problem = problem_of(cast("PlacewiseError", error))
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logs.events.error("the library refuses", extra={"fields": {"reason": str(error)}})
    return response_of(problem)


async def on_fault(request: Request, _: Exception) -> Response:
    """What nobody foresaw: a bug."""
    number = request.scope.get("placewise.request_id", "")
    return response_of(Problem(500, "error", f"the service cannot answer this; its log says why under {number}"))


async def on_invalid(_: Request, error: RequestValidationError) -> Response:
    """Parameters that do not fit the description."""
    said = "; ".join(f"{_where(fault['loc'])}: {fault['msg']}" for fault in error.errors()[:5])
    return response_of(Problem(422, "invalid", f"the request must be as /v1/openapi.json says, got {said}"))


async def on_http_error(_: Request, error: HTTPException) -> Response:
    """What the framework refuses: unknown paths and methods."""
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    return response_of(Problem(error.status_code, kind, f"{error.detail}; see /v1/openapi.json", error.headers))


def _where(location: tuple[Any, ...]) -> str:
    return " ".join(map(str, location))


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for its description."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content} for status in (*statuses, 401, 403, 429)
    }
