"""The value types that travel between stages.

Frames and units, everywhere: images are upright RGB, ``(H, W, 3)`` uint8; positions are WGS84 degrees;
similarity is a cosine, so higher is better; embeddings are float32 rows of unit length.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from placewise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path, PurePosixPath

Image = NDArray[np.uint8]
"""Upright RGB pixels, ``(H, W, 3)`` uint8."""

Embeddings = NDArray[np.float32]
"""``(N, dim)`` float32, rows of unit length."""

Tau = float | Literal["calibrated"] | None
"""How to decide: the gallery's calibration, a fixed threshold on the cosine of embeddings, or not at all (None)."""

Split = Literal["gallery", "query"]
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a photo was taken: WGS84 degrees, heading in degrees clockwise from north."""

    lat: float
    lon: float
    heading: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no position on Earth."""
        for name, value, low, high in (
            ("lat", self.lat, -90, 90),
            ("lon", self.lon, -180, 180),
            ("heading", self.heading, -360, 360),
        ):
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                message = f"{name} must be between {low} and {high} degrees, got {value}"
                raise OptionError(message)


@dataclass(frozen=True, slots=True)
class Photo:
    """One row of a manifest.

    ``path`` is relative to the source's root folder and names the photo in galleries and answers.
    """

    path: PurePosixPath
    split: Split
    place: str | None = None
    position: Position | None = None
    sequence: str | None = None
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class FileState:
    """What was seen of a photo's file when it was read.

    Attributes:
        digest: the SHA-256 of its bytes; None where it was never read.
        stamp: (size, mtime_ns, ctime_ns): as long as they stay, so does the content; None where they cannot say that.
        thumbnail: a small JPEG of it; None where none was made.
        features: the bytes of its local features; None where none were extracted.
    """

    digest: bytes | None = None
    stamp: tuple[int, int, int] | None = None
    thumbnail: bytes | None = None
    features: bytes | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the doctor has to say about a dataset.

    ``photos`` names the photos concerned (as the manifest does); ``detail`` says what is wrong and what to do.
    """

    kind: str
    severity: Severity
    photos: tuple[str, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class Grades:
    """The gallery photos that a query is judged by, where a ground truth grades them.

    Attributes:
        easy: they clearly show the same.
        hard: they show the same, but it is hard to see.
        junk: neither right nor wrong: they are left out of what is counted.
    """

    easy: tuple[PurePosixPath, ...] = ()
    hard: tuple[PurePosixPath, ...] = ()
    junk: tuple[PurePosixPath, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Photos that belong together, the folder their paths start from, and the rows that could not be used.

    Attributes:
        root: the folder that the photos' paths start from.
        photos: the rows that can be used.
        bad_rows: a finding for each that cannot.
        positives: path → the gallery photos that show the same, where a format says so instead of naming places.
        grades: query → its gallery photos by grade, where a format has grades; ``positives`` are easy and hard ones.
        skipped: findings about pictures in the folder that are no part of it.
        shown: what it is taken for, in one line.
    """

    root: Path
    photos: tuple[Photo, ...]
    bad_rows: tuple[Finding, ...] = ()
    positives: Mapping[PurePosixPath, tuple[PurePosixPath, ...]] = field(default_factory=dict)
    grades: Mapping[PurePosixPath, Grades] = field(default_factory=dict)
    skipped: tuple[Finding, ...] = ()
    shown: str = field(default="", compare=False)

    def file(self, photo: Photo) -> Path:
        """The photo's file on this machine."""
        return self.root / photo.path

    def of(self, split: Split) -> tuple[Photo, ...]:
        """The photos of one split, in manifest order."""
        return tuple(photo for photo in self.photos if photo.split == split)


