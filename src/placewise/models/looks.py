"""How a model looks at photos, where that is not as its card says."""

from __future__ import annotations

import dataclasses
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from placewise.core import Views
from placewise.errors import OptionError
from placewise.models.cards import FOREIGN, LEARNED, MODELS, VLAD

if TYPE_CHECKING:
    from placewise.core import InputRule, ModelCard

Fit = Literal["crop", "whole", "both"]

STEP = 32
"""Sizes are multiples of this, so that sides are even at each of a network's five strides of 2."""

_SIZES = range(64, 1025, STEP)
_MOST_CROPS = 9
_POWERS = (1.0, 10.0)


@dataclass(frozen=True, slots=True)
class Look:
    """How photos are looked at; what is left out is as the model's card says.

    It is part of the card and so of the fingerprint: a gallery is asked as it was made.

    Attributes:
        sizes: the side of the network's input in pixels, of a whole photo the shorter one. Several sizes are views.
        fit: ``crop`` keeps the square in the centre, ``whole`` the photo, its longer side rounded to a multiple of 32;
            ``both`` sees the square as the card says it, and the whole photo at these sizes.
        pooling: ``average``, or ``gem2`` for a generalised mean of power 2, likewise for others from 1 to 10.
        flip: the photo is seen mirrored, too: twice the time.
        crops: squares seen along the longer side, each takes the time of one.
    """

    sizes: tuple[int, ...] = ()
    fit: Fit | None = None
    pooling: str | None = None
    flip: bool = False
    crops: int = 1

    def __post_init__(self) -> None:
        """Refuse what no model can do."""
        for size in self.sizes:
            if size not in _SIZES:
                message = f"input size must be a multiple of {STEP} from {_SIZES[0]} to {_SIZES[-1]}, got {size}"
                raise OptionError(message)
        if len(set(self.sizes)) < len(self.sizes):
            message = f"input sizes must differ, got {', '.join(map(str, self.sizes))}; name each once"
            raise OptionError(message)
        if self.fit not in {None, *get_args(Fit)}:
            message = f"fit must be one of {', '.join(get_args(Fit))}, got {self.fit!r}"
            raise OptionError(message)
        if self.crops not in range(1, _MOST_CROPS + 1):
            message = f"crops must be from 1 to {_MOST_CROPS}, got {self.crops}"
            raise OptionError(message)
        if self.pooling is not None:
            pooling_power(self.pooling)


def pooling_power(pooling: str) -> float:
    """The power of the generalised mean that a pooling is: 1 for the average.

    >>> pooling_power("gem2"), pooling_power("average")
    (2.0, 1.0)
    """
    number = re.fullmatch(r"gem(\d{1,2}(?:\.\d{1,3})?)", pooling)
    power = 1.0 if pooling == "average" else float(number[1]) if number else 0.0
    if not _POWERS[0] <= power <= _POWERS[1]:
        message = f"pooling must be average, or gem and a power from 1 to 10 such as gem2, got {pooling!r}"
        raise OptionError(message)
    return power


def card_with_look(card: ModelCard, look: Look) -> ModelCard:
    """The card of a model that looks at photos this way.

    Raises:
        OptionError: if the model cannot.
    """
    _check_model(card, look)
    rule = _rule(card.input, look)
    both = look.fit == "both"
    sizes = tuple(sorted(look.sizes, reverse=True)[0 if both else 1 :])
    if both:
        sizes = sizes or (card.input.crop or card.input.resize,)
    elif sizes and rule.crop is not None:
        message = (
            f"several input sizes must see the whole photo, got {len(look.sizes)} with a crop; use --fit whole or both"
        )
        raise OptionError(message)
    if look.crops > 1 and rule.crop is None:
        message = f"crops must be 1 where only the whole photo is seen, got {look.crops}; use --fit crop or both"
        raise OptionError(message)
    power = pooling_power(look.pooling) if look.pooling else None
    pooling = card.pooling if power is None else "average" if power == 1 else f"gem{power:g}"
    return dataclasses.replace(card, input=rule, pooling=pooling, views=Views(look.flip, look.crops, sizes))


