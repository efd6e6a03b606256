"""A model in 8 bits, calibrated on the user's own gallery; what that costs is measured on photos it has not seen."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise import images
from placewise.embed import Failure
from placewise.errors import ImageError, OptionError, SourceError
from placewise.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from placewise.core import Embedder, Embeddings, ModelCard, Photo, Source

    Progress = Callable[[str, int, int], None]
    """Called with (stage, photos done, photos in all)."""

    Inputs = list[NDArray[np.uint8]]

LEAST_PHOTOS = 30
"""Fewer say too little of the ranges of activations, and their held-out third too little of the cost."""

_HELD_OUT = 3
"""Every third photo of the sample is held out."""

_TIMED_PHOTOS = 60
_TIMED_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Quantised:
    """An 8-bit model, and what it costs and gains on held-out photos.

    Attributes:
        card: the card of the 8-bit model; its fingerprint differs from the float model's.
        graph: where it is kept.
        size_bytes: of its files.
        calibrated_on: photos that the ranges were learned from.
        held_out: photos that the cost was measured on.
        least_cosine: of the held-out photos' embeddings to their float32 embeddings.
        mean_cosine: likewise.
        same_nearest: the share of held-out photos whose most similar calibration photo is the same in float32.
        float_variant: what the 8-bit model is raced against: the precision ``auto``.
        float_photos_per_s: inference alone, without reading photos.
        int8_photos_per_s: likewise, in the same run.
        seconds: how long quantising took, without reading photos and without measuring.
        failures: photos that could not be decoded.
    """

    card: ModelCard
    graph: Path
    size_bytes: int
    calibrated_on: int
    held_out: int
    least_cosine: float
    mean_cosine: float
    same_nearest: float
    float_variant: str
    float_photos_per_s: float
    int8_photos_per_s: float
    seconds: float
    failures: tuple[Failure, ...]


def quantise_model(
    source: Source,
    name: str,
    *,
    weights: Path | None = None,
    photos: int = 300,
    on_progress: Progress | None = None,
) -> Quantised:
    """Quantise a model on a sample of a source's gallery photos, keep it, and measure it. Touches no network.

    Queries are never read. The same photos give the same sample.

    Args:
        source: where the photos are.
        name: what `placewise.models.load_model` takes.
        weights: likewise.
        photos: how many photos to read: two of three calibrate, the third measures.
        on_progress: called with (stage, photos done, photos in all).

    Raises:
        OptionError: if ``photos`` is too small.
        SourceError: if there are too few gallery photos.
        ModelError: if NNCF is not installed or cannot quantise the model.
    """
    from placewise import models
    from placewise.models.int8 import quantise_graph

    card, path = models.card_and_weights(name, weights)
    sample = _sample(source.of("gallery"), photos)
    exact = models.load_model(name, weights=weights, precision="float32", device="cpu")
    inputs, failures = _read(source, sample, exact, on_progress)
    calibration, held_out = _split(inputs)
    _say(on_progress, "quantising", 0)
    started = time.perf_counter()
    _, float_graph = models.float_graph(card, path)
    graph = quantise_graph(exact.card, float_graph, calibration)
    seconds = time.perf_counter() - started
    small = models.load_model(name, weights=weights, precision="int8", device="cpu", quantised=graph.parent.name)
    _say(on_progress, "measuring", 0)
    cosines, same_nearest = _agreement(exact, small, calibration, held_out)
    auto = models.load_model(name, weights=weights, device="cpu")
    float_speed, int8_speed = _race((auto, small), inputs[:_TIMED_PHOTOS])
    _say(on_progress, "measuring", 1)
    return Quantised(
        card=small.card,
        graph=graph,
        size_bytes=sum(file.stat().st_size for file in graph.parent.iterdir()),
        calibrated_on=len(calibration),
        held_out=len(held_out),
        least_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        same_nearest=same_nearest,
        float_variant=auto.variant,
        float_photos_per_s=float_speed,
        int8_photos_per_s=int8_speed,
        seconds=seconds,
        failures=failures,
    )


def _sample(gallery: Sequence[Photo], photos: int) -> list[Photo]:
    """At most ``photos`` of them, evenly spaced from the first on."""
    if photos < LEAST_PHOTOS:
        message = f"photos must be at least {LEAST_PHOTOS}, got {photos}; type --photos 300"
        raise OptionError(message)
    _check_enough(len(gallery), "gallery photos")
    count = min(photos, len(gallery))
    return [gallery[index * len(gallery) // count] for index in range(count)]


def _check_enough(count: int, what: str) -> None:
    if count < LEAST_PHOTOS:
        message = f"the source must have at least {LEAST_PHOTOS} {what} to calibrate int8 on, got {count}; add more"
        raise SourceError(message)


def _read(
    source: Source, photos: Sequence[Photo], embedder: Embedder, on_progress: Progress | None
) -> tuple[Inputs, tuple[Failure, ...]]:
    """The network's inputs of the photos that can be decoded, in order, and the others."""

    def read(photo: Photo) -> NDArray[np.uint8] | Failure:
        try:
            return embedder.read(images.read_bytes(source.file(photo)))
        except ImageError as error:
            return Failure(photo, error.kind, str(error))

    found: list[NDArray[np.uint8] | Failure] = []
    with ThreadPoolExecutor(max_workers=usable_cores(), thread_name_prefix="decode") as workers:
        for result in workers.map(read, photos):
            found.append(result)
            if on_progress:
                on_progress("reading", len(found), len(photos))
    inputs = [item for item in found if not isinstance(item, Failure)]
    _check_enough(len(inputs), "gallery photos that can be decoded")
    return inputs, tuple(item for item in found if isinstance(item, Failure))


