"""What is done to embeddings before they are compared, as data: steps with their parameters.

A stack says nothing of a gallery; `placewise.rank.learned` learns from one what the steps need. It is kept in the
gallery as JSON, and whatever is read is checked: unknown steps or values are refused, never passed over.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from placewise.errors import OptionError

MOST_VERIFIED = 100
"""Hits that `Verify` may verify."""

VERSION = 1
"""Of what the steps compute: another number for other similarities from the same parameters."""


@dataclass(frozen=True, slots=True)
class Centre:
    """Take the mean of the gallery away: what all of its photos have in common tells no place from another.

    Attributes:
        share: how much of the mean, above 0 to 1.
    """

    share: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        _check("centre share", self.share, 0, 1, above=True)


@dataclass(frozen=True, slots=True)
class Whiten:
    """Make directions in which the gallery varies much weigh less (PCA whitening: Jégou and Chum, ECCV 2012).

    Attributes:
        dims: the directions that are kept, those of the largest variance; None for all.
        shrinkage: how far the variances are moved towards their mean, 0 to 1: at 1 only the dimension is reduced.
    """

    dims: int | None = None
    shrinkage: float = 0.5

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _check("whiten shrinkage", self.shrinkage, 0, 1)
        _check_count("whiten dims", self.dims, 2, 65_536, optional=True)


@dataclass(frozen=True, slots=True)
class Augment:
    """Replace each gallery photo by the mean of its neighbours, weighted by a power of the similarity.

    Database-side augmentation: R. Arandjelović and A. Zisserman, CVPR 2012. With ``mutual`` only photos that are among
    each other's neighbours count, and with several ``rounds`` what is known of a photo spreads along their graph: a
    diffusion that is done when the gallery is opened, and costs a query nothing (F. Yang et al., AAAI 2019).

    Attributes:
        neighbours: how many, the photo itself among them.
        power: of the similarity.
        mutual: whether both must be a neighbour of the other.
        rounds: how often.
    """

    neighbours: int = 10
    power: float = 3.0
    mutual: bool = False
    rounds: int = 1

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _check_count("augment neighbours", self.neighbours, 2, 100)
        _check("augment power", self.power, 0, 20)
        _check_count("augment rounds", self.rounds, 1, 5)
        if not isinstance(self.mutual, bool):
            message = f"augment mutual must be true or false, got {repr(self.mutual)[:_SHOWN]}"
            raise OptionError(message)


@dataclass(frozen=True, slots=True)
class Place:
    """Move each gallery photo towards the mean of its place, so that the photos of a place vote together.

    Attributes:
        share: how far, above 0 to 1.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        _check("place share", self.share, 0, 1, above=True)


@dataclass(frozen=True, slots=True)
class Expand:
    """Ask again with the mean of the query and its best hits (query expansion: Chum et al., ICCV 2007).

    Attributes:
        hits: how many.
        power: of the similarity, which weighs them (alpha query expansion: Radenović et al., 2018); 0 is the plain
            average.
    """

    hits: int = 3
    power: float = 3.0

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _check_count("expand hits", self.hits, 1, 100)
        _check("expand power", self.power, 0, 20)


@dataclass(frozen=True, slots=True)
class Verify:
    """Verify the geometry of the best hits: those that it accepts come first, the most significant before the others.

    Attributes:
        hits: how many.
    """

    hits: int = 10

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _check_count("verify hits", self.hits, 1, MOST_VERIFIED)


@dataclass(frozen=True, slots=True)
class Island:
    """Order the hits that geometry accepts by geometry and by the similarities of a frame and those beside it together.

    For galleries whose photos are frames of sequences, and have no places that could vote; see `rank.islands`.

    Attributes:
        share: what the frames before and after a hit weigh against its own similarity, 0 to 1.
    """

    share: float = 0.6

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        _check("island share", self.share, 0, 1)


_SHOWN = 80
"""Characters of a damaged text that a message shows."""

Step = Centre | Whiten | Augment | Place | Expand | Verify | Island

AStep = TypeVar("AStep", Centre, Whiten, Augment, Place, Expand, Verify, Island)

STEPS: Mapping[str, type[Step]] = MappingProxyType(
    {
        "centre": Centre,
        "whiten": Whiten,
        "augment": Augment,
        "place": Place,
        "expand": Expand,
        "verify": Verify,
        "island": Island,
    }
)
"""Every step by its name, in the order in which they are taken."""

_NAMES = {kind: name for name, kind in STEPS.items()}


@dataclass(frozen=True, slots=True)
class Stack:
    """Steps, each at most once, in the order of `STEPS`.

    >>> Stack((Centre(0.5), Place())).names
    ('centre', 'place')
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        """Refuse another order."""
        order = [list(STEPS).index(name) for name in self.names]
        if order != sorted(set(order)):
            message = f"steps must come once each and in the order {', '.join(STEPS)}, got {', '.join(self.names)}"
            raise OptionError(message)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its steps."""
        return tuple(_NAMES[type(step)] for step in self.steps)

    def step(self, kind: type[AStep]) -> AStep | None:
        """The step of a kind, or None."""
        return next((step for step in self.steps if isinstance(step, kind)), None)

    def without(self, name: str) -> Stack:
        """The same but for one step."""
        return Stack(tuple(step for step in self.steps if _NAMES[type(step)] != name))

    def upto(self, count: int) -> Stack:
        """Its first steps."""
        return Stack(self.steps[:count])

    def __str__(self) -> str:
        if not self.steps:
            return "nothing"
        return ", ".join(f"{_NAMES[type(step)]} {_values(step)}" for step in self.steps)

    def to_json(self) -> str:
        """The text that `stack_from_json` reads."""
        steps = [{"step": _NAMES[type(step)], **dataclasses.asdict(step)} for step in self.steps]
        return json.dumps({"version": VERSION, "steps": steps})


NO_STACK = Stack()
"""Plain cosine similarity."""


def stack_from_json(text: str) -> Stack:
    """The stack that `Stack.to_json` made a text of.

    Raises:
        OptionError: if it is none, or of another version.
    """
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            message = f"a stack must be of version {VERSION}, got {repr(document['version'])[:_SHOWN]}"
            raise OptionError(message)
        steps = []
        for fields in document["steps"]:
            kind = STEPS[fields.pop("step")]
            steps.append(kind(**fields))
        return Stack(tuple(steps))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, OptionError):
            raise
        message = f"a stack must be steps with their parameters, got {repr(error)[:_SHOWN]}"
        raise OptionError(message) from error


def _values(step: Step) -> str:
    """The parameters that say something, in a few words."""
    values = dataclasses.asdict(step)
    return " ".join(f"{value:g}" for value in values.values() if value is not None and not isinstance(value, bool))


def _check(name: str, value: object, low: float, high: float, *, above: bool = False) -> None:
    sound = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not sound or (above and value == low):
        message = f"{name} must be {'above' if above else 'from'} {low} to {high}, got {repr(value)[:_SHOWN]}"
        raise OptionError(message)


def _check_count(name: str, value: object, low: int, high: int, *, optional: bool = False) -> None:
    if optional and value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        message = f"{name} must be a whole number from {low} to {high}, got {repr(value)[:_SHOWN]}"
        raise OptionError(message)
