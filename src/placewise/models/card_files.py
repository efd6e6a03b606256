"""The card that a user writes beside an ONNX file: ``path.toml`` beside ``path.onnx``.

::

    name = "my-encoder"
    dim = 384
    licence = "Apache-2.0"
    source = "https://…"           # optional: where the file came from
    pooling = "class-token"        # none, class-token, mean-token or average
    output = "last_hidden_state"   # optional: the first output

    [input]
    name = "pixel_values"          # optional where the output depends on one input
    resize = 256                   # the shorter side, in pixels
    crop = 224                     # optional: the whole image
    interpolation = "bicubic"      # or bilinear
    rounding = "down"              # optional, or nearest: the longer side
    mean = [123.675, 116.28, 103.53]   # of red, green and blue on the 0..255 scale
    std = [58.395, 57.12, 57.375]

The law of this module: whatever a file holds, reading it ends in a card or in a `CardError` that names the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from placewise.core import InputRule, ModelCard
from placewise.errors import CardError
from placewise.models.cards import FOREIGN, MODELS

Pooling = Literal["none", "class-token", "mean-token", "average"]
POOLINGS: tuple[str, ...] = get_args(Pooling)

_SIDE_LIMIT = 4096
_DIM_LIMIT = 1 << 16
_LEVEL_LIMIT = 1000
_SIZE_LIMIT = 1 << 16
"""Bytes of a card: more is no card."""


def read_card_file(graph: Path) -> ModelCard:
    """The card of an ONNX file, from the ``.toml`` beside it. ``source`` is the absolute path of the ONNX file.

    Raises:
        CardError: if the card is missing, damaged, incomplete or holds what it must not.
    """
    path = graph.with_suffix(".toml")
    keys = _Keys(_parsed(path), path)
    rule = keys.table("input")
    name, graph_input = keys.text("name"), rule.text("name", default="")
    if name in MODELS:
        keys.refuse("name", "a name of its own", f"{name!r}, which is a model of Placewise")
    card = ModelCard(
        name=name,
        architecture=FOREIGN,
        dim=keys.count("dim", _DIM_LIMIT),
        input=_input_rule(rule),
        pooling=keys.choice("pooling", POOLINGS),
        weights_file=graph.name,
        source=str(graph.parent.resolve() / graph.name),  # a link keeps its name, which ends in .onnx
        licence=_licence(keys),
        size_bytes=graph.stat().st_size if graph.is_file() else None,
        graph_input=graph_input,
        graph_output=keys.text("output", default=""),
    )
    keys.check_none_left()
    rule.check_none_left()
    return card


def _licence(keys: _Keys) -> str:
    """The licence, with the place that the file came from, as ``source`` must lead to the file here."""
    licence, source = keys.text("licence"), keys.text("source", default="")
    return f"{licence} (from {source})" if source else licence


def _input_rule(keys: _Keys) -> InputRule:
    resize = keys.count("resize", _SIDE_LIMIT)
    crop = keys.count("crop", _SIDE_LIMIT) if "crop" in keys else None
    if crop is not None and crop > resize:
        keys.refuse("crop", f"at most resize, {resize}", str(crop))
    mean, std = keys.colour("mean"), keys.colour("std")
    # Cards of other programs state them on the 0..1 scale; taken as they are, they would quietly spoil every embedding.
    if min(std) < 1:
        keys.refuse("std", "1 or more, on the 0..255 scale", f"{list(std)}; multiply mean and std by 255")
    if any(mean) and max(abs(value) for value in mean) < 1:
        keys.refuse("mean", "on the 0..255 scale", f"{list(mean)}; multiply mean and std by 255")
    return InputRule(
        resize,
        crop,
        keys.choice("interpolation", ("bilinear", "bicubic")),  # type: ignore[arg-type]  # one of these two
        mean=mean,
        std=std,
        rounding=keys.choice("rounding", ("down", "nearest"), default="down"),  # type: ignore[arg-type]  # likewise
    )


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_LIMIT + 1)
        if len(data) > _SIZE_LIMIT:
            message = f"card {path} must have at most {_SIZE_LIMIT} bytes, got more; keep to the keys of a card"
            raise CardError(message)
        return tomllib.loads(data.decode())
    except FileNotFoundError as error:
        message = f"an .onnx file must have a card beside it, got no {path}; write one as the README shows"
        raise CardError(message) from error
    except (OSError, ValueError, RecursionError) as error:  # TOML's and UTF-8's errors are ValueErrors
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        message = f"card {path} must be readable TOML, got {reason}; correct it"
        raise CardError(message) from error


class _Keys:
    """One table of a card: each key is taken once, checked, and missed or left over by name."""

    def __init__(self, table: Mapping[str, Any], path: Path, prefix: str = "") -> None:
        self._table = table
        self._left = dict.fromkeys(table)  # in order, unlike a set
        self._path = path
        self._prefix = prefix

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str) or (not value.strip() and default is None) or not value.isprintable():
            self.refuse(key, "a line of text", _described(value))
        return value

    def count(self, key: str, limit: int) -> int:
        value = self._take(key)
        if type(value) is not int or not 1 <= value <= limit:  # a bool is an int too
            self.refuse(key, f"a whole number from 1 to {limit}", _described(value))
        return value

    def choice(self, key: str, allowed: tuple[str, ...], *, default: str | None = None) -> str:
        value = self._take(key, default)
        if value not in allowed:
            self.refuse(key, f"one of {', '.join(allowed)}", _described(value))
        return str(value)

    def colour(self, key: str) -> tuple[float, float, float]:
        value = self._take(key)
        if not isinstance(value, list) or len(value) != 3 or not all(_is_level(number) for number in value):
            self.refuse(key, "three numbers on the 0..255 scale, for red, green and blue", _described(value))
        red, green, blue = (float(number) for number in value)
        return red, green, blue

    def table(self, key: str) -> _Keys:
        value = self._take(key)
        if not isinstance(value, dict):
            self.refuse(key, "a table", _described(value))
        return _Keys(value, self._path, f"{key}.")

    def check_none_left(self) -> None:
        if self._left:
            names = ", ".join(f"{self._prefix}{key}" for key in self._left)
            message = f"card {self._path} must have the keys of a card only, got {_short(names)}; correct or delete it"
            raise CardError(message)

    def refuse(self, key: str, must: str, got: str) -> NoReturn:
        message = f"{self._prefix}{key} of card {self._path} must be {must}, got {_short(got)}"
        raise CardError(message)

    def _take(self, key: str, default: str | None = None) -> Any:
        self._left.pop(key, None)
        if key not in self._table and default is None:
            message = f"card {self._path} must have the key {self._prefix}{key}, got none; write it as the README shows"
            raise CardError(message)
        return self._table.get(key, default)


def _is_level(number: Any) -> bool:
    return type(number) in {int, float} and abs(number) <= _LEVEL_LIMIT  # NaN is not


def _described(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list of thousands of levels
        return f"an unusable {type(value).__name__}"


def _short(text: str) -> str:
    """Text from a file, made fit for a one-line message."""
    escaped = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return escaped if len(escaped) <= 120 else f"{escaped[:120]}…"