def _split(inputs: Inputs) -> tuple[Inputs, Inputs]:
    """Those to calibrate on, and those held out: every third."""
    held_out = inputs[_HELD_OUT - 1 :: _HELD_OUT]
    return [item for index, item in enumerate(inputs, start=1) if index % _HELD_OUT], held_out


def _agreement(exact: Embedder, small: Embedder, calibration: Inputs, held_out: Inputs) -> tuple[Embeddings, float]:
    """Cosines of held-out photos' embeddings, ``(held out,)``, and how often both find the same nearest photo."""
    pairs = [(model.infer(held_out), model.infer(calibration)) for model in (exact, small)]
    (queries, _), (small_queries, _) = pairs
    cosines: Embeddings = np.clip(np.einsum("nd,nd->n", queries, small_queries), -1, 1)
    nearest, small_nearest = ((asking @ gallery.T).argmax(axis=1) for asking, gallery in pairs)
    return cosines, float(np.mean(nearest == small_nearest))


def _race(embedders: Sequence[Embedder], inputs: Inputs) -> list[float]:
    """Photos per second of each, the best of some rounds in which they take turns: a machine's moods hit them all."""
    seconds = np.zeros((_TIMED_ROUNDS, len(embedders)))
    for embedder in embedders:
        embedder.infer(inputs[:8])
    for lap in range(_TIMED_ROUNDS):
        for lane, embedder in enumerate(embedders):
            started = time.perf_counter()
            embedder.infer(inputs)
            seconds[lap, lane] = time.perf_counter() - started
    return [len(inputs) / float(best) for best in seconds.min(axis=0)]


def _say(on_progress: Progress | None, stage: str, done: int) -> None:
    if on_progress:
        on_progress(stage, done, 1)


def to_json(quantised: Quantised) -> dict[str, object]:
    """What ``models quantise --json`` prints."""
    return {
        "model": {"name": quantised.card.name, "dim": quantised.card.dim, "fingerprint": quantised.card.fingerprint},
        "graph": str(quantised.graph),
        "size_bytes": quantised.size_bytes,
        "calibrated_on": quantised.calibrated_on,
        "held_out": quantised.held_out,
        "cosine": {"least": quantised.least_cosine, "mean": quantised.mean_cosine},
        "same_nearest": quantised.same_nearest,
        "photos_per_s": {quantised.float_variant: quantised.float_photos_per_s, "int8": quantised.int8_photos_per_s},
        "seconds": quantised.seconds,
    }


def to_text(quantised: Quantised) -> str:
    """What ``models quantise`` prints."""
    cost = f"{quantised.mean_cosine:.4f} on average, {quantised.least_cosine:.4f} at worst"
    speeds = (
        f"{quantised.int8_photos_per_s:.0f} in int8, {quantised.float_photos_per_s:.0f} in {quantised.float_variant}"
    )
    lines = (
        f"{quantised.card.name} in 8 bits: {quantised.graph}",
        f"{quantised.size_bytes / 1e6:.1f} MB, made in {quantised.seconds:.0f} s",
        f"calibrated on {quantised.calibrated_on} gallery photos, measured on {quantised.held_out} others:",
        f"  cosine to float32               {cost}",
        f"  same nearest photo as float32   {quantised.same_nearest:.1%}",
        f"  photos a second, inference only {speeds}",
    )
    return "\n".join(lines)
