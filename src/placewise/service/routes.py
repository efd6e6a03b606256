"""The API: what can be asked under ``/v1``, and whether the service lives."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from placewise.core import Filter, Position
from placewise.entries import entries_after, entries_with_position, entry
from placewise.errors import OptionError, PlacewiseError
from placewise.service.access import Reader, Service, Writer
from placewise.service.bodies import Body, read_body
from placewise.service.desk import Question
from placewise.service.documents import (
    AnswerDocument,
    FailureDocument,
    GalleryDocument,
    LocatedDocument,
    MapDocument,
    MatchDocument,
    PageDocument,
    PhotoDocument,
    StateDocument,
)
from placewise.service.metrics_page import CONTENT_TYPE_LATEST
from placewise.service.problems import Problem, busy, described, problem_of
from placewise.service.shown_gallery import shown_calibration, shown_gallery

_IMAGE = {"type": "string", "contentMediaType": "image/*", "format": "binary"}
_LABELS = ("name", "place", "lat", "lon", "heading")
_MAX_ID = 2**63 - 1
_MOST_VERIFIED = 200  # of one request: a second of one core

Hits = Annotated[int | None, Field(ge=0, le=50)]
Number = Annotated[int, Path(ge=1, le=_MAX_ID, description="A photo's id.")]

api = APIRouter(prefix="/v1")
health = APIRouter()


class _Strict(BaseModel):
    """Parameters of which none may be misspelt."""

    model_config = ConfigDict(extra="forbid")


class LocateQuery(_Strict):
    """What is asked of a photo."""

    k: int = Field(5, ge=1, le=100, description="How many hits.")
    verify: Hits = Field(
        None, description="Of how many of the best hits geometry is verified; as the gallery ranks if left out."
    )
    place: list[str] = Field([], max_length=100, description="Only photos of these places may be hits.")
    sequence: list[str] = Field([], max_length=100, description="Only photos of these sequences may be hits.")
    box: str | None = Field(
        None, description="Only photos from here: south,west,north,east in degrees.", examples=["48.1,16.2,48.3,16.5"]
    )

    def question(self) -> Question:
        """The question for the library.

        Raises:
            OptionError: if the box is none.
        """
        box = None if self.box is None else _box(self.box)
        among = Filter(tuple(self.place), box, tuple(self.sequence))
        return Question(self.k, None if among == Filter() else among, self.verify)


class MatchQuery(_Strict):
    """As which hit a photo is matched."""

    verify: Hits = Field(
        None,
        description="Accepted as one of so many hits that are verified: the more, the more it has to show. As the "
        "gallery ranks if left out; 0 or 1 for the pair alone.",
    )


class PageQuery(_Strict):
    """Which photos are listed."""

    after: int = Field(0, ge=0, le=_MAX_ID, description="Only photos with greater ids.")
    limit: int = Field(100, ge=1, le=1000, description="How many at most.")
    place: str | None = Field(None, description="Only photos of this place.")


class MapQuery(_Strict):
    """How much of the map."""

    limit: int = Field(2000, ge=1, le=10_000, description="How many photos at most.")


class CalibrateQuery(_Strict):
    """What to achieve."""

    false_accept_rate: float = Field(
        0.05, gt=0, lt=1, description="The wanted share of photos of unknown places that are answered KNOWN."
    )


def _form(**fields: str) -> dict[str, Any]:
    """The description of a body: a form with photos and fields, or one photo as it is."""
    texts = {name: {"type": "string", "description": said} for name, said in fields.items()}
    image = {"type": "array", "items": _IMAGE, "minItems": 1, "description": "The photo; repeat it for several."}
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": image, **texts},
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": form}, "image/*": {"schema": _IMAGE}}
    return {"requestBody": {"required": True, "content": content}}


@api.post(
    "/locate",
    summary="Which place does a photo show?",
    responses=described(400, 408, 409, 413, 415, 422, 503),
    openapi_extra=_form(),
)
async def locate(
    request: Request, service: Service, _: Reader, query: Annotated[LocateQuery, Query()]
) -> LocatedDocument:
    """KNOWN with a place, or UNKNOWN, for each photo. What cannot be read is named beside the answers to the others."""
    question = query.question()
    service.photos.check(1)
    async with read_body(request, service.settings, service.memory) as body:
        _check_verified(service, len(body.photos), query.verify)
        with service.photos.holding(len(body.photos)):
            outcomes = await asyncio.gather(*(_answer(service, name, data, question) for name, data in body.photos))
    answers = [outcome for outcome in outcomes if isinstance(outcome, AnswerDocument)]
    failures = [
        FailureDocument(query=name, kind=outcome.kind, reason=str(outcome))
        for (name, _data), outcome in zip(body.photos, outcomes, strict=True)
        if isinstance(outcome, Problem)
    ]
    if not answers:
        raise next(outcome for outcome in outcomes if isinstance(outcome, Problem))
    return LocatedDocument(answers=answers, failures=failures, caution=service.desk.caution)


async def _answer(service: Service, name: str, data: bytes, question: Question) -> AnswerDocument | Problem:
    try:
        query, reply = await service.reply(data, question)
    except PlacewiseError as error:
        return problem_of(error)
    except Problem as problem:
        return problem
    return AnswerDocument.of(name, query.size, reply)


@api.get("/gallery", summary="What is searched, and what the caller may do", responses=described(503))
def gallery(service: Service, caller: Reader) -> GalleryDocument:
    """The model, counts, the calibration, and the limits of requests."""
    return shown_gallery(service, caller)


@api.get("/photos", summary="The photos of the gallery", responses=described(422, 503))
def photos(service: Service, _: Reader, query: Annotated[PageQuery, Query()]) -> PageDocument:
    """A page of them, by ascending ids. Ask with the ``after`` that ``next`` names for the following one."""
    found = entries_after(service.desk.file, query.after, query.limit, place=query.place)
    return PageDocument(
        photos=[PhotoDocument.of(one) for one in found], next=found[-1].id if len(found) == query.limit else None
    )


@api.get("/map", summary="Where the photos of the gallery were taken", responses=described(422, 503))
def positions(service: Service, _: Reader, query: Annotated[MapQuery, Query()]) -> MapDocument:
    """Photos that have a position; of a large gallery some, spread evenly over it."""
    found, total = entries_with_position(service.desk.file, query.limit)
    return MapDocument(photos=[PhotoDocument.of(one) for one in found], total=total)


@api.get("/photos/{number}", summary="One photo of the gallery", responses=described(404, 422, 503))
def photo(service: Service, _: Reader, number: Number) -> PhotoDocument:
    """Its name, place, position and sequence."""
    found = entry(service.desk.file, number)
    if found is None:
        raise _unknown(number)
    return PhotoDocument.of(found)


@api.get(
    "/photos/{number}/thumbnail",
    summary="A small JPEG of a photo",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": _IMAGE}}},
        304: {"description": "It is the one that If-None-Match names."},
        **described(404, 422, 503),
    },
)
def thumbnail(request: Request, service: Service, _: Reader, number: Number) -> Response:
    """No more than 320 pixels a side. A browser may keep it, but asks whether it has changed: galleries do."""
    jpeg = service.desk.file.thumbnail(number)
    if jpeg is None:
        raise _unknown(number, "with a thumbnail, which 'placewise index --thumbnails' keeps")
    headers = {"Cache-Control": "private, no-cache", "ETag": f'"{hashlib.sha256(jpeg).hexdigest()[:32]}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(jpeg, media_type="image/jpeg", headers=headers)


@api.post(
    "/photos/{number}/match",
    summary="What a photo and one of the gallery have in common",
    responses=described(400, 404, 408, 409, 413, 415, 422, 500, 503),
    openapi_extra=_form(),
)
async def match(
    request: Request, service: Service, _: Reader, number: Number, query: Annotated[MatchQuery, Query()]
) -> MatchDocument:
    """Whether geometry says that both show the same, and the points that it says it by."""
    service.photos.check(1)
    async with read_body(request, service.settings, service.memory) as body:
        data = _one(body)
        with service.photos.holding(1):
            matched = await service.match(number, data, query.verify)
    if matched is None:
        raise _unknown(number)
    return MatchDocument.of(matched)


@api.post(
    "/photos",
    status_code=201,
    summary="Add a photo to the gallery",
    responses={
        200: {"model": PhotoDocument, "description": "It was there already."},
        **described(400, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra=_form(
        name="Its name in the gallery, such as square/1.jpg; made of its content if left out.",
        place="The label that photos of one location share.",
        lat="WGS84 degrees.",
        lon="WGS84 degrees.",
        heading="Degrees clockwise from north.",
    ),
)
async def add(request: Request, response: Response, service: Service, _: Writer) -> PhotoDocument:
    """Its embedding, labels and a thumbnail are kept; the original is not. The answer comes when it is on the disk."""
    service.photos.check(1)
    async with read_body(request, service.settings, service.memory, fields=_LABELS) as body:
        position, data = _position(body.fields), _one(body)
        with service.photos.holding(1):
            _query, reply = await service.reply(data, None)
            upload = await service.decode(service.desk.upload, data)
        name, place = body.fields.get("name", ""), body.fields.get("place", "")
        named = upload.photo(name=name, place=place, position=position)
        added, is_new = await service.write(partial(service.desk.add, named, upload, reply.embedding))
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/photos/{added.id}"
    return PhotoDocument.of(added)


@api.delete("/photos/{number}", status_code=204, summary="Remove a photo", responses=described(404, 422, 503))
async def remove(service: Service, _: Writer, number: Number) -> None:
    """Forget a photo: its embedding, its labels and its thumbnail."""
    if not await service.write(partial(service.desk.remove, number)):
        raise _unknown(number)


@api.post("/calibrate", summary="Learn where UNKNOWN begins", responses=described(409, 422, 500, 503))
async def calibrate(service: Service, _: Writer, query: Annotated[CalibrateQuery, Query()]) -> dict[str, Any]:
    """The gallery examines itself; answers are decided by what comes of it from then on."""
    with service.calibrations.holding(1):
        return shown_calibration(await service.write(partial(service.desk.calibrate, query.false_accept_rate)))


@api.get("/openapi.json", include_in_schema=False)
def description(request: Request, _: Reader) -> dict[str, Any]:
    """The description of this API."""
    return dict(request.app.openapi())


@health.get("/healthz", summary="Does it live?")
async def healthz() -> StateDocument:
    """It does if it answers."""
    return StateDocument(status="ok")


@health.get("/readyz", summary="Can it answer?", responses={503: described(503)[503]})
async def readyz(service: Service) -> StateDocument:
    """Whether the gallery can be read."""
    if "gallery" in service.troubles:
        message = "the gallery cannot be read; the log of the service says why"
        raise busy(message, kind="gallery")
    return StateDocument(status="ready")


@health.get(
    "/metrics",
    summary="What is counted, for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **described()},
)
def metrics(service: Service, _: Reader) -> Response:
    """In Prometheus's text format."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _check_verified(service: Service, photos: int, verify: int | None) -> None:
    most = max(_MOST_VERIFIED, service.settings.max_images * service.desk.verified)
    hits = service.desk.verifications(verify)
    if photos * hits > most:
        message = (
            f"a request must verify at most {most} hits, got {photos} photos with {hits} each; "
            f"send fewer photos at a time, or a lower verify"
        )
        raise Problem(422, "too_many", message)