def card_seen_like(card: ModelCard, other: ModelCard) -> ModelCard:
    """The card with the look of another one, which may come from anybody's gallery; as it is where it cannot have it.

    Whoever holds the other card compares fingerprints, and so finds that the look was not taken over.
    """
    try:
        return card_with_look(card, _look_like(card, other))
    except (OptionError, TypeError):  # text where numbers belong
        return card


def seen_with(card: ModelCard, look: Look) -> ModelCard:
    """A gallery's card if its model had another look, as far as it can have that; of two models, each."""
    if card.parts:
        parts = tuple(seen_with(part, look) for part in card.parts)
        return dataclasses.replace(card, input=parts[0].input, parts=parts)
    own = _published(card)
    if card.precision == "int8":
        look = Look(flip=look.flip, crops=look.crops)
    if card.architecture != VLAD:
        with suppress(OptionError):
            own = card_with_look(own, look)
    return dataclasses.replace(card, input=own.input, pooling=own.pooling, views=own.views)


def _published(card: ModelCard) -> ModelCard:
    """The card of the table that a gallery's card was made from; of a file of the user's, its own without views."""
    own = MODELS.get(card.name)
    return own if own and own.architecture == card.architecture else dataclasses.replace(card, views=Views())


def differs_in_look(card: ModelCard, other: ModelCard) -> bool:
    """Whether two cards are of one model that sees photos in different ways; what it learned does not count."""
    return card.sight != other.sight and _what_sees(card) == _what_sees(other)


def _what_sees(card: ModelCard) -> tuple[object, ...]:
    weights = "" if card.architecture in LEARNED else card.weights_sha256
    graph = (card.graph_input, card.graph_output, card.quantised)
    return (card.architecture, card.dim, weights, *graph, *map(_what_sees, card.parts))


def _look_like(card: ModelCard, other: ModelCard) -> Look:
    """The look by which a card's model sees as another card says.

    Raises:
        OptionError: if no model can.
        TypeError: likewise, of a card that anybody wrote.
    """
    views, rule = other.views, other.input
    if card.architecture == FOREIGN:
        return Look(flip=views.flip, crops=views.crops)
    beside = views.sizes if rule.crop is None else ()
    return Look(
        sizes=views.sizes if rule.crop and views.sizes else (rule.crop or rule.resize, *beside),
        fit="whole" if rule.crop is None else "both" if views.sizes else "crop",
        pooling=other.pooling if card.pooling == "average" else None,
        flip=views.flip,
        crops=views.crops,
    )


def _check_model(card: ModelCard, look: Look) -> None:
    given = {"input size": look.sizes, "fit": look.fit, "pooling": look.pooling}
    names = " and ".join(name for name, value in given.items() if value)
    if card.architecture == FOREIGN and names:
        message = f"{names} must be left out for {card.name}, its graph is fixed; use flip or crops"
        raise OptionError(message)
    if look.fit == "both" and card.input.crop is None:
        message = f"fit must be crop or whole for {card.name}, whose card crops nothing, got both"
        raise OptionError(message)
    if look.pooling and card.pooling != "average":
        message = f"pooling must be left out for {card.name}, which has learnt its own, got {look.pooling}"
        raise OptionError(message)


def _rule(rule: InputRule, look: Look) -> InputRule:
    """The input rule with another size and fit; a crop leaves the margin that the rule leaves."""
    own = "whole" if rule.crop is None else "crop"
    side = rule.crop or rule.resize
    size = max(look.sizes, default=side)
    if look.fit == "both":
        return dataclasses.replace(rule, multiple=STEP)
    if look.fit in {None, own}:
        crop = None if rule.crop is None else size
        return dataclasses.replace(rule, resize=round(rule.resize * size / side), crop=crop)
    if look.fit == "whole":
        return dataclasses.replace(rule, resize=size, crop=None, multiple=STEP)
    return dataclasses.replace(rule, resize=size, crop=size)
