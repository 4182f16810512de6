"""The data sets that there are, by name."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from experiments.data.cache import default_cache_folder, default_data_folder
from experiments.data.dataset import Dataset, DatasetInfo
from experiments.data.download import download_wanted
from experiments.data.real_shift import OPTION, check_shifted, read_shifted
from experiments.data.request import Request, parse_request


class _Source(Protocol):
    """What the module of a data set offers."""

    def check(self, request: Request) -> None: ...

    def describe(self, request: Request) -> DatasetInfo: ...

    def load(self, request: Request) -> Dataset: ...


_MODULES = {
    "digits": "experiments.data.digits",
    "glyphs": "experiments.data.glyphs",
    "mnist": "experiments.data.mnist",
    "fashion-mnist": "experiments.data.mnist",
    "cifar10": "experiments.data.cifar",
    "cifar100": "experiments.data.cifar",
    "imagefolder": "experiments.data.imagefolder",
}
DATASET_NAMES = tuple(_MODULES)


def describe_dataset(name: str, *, data_folder: Path | None = None) -> DatasetInfo:
    """Say what is known of a data set without looking at its pixels.

    Sizes are read from the files' headers where that is cheap, and are the published ones where the
    files are absent; `check_dataset` tells whether they are there. A user's own data set is loaded.

    Args:
        name: A name of `DATASET_NAMES`, with a target and options where it has them
            (``imagefolder:/data/imagenet?size=64``), or ``module:function``. All of them know the option
            ``shifted``, the path of a real shifted test set.
        data_folder: Where files lie; by default `default_data_folder()`.

    Raises:
        ValueError: If there is no such data set, or its name or files are wrong.
    """
    request, source, _ = _resolve(name, data_folder, None, download=False)
    return source.describe(request)


def check_dataset(name: str, *, data_folder: Path | None = None, download: bool | None = None) -> None:
    """Make sure that `load_dataset` will find what it needs, before anything is spent.

    Raises:
        ValueError: If files are missing: where they were looked for and how to get them.
    """
    request, source, shifted = _resolve(name, data_folder, None, download)
    source.check(request)
    if shifted is not None:
        check_shifted(request, shifted)


def load_dataset(
    name: str,
    *,
    data_folder: Path | None = None,
    cache_folder: Path | None = None,
    download: bool | None = None,
) -> Dataset:
    """Load a data set with its fixed split. The arrays are shared by all processes of the node.

    Args:
        name: As in `describe_dataset`.
        data_folder: Where files lie; by default `default_data_folder()`.
        cache_folder: Where decoded arrays are kept, on a local disk; by default
            `default_cache_folder()`. Deleting it is safe at any time.
        download: Whether missing files may be fetched; by default what NINTHPOWER_DOWNLOAD says.

    Raises:
        ValueError: If there is no such data set, or files are missing or damaged.
    """
    request, source, shifted = _resolve(name, data_folder, cache_folder, download)
    dataset = source.load(request)
    return dataset if shifted is None else replace(dataset, real_shift=read_shifted(request, shifted, dataset))


def _resolve(
    name: str, data_folder: Path | None, cache_folder: Path | None, download: bool | None
) -> tuple[Request, _Source, str | None]:
    """What is asked of which source, and the path of a real shifted test set, an option of every data set."""
    request = parse_request(
        name,
        data_folder=data_folder or default_data_folder(),
        cache_folder=cache_folder or default_cache_folder(),
        download=download_wanted() if download is None else download,
    )
    options = dict(request.options)
    shifted = options.pop(OPTION, None)
    request = replace(request, options=options)
    if request.kind in _MODULES:
        if request.target and request.kind != "imagefolder":
            raise ValueError(f"{name!r}: {request.kind} takes nothing after ':'; write {request.kind!r}")
        return request, cast(_Source, importlib.import_module(_MODULES[request.kind])), shifted
    if request.target:
        own = importlib.import_module("experiments.data.own")
        if shifted is not None:
            own.refuse_argument(request, OPTION)
        return request, cast(_Source, own), shifted
    near = difflib.get_close_matches(request.kind, DATASET_NAMES, n=1)
    guess = f"did you mean {near[0]!r}?" if near else "or bring your own as module:function"
    raise ValueError(f"there is no data set {name!r}; allowed are {', '.join(DATASET_NAMES)}; {guess}")
