"""A user's own data set, `module:function`, checked before anything is spent on it."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.dataset import Dataset, DatasetInfo
from experiments.data.examples import Examples
from experiments.data.request import Request


def check(request: Request) -> None:
    """Make sure that the function can be imported and returns a data set.

    Raises:
        ValueError: If it does not; the message says what to change.
    """
    load(request)


def describe(request: Request) -> DatasetInfo:
    """Call the function and return what its data set says of itself."""
    return load(request).info


def load(request: Request) -> Dataset:
    """Call the function and check what it returns: types, sizes, labels and the first images.

    Raises:
        ValueError: If something does not fit; the message says what to change.
    """
    request.allow_options()
    function = _imported(request.kind, request.target, request.name)
    with _naming(request.name, "could not be loaded"):
        dataset = function()
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"{request.name!r} returned a {type(dataset).__name__}, not an experiments.data.Dataset; "
            "dataset_from_arrays makes one"
        )
    _check_info(dataset.info, request.name)
    for part in ("train", "validation", "test"):
        _check_part(getattr(dataset, part), part, dataset.info, request.name)
    return dataset


def refuse_argument(request: Request, option: str) -> None:
    """Refuse an option of every data set where the function has an argument of that name, for which it may be meant.

    Raises:
        ValueError: If it has; or the function cannot be imported.
    """
    function = _imported(request.kind, request.target, request.name)
    if option in inspect.signature(function).parameters:
        raise ValueError(
            f"{request.name!r}: {option} is the path of a real shifted test set, for any data set, and the function "
            "has an argument of that name, which would not be given it: functions are called without arguments; rename "
            "the argument, or leave the option out"
        )


def _imported(module_name: str, function_name: str, name: str) -> Any:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{name!r}: {error}; install the package or put its folder on PYTHONPATH, on every node"
        ) from error
    except Exception as error:  # somebody else's code: whatever it raises is said of the data set
        raise ValueError(_sentence(name, "cannot be imported", error)) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"{name!r}: {module.__file__} has no function {function_name!r}")
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ValueError(f"{name!r} is called without arguments, but: {error}") from None
    return function


@contextmanager
def _naming(name: str, what: str) -> Iterator[None]:
    """Put the data set's name before whatever its own code raises, which need not know it."""
    try:
        yield
    except Exception as error:  # somebody else's code: whatever it raises is said of the data set
        raise ValueError(_sentence(name, what, error)) from error


def _sentence(name: str, what: str, error: Exception) -> str:
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    if not isinstance(error, ValueError):
        said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename not in (__file__, importlib.__file__)]
    theirs = [frame for frame in theirs if Path(frame.filename).is_file()]
    place = f" ({Path(theirs[0].filename).name}, line {theirs[0].lineno})" if theirs else ""
    return f"the data set {name!r} {what}: {said}{place}; mend its function, or give --debug for the traceback"


def _check_info(info: DatasetInfo, name: str) -> None:
    for field in ("n_classes", "channels", "height", "width", "n_train", "n_validation", "n_test"):
        value = getattr(info, field)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name!r}: info.{field} is {value!r}, but it is a whole number from 1")
    if info.n_classes < 2:
        raise ValueError(f"{name!r}: info.n_classes is {info.n_classes}; there is nothing to tell apart below 2")
    for field in ("mean", "std"):
        values = getattr(info, field)
        if len(values) != info.channels or not np.isfinite(values).all():
            raise ValueError(
                f"{name!r}: info.{field} is {values!r}, but it has one number for each of {info.channels} channels"
            )
    if not all(deviation > 0 for deviation in info.std):
        raise ValueError(f"{name!r}: info.std is {info.std!r}, but it is above 0; leave out constant channels")
    if not all(0 <= mean <= 1 for mean in info.mean):
        raise ValueError(f"{name!r}: info.mean is {info.mean!r}, but it is that of pixels scaled to [0, 1]")


def _check_part(examples: Any, part: str, info: DatasetInfo, name: str) -> None:
    if not isinstance(examples, Examples):
        raise ValueError(
            f"{name!r}: {part} is a {type(examples).__name__} without labels, in_memory, len() or read(); "
            "ArrayExamples has them"
        )
    labels, stated = examples.labels, getattr(info, f"n_{part}")
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.shape != (len(examples),):
        found = f"{labels.dtype} of shape {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(f"{name!r}: {part} labels are {found}, but they are int64 of shape ({len(examples)},)")
    if len(examples) != stated:
        raise ValueError(f"{name!r}: {part} holds {len(examples)} examples, but info.n_{part} is {stated}")
    if labels.min() < 0 or labels.max() >= info.n_classes:
        raise ValueError(
            f"{name!r}: {part} labels run from {labels.min()} to {labels.max()}, "
            f"but they lie in 0 to {info.n_classes - 1}"
        )
    if part == "train" and len(np.unique(labels)) < info.n_classes:
        absent = np.setdiff1d(np.arange(info.n_classes), labels)[0]
        raise ValueError(f"{name!r}: no training example has the label {absent}; lower info.n_classes or add some")
    _check_images(examples, part, info, name)


def _check_images(examples: Examples, part: str, info: DatasetInfo, name: str) -> None:
    """Read the last and the first example, in this order, and see that they come as asked."""
    ends = np.array([len(examples) - 1, 0])
    with _naming(name, f"cannot read its {part} examples"):
        images = examples.read(ends)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != (2, *info.shape):
        found = f"{images.dtype} of shape {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise ValueError(
            f"{name!r}: reading two {part} examples gave {found}, but it gives uint8 of shape {(2, *info.shape)}"
        )
