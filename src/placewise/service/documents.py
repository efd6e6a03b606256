"""What the API answers with, as its description has it, made of the library's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from placewise.core import Photo
    from placewise.core import Position as CorePosition
    from placewise.entries import Entry
    from placewise.service.desk import Match, Reply


class Position(BaseModel):
    """Where a photo was taken."""

    lat: float = Field(description="WGS84 degrees.", examples=[48.2108])
    lon: float = Field(description="WGS84 degrees.", examples=[16.3573])
    heading: float | None = Field(description="Degrees clockwise from north.", examples=[90.0])

    @classmethod
    def of(cls, position: CorePosition | None) -> Self | None:
        """A position of the library."""
        return None if position is None else cls(lat=position.lat, lon=position.lon, heading=position.heading)


class PhotoDocument(BaseModel):
    """One photo of the gallery."""

    id: int = Field(description="Stands for one embedding for ever.", examples=[17])
    path: str = Field(description="Its name in the gallery.", examples=["town_hall/001.jpg"])
    place: str | None = Field(examples=["town hall"])
    position: Position | None
    sequence: str | None
    frame: int | None
    thumbnail: str | None = Field(description="Where its small JPEG is.", examples=["/v1/photos/17/thumbnail"])

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """A photo of the library."""
        photo = entry.photo
        return cls(id=entry.id, sequence=photo.sequence, frame=photo.frame, **_shown(photo, entry))


class HitDocument(BaseModel):
    """One gallery photo in an answer."""

    id: int | None = Field(description="Null if it was removed in this moment.", examples=[17])
    path: str = Field(examples=["town_hall/001.jpg"])
    place: str | None = Field(examples=["town hall"])
    similarity: float = Field(description="Cosine of the embeddings; higher is more similar.", examples=[0.91])
    inliers: int | None = Field(description="Matches that one geometry explains; null where none was sought.")
    position: Position | None
    thumbnail: str | None = Field(examples=["/v1/photos/17/thumbnail"])


class AnswerDocument(BaseModel):
    """KNOWN with a place, or UNKNOWN."""

    query: str = Field(description="What the client calls the photo.", examples=["where.jpg"])
    width: int = Field(description="Of the upright photo, in pixels.", examples=[1280])
    height: int = Field(description="Of the upright photo, in pixels.", examples=[960])
    known: bool = Field(description="Whether it is KNOWN; otherwise UNKNOWN.")
    place: str | None = Field(description="Null for UNKNOWN.", examples=["town hall"])
    confidence: float | None = Field(description="What tau is compared with.", examples=[0.93])
    tau: float | None = Field(description="Below it the answer is UNKNOWN.", examples=[0.66])
    reason: str = Field(description="Why, in one line.")
    hits: list[HitDocument] = Field(description="The most similar photos, best first.")

    @classmethod
    def of(cls, query: str, size: tuple[int, int], reply: Reply) -> Self:
        """An answer of the library; the reply must hold one."""
        answer = reply.answer
        if answer is None:
            message = "a reply must hold an answer to be shown, got none; ask a question"
            raise ValueError(message)
        hits = [
            HitDocument(
                id=None if entry is None else entry.id,
                similarity=hit.similarity,
                inliers=hit.inliers,
                **_shown(hit.photo, entry),
            )
            for hit, entry in zip(answer.hits, reply.entries, strict=True)
        ]
        return cls(
            query=query,
            width=size[0],
            height=size[1],
            known=bool(answer.known),
            place=answer.place,
            confidence=answer.confidence,
            tau=answer.tau,
            reason=answer.reason,
            hits=hits,
        )


class FailureDocument(BaseModel):
    """A photo that could not be answered, beside others that were."""

    query: str = Field(examples=["broken.jpg"])
    kind: str = Field(examples=["image_truncated"])
    reason: str


class LocatedDocument(BaseModel):
    """Answers in the order of the photos, without those that failed."""

    answers: list[AnswerDocument]
    failures: list[FailureDocument]
    caution: str = Field(description="What to know of the decisions; empty if nothing.")


class ModelDocument(BaseModel):
    """The model that made the gallery."""

    name: str = Field(examples=["efficientnet-lite0"])
    dim: int = Field(description="The length of an embedding.", examples=[1280])
    fingerprint: str
    licence: str


class MayDocument(BaseModel):
    """What the caller may do."""

    read: bool
    write: bool


class LimitsDocument(BaseModel):
    """What a request must keep to."""

    max_body_bytes: int
    max_pixels: int
    max_images: int


class GalleryDocument(BaseModel):
    """What is searched, and how it is decided."""

    name: str = Field(description="The name of the gallery's file, without its folder.", examples=["city.gallery"])
    photos: int
    places: int
    with_position: int
    thumbnails: int
    features: int = Field(description="How many photos keep local features, to be matched by.")
    verified: int = Field(description="Of how many hits geometry is verified unless a request says otherwise.")
    model: ModelDocument
    calibration: dict[str, Any] | None = Field(
        description="What decides, as 'placewise calibrate --json' prints it, and whether the confidence is a "
        "probability or the similarity of the first hit; null where no calibration of the present ranking decides."
    )
    caution: str = Field(description="What to know of the decisions; empty if nothing.")
    may: MayDocument
    limits: LimitsDocument


class MatchDocument(BaseModel):
    """A photo beside one of the gallery, and what they have in common."""

    photo: PhotoDocument
    accepted: bool = Field(
        description="Whether geometry says that both show the same, as surely as it must of a hit of so many."
    )
    significance: float = Field(description="-log10 of the number of false alarms; higher is surer.", examples=[41.3])
    inliers: int = Field(description="How many matches one geometry explains.", examples=[64])
    kind: str | None = Field(description="similarity, homography or fundamental; null without any.")
    spread: float = Field(description="Share of 8 x 8 cells of a photo that hold an inlier, where that is less.")
    query_size: tuple[float, float] = Field(
        description="Width and height of the sent photo in the pixels that its points are in."
    )
    photo_size: tuple[float, float] = Field(description="Likewise of the gallery's photo.")
    query_points: list[tuple[float, float]] = Field(description="The inliers, (x, y) in pixels, most distinct first.")
    photo_points: list[tuple[float, float]] = Field(description="Their partners in the gallery's photo.")

    @classmethod
    def of(cls, match: Match) -> Self:
        """A match of the library."""
        found = match.found
        return cls(
            photo=PhotoDocument.of(match.entry),
            accepted=found.accepted,
            significance=found.significance,
            inliers=found.inlier_count,
            kind=found.kind,
            spread=found.spread,
            query_size=match.size,
            photo_size=match.entry_size,
            query_points=found.query_points[found.inliers].tolist(),
            photo_points=found.candidate_points[found.inliers].tolist(),
        )


class PageDocument(BaseModel):
    """Some photos of the gallery, by ascending ids."""

    photos: list[PhotoDocument]
    next: int | None = Field(description="Ask with after=… for what follows; null at the end.", examples=[100])


class MapDocument(BaseModel):
    """Where the gallery's photos were taken; of a large gallery, of some of them, spread evenly over it."""

    photos: list[PhotoDocument]
    total: int = Field(description="Photos with a position, in all.")


class StateDocument(BaseModel):
    """Whether the service lives, or is ready."""

    status: str = Field(examples=["ok"])


def thumbnail_address(number: int) -> str:
    """Where the small JPEG of a photo is."""
    return f"/v1/photos/{number}/thumbnail"


def _shown(photo: Photo, entry: Entry | None) -> dict[str, Any]:
    return {
        "path": str(photo.path),
        "place": photo.place,
        "position": Position.of(photo.position),
        "thumbnail": thumbnail_address(entry.id) if entry and entry.has_thumbnail else None,
    }
