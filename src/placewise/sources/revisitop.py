"""Revisited Oxford and Paris: ``gnd_*.pkl`` beside the folder ``jpg``.

The pickle is read with an unpickler that finds no function but inert stand-ins of ours, so nothing in it is executed.
Bounding boxes of queries are not used: a query is the whole photo.
"""

from __future__ import annotations

import io
import pickle  # only with `_Unpickler`
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from placewise.core import Grades, Photo, Source
from placewise.errors import SourceError
from placewise.sources.files import path_of

_LIMIT = 64 << 20
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
        gallery = [path_of(f"{_FOLDER}/{name}.jpg") for name in document["imlist"]]
        queries = [path_of(f"{_FOLDER}/{name}.jpg") for name in document["qimlist"]]
        truths = list(zip(queries, document["gnd"], strict=True))
        grades = {
            query: Grades(*(tuple(gallery[number] for number in _numbers(truth, name)) for name in _GRADES))
            for query, truth in truths
        }
        positives = {
            query: tuple(gallery[number] for number in sorted({*_numbers(truth, "easy"), *_numbers(truth, "hard")}))
            for query, truth in truths
        }
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        message = f"{str(file)!r} must hold imlist, qimlist and gnd, got {type(error).__name__}: {error}; get it anew"
        raise SourceError(" ".join(message.split())) from error
    photos = dict.fromkeys(gallery, "gallery") | dict.fromkeys(queries, "query")
    return Source(
        file.parent,
        tuple(Photo(name, split) for name, split in photos.items()),  # type: ignore[arg-type]  # one of the two
        positives=positives,
        grades=grades,
    )


def _numbers(truth: dict[str, Any], name: str) -> list[int]:
    """Numbers of gallery photos, each once; the sets before they were revisited say ``ok`` for easy."""
    given = truth.get(name, truth.get("ok", []) if name == "easy" else [])
    numbers = sorted({int(number) for number in np.asarray(given).flat})
    if any(number < 0 for number in numbers):
        message = f"{name} must hold numbers of photos, got a negative one"
        raise ValueError(message)
    return numbers


def _load(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    if len(data) > _LIMIT:
        message = f"at most {_LIMIT} bytes, got {len(data)}"
        raise ValueError(message)
    return dict(_Unpickler(io.BytesIO(data), encoding="latin1").load())


class _Array:
    """Stands for an array: what a pickle says of one is kept, and made a list of integers of."""

    def __init__(self, *_: object) -> None:
        self.values: list[int] = []

    def __setstate__(self, state: Any) -> None:
        dtype, data = next((part for part in state if isinstance(part, _Dtype)), None), state[-1]
        if dtype is None or dtype.name not in _DTYPES:
            return  # of floats, boxes for one, nothing is needed
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        self.values = np.frombuffer(raw, dtype=dtype.name).tolist()

    def __iter__(self) -> Any:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, number: int) -> int:
        return self.values[number]


class _Dtype:
    """Stands for the type of an array."""

    def __init__(self, name: object = "", *_: object) -> None:
        self.name = str(name)

    def __setstate__(self, state: object) -> None:
        """Byte order: little-endian is taken for granted."""


_DTYPES = frozenset({"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})


def _scalar(dtype: object, data: object) -> int:
    if not isinstance(dtype, _Dtype) or dtype.name not in _DTYPES or not isinstance(data, (bytes, str)):
        return 0
    return int(np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype=dtype.name)[0])


def _bytes(text: object = "", _: object = None) -> bytes:
    """What older protocols write bytes as."""
    return text.encode("latin1") if isinstance(text, str) else b""


_STAND_INS: Mapping[tuple[str, str], Any] = {
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "bytes"): _bytes,
    ("multiarray", "_reconstruct"): _Array,
    ("multiarray", "scalar"): _scalar,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    """Finds nothing but stand-ins for NumPy's arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in, or an error."""
        known = _STAND_INS.get((module.rpartition(".")[2], name))
        if known is None or module.partition(".")[0] not in {"numpy", "_codecs", "__builtin__"}:
            message = f"names {module}.{name}, which is not data"
            raise pickle.UnpicklingError(message)
        return known
