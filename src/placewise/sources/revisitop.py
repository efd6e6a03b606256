"""Revisited Oxford and Paris: ``gnd_*.pkl`` beside the folder ``jpg``.

The pickle is read by `placewise.pickled`, so that nothing in it is executed, with inert stand-ins for NumPy's arrays.
Bounding boxes of queries are not used: a query is the whole photo.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from placewise.core import Grades, Photo, Source
from placewise.errors import SourceError
from placewise.pickled import Constructor, Machine, PickleError
from placewise.sources.files import path_of

_LIMIT = 8 << 20
"""Bytes of a file; the published ones have 2 MB at most. A hostile byte can cost about 80 bytes of memory."""
_MOST_PHOTOS, _MOST_NUMBERS, _LONGEST_NAME = 100_000, 2_000_000, 200
_FOLDER = "jpg"
_GRADES = ("easy", "hard", "junk")


def recognises(path: Path) -> bool:
    """The file, or a folder that holds just one."""
    return _file(path) is not None


def _file(path: Path) -> Path | None:
    if path.is_file() and path.suffix == ".pkl":
        return path
    found = sorted(path.glob("gnd_*.pkl")) if path.is_dir() else []
    return found[0] if len(found) == 1 else None


def read(path: Path) -> Source:
    """Read queries, gallery photos, and which of them show the same, by grade; junk is no match."""
    file = _file(path) or path
    try:
        document = _load(file)
        gallery, queries = _names(document["imlist"]), _names(document["qimlist"])
        truths = list(zip(queries, document["gnd"], strict=True))
        _check_numbers(truths)
        grades = {
            query: Grades(*(tuple(gallery[number] for number in _numbers(truth, name)) for name in _GRADES))
            for query, truth in truths
        }
        positives = {
            query: tuple(gallery[number] for number in sorted({*_numbers(truth, "easy"), *_numbers(truth, "hard")}))
            for query, truth in truths
        }
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, PickleError) as error:
        message = f"{str(file)!r} must hold imlist, qimlist and gnd, got {type(error).__name__}: {error}; get it anew"
        raise SourceError(" ".join(message.split())) from error
    photos = dict.fromkeys(gallery, "gallery") | dict.fromkeys(queries, "query")
    return Source(
        file.parent,
        tuple(Photo(name, split) for name, split in photos.items()),  # type: ignore[arg-type]  # one of the two
        positives=positives,
        grades=grades,
    )


def _given(truth: dict[str, Any], name: str) -> list[Any]:
    """What is written under a grade; the sets before they were revisited say ``ok`` for easy."""
    given = truth.get(name, truth.get("ok", []) if name == "easy" else [])
    return given.values if isinstance(given, _Array) else list(given)


def _check_numbers(truths: list[tuple[PurePosixPath, dict[str, Any]]]) -> None:
    """Refuse a small file that says the same long list many times."""
    count = 0
    for _, truth in truths:
        count += sum(len(_given(truth, name)) for name in _GRADES)
        if count > _MOST_NUMBERS:
            message = f"at most {_MOST_NUMBERS} numbers of photos are read"
            raise ValueError(message)


def _numbers(truth: dict[str, Any], name: str) -> list[int]:
    """Numbers of gallery photos, each once."""
    numbers = sorted({int(number) for number in _given(truth, name)})
    if any(number < 0 for number in numbers):
        message = f"{name} must hold numbers of photos, got a negative one"
        raise ValueError(message)
    return numbers


def _names(names: Any) -> list[PurePosixPath]:
    if not isinstance(names, list) or len(names) > _MOST_PHOTOS or any(len(name) > _LONGEST_NAME for name in names):
        message = f"a list of at most {_MOST_PHOTOS} names of at most {_LONGEST_NAME} letters is wanted"
        raise ValueError(message)
    return [path_of(f"{_FOLDER}/{name}.jpg") for name in names]


def _load(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    if len(data) > _LIMIT:
        message = f"at most {_LIMIT} bytes, got {len(data)}"
        raise ValueError(message)
    document = _Machine(data).load()
    if not isinstance(document, dict):
        message = f"a dict is wanted, got {type(document).__name__}"
        raise TypeError(message)
    return document


@dataclass(slots=True)
class _Array:
    """Stands for an array: of integers they are kept, of others, boxes for one, nothing."""

    values: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Dtype:
    """Stands for the type of an array; little-endian is taken for granted."""

    name: str


_DTYPES = frozenset({"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})


def _integers(dtype: object, data: object) -> list[int]:
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _Dtype) or dtype.name not in _DTYPES or not isinstance(raw, bytes):
        return []
    return [int(number) for number in np.frombuffer(raw, dtype=dtype.name)]


def _make_scalar(arguments: tuple[Any, ...]) -> int:
    dtype, data = arguments
    return next(iter(_integers(dtype, data)), 0)


def _make_bytes(arguments: tuple[Any, ...]) -> bytes:
    """What older protocols write bytes as."""
    text = arguments[0] if arguments else ""
    return text.encode("latin1") if isinstance(text, str) else b""


class _Machine(Machine):
    """Knows NumPy's arrays besides plain values."""

    references: ClassVar = {
        "_codecs.encode": Constructor(_make_bytes),
        "__builtin__.bytes": Constructor(_make_bytes),
        "numpy.ndarray": None,
        "numpy.dtype": Constructor(lambda arguments: _Dtype(str(arguments[0]))),
        **{
            f"numpy.{core}.multiarray.{name}": Constructor(make)
            for core in ("core", "_core")
            for name, make in (("_reconstruct", lambda _: _Array()), ("scalar", _make_scalar))
        },
    }
    instructions: ClassVar = dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), Machine.push)

    def set_state(self, value: Any, state: Any) -> None:
        """The content of an array."""
        if isinstance(value, _Array):
            *_, dtype, _, data = state
            value.values = _integers(dtype, data)
        elif not isinstance(value, _Dtype):
            raise self.refusal(got="attributes for what has none")
