"""Reading the pickles in which CIFAR is published, without letting them run anything.

A pickle can name any function for the reader to call. These may name four, all of which only build
an array of bytes; anything else is refused before it is looked up.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# numpy's own way of beginning an array in a pickle, found without naming its private module.
_begin_array: Callable[..., Any] = np.empty(0).__reduce__()[0]  # type: ignore[assignment]


def read_cifar_pickle(path: Path) -> dict[bytes, Any]:
    """Read one file of CIFAR's Python version; its keys are bytes, as it was written by Python 2.

    Raises:
        ValueError: If it is damaged, or asks for anything but an array of bytes.
    """
    with path.open("rb") as file:
        try:
            content = _Unpickler(file, encoding="bytes").load()
        except _REFUSALS as error:
            raise ValueError(f"{path} is not a file of CIFAR's Python version ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not the dictionary of a CIFAR file; fetch it again")
    return {key.encode() if isinstance(key, str) else key: value for key, value in content.items()}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no such file needs")
        return allowed


def _array_of_bytes(*_arguments: object) -> Any:
    """Begin an empty array; the pickle then states its shape and fills in its bytes."""
    return _begin_array(np.ndarray, (0,), b"b")


def _type_of_bytes(code: object, *_copy_and_align: object) -> np.dtype[Any]:
    """Allow no type but unsigned bytes; above all none that holds objects."""
    text = code.decode("latin1") if isinstance(code, bytes) else str(code)
    if text not in ("u1", "|u1"):
        raise pickle.UnpicklingError(f"it holds an array of type {text!r}, not of bytes")
    return np.dtype(np.uint8)


def _latin1(text: object, *_encoding: object) -> bytes:
    """Turn text into bytes: how Python 3 writes bytes in the old protocol."""
    if not isinstance(text, str):
        raise pickle.UnpicklingError("it encodes something that is not text")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _array_of_bytes,
    ("numpy._core.multiarray", "_reconstruct"): _array_of_bytes,
    ("numpy", "ndarray"): "numpy.ndarray",  # an argument of the first, never called
    ("numpy", "dtype"): _type_of_bytes,
    ("_codecs", "encode"): _latin1,
}
# What a damaged or hostile pickle can raise while it is read.
_REFUSALS = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    MemoryError,
    RecursionError,
    OverflowError,
    UnicodeError,
)
