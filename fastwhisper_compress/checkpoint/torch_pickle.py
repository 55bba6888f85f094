"""Reads the pickle of a torch archive without unpickling it: an interpreter of the few opcodes that ``torch.save`` writes.

It builds dictionaries, lists, tuples, numbers, text and claims about tensors. A class or function that the pickle names
is never looked up, so nothing can be called; what is none of torch's own is refused by its name.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_MOST_OPCODES = 400_000  # a large Whisper has 60,000; each makes some 100 bytes at most, its text aside
_LARGEST_RANK = 8
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_VALUES = {"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "LONG1"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_TORCH = {"torch", "torch._utils", "torch.serialization"}


class RefusedPickleError(Exception):
    """What is wrong, as a sentence."""


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names."""

    module: str
    name: str


@dataclass(frozen=True)
class Storage:
    """A record of numbers.

    Attributes:
        kind: Its class in torch, such as ``HalfStorage``.
        key: Of the record.
        numel: How many numbers it is said to have.
    """

    kind: str
    key: str
    numel: int


@dataclass(frozen=True)
class View:
    """A tensor: some of the numbers of a storage; all of them lie inside what the storage is said to have."""

    storage: Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Opaque:
    """What torch would have made of something else than a plain tensor."""


def read_pickle(data: bytes) -> Any:
    """Return what a pickle describes.

    Raises:
        RefusedPickleError: It asks for more than tensors and containers, or is damaged.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= _MOST_OPCODES:
                raise RefusedPickleError(f"the pickle inside has more than {_MOST_OPCODES} steps")
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise RefusedPickleError(f"the pickle inside is damaged ({type(error).__name__})") from error
    raise RefusedPickleError("the pickle inside has no end")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do what one opcode asks; an IndexError or KeyError says that it asks for what is not there."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _LITERALS:
            self.stack.append(_LITERALS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name == "TUPLE" or name in _TUPLES:
            self.stack.append(tuple(self._take(_TUPLES.get(name))))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name != "PROTO":
            raise RefusedPickleError(f"the pickle inside has the opcode {name}, which torch does not write")

    def mark(self, _: None) -> None:
        self._marks.append(len(self.stack))

    def put(self, place: int) -> None:
        self._memo[place] = self.stack[-1]

    def get(self, place: int) -> None:
        self.stack.append(self._memo[place])

    def append(self, _: None) -> None:
        item = self.stack.pop()
        self._top(list).append(item)

    def appends(self, _: None) -> None:
        items = self._take(None)
        self._top(list).extend(items)

    def set_item(self, _: None) -> None:
        self._fill(self._take(2))

    def set_items(self, _: None) -> None:
        self._fill(self._take(None))

    def name(self, words: str) -> None:
        self.stack.append(_named(*words.split(" ", 1)))

    def refer(self, _: None) -> None:
        self.stack.append(_storage(*self.stack.pop()))

    def call(self, _: None) -> None:
        function, parts = self._take(2)
        self.stack.append(_called(function, parts))

    def build(self, _: None) -> None:
        self.stack.pop()  # attributes of a dictionary, which nobody reads

    def _take(self, n: int | None) -> list[Any]:
        """Take the last n values, or with None those behind the last mark."""
        start = self._marks.pop() if n is None else len(self.stack) - n
        if not max(self._marks, default=0) <= start <= len(self.stack):
            raise IndexError
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise TypeError
        return self.stack[-1]

    def _fill(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # tuples in tuples would be hashed without end
                raise TypeError
            target[key] = value


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.name,
    "BINPERSID": _Machine.refer,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}


def _named(module: str, name: str) -> Name:
    if module not in _TORCH and (module, name) != ("collections", "OrderedDict"):
        asked = ascii(f"{module}.{name}")[1:-1][:80]
        raise RefusedPickleError(f"the pickle inside asks for {asked} (it may run code), and was not run")
    return Name(module, name)


def _storage(what: str, kind: Name, key: str, location: str, numel: int) -> Storage:
    del location
    if what != "storage" or type(key) is not str or type(numel) is not int or numel < 0:
        raise ValueError
    return Storage(kind.name, key, numel)


def _called(function: Any, parts: Any) -> Any:
    if type(function) is not Name or type(parts) is not tuple:
        raise TypeError
    if function.module == "collections":
        return {}  # they are made empty, and filled afterwards
    if function == Name("torch._utils", "_rebuild_parameter"):
        return parts[0]
    if function == Name("torch._utils", "_rebuild_tensor_v2") and not any(parts[6:]):  # the rest: conjugated, negated
        return _view(*parts[:4])
    return Opaque()


def _view(storage: Storage, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> View:
    numbers = (start, *shape, *strides)
    if type(storage) is not Storage or len(shape) != len(strides) or len(shape) > _LARGEST_RANK:
        raise ValueError
    if any(type(one) is not int or not 0 <= one < 2**63 for one in numbers):
        raise RefusedPickleError("a tensor has a shape or stride that is no whole number")
    last = start + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if all(shape) and last >= storage.numel:
        raise RefusedPickleError("a tensor lies outside its storage")
    return View(storage, start, shape, strides)
