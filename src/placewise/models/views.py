"""One prepared image → its views, and the views' embeddings → the photo's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from placewise import images
from placewise.models.builder import LEAST_NORM

if TYPE_CHECKING:
    from placewise.core import Embeddings, Image, InputRule, Views


def graph_rule(rule: InputRule, views: Views) -> InputRule:
    """What the graph takes: images of all sizes where whole photos are seen beside crops."""
    return dataclasses.replace(rule, crop=None) if views.sizes else rule


def prepare(image: Image, rule: InputRule, views: Views) -> Image:
    """One image of any size, resized to the largest view; cropped no further than all views are."""
    if rule.crop is None or not views.sizes:
        return images.prepare(image, rule, strip=views.crops > 1)
    whole = dataclasses.replace(rule, resize=largest(rule, views), crop=None, multiple=1)
    return images.prepare(image, whole)


def largest(rule: InputRule, views: Views) -> int:
    """The shorter side of a photo as its largest view needs it, in pixels."""
    return max(rule.resize, *views.sizes) if views.sizes else rule.resize


def cut_views(image: Image, rule: InputRule, views: Views) -> list[Image]:
    """The views of one image, ``len(views)`` of them, each ``(h, w, 3)`` uint8.

    Args:
        image: ``(h, w, 3)`` uint8 as `prepare` gives it.
        rule: what it was prepared by.
        views: likewise.
    """
    whole = [images.resize(image, dataclasses.replace(rule, resize=size)) for size in views.sizes]
    upright = _squares(image, rule, views) + whole
    return upright + [np.ascontiguousarray(view[:, ::-1]) for view in upright if views.flip]


def mean_of_views(embeddings: Embeddings, count: int) -> Embeddings:
    """The means of each ``count`` rows, renormalised: ``(N * count, dim)`` → ``(N, dim)`` float32; zeros stay zeros."""
    if count == 1:
        return embeddings
    means = embeddings.reshape(-1, count, embeddings.shape[1]).mean(axis=1)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    unit: Embeddings = means / np.maximum(norms, LEAST_NORM)
    return unit


def _squares(image: Image, rule: InputRule, views: Views) -> list[Image]:
    """Squares from one end of the longer side to the other, or the one in the centre; without a crop the image."""
    if rule.crop is None:
        return [image]
    if views.sizes:  # the whole photo is here, as large as its largest view
        image = images.resize(image, dataclasses.replace(rule, multiple=1))
        image = images.cut_centre(image, rule.crop, strip=views.crops > 1)
    if views.crops == 1:
        return [image]
    height, width = image.shape[:2]
    offsets = [round(step * (max(width, height) - rule.crop) / (views.crops - 1)) for step in range(views.crops)]
    if width >= height:
        return [np.ascontiguousarray(image[:, left : left + rule.crop]) for left in offsets]
    return [image[top : top + rule.crop] for top in offsets]
