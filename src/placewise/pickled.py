"""Pickles, executed on plain containers.

Python's unpickler is not used: whatever a pickle holds, a `Machine` never calls what it names, and never takes memory
or time out of proportion to it. It admits the names that it is given only.

Source: ``pickletools`` for the instructions.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


class PickleError(Exception):
    """What a pickle holds instead of plain values."""


@dataclass(frozen=True, slots=True)
class Constructor:
    """What a pickle may call: it gets the arguments as they lie on the stack."""

    make: Callable[[tuple[Any, ...]], object]


def _is_key(value: object) -> bool:
    """Text and small integers: hashing a deeply nested tuple overflows the C stack, large integers can collide."""
    return isinstance(value, str) or (isinstance(value, int) and 0 <= value < 1 << 32)


class Machine:
    """Executes pickles on a stack of plain values; nothing in it recurses, so depth does no harm.

    Attributes:
        references: all that a pickle may name, and what stands for it.
        instructions: what it may execute besides the usual.
    """

    references: ClassVar[Mapping[str, object]] = {}
    instructions: ClassVar[Mapping[str, Callable[[Any, Any], None]]] = {}

    _table: ClassVar[dict[bytes, Any]] = {}

    def __init_subclass__(cls) -> None:
        """Look the instructions up once."""
        cls._table = _table({**_HANDLERS, **cls.instructions})

    def __init__(self, pickled: bytes | memoryview) -> None:
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
            if code not in self._table:
                raise self._unknown(code)
            execute, read_argument = self._table[code]
            execute(self, read_argument(self._stream))
        return self._stack.pop()

    def refusal(self, *, got: str) -> Exception:
        """What is raised for a pickle that wants more than to be read."""
        return PickleError(got)

    def cut_off(self) -> Exception:
        """What is raised for a pickle that ends too early."""
        return PickleError("a pickle that ends too early")

    def _unknown(self, code: bytes) -> Exception:
        if not code:
            return self.cut_off()
        names = [known.name for known in pickletools.opcodes if known.code.encode("latin-1") == code]
        return self.refusal(got=f"the pickle instruction {names[0] if names else code.hex()}")

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
            raise self.refusal(got="items for what is no list")
        self._stack[-1].extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def set_items(self, _: Any) -> None:
        self._update(self._to_mark())

    def _update(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict) or not all(_is_key(key) for key in items[::2]):
            raise self.refusal(got="keys that are neither text nor small integers")
        self._stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def build(self, _: Any) -> None:
        state = self._stack.pop()
        self.set_state(self._stack[-1], state)

    def set_state(self, value: Any, state: Any) -> None:
        """BUILD sets attributes, which of a state dict are versions of its modules: no reader needs them."""
        del state
        if not isinstance(value, dict):
            raise self.refusal(got="attributes for what is no dict")

    def refer(self, reference: str) -> None:
        if reference not in self.references:
            raise self.refusal(got=f"a reference to {plain(reference)}")
        self._stack.append(self.references[reference])

    def refer_on_stack(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self.refusal(got="a reference without a name")
        self.refer(f"{module}.{name}")

    def call(self, _: Any) -> None:
        arguments, constructor = self._stack.pop(), self._stack.pop()
        if not isinstance(constructor, Constructor) or not isinstance(arguments, tuple):
            raise self.refusal(got="a call of what is no function")
        self._stack.append(constructor.make(arguments))


def _read_reference(stream: io.BytesIO) -> str:
    """The argument of GLOBAL: two lines, a module and a name in it."""
    module, name = stream.readline(), stream.readline()
    return b".".join((module.removesuffix(b"\n"), name.removesuffix(b"\n"))).decode()


_HANDLERS: Mapping[str, Callable[[Any, Any], None]] = {
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
    "BUILD": Machine.build,
    "GLOBAL": Machine.refer,
    "STACK_GLOBAL": Machine.refer_on_stack,
    "REDUCE": Machine.call,
}
"""What each admitted instruction does with its argument."""


def _argument_reader(instruction: pickletools.OpcodeInfo) -> Callable[[io.BytesIO], Any]:
    if instruction.name == "GLOBAL":
        return _read_reference
    return instruction.arg.reader if instruction.arg else lambda _: None


def _table(handlers: Mapping[str, Callable[[Any, Any], None]]) -> dict[bytes, Any]:
    """Code → what executes it, and what reads its argument."""
    return {
        instruction.code.encode("latin-1"): (handlers[instruction.name], _argument_reader(instruction))
        for instruction in pickletools.opcodes
        if instruction.name in handlers
    }


def plain(text: str) -> str:
    """Text from a file, made fit for a one-line message."""
    escaped = ascii(text[:80])[1:-1]
    return escaped if len(text) <= 80 else f"{escaped}…"
