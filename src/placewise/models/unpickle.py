"""The part of pickle that ``torch.save`` writes: dicts of tensors, and nothing else that a pickle can name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from placewise import pickled
from placewise.models.tensors import Storage, Tensor, UnfitError, hostile
from placewise.pickled import Constructor, plain

PICKLE_LIMIT = 4 << 20
"""Bytes of pickle that are read: some 30 000 tensors. A hostile byte can cost about 80 bytes of memory."""


@dataclass(frozen=True, slots=True)
class _StorageType:
    """What stands for ``torch.FloatStorage`` and its kin."""

    dtype: str


def _make_dict(arguments: tuple[Any, ...]) -> dict[object, object]:
    if arguments:
        raise hostile(got="an OrderedDict with arguments")
    return {}


def _make_tensor(arguments: tuple[Any, ...]) -> Tensor:
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), _, _, *metadata) if not any(metadata):
            return Tensor(storage, offset, shape, strides)
    raise hostile(got="a tensor that is no plain view of a storage")


def _make_parameter(arguments: tuple[Any, ...]) -> Tensor:
    match arguments:
        case (Tensor() as tensor, _, _):
            return tensor
    raise hostile(got="a parameter that is no tensor")


def _make_shape(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    match arguments:
        case (tuple() | list() as sizes,):
            return tuple(sizes)
    raise hostile(got="a torch.Size without sizes")


_REFERENCES: Mapping[str, Constructor | _StorageType] = {
    "collections.OrderedDict": Constructor(_make_dict),
    "torch._utils._rebuild_tensor_v2": Constructor(_make_tensor),
    "torch._utils._rebuild_parameter": Constructor(_make_parameter),
    "torch.Size": Constructor(_make_shape),
    "torch.DoubleStorage": _StorageType("F64"),
    "torch.FloatStorage": _StorageType("F32"),
    "torch.HalfStorage": _StorageType("F16"),
    "torch.BFloat16Storage": _StorageType("BF16"),
    "torch.LongStorage": _StorageType("I64"),
    "torch.IntStorage": _StorageType("I32"),
    "torch.ShortStorage": _StorageType("I16"),
    "torch.CharStorage": _StorageType("I8"),
    "torch.ByteStorage": _StorageType("U8"),
    "torch.BoolStorage": _StorageType("BOOL"),
}
"""All that a pickle may name, and our harmless stand-ins for it."""


class Machine(pickled.Machine):
    """Executes the pickles of a checkpoint, and keeps the storages that they declare."""

    references = _REFERENCES

    def __init__(self, pickled: bytes | memoryview) -> None:
        if len(pickled) > PICKLE_LIMIT:
            raise UnfitError(
                got=f"a pickle of {len(pickled)} bytes",
                must=f"checkpoint must have a pickle of at most {PICKLE_LIMIT} bytes",
            )
        self.storages: dict[str, Storage] = {}
        super().__init__(pickled)

    def refusal(self, *, got: str) -> UnfitError:
        """What is said of a hostile checkpoint."""
        return hostile(got=got)

    def cut_off(self) -> UnfitError:
        """What is said of a checkpoint that is not whole."""
        return UnfitError(got="a pickle that ends too early")

    def refer_to_storage(self, _: Any) -> None:
        """Declare a storage, which torch.save keeps outside the pickle."""
        match self._stack.pop():
            case ("storage", _StorageType() as kind, str(key), str(), int(numel), *view) if numel >= 0 and not any(
                view
            ):
                storage = Storage(key, kind.dtype, numel)
            case _:
                raise hostile(got="a persistent id that is no storage")
        if self.storages.setdefault(key, storage) != storage:
            raise UnfitError(got=f"storage {plain(key)} with two declarations")
        self._stack.append(storage)

    instructions: ClassVar = {"BINPERSID": refer_to_storage}
