"""One prepared image → its views, and the views' embeddings → the photo's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from placewise import images
from placewise.models.builder import LEAST_NORM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placewise.core import Embeddings, Image, InputRule, Views


def cut_views(image: Image, rule: InputRule, views: Views) -> list[Image]:
    """The views of one image, ``len(views)`` of them, each ``(h, w, 3)`` uint8.

    Args:
        image: ``(h, w, 3)`` uint8 as `placewise.images.prepare` gives it, a strip where there are several crops.
        rule: what it was prepared by.
        views: which.
    """
    upright = [part for size in (image, *_smaller(image, rule, views)) for part in _squares(size, rule, views.crops)]
    return upright + [np.ascontiguousarray(view[:, ::-1]) for view in upright if views.flip]


def mean_of_views(embeddings: Embeddings, count: int) -> Embeddings:
    """The means of each ``count`` rows, renormalised: ``(N * count, dim)`` → ``(N, dim)`` float32; zeros stay zeros."""
    if count == 1:
        return embeddings
    means = embeddings.reshape(-1, count, embeddings.shape[1]).mean(axis=1)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    unit: Embeddings = means / np.maximum(norms, LEAST_NORM)
    return unit


def _smaller(image: Image, rule: InputRule, views: Views) -> Iterator[Image]:
    """The whole image at the other sizes."""
    return (images.resize(image, dataclasses.replace(rule, resize=size)) for size in views.sizes)


def _squares(image: Image, rule: InputRule, crops: int) -> list[Image]:
    """Squares from one end of the longer side to the other; the image itself where there is but one."""
    if rule.crop is None or crops == 1:
        return [image]
    height, width = image.shape[:2]
    offsets = [round(step * (max(width, height) - rule.crop) / (crops - 1)) for step in range(crops)]
    if width >= height:
        return [np.ascontiguousarray(image[:, left : left + rule.crop]) for left in offsets]
    return [image[top : top + rule.crop] for top in offsets]
