# SPDX-License-Identifier: Apache-2.0
"""A reader of pickles that cannot run code.

Python's own unpickler looks names up and calls what it finds. Here the opcodes, decoded by
`pickletools`, work on plain values only: a name in a pickle is compared with a list and stands for
a function of ours or for nothing at all, so there is no import, no attribute and no class to reach.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

from fastcnn.errors import FileError

# What a name in a pickle stands for: called with the arguments found there.
Rebuild = Callable[..., Any]

# Items of lists handed to such functions, which copy them: more than any checkpoint has.
_MOST_COPIED = 10_000_000


class Stream(Protocol):
    """A binary file, or a mapped one."""

    def read(self, n: int, /) -> bytes:
        """At most n bytes."""

    def readline(self) -> bytes:
        """Up to the end of the line."""

    def tell(self) -> int:
        """Where the next byte lies."""


@final
@dataclass(frozen=True)
class Name:
    """A name that is allowed in a pickle, with the function of ours that stands for it."""

    name: str
    rebuild: Rebuild


@final
@dataclass(frozen=True)
class Inert:
    """An object that some pickles hold beside their tensors, and that nobody needs."""

    name: str


@final
class Unpickler:
    """Values from a pickle: None, numbers, text, lists, tuples, dicts, and what `names` makes.

    Args:
        where: the file, for messages.
        names: "module.name" to a function of ours.
        inert: names of objects that are passed over.
        persistent: what a persistent id (a storage, in PyTorch's files) stands for.
    """

    def __init__(
        self,
        where: str,
        names: Mapping[str, Rebuild],
        inert: frozenset[str],
        persistent: Rebuild,
    ) -> None:
        self._where, self._names, self._inert = where, names, inert
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._copied = 0

    def load(self, stream: Stream) -> Any:
        """The next pickle of `stream`, which is left behind its end.

        Raises:
            FileError: it names something that is not on the lists, or uses another opcode.
            ValueError, TypeError, KeyError, IndexError, OverflowError: it is damaged.
        """
        self._stack, self._marks, self._memo = [], [], {}
        with warnings.catch_warnings():
            # Escapes in damaged strings, which Python is about to forbid.
            warnings.simplefilter("ignore", DeprecationWarning)
            for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
                self._step(opcode.name, argument)
        return self._stack.pop()

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in _VALUES:
            self._stack.append(argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode]())
        elif opcode in _MEMO_PUT:
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif opcode in _MEMO_GET:
            self._stack.append(self._memo[argument])
        elif opcode in _STEPS:
            _STEPS[opcode](self, argument)
        elif opcode not in _IGNORED:
            raise FileError(
                f"{self._where} uses the pickle opcode {opcode}, which no file of weights needs; "
                "save model.state_dict() with torch.save and load that"
            )

    # --- steps -----------------------------------------------------------------------------------

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _marked(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _take(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("the stack is empty")
        items = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return items

    def _pop(self, _: Any) -> None:
        self._stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._marked()

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._marked()))

    def _tuple1(self, _: Any) -> None:
        self._stack.append(tuple(self._take(1)))

    def _tuple2(self, _: Any) -> None:
        self._stack.append(tuple(self._take(2)))

    def _tuple3(self, _: Any) -> None:
        self._stack.append(tuple(self._take(3)))

    def _list(self, _: Any) -> None:
        self._stack.append(self._marked())

    def _dict(self, _: Any) -> None:
        items = self._marked()
        self._stack.append({})
        self._store(items)

    def _append(self, _: Any) -> None:
        self._extend(self._take(1))

    def _appends(self, _: Any) -> None:
        self._extend(self._marked())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise TypeError(f"cannot append to {type(target).__name__}")

    def _set_item(self, _: Any) -> None:
        self._store(self._take(2))

    def _set_items(self, _: Any) -> None:
        self._store(self._marked())

    def _store(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict):
            raise TypeError(f"cannot store into {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # The hash of tuples within tuples can take for ever.
            if not isinstance(key, (str, int, float, bytes, type(None))):
                raise TypeError(f"a {type(key).__name__} as key")
            target[key] = value

    def _global(self, argument: str) -> None:
        self._named(argument.replace(" ", ".", 1))

    def _stack_global(self, _: Any) -> None:
        module, name = self._take(2)
        self._named(f"{module}.{name}")

    def _named(self, name: str) -> None:
        if name in self._names:
            self._stack.append(Name(name, self._names[name]))
        elif name in self._inert:
            self._stack.append(Inert(name))
        else:
            raise FileError(
                f"{self._where} holds the Python object {name}, and only tensors are read because "
                "objects can run code; save model.state_dict() with torch.save and load that"
            )

    def _call(self, _: Any) -> None:
        target, arguments = self._take(2)
        if isinstance(target, Inert):
            self._stack.append(target)
        elif isinstance(target, Name) and isinstance(arguments, tuple):
            self._copied += sum(len(a) for a in arguments if isinstance(a, (list, tuple)))
            if self._copied > _MOST_COPIED:
                raise OverflowError("one list is used over and over")
            self._stack.append(target.rebuild(*arguments))
        else:
            raise TypeError(f"cannot call {type(target).__name__}")

    def _build(self, _: Any) -> None:
        """The state of an object, which no value here has."""
        self._take(1)
        target = self._stack[-1]
        # An OrderedDict brings the version numbers of its modules.
        if not isinstance(target, (Inert, dict)):
            raise TypeError(f"cannot give a {type(target).__name__} a state")

    def _persistent_id(self, _: Any) -> None:
        (identity,) = self._take(1)
        if not isinstance(identity, tuple):
            raise TypeError(f"a {type(identity).__name__} as persistent id")
        self._stack.append(self._persistent(*identity))


_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_VALUES = frozenset((*_INTEGERS, *_TEXTS, "BINUNICODE8", *_BYTES, "FLOAT", "BINFLOAT"))
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    # Sets only occur beside tensors; a list will do.
    "EMPTY_SET": list,
}
_MEMO_PUT = frozenset(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"))
_MEMO_GET = frozenset(("GET", "BINGET", "LONG_BINGET"))
_IGNORED = frozenset(("PROTO", "FRAME", "STOP"))
_STEPS: dict[str, Callable[[Unpickler, Any], None]] = {
    "MARK": Unpickler._mark,
    "POP": Unpickler._pop,
    "POP_MARK": Unpickler._pop_mark,
    "TUPLE": Unpickler._tuple,
    "TUPLE1": Unpickler._tuple1,
    "TUPLE2": Unpickler._tuple2,
    "TUPLE3": Unpickler._tuple3,
    "LIST": Unpickler._list,
    "DICT": Unpickler._dict,
    "APPEND": Unpickler._append,
    "APPENDS": Unpickler._appends,
    "ADDITEMS": Unpickler._appends,
    "SETITEM": Unpickler._set_item,
    "SETITEMS": Unpickler._set_items,
    "GLOBAL": Unpickler._global,
    "STACK_GLOBAL": Unpickler._stack_global,
    "REDUCE": Unpickler._call,
    "NEWOBJ": Unpickler._call,
    "BUILD": Unpickler._build,
    "BINPERSID": Unpickler._persistent_id,
}
