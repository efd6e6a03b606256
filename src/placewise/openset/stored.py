"""A calibration as text, and back: what is damaged or edited must not decide anything."""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from typing import TYPE_CHECKING, Any, get_args

from placewise.errors import CalibrationError
from placewise.openset.calibration import Calibration, Choice, Confusion
from placewise.openset.confidence import Confidence
from placewise.openset.evidence import EVIDENCE
from placewise.openset.places import Unit
from placewise.openset.rule import Method

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST_ID = 2**63 - 1


def calibration_to_json(calibration: Calibration) -> str:
    """The text that `calibration_from_json` reads."""
    return json.dumps(dataclasses.asdict(calibration), ensure_ascii=False)


def calibration_from_json(text: str) -> Calibration:
    """The calibration that `calibration_to_json` made a text of.

    Raises:
        CalibrationError: if it is none, or a value cannot be.
    """
    try:
        fields = {"method": "auto", "ranking": None, **json.loads(text)}  # what the first versions did not say
        wanted = {field.name for field in dataclasses.fields(Calibration)}
        if fields.keys() != wanted:
            raise ValueError(fields.keys() ^ wanted)
        return Calibration(**{name: _READERS[name](value) for name, value in fields.items()})
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        message = f"a calibration must be readable, got {error!r}; run 'placewise calibrate' again"
        raise CalibrationError(message) from error


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _count(value: Any) -> int:
    number = operator.index(value)
    if not 0 <= number <= _LARGEST_ID:
        raise ValueError(number)
    return number


def _unit(value: object) -> str:
    if value not in get_args(Unit):
        raise ValueError(value)
    return str(value)


def _method(value: object) -> str:
    if value not in get_args(Method):
        raise ValueError(value)
    return str(value)


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _each(read: Callable[[Any], Any], count: int | None = None) -> Callable[[Any], tuple[Any, ...]]:
    def reader(value: list[Any]) -> tuple[Any, ...]:
        if not isinstance(value, list) or count not in {None, len(value)}:
            raise ValueError(value)
        return tuple(read(item) for item in value)

    return reader


def _confidence(value: dict[str, Any]) -> Confidence:
    width = len(value["weights"])
    if width not in {len(EVIDENCE) - 1, len(EVIDENCE)}:  # without geometry, or with it
        raise ValueError(value)
    weights, centre, scale = (_each(_number, width)(value[name]) for name in ("weights", "centre", "scale"))
    if min(weights) < 0 or min(scale) <= 0:  # the confidence would fall where it must rise
        raise ValueError(value)
    return Confidence(weights, _number(value["bias"]), centre, scale)


def _choice(value: dict[str, Any]) -> Choice:
    known = _optional(_number)(value["known_accepted"])
    return Choice(_number(value["false_accept_rate"]), _number(value["tau"]), _number(value["expected_rate"]), known)


def _confusion(value: dict[str, Any]) -> Confusion:
    one, other = _each(_text, 2)(value["places"])
    return Confusion((one, other), _count(value["photos"]))


_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("false_accept_rate", "tau", "expected_rate", "effective_size", "intraclass"), _number),
    **dict.fromkeys(
        ("known_accepted", "known_wrong", "rate_at_95", "oscr", "oscr_similarity", "won"), _optional(_number)
    ),
    **dict.fromkeys(("new_places", "places", "known_questions", "open_set_questions"), _count),
    **dict.fromkeys(("basis", "revision", "made"), _text),
    "confidence": _optional(_confidence),
    "learned": _flag,
    "interval": _each(_number, 2),
    "unit": _unit,
    "method": _method,
    "ranking": _optional(_text),
    "choices": _each(_choice),
    "confusions": _each(_confusion),
    "cohort": _each(_count),
}
"""What reads each field of a calibration."""
