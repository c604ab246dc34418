"""CIFAR's batches are pickles, and a pickle is a program: this interpreter runs it and calls nothing.

Where a CIFAR file calls numpy, it makes a plain description of the array, which is checked before numpy sees it. Work and
memory are bounded by the size of the file.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

# A batch has fewer than ten instructions for each image of 3,072 bytes. A hostile file has one in each byte.
_FEW_INSTRUCTIONS, _BYTES_OF_ONE = 10_000, 256


class NoCifarError(Exception):
    """What no file of CIFAR does; the message goes on after the file's name."""


def read_batch(content: bytes) -> dict[str, Any]:
    """The values of a pickled batch by their names, arrays as `PickledArray`. Raises NoCifarError for anything else."""
    try:
        batch = _Interpreter(content).load()
    except NoCifarError:
        raise
    except Exception as error:  # a corrupt pickle can raise anything
        raise NoCifarError(f"is corrupt ({type(error).__name__}: {str(error)[:200]})") from None
    if not isinstance(batch, dict):
        raise NoCifarError("holds no batch of CIFAR")
    return {key.decode(errors="replace") if isinstance(key, bytes) else key: value for key, value in batch.items()}


class PickledArray:
    """An array as a pickle describes it."""

    def __init__(self) -> None:
        self._shape: Any = None
        self._dtype: Any = None
        self._is_fortran: Any = False
        self._content: Any = None

    def set_state(self, state: Any) -> None:
        """Take the state that numpy's arrays have: version, shape, dtype, order, content."""
        _, self._shape, self._dtype, self._is_fortran, self._content = state

    def checked(self, dtype: str) -> np.ndarray[Any, Any] | None:
        """The array, if it is whole and of a dtype such as u1, in this machine's order of bytes; None otherwise."""
        if not isinstance(self._dtype, _PickledDtype) or not self._dtype.is_plain(dtype) or self._is_fortran not in (False, 0):
            return None
        if not isinstance(self._content, bytes) or not self._has_plain_shape():
            return None
        values = np.frombuffer(self._content, dtype=np.dtype(dtype))
        entries = 1
        for n in self._shape:
            entries *= n
        return values.reshape(self._shape) if entries == len(values) else None

    def __str__(self) -> str:
        shape = self._shape if self._has_plain_shape() else "(?)"
        name = self._dtype.name if isinstance(self._dtype, _PickledDtype) else "?"
        return f"an array {shape} of {name[:8] if isinstance(name, str) else '?'}"

    def _has_plain_shape(self) -> bool:
        # Nothing of a pickle is printed or compared unchecked: of tuples in tuples that may take for ever.
        return (
            isinstance(self._shape, tuple) and len(self._shape) <= 8 and all(type(n) is int and 0 <= n < 2**40 for n in self._shape)
        )


class _PickledDtype:
    """A dtype as a pickle describes it: `name`, such as u1, and then the order of its bytes."""

    def __init__(self, name: Any, align: Any, copy: Any) -> None:
        self.name, self._order = _text(name), "|"

    def set_state(self, state: Any) -> None:
        self._order = _text(state[1])

    def is_plain(self, name: str) -> bool:
        return self.name == name and self._order in ("|", "<", "=")


def _text(value: Any) -> Any:
    return value.decode("ascii") if isinstance(value, bytes) else value


_InPython: Any = pickle._Unpickler


class _Interpreter(_InPython):
    """pickle's interpreter in Python, which is slower than the one in C and can be held."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._left = len(content)  # bytes that may be made of text or buffers: a file has them once
        self.dispatch = _Instructions(_FEW_INSTRUCTIONS + len(content) // _BYTES_OF_ONE)

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda kind, shape, code: PickledArray(),
            ("numpy.core.numeric", "_frombuffer"): self._frombuffer,
            ("numpy", "ndarray"): self._ndarray,
            ("numpy", "dtype"): _PickledDtype,
            ("_codecs", "encode"): self._encode,
            ("__builtin__", "bytes"): lambda: b"",  # how Python 3 writes none at all
        }
        found = known.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise NoCifarError(f"asks to call {module[:80]}.{name[:80]}, which no CIFAR file does")
        return found

    def _ndarray(self, *values: Any) -> Any:
        raise NoCifarError("asks to call numpy.ndarray, which no CIFAR file does")

    def _frombuffer(self, content: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
        """Protocol 5's arrays."""
        if not isinstance(content, bytes | bytearray):
            raise NoCifarError("has an array without content")
        self._spend(len(content))
        array = PickledArray()
        array.set_state((1, shape, dtype, order != "C", bytes(content)))
        return array

    def _encode(self, text: Any, encoding: Any) -> bytes:
        """Bytes as protocol 2 of Python 3 writes them."""
        if not isinstance(text, str) or _text(encoding) != "latin1":
            raise NoCifarError("encodes text, which no CIFAR file does")
        self._spend(len(text))
        return text.encode("latin1")

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise NoCifarError("makes more bytes than it has, which no CIFAR file does")

    def load_build(self) -> None:
        """BUILD, for what is described here alone: it could change the functions above."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], PickledArray | _PickledDtype):
            raise NoCifarError("sets the state of no array, which no CIFAR file does")
        self.stack[-1].set_state(state)

    def load_setitems(self) -> None:
        """SETITEMS with names alone as keys: the hash of tuples in tuples may take for ever."""
        self._set(self.pop_mark())

    def load_setitem(self) -> None:
        """SETITEM, likewise."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _set(self, items: list[Any]) -> None:
        if len(items) % 2 or any(not isinstance(key, str | bytes) for key in items[::2]):
            raise NoCifarError("has keys that are no names, which no CIFAR file has")
        self.stack[-1].update(zip(items[::2], items[1::2]))


class _Instructions(dict[int, Any]):
    """The instructions that CIFAR's files use, of which a limited number is given out."""

    def __init__(self, most: int) -> None:
        super().__init__(_TAKEN)
        self._left = most

    def __getitem__(self, code: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise NoCifarError("has more instructions than any CIFAR file")
        return super().__getitem__(code)


_REFUSED = "DICT FROZENSET EMPTY_SET ADDITEMS INST OBJ NEWOBJ NEWOBJ_EX EXT1 EXT2 EXT4 PERSID BINPERSID NEXT_BUFFER READONLY_BUFFER"
_TAKEN: dict[int, Any] = {
    **_InPython.dispatch,
    pickle.BUILD[0]: _Interpreter.load_build,
    pickle.SETITEMS[0]: _Interpreter.load_setitems,
    pickle.SETITEM[0]: _Interpreter.load_setitem,
}
for _name in _REFUSED.split():
    del _TAKEN[getattr(pickle, _name)[0]]
