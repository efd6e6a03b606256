"""The part of pickle that ``torch.save`` writes, executed on plain containers.

Python's unpickler is not used: whatever a pickle holds, `Machine` never calls what it names, and never takes memory or
time out of proportion to it. It admits the names in `_REFERENCES` only.

Source: ``pickletools`` for the instructions.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from placewise.models.tensors import Storage, Tensor, UnfitError, hostile, plain

PICKLE_LIMIT = 4 << 20
"""Bytes of pickle that are read: some 30 000 tensors. A hostile byte can cost about 80 bytes of memory."""


@dataclass(frozen=True, slots=True)
class _Constructor:
    """What a pickle may call: it gets the arguments as they lie on the stack."""

    make: Callable[[tuple[Any, ...]], object]


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


_REFERENCES: Mapping[str, _Constructor | _StorageType] = {
    "collections.OrderedDict": _Constructor(_make_dict),
    "torch._utils._rebuild_tensor_v2": _Constructor(_make_tensor),
    "torch._utils._rebuild_parameter": _Constructor(_make_parameter),
    "torch.Size": _Constructor(_make_shape),
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


def _is_key(value: object) -> bool:
    """Text and small integers: hashing a deeply nested tuple overflows the C stack, large integers can collide."""
    return isinstance(value, str) or (isinstance(value, int) and 0 <= value < 1 << 32)


class Machine:
    """Executes pickles on a stack of plain values; nothing in it recurses, so depth does no harm."""

    def __init__(self, pickled: bytes | memoryview) -> None:
        if len(pickled) > PICKLE_LIMIT:
            raise UnfitError(
                got=f"a pickle of {len(pickled)} bytes",
                must=f"checkpoint must have a pickle of at most {PICKLE_LIMIT} bytes",
            )
        self.storages: dict[str, Storage] = {}
        self._stream = io.BytesIO(pickled)
        self._clear()

    def _clear(self) -> None:
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._stream.tell()

    def load(self) -> object:
        """Execute the next pickle of the stream."""
        self._clear()
        while (code := self._stream.read(1)) != b".":
            if code not in _INSTRUCTIONS:
                raise self._unknown(code)
            execute, read_argument = _INSTRUCTIONS[code]
            execute(self, read_argument(self._stream))
        return self._stack.pop()

    def _unknown(self, code: bytes) -> UnfitError:
        if not code:
            return UnfitError(got="a pickle that ends too early")
        names = [known.name for known in pickletools.opcodes if known.code.encode("latin-1") == code]
        return hostile(got=f"the pickle instruction {names[0] if names else code.hex()}")

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def skip(self, _: Any) -> None:
        """PROTO and FRAME announce what this machine need not know."""

    def mark(self, _: Any) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def make_tuple(self, length: int) -> None:
        items = tuple(self._stack.pop() for _ in range(length))
        self._stack.append(items[::-1])

    def tuple_to_mark(self, _: Any) -> None:
        items = tuple(self._to_mark())
        self._stack.append(items)

    def append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def appends(self, _: Any) -> None:
        self._extend(self._to_mark())

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise hostile(got="items for what is no list")
        self._stack[-1].extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def set_items(self, _: Any) -> None:
        self._update(self._to_mark())

    def _update(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict) or not all(_is_key(key) for key in items[::2]):
            raise hostile(got="keys that are neither text nor small integers")
        self._stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def drop_state(self, _: Any) -> None:
        """BUILD sets attributes; of a state dict these are versions of its modules, which no reader needs."""
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise hostile(got="attributes for what is no dict")

    def refer(self, reference: str) -> None:
        if reference not in _REFERENCES:
            raise hostile(got=f"a reference to {plain(reference)}")
        self._stack.append(_REFERENCES[reference])

    def refer_on_stack(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise hostile(got="a reference without a name")
        self.refer(f"{module}.{name}")

    def call(self, _: Any) -> None:
        arguments, constructor = self._stack.pop(), self._stack.pop()
        if not isinstance(constructor, _Constructor) or not isinstance(arguments, tuple):
            raise hostile(got="a call of what is no function")
        self._stack.append(constructor.make(arguments))

    def refer_to_storage(self, _: Any) -> None:
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


def _read_reference(stream: io.BytesIO) -> str:
    """The argument of GLOBAL: two lines, a module and a name in it."""
    module, name = stream.readline(), stream.readline()
    return b".".join((module.removesuffix(b"\n"), name.removesuffix(b"\n"))).decode()


_HANDLERS: Mapping[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), Machine.push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"), Machine.push),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), Machine.get),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), Machine.put),
    **dict.fromkeys(("PROTO", "FRAME"), Machine.skip),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "TUPLE": Machine.tuple_to_mark,
    "MARK": Machine.mark,
    "MEMOIZE": Machine.memoize,
    "APPEND": Machine.append,
    "APPENDS": Machine.appends,
    "SETITEM": Machine.set_item,
    "SETITEMS": Machine.set_items,
    "BUILD": Machine.drop_state,
    "GLOBAL": Machine.refer,
    "STACK_GLOBAL": Machine.refer_on_stack,
    "REDUCE": Machine.call,
    "BINPERSID": Machine.refer_to_storage,
}
"""What each admitted instruction does with its argument."""


def _argument_reader(instruction: pickletools.OpcodeInfo) -> Callable[[io.BytesIO], Any]:
    if instruction.name == "GLOBAL":
        return _read_reference
    return instruction.arg.reader if instruction.arg else lambda _: None


_INSTRUCTIONS = {
    instruction.code.encode("latin-1"): (_HANDLERS[instruction.name], _argument_reader(instruction))
    for instruction in pickletools.opcodes
    if instruction.name in _HANDLERS
}
