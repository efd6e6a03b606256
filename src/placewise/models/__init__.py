"""The way from a name to a model that is ready to embed."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from placewise.core import Views
from placewise.errors import ModelError, OptionError, WeightsMissingError
from placewise.files import write_atomically
from placewise.folders import cache_folder, models_folder
from placewise.models.cards import DEFAULT_MODEL, FOREIGN, MODELS, VLAD, check_has_weights, find_card, installed_weights
from placewise.models.looks import Look, card_seen_like, card_with_look, pooling_power

if TYPE_CHECKING:
    from placewise.core import Embedder, ModelCard

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "int8"]
Decode = Literal["fast", "full"]
Device = Literal["auto", "cpu", "cuda"]


def load_model(  # noqa: PLR0913  # each is a choice that a user makes
    name: str = DEFAULT_MODEL,
    *,
    look: Look | None = None,
    weights: Path | str | None = None,
    precision: Precision = "auto",
    decode: Decode = "fast",
    device: Device = "auto",
    quantised: str = "",
) -> Embedder:
    """Make a model ready to embed. Touches no network.

    Args:
        name: a name of `MODELS`, or the path of an ``.onnx`` file with a card (``.toml``) beside it. ``vlad`` must be
            fitted before it embeds; see `placewise.fit_model`.
        look: how photos are looked at, where that is not as the model's card says.
        weights: a file of the model's architecture to use instead of the published one.
        precision: ``auto`` lets the processor use bfloat16 where it has it in hardware; ``float32`` does not; ``int8``
            takes the 8-bit graph that ``placewise models quantise`` made.
        decode: ``fast`` decodes large JPEGs at a reduced scale, ``full`` at their own.
        device: ``auto`` takes a CUDA device where ONNX Runtime finds one, else the processor.
        quantised: with ``int8``, the digest of the graph to take instead of the one made last.

    Raises:
        OptionError: if an argument has a value that does not exist, or the model cannot look at photos that way.
        WeightsMissingError: if the weights are not on this machine.
        CheckpointError: if they are damaged, hostile or of another architecture.
        CardError: if the card beside an ``.onnx`` file is missing, wrong or another graph's.
    """
    _check_choices(precision, decode, device)
    if name == VLAD:
        _check_vlad(look or Look(), weights, precision, device)
        return _vlad(dataclasses.replace(find_card(VLAD), decode=decode), None)
    card, path = card_and_weights(str(name), weights)
    seen = card_with_look(card, look or Look())
    if precision == "int8" and (seen.input, seen.pooling) != (card.input, card.pooling):
        message = (
            f"int8 must be used with the model's own input and pooling, {card.sight}, got {seen.sight}; "
            f"leave out size, fit and pooling, or use another precision"
        )
        raise OptionError(message)
    return _loaded(dataclasses.replace(seen, precision=precision, decode=decode), path, device, quantised)


def _check_choices(precision: str, decode: str, device: str) -> None:
    for option, value, allowed in (
        ("precision", precision, get_args(Precision)),
        ("decode", decode, get_args(Decode)),
        ("device", device, get_args(Device)),
    ):
        if value not in allowed:
            message = f"{option} must be one of {', '.join(allowed)}, got {value!r}"
            raise OptionError(message)


def _loaded(card: ModelCard, path: Path, device: str, quantised: str) -> Embedder:
    """The model of a card, which says how it looks at photos, and of the weights at ``path``."""
    from placewise.models.engine import GraphEmbedder, make_runtime

    card, graph = float_graph(card, path)
    if card.precision == "int8":
        card, graph = _quantised(card, quantised)
    cache = _made(cache_folder())
    try:
        runtime = make_runtime(card, graph, precision=card.precision, device=device, compile_cache=cache)
    except ModelError:
        if card.precision == "int8" or not isinstance(graph, Path):
            raise
        graph.unlink(missing_ok=True)  # what was kept may be damaged: once more from the weights
        card, graph = float_graph(card, path)
        runtime = make_runtime(card, graph, precision=card.precision, device=device, compile_cache=cache)
    return GraphEmbedder(card, runtime, decode=card.decode)


def load_model_of(
    card: ModelCard,
    *,
    name: str = "",
    weights: Path | str | None = None,
    device: Device = "auto",
    vocabulary: bytes | None = None,
) -> Embedder:
    """Make the model ready that a gallery was made with; it looks at photos as it did then.

    Args:
        card: the gallery's.
        name: another name or path of the model, where it has moved.
        weights: another path of the weights, where they have moved.
        device: as for `load_model`.
        vocabulary: what the model learned from the gallery's photos, as the gallery keeps it; None for other models.

    Raises:
        ModelError: if the model, or its vocabulary, is not there or damaged.
    """
    if card.architecture == VLAD and name in {"", VLAD}:
        _check_vlad(Look(), weights, card.precision, device)
        _check_choices(card.precision, card.decode, device)
        own = dataclasses.replace(find_card(VLAD), decode=card.decode)  # the gallery's may be anybody's
        return _vlad(own, _checked_vocabulary(card, vocabulary))
    published = MODELS.get(card.name)
    if not name and not weights and published and card.source != published.source:
        weights = card.source  # a file that the user named
    _check_choices(card.precision, card.decode, device)
    own, path = card_and_weights(name or (card.name if published else card.source), weights)
    own = dataclasses.replace(card_seen_like(own, card), precision=card.precision, decode=card.decode)
    return _loaded(own, path, device, card.quantised)


def _vlad(card: ModelCard, vocabulary: bytes | None) -> Embedder:
    from placewise.models.vlad import VladEmbedder

    return VladEmbedder(card, vocabulary)


def _check_vlad(look: Look, weights: Path | str | None, precision: str, device: str) -> None:
    """Refuse what makes no difference to the model that is learned from photos."""
    given = {"look": look != Look(), "weights": weights, "precision": precision != "auto", "device": device == "cuda"}
    names = " and ".join(name for name, value in given.items() if value)
    if names:
        message = f"{names} must be left out for {VLAD}, which is learned from the gallery's photos; leave it out"
        raise OptionError(message)


def _checked_vocabulary(card: ModelCard, vocabulary: bytes | None) -> bytes:
    """The bytes that the card tells the digest of."""
    digest = hashlib.sha256(vocabulary or b"").hexdigest()
    if vocabulary is None or digest != card.weights_sha256:
        got = "none" if vocabulary is None else f"one with the SHA-256 {digest[:8]}…"
        message = (
            f"{VLAD} must have the vocabulary that its gallery was made with, {str(card.weights_sha256)[:8]}…, "
            f"got {got}; restore a copy of the gallery or make it anew"
        )
        raise ModelError(message)
    return vocabulary


def _quantised(card: ModelCard, digest: str) -> tuple[ModelCard, Path]:
    """The card and the graph of a model's 8-bit variant: the one of that digest, or the latest."""
    from placewise.models.int8 import find_int8_graph

    found = find_int8_graph(card, digest)
    if found is None:
        which = f"8-bit graph {digest[:8]}" if digest else "8-bit graph"
        message = (
            f"the {which} of {card.name} must be on this machine, got none in {models_folder()}; copy the folder int8 "
            f"of the machine that made it, or type 'placewise models quantise' and index anew"
        )
        raise WeightsMissingError(message)
    graph, digest = found
    return dataclasses.replace(card, quantised=digest), graph


def _is_file_name(name: str) -> bool:
    return name.lower().endswith(".onnx") and "://" not in name


def card_and_weights(name: str, weights: Path | str | None) -> tuple[ModelCard, Path]:
    """The card of a model and the file that its weights are read from."""
    if _is_file_name(name):
        if weights is not None:
            message = f"weights must be left out where the model is a file, got {weights} for {name}; name one of them"
            raise OptionError(message)
        return _card_of_file(Path(name)), Path(name)
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


def _card_of_file(path: Path) -> ModelCard:
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
    folder = _made(cache_folder() / "graphs")
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


def _made(folder: Path) -> Path | None:
    """The folder, made where it is missing; None where that cannot be, for caches are only a convenience."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        logger.warning("the cache folder cannot be written, models start slowly: %s", error)
        return None


__all__ = ["DEFAULT_MODEL", "MODELS", "Look", "find_card", "installed_weights", "load_model", "load_model_of"]
