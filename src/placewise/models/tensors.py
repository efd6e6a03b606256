"""Numbers in a file's bytes, as weights files declare them, and what is said when a file declares nonsense."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIMENSION_LIMIT = 32

DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}
"""How each dtype, under its name in safetensors, lies in a file."""


class UnfitError(Exception):
    """What came instead of a checkpoint; `read_checkpoint` adds the file."""

    def __init__(self, *, got: str, must: str = "checkpoint must be whole", advice: str = "pull it again") -> None:
        super().__init__(got)
        self.got, self.must, self.advice = got, must, advice


def hostile(*, got: str) -> UnfitError:
    """What is said of a file that wants more than to be read."""
    must, advice = "checkpoint must hold tensors and containers only", "do not load this file with other tools"
    return UnfitError(got=got, must=must, advice=advice)


@dataclass(frozen=True, slots=True)
class Storage:
    """A flat run of ``numel`` numbers, as a pickle declares it."""

    key: str
    dtype: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.numel * DTYPES[self.dtype].itemsize


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage: offset and strides in elements, unchecked until `check`."""

    storage: Storage
    offset: int
    shape: tuple[Any, ...]
    strides: tuple[Any, ...]

    def check(self) -> None:
        """Refuse a view that leaves its storage or holds more elements than it."""
        counts = are_counts((self.offset,)) and are_counts(self.shape) and are_counts(self.strides)
        if not counts or len(self.shape) != len(self.strides):
            raise UnfitError(got="a tensor whose sizes or strides are no counts")
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if 0 not in self.shape and (last >= self.storage.numel or math.prod(self.shape) > self.storage.numel):
            raise UnfitError(got="a tensor that is larger than its storage")

    @property
    def nbytes(self) -> int:
        """Bytes of the array that `array` returns."""
        elements: int = math.prod(self.shape)
        return elements * DTYPES[self.storage.dtype].itemsize

    def array(self, buffer: memoryview) -> NDArray[Any]:
        """Read the view from its storage's bytes."""
        return read_array(buffer, self.storage.dtype, self.shape, offset=self.offset, strides=self.strides)


def are_counts(numbers: Sequence[Any]) -> bool:
    """Whether all are integers that a size, stride or offset can be, and few enough to multiply."""
    return len(numbers) <= _DIMENSION_LIMIT and all(isinstance(n, int) and 0 <= n < 1 << 63 for n in numbers)


def read_array(
    buffer: memoryview,
    dtype: str,
    shape: tuple[int, ...],
    *,
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
) -> NDArray[Any]:
    """Numbers in a file's bytes as an aligned, C-contiguous array; offset and strides in elements."""
    stored = DTYPES[dtype]
    steps = None if strides is None else tuple(stride * stored.itemsize for stride in strides)
    # NumPy makes no view of an empty buffer, and an empty array needs none.
    view = np.zeros(shape, stored) if 0 in shape else np.ndarray(shape, stored, buffer, offset * stored.itemsize, steps)
    numbers = np.require(view, requirements=("C", "ALIGNED"))
    if dtype == "BF16":  # the upper half of a float32
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers != 0 if dtype == "BOOL" else numbers
