"""The way from a name to a model that is ready to embed."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from placewise.errors import ModelError, ModelMismatchError, OptionError, WeightsMissingError
from placewise.folders import cache_folder, models_folder
from placewise.models.cards import DEFAULT_MODEL, JOINED, MODELS, VLAD, find_card, installed_weights, part_names
from placewise.models.looks import Look, card_seen_like, card_with_look, seen_with
from placewise.models.weights import card_and_weights, card_of_file, float_graph, is_file_name, made

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placewise.core import Embedder, ModelCard

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
        name: a name of `MODELS`, or the path of an ``.onnx`` file with a card (``.toml``) beside it, or two of these
            joined by ``+``. ``vlad`` and whatever is joined must be fitted before they embed; see
            `placewise.fit_model`.
        look: how photos are looked at, where that is not as the model's card says; of two models by those that can.
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
    names = part_names(str(name))
    if len(names) > 1:
        _check_fused(names, look or Look(), weights, quantised)
        return _fused([_part(part, look or Look(), precision, decode, device) for part in names], None)
    if name == VLAD:
        _check_vlad(look or Look(), weights, precision, device)
        return _vlad(dataclasses.replace(find_card(VLAD), decode=decode), None)
    card, path = card_and_weights(str(name), weights)
    seen = card_with_look(card, look or Look())
    _check_int8(card, seen, precision)
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


def _check_int8(card: ModelCard, seen: ModelCard, precision: str) -> None:
    """Refuse another look for an 8-bit variant, whose graph is fixed."""
    if precision == "int8" and (seen.input, seen.pooling) != (card.input, card.pooling):
        message = (
            f"int8 must be used with the model's own input and pooling, {card.sight}, got {seen.sight}; "
            f"leave out size, fit and pooling, or use another precision"
        )
        raise OptionError(message)


def _loaded(card: ModelCard, path: Path, device: str, quantised: str) -> Embedder:
    """The model of a card, which says how it looks at photos, and of the weights at ``path``."""
    from placewise.models.engine import GraphEmbedder, make_runtime

    card, graph = float_graph(card, path)
    if card.precision == "int8":
        card, graph = _quantised(card, quantised)
    cache = made(cache_folder())
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
    look: Look | None = None,
    weights: Path | str | None = None,
    device: Device = "auto",
    vocabulary: bytes | None = None,
) -> Embedder:
    """Make the model ready that a gallery was made with; it looks at photos as it did then.

    Args:
        card: the gallery's.
        name: another name or path of the model, where it has moved.
        look: another look, for whoever compares it with the gallery's.
        weights: another path of the weights, where they have moved.
        device: as for `load_model`.
        vocabulary: what the model learned from the gallery's photos, as the gallery keeps it; None for other models.

    Raises:
        ModelMismatchError: if the name is another model's.
        ModelError: if the model, or its vocabulary, is not there or damaged.
        OptionError: if the model cannot look at photos that way.
    """
    names, look = part_names(name), look or Look()
    if name:
        _check_named(card, names)
    _check_choices(card.precision, card.decode, device)
    if card.parts:
        _check_fused([part.name for part in card.parts], look, weights, "")
        card = card if look == Look() else seen_with(card, look)
        return _fused_of(card, names if name else [""] * len(card.parts), device, vocabulary)
    if card.architecture == VLAD:
        _check_vlad(look, weights, card.precision, device)
        own = dataclasses.replace(find_card(VLAD), decode=card.decode)  # the gallery's may be anybody's
        return _vlad(own, check_vocabulary(card, vocabulary))
    own, path = card_and_weights(name, weights) if name else _card_and_weights_of(card, weights)
    seen = card_seen_like(own, card) if look == Look() else card_with_look(own, look)
    _check_int8(own, seen, card.precision)
    seen = dataclasses.replace(seen, precision=card.precision, decode=card.decode)
    return _loaded(seen, path, device, card.quantised)


def _check_named(card: ModelCard, names: Sequence[str]) -> None:
    """Refuse names that cannot be those of a gallery's model, before weights are asked for that would not help."""
    named = [card_of_file(Path(name)) if is_file_name(name) else find_card(name) for name in names]
    kinds = [sorted((one.architecture, one.dim) for one in cards) for cards in (named, card.parts or (card,))]
    if kinds[0] != kinds[1]:
        message = (
            f"a gallery must be used with the model it was made with, {card.name}, got {JOINED.join(names)}; "
            f"leave the model out to go on with the gallery's own"
        )
        raise ModelMismatchError(message)