@dataclass(frozen=True, slots=True)
class InputRule:
    """How an image becomes a network's input.

    The shorter side is resized to ``resize`` pixels with Pillow's antialiased ``interpolation`` filter, the centre
    ``crop`` x ``crop`` pixels are kept (the whole image if ``crop`` is None, so that the network's input differs from
    photo to photo), and each channel becomes ``(value - mean) / std`` on the 0..255 scale. The
    longer side is rounded ``down`` to whole pixels as torchvision does, or to the ``nearest``: half a pixel of shift
    costs up to 0.02 of cosine. Where whole images are seen it may be rounded to the nearest ``multiple`` pixels
    instead: that squeezes an image by a few percent, and few sizes occur.
    """

    resize: int
    crop: int | None
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rounding: Literal["down", "nearest"] = "down"
    multiple: int = 1


@dataclass(frozen=True, slots=True)
class Views:
    """What is embedded of one photo: the mean of the views' embeddings, renormalised, is the photo's.

    Attributes:
        flip: each view is seen mirrored, too.
        crops: how many squares are seen, spread evenly from one end of the longer side to the other; 1 is the centre.
        sizes: shorter sides in pixels at which the whole photo is seen, too.
    """

    flip: bool = False
    crops: int = 1
    sizes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return (2 if self.flip else 1) * (self.crops + len(self.sizes))


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything that determines an embedding, and what a user must know of the model.

    Attributes:
        name: what the user types.
        architecture: a recipe of `placewise.models.graphs`, ``onnx`` for a graph that somebody else made, or ``vlad``
            or ``fused``, which learn from a gallery's photos.
        dim: the length of an embedding.
        input: how an image becomes the network's input.
        pooling: how the network's features become one vector: ``average``, ``gem2`` for a generalised mean of power 2,
            ``gem`` for one of a learnt power, or what `placewise.models.card_files` says of somebody else's graph.
        weights_file: the published file name.
        source: the address or package that the weights come from.
        licence: what the publisher says of the code, and of the weights as far as that is known.
        size_bytes: the size of the weights; None where only the server knows it.
        weights_sha256: the digest of the bytes in use; empty until they are read.
        graph_input: the input of an ``onnx`` graph, where it has several.
        graph_output: the output of an ``onnx`` graph that is used.
        quantised: the digest of the 8-bit graph, where one is used.
        precision: what was asked for, ``auto``, ``float32`` or ``int8``; like ``decode`` it changes the numbers only
            slightly and is not part of the fingerprint, but what is written into one gallery agrees in both.
        decode: what was asked for, ``fast`` or ``full``.
        views: what is embedded of one photo.
        parts: the cards of the models that this one is made of, as `placewise.models.fused` puts them together.
    """

    name: str
    architecture: str
    dim: int
    input: InputRule
    pooling: str
    weights_file: str
    source: str
    licence: str
    size_bytes: int | None
    weights_sha256: str = ""
    graph_input: str = ""
    graph_output: str = ""
    quantised: str = ""
    precision: str = "auto"
    decode: str = "fast"
    views: Views = Views()
    parts: tuple[ModelCard, ...] = ()

    @property
    def sight(self) -> str:
        """How photos are seen, in a few words."""
        if self.parts:
            return " + ".join(part.sight for part in self.parts)
        seen = [f"{self.input.crop or self.input.resize} px {'crop' if self.input.crop else 'whole'}", self.pooling]
        seen += ["flip"] if self.views.flip else []
        seen += [f"{self.views.crops} crops"] if self.views.crops > 1 else []
        return ", ".join(seen + [f"also {size} px whole" for size in self.views.sizes])

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that differ whenever the embedding function differs.

        Names, licences and addresses do not count: the same weights, input rule and pooling under another name give
        the same embeddings.
        """
        rule = dataclasses.asdict(self.input)
        determining = {
            "architecture": self.architecture,
            "dim": self.dim,
            "input": rule,
            "pooling": self.pooling,
            "weights_sha256": self.weights_sha256,
        }
        # Left out where they say nothing, so that cards without them keep the fingerprints they had before.
        if self.input.multiple == 1:
            del rule["multiple"]
        if self.views != Views():
            determining["views"] = dataclasses.asdict(self.views)
        for name in ("graph_input", "graph_output", "quantised"):
            if getattr(self, name):
                determining[name] = getattr(self, name)
        if self.parts:
            determining["parts"] = [part.fingerprint for part in self.parts]
        text = json.dumps(determining, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class Embedder(Protocol):
    """A model that is ready to embed.

    Everything is thread-safe. ``read`` and ``prepare`` are done once per image; ``infer`` takes what they returned.
    ``variant`` names what changes the numbers slightly but not the model (precision, decoding), so that a cache can
    keep them apart.
    """

    @property
    def card(self) -> ModelCard:
        """The model card, with the digest of the weights in use."""

    @property
    def variant(self) -> str:
        """Short text such as ``float32-full``, part of the cache key but not of the fingerprint."""

    def read(self, data: bytes) -> NDArray[np.uint8]:
        """Turn the bytes of a photo file into the network's input, uint8 as `infer` takes it; ImageError if broken."""

    def prepare(self, image: Image) -> NDArray[np.uint8]:
        """Turn one image of any size into the network's input, resized and cropped as the card says."""

    def infer(self, inputs: Sequence[NDArray[np.uint8]]) -> Embeddings:
        """Embed prepared inputs: ``(N, dim)`` float32, rows of unit length, in order."""

    def embed(self, images: Sequence[Image]) -> Embeddings:
        """Embed images of any sizes: ``(N, dim)`` float32, rows of unit length, in order."""


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Search results: ``ids`` ``(Q, k)`` int64 and ``similarities`` ``(Q, k)`` float32, best first.

    ``k`` is at most the number of vectors searched: there is no padding. Ties are in the order of ids.
    """

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]


class Searcher(Protocol):
    """An index of embeddings under ids that the caller chooses.

    Searches may run in several threads while another upserts or deletes; each sees one consistent state.
    """

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids, ``(N,)``, ascending."""

    def upsert(self, ids: NDArray[np.int64], embeddings: Embeddings) -> None:
        """Add embeddings, replacing those whose id is already there."""

    def delete(self, ids: NDArray[np.int64]) -> None:
        """Remove ids; unknown ids are ignored."""

    def search(self, queries: Embeddings, k: int, *, among: NDArray[np.int64] | None = None) -> Neighbors:
        """The ``min(k, len(self))`` most similar ids of each query, ``(Q, dim)``.

        With ``among``, only these ids may be returned; unknown ones are ignored, and k is capped at the known ones.
        """

    def __len__(self) -> int:
        """The number of vectors searched."""

    def close(self) -> None:
        """Release memory and files."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which gallery photos may be hits; every condition that is given must hold.

    Attributes:
        places: the photo's place is one of these.
        box: the photo's position is between (south, west, north, east), WGS84 degrees, edges included; where west is
            greater than east the box crosses the 180th meridian.
        sequences: the photo's sequence is one of these.
    """

    places: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    sequences: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a box that holds no point on Earth."""
        if self.box is None:
            return
        south, west, north, east = self.box
        if not (-90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
            message = f"a box must be (south, west, north, east) in degrees with south <= north, got {self.box}"
            raise OptionError(message)


@dataclass(frozen=True, slots=True)
class Hit:
    """One gallery photo in an answer; ``inliers`` is None where no geometry was verified."""

    photo: Photo
    similarity: float
    inliers: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """KNOWN with a place, or UNKNOWN, with the hits, best first.

    Attributes:
        known: None when no tau was given: then nothing was decided.
        place: None for UNKNOWN. A calibrated gallery names the place of the best hit that has one, a fixed tau that of
            the best hit, which may have none.
        confidence: what tau is compared with: the probability that the place is right, or, where the gallery is not
            calibrated, the cosine of the embeddings of query and best hit; None where there was nothing to compare.
        hits: the most similar photos, best first.
        reason: why it is KNOWN or UNKNOWN, in one line.
        tau: the threshold.
    """

    known: bool | None
    place: str | None
    confidence: float | None
    hits: tuple[Hit, ...]
    reason: str = ""
    tau: float | None = None
