"""A model's card and the file of its weights, and the graph that is built of them once and kept."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from placewise.core import Views
from placewise.errors import OptionError, WeightsMissingError
from placewise.files import write_atomically
from placewise.folders import cache_folder, models_folder
from placewise.models.cards import FOREIGN, MODELS, check_has_weights, find_card, installed_weights
from placewise.models.looks import pooling_power

if TYPE_CHECKING:
    from placewise.core import ModelCard

logger = logging.getLogger(__name__)


def is_file_name(name: str) -> bool:
    """Whether what the user calls a model is the file of a graph."""
    return name.lower().endswith(".onnx") and "://" not in name


def card_and_weights(name: str, weights: Path | str | None) -> tuple[ModelCard, Path]:
    """The card of a model and the file that its weights are read from."""
    if is_file_name(name):
        if weights is not None:
            message = f"weights must be left out where the model is a file, got {weights} for {name}; name one of them"
            raise OptionError(message)
        return card_of_file(Path(name)), Path(name)
    card = find_card(name)
    check_has_weights(card)
    if weights is not None:
        path = Path(weights)
        own = {
            "weights_file": path.name,
            "source": str(path.resolve()),
            "licence": "that of the file",
            "size_bytes": None,
        }
        return dataclasses.replace(card, **own), path  # type: ignore[arg-type]  # by their names
    installed = installed_weights(card)
    if installed is None:
        message = (
            f"the weights of {name} must be on this machine, got no {card.weights_file} in {models_folder()}; "
            f"type 'placewise models pull {name}' or name a file with --weights"
        )
        raise WeightsMissingError(message)
    return card, installed


def card_of_file(path: Path) -> ModelCard:
    """The card beside a graph that somebody else made.

    Raises:
        WeightsMissingError: if there is no such graph.
        CardError: if the card is missing, wrong or another graph's.
    """
    from placewise.models.card_files import read_card_file

    if not path.is_file():
        message = f"model must be an .onnx file that is there, got none at {path}; put it back or name it with --model"
        raise WeightsMissingError(message)
    return read_card_file(path)


def float_graph(card: ModelCard, weights: Path) -> tuple[ModelCard, Path | bytes]:
    """The card with the digest of the weights in use, and its ONNX graph, which is built once and kept."""
    from placewise.models import foreign, graphs, views

    card = dataclasses.replace(card, weights_sha256=_checked_sha256(card, weights))
    of_one_view = dataclasses.replace(card, input=views.graph_rule(card.input, card.views), views=Views())
    version = foreign.VERSION if card.architecture == FOREIGN else graphs.VERSION
    folder = made(cache_folder() / "graphs")
    kept = folder / f"{card.architecture}-{of_one_view.fingerprint}-v{version}.onnx" if folder else None
    if kept and kept.is_file():
        return card, kept
    graph = _built(of_one_view, weights)
    if kept:
        write_atomically(kept, graph)
    return card, kept or graph


def _checked_sha256(card: ModelCard, weights: Path) -> str:
    """The digest of the weights, which must be what their name tells and what was recorded when they were pulled."""
    from placewise.models import checkpoint, digests, onnx_files

    digest = onnx_files.graph_sha256(weights) if card.architecture == FOREIGN else checkpoint.file_sha256(weights)
    if weights.name in {known.weights_file for known in MODELS.values()}:  # a user's own file may end in a date
        checkpoint.check_name_hash(weights, digest)
    digests.check_record(weights, digest)
    return digest


def _built(card: ModelCard, weights: Path) -> bytes:
    from placewise.models import checkpoint, foreign, graphs

    if card.architecture == FOREIGN:
        return foreign.wrap_graph(weights, card)
    state = checkpoint.read_checkpoint(weights)
    power = 1 if card.pooling == "gem" else pooling_power(card.pooling)  # gem: learnt, and in the weights
    return graphs.build_graph(card.architecture, state, card.input, dim=card.dim, power=power)


def made(folder: Path) -> Path | None:
    """The folder, made where it is missing; None where that cannot be, for caches are only a convenience."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        logger.warning("the cache folder cannot be written, models start slowly: %s", error)
        return None