def _card_and_weights_of(card: ModelCard, weights: Path | str | None) -> tuple[ModelCard, Path]:
    """What a gallery's card says of itself and of where the file of its weights is."""
    published = MODELS.get(card.name)
    if published is None and not is_file_name(card.source):
        message = (
            f"the model of a gallery must be one that 'placewise models' lists or an .onnx file, got {card.name}; "
            f"use the gallery in Python with the embedder that made it"
        )
        raise WeightsMissingError(message)
    if published and not weights and card.source != published.source:  # a file that the user named
        weights = card.source
        if not Path(weights).is_file():
            message = (
                f"the weights of {card.name} must be where they were, got no such file: {weights}; "
                f"put them back or name them with --weights"
            )
            raise WeightsMissingError(message)
    return card_and_weights(card.name if published else card.source, weights)


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


def _part(name: str, look: Look, precision: Precision, decode: Decode, device: Device) -> Embedder:
    """One of two models, with those of the options that it can have."""
    look = look if can_look(name, look) else Look()
    if name == VLAD:
        return load_model(name, look=look, decode=decode)
    return load_model(name, look=look, precision=precision, decode=decode, device=device)


def _fused(parts: Sequence[Embedder], vocabulary: bytes | None) -> Embedder:
    from placewise.models.fused import FusedEmbedder

    return FusedEmbedder(parts, vocabulary)


def _fused_of(card: ModelCard, names: Sequence[str], device: Device, vocabulary: bytes | None) -> Embedder:
    """The model of a gallery that two were fused for, each as it was then."""
    from placewise.models.fused import Fusion

    learned = Fusion.from_bytes(check_vocabulary(card, vocabulary)).vocabularies
    names = _ordered(names, card.parts)
    if len(card.parts) != len(learned):
        message = f"a fused model must have {len(learned)} parts, got {len(card.parts)}; restore a copy of the gallery"
        raise ModelError(message)
    parts = [
        load_model_of(part, name=name, device="auto" if part.architecture == VLAD else device, vocabulary=own)
        for part, name, own in zip(card.parts, names, learned, strict=True)
    ]
    return _fused(parts, vocabulary)


def _ordered(names: Sequence[str], parts: Sequence[ModelCard]) -> Sequence[str]:
    """The names of a gallery's two models in the gallery's order; as they are where they are of other models."""
    called = [card_of_file(Path(name)).name if is_file_name(name) else name for name in names]
    order = [part.name for part in parts]
    if set(called) != set(order):
        return names
    return sorted(names, key=lambda name: order.index(called[names.index(name)]))


def _check_fused(names: Sequence[str], look: Look, weights: Path | str | None, quantised: str) -> None:
    """Refuse what cannot be meant for two models."""
    joined = " and ".join(names)
    if weights is not None or quantised:
        message = f"weights must be left out where two models are fused, got some for {joined}; leave them out"
        raise OptionError(message)
    if look != Look() and not any(can_look(name, look) for name in names):
        message = f"a look must be one that {' or '.join(names)} can have, got one that neither can; leave it out"
        raise OptionError(message)


def can_look(name: str, look: Look) -> bool:
    """Whether a model, given by its name or file, can look at photos this way; one that does not exist cannot.

    Raises:
        WeightsMissingError: if there is no such file.
        CardError: if the card beside it is missing, wrong or another graph's.
    """
    try:
        card = card_of_file(Path(name)) if is_file_name(name) else find_card(name)
        card_with_look(card, look)
    except OptionError:
        return False
    return card.architecture != VLAD or look == Look()


def check_vocabulary(card: ModelCard, vocabulary: bytes | None) -> bytes:
    """What a gallery's model has learned, which must be the bytes that its card tells the digest of.

    Raises:
        ModelError: if they are not.
    """
    digest = hashlib.sha256(vocabulary or b"").hexdigest()
    if vocabulary is None or digest != card.weights_sha256:
        got = "none" if vocabulary is None else f"one with the SHA-256 {digest[:8]}…"
        message = (
            f"{card.name} must have the vocabulary that its gallery was made with, {str(card.weights_sha256)[:8]}…, "
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


__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "Look",
    "can_look",
    "card_and_weights",
    "check_vocabulary",
    "find_card",
    "float_graph",
    "installed_weights",
    "load_model",
    "load_model_of",
    "part_names",
]
