"""Pickles read as data: a small machine that builds values and never calls anything.

Python's unpickler imports and calls what a file names. This one knows dicts, lists,
tuples, numbers and text, and a handful of names by which torch describes tensors;
those become :class:`TensorRef`, a plain description. Whatever else a file names
becomes an :class:`Inert`, which has no behaviour at all. No module is imported, no
constructor runs, and no number in the file decides how much memory is taken.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

from genomeconv.errors import ModelError

_PUSHED = frozenset(
    ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT",
     "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
     "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
     "BYTEARRAY8")
)  # fmt: skip
"""Opcodes that push their own argument."""
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
"""Types of torch's storages, by the names safetensors uses."""


@dataclass(frozen=True)
class _StorageType:
    """A class of torch's storages, known by its name only."""

    dtype: str


class Inert:
    """Stands for whatever a pickle names that we do not know: a class, an object."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Inert({self.name!r})"


@dataclass(frozen=True, kw_only=True)
class StorageRef:
    """A run of numbers kept beside the pickle."""

    dtype: str
    key: str
    elements: int


@dataclass(frozen=True, kw_only=True)
class TensorRef:
    """A tensor as a view of a storage: nothing is read yet."""

    storage: StorageRef
    offset: int
    """In elements, as the strides are."""
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_pickle(
    file: BinaryIO | Bounded, where: str
) -> tuple[Any, dict[str, StorageRef]]:
    """Return the value of one pickle, and the storages it speaks of by their key.

    ``file`` is left behind the pickle.

    Raises
    ------
    ModelError
        If it is damaged or holds what no checkpoint does.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in old text
            for opcode, argument, _ in pickletools.genops(cast(IO[bytes], file)):
                machine.step(opcode.name, argument)
        (value,) = machine.stack
        return value, machine.storages
    except ModelError:
        raise
    except (
        ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
        MemoryError, RecursionError, UnicodeError,
    ) as error:  # fmt: skip
        raise ModelError(f"{where}: damaged pickle: {_short(error)}") from None


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


class Bounded:
    """A file of which nothing behind byte ``stop`` is read, whatever is asked for."""

    def __init__(self, file: BinaryIO, stop: int) -> None:
        self.file = file
        self.stop = stop
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes."""
        return self.file.read(max(0, min(size, self.stop - self.file.tell())))

    def readline(self) -> bytes:
        """Return the rest of a line."""
        return self.file.readline(max(0, self.stop - self.file.tell()))


def _rebuild_tensor(
    storage: object, offset: object, shape: object, stride: object, *_: object
) -> TensorRef | Inert:
    match storage, offset, shape, stride:
        case StorageRef(), int(), tuple(), tuple() if all(
            type(n) is int for n in shape + stride
        ):
            return TensorRef(storage=storage, offset=offset, shape=shape, stride=stride)
    return Inert("a tensor of unknown make")


def _ordered_dict(pairs: object = (), *_: object) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    if isinstance(pairs, list | tuple):
        for key, value in pairs:
            _set(out, key, value)
    return out


def _first(value: object = None, *_: object) -> object:
    return value


_BUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _first,
    "collections OrderedDict": _ordered_dict,
}
"""All that a pickle can make us call: functions of this file, free of effects."""


def _set(target: object, key: object, value: object) -> None:
    """Set an item where we keep it; keys that are no plain values are dropped.

    (The hash of a tuple of tuples can take for ever.)
    """
    if isinstance(target, dict):
        if key is None or isinstance(key, str | int | float | bytes):
            target[key] = value
    elif not isinstance(target, Inert):
        raise TypeError("items set on what has none")


class _Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, StorageRef] = {}

    def step(self, name: str, argument: Any) -> None:
        """Run one opcode."""
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif not (self._order(name, argument) or self._collect(name)):
            self._object(name, argument)

    def _order(self, name: str, argument: Any) -> bool:
        """Run an opcode that moves values about; say whether it was one."""
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.marks.append(len(self.stack))
            case "POP":
                self.stack.pop()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                self.stack.append(self.stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case _:
                return False
        return True

    def _collect(self, name: str) -> bool:
        """Run an opcode of lists, tuples and dicts; say whether it was one."""
        push = self.stack.append
        match name:
            case "EMPTY_LIST":
                push([])
            case "EMPTY_TUPLE":
                push(())
            case "EMPTY_DICT":
                push({})
            case "LIST":
                push(self._since_mark())
            case "TUPLE":
                push(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple(self._last(int(name[-1]))))
            case "DICT":
                items = self._since_mark()
                push({})
                self._set_items(items)
            case "APPEND":
                self._extend(self._last(1))
            case "APPENDS":
                self._extend(self._since_mark())
            case "SETITEM":
                self._set_items(self._last(2))
            case "SETITEMS":
                self._set_items(self._since_mark())
            case "ADDITEMS":
                self._since_mark()
            case "EMPTY_SET":
                push(Inert("set"))
            case "FROZENSET":
                self._since_mark()
                push(Inert("frozenset"))
            case _:
                return False
        return True

    def _object(self, name: str, argument: Any) -> None:
        """Run an opcode that Python would import or call something for."""
        push = self.stack.append
        match name:
            case "GLOBAL":
                push(_named(argument))
            case "STACK_GLOBAL":
                push(_named(" ".join(map(str, self._last(2)))))
            case "INST":
                self._since_mark()
                push(Inert(argument))
            case "OBJ":
                push(Inert(_name(self._since_mark()[0])))
            case "NEWOBJ":
                push(_build(*self._last(2)))
            case "NEWOBJ_EX":
                push(Inert(_name(self._last(3)[0])))
            case "REDUCE":
                push(_build(*self._last(2)))
            case "BUILD":
                self._last(1)  # the state of an object: objects have none here
            case "BINPERSID":
                push(self._storage(self._last(1)[0]))
            case _:
                raise ValueError(f"opcode {name} has no place in a checkpoint")

    def _storage(self, identity: object) -> object:
        """Return the storage that a persistent id describes."""
        match identity:
            case (
                "storage",
                _StorageType(dtype),
                str(key),
                _,
                int(elements),
                *rest,
            ) if elements >= 0 and rest in ([], [None]):
                ref = StorageRef(dtype=dtype, key=key, elements=elements)
                if self.storages.setdefault(key, ref) == ref:
                    return ref
        return Inert("a storage of unknown make")

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        out = self.stack[-count:]
        del self.stack[-count:]
        return out

    def _since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        out = self.stack[mark:]
        del self.stack[mark:]
        return out

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise TypeError("items appended to what has none")

    def _set_items(self, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set(self.stack[-1], key, value)


def _named(name: str) -> object:
    """Return what stands for a module's name: a function of ours, a type, nothing."""
    if name in _BUILDERS:
        return _BUILDERS[name]
    module, _, attribute = name.partition(" ")
    if module == "torch" and attribute in _STORAGES:
        return _StorageType(_STORAGES[attribute])
    return Inert(name)


def _build(function: object, arguments: object) -> object:
    if function in _BUILDERS.values() and isinstance(arguments, tuple):
        return function(*arguments)  # type: ignore[operator]
    return Inert(_name(function))


def _name(value: object) -> str:
    return value.name if isinstance(value, Inert) else type(value).__name__