def _one(body: Body) -> bytes:
    if len(body.photos) != 1:
        message = f"one photo must be sent at a time, got {len(body.photos)}; send several requests"
        raise Problem(422, "too_many", message)
    ((_name, data),) = body.photos
    return data


def _unknown(number: int, what: str = "of the gallery") -> Problem:
    return Problem(404, "not_found", f"the id must be that of a photo {what}, got {number}; see /v1/photos")


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        south, west, north, east = map(_number, text.split(","))
    except ValueError as error:
        message = f"a box must be south,west,north,east in degrees, got {text[:80]!r}; such as 48.1,16.2,48.3,16.5"
        raise OptionError(message) from error
    return south, west, north, east


def _number(text: str) -> float:
    """A number in plain digits; Python would take those of any script, with underscores between."""
    if not (text.isascii() and "_" not in text):
        message = f"a number must be in plain digits, got {text[:80]!r}"
        raise ValueError(message)
    return float(text)


def _position(fields: dict[str, str]) -> Position | None:
    try:
        lat, lon, heading = (_number(fields[name]) if fields.get(name) else None for name in ("lat", "lon", "heading"))
    except ValueError as error:
        message = "lat, lon and heading must be numbers of degrees, got others; such as 48.2108"
        raise OptionError(message) from error
    if lat is None and lon is None and heading is None:
        return None
    if lat is None or lon is None:
        message = "a position must have both lat and lon, got one of them; give the other, too"
        raise OptionError(message)
    return Position(lat, lon, heading)
