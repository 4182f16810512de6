"""Real shifted test sets by path: images that were collected anew, such as CIFAR-10.1 and ImageNet-V2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.dataset import Dataset, DatasetInfo
from experiments.data.examples import ArrayExamples, Examples
from experiments.data.image_files import FileExamples
from experiments.data.imagefolder import class_names, list_files
from experiments.data.request import Request

OPTION = "shifted"


def check_shifted(request: Request, path: str) -> None:
    """Make sure that the files are there.

    Raises:
        ValueError: If they are not; the message says what was looked for and where.
    """
    root = request.data_folder / Path(path).expanduser()
    if not root.is_dir() and not all(one.is_file() for one in _array_files(root)):
        names = " and ".join(one.name for one in _array_files(root))
        raise ValueError(
            f"{request.name!r}: {OPTION} is {path!r}, but {root} is no folder of class folders, and {root.parent} does "
            f"not hold {names}; a relative path starts from the data folder"
        )


def read_shifted(request: Request, path: str, dataset: Dataset) -> Examples:
    """The shifted test set: a folder of class folders, or the two arrays ``PATH_data.npy`` and ``PATH_labels.npy``.

    Class folders are named as those of an image folder's ``train/``, or by the class' number, as ImageNet-V2's are.
    Arrays hold uint8 images of shape (n, height, width, channels) or (n, height, width), as CIFAR-10.1's do.

    Raises:
        ValueError: If the files are missing or do not fit the data set.
    """
    check_shifted(request, path)
    root = request.data_folder / Path(path).expanduser()
    return _read_folder(request, root, dataset.info) if root.is_dir() else _read_arrays(root, dataset.info)


def _array_files(root: Path) -> tuple[Path, Path]:
    return root.with_name(f"{root.name}_data.npy"), root.with_name(f"{root.name}_labels.npy")


def _read_folder(request: Request, root: Path, info: DatasetInfo) -> Examples:
    if info.channels != 3 or info.height != info.width:
        raise ValueError(
            f"{root} holds images in folders, which are read as square colour images, but {info.name} has the shape "
            f"{info.shape}; give its shifted test set as arrays, {root.name}_data.npy and {root.name}_labels.npy"
        )
    numbers = [str(number) for number in range(info.n_classes)]
    names = class_names(request) if request.kind == "imagefolder" else numbers
    found = {entry.name for entry in root.iterdir() if entry.is_dir()}
    names = names if found <= set(names) else numbers
    strange = sorted(found - set(names))
    if strange:
        raise ValueError(f"{root} holds the class {strange[0]!r}, which {info.name} has not, by name or by number")
    paths, labels = list_files(root, names)
    return FileExamples(root.parent, paths, labels, info.height)


def _read_arrays(root: Path, info: DatasetInfo) -> Examples:
    images, labels = map(_load, _array_files(root))
    images = images[..., None] if images.ndim == 3 else images
    expected = (info.height, info.width, info.channels)
    if images.dtype != np.uint8 or images.shape[1:] != expected:
        raise ValueError(
            f"{_array_files(root)[0]} holds {images.dtype} of shape {images.shape}, but images of {info.name} are "
            f"uint8 of shape (n, {', '.join(map(str, expected))})"
        )
    checked = _checked_labels(root, labels, images, info)
    return ArrayExamples(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), checked)


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no array that numpy.save wrote, or is damaged: {error}") from None


def _checked_labels(
    root: Path, labels: NDArray[np.generic], images: NDArray[np.uint8], info: DatasetInfo
) -> NDArray[np.int64]:
    whole = np.issubdtype(labels.dtype, np.integer) and labels.shape == (len(images),) and labels.size > 0
    if not whole or labels.min() < 0 or labels.max() >= info.n_classes:
        raise ValueError(
            f"{_array_files(root)[1]} holds {labels.dtype} of shape {labels.shape}, but it is one whole number from 0 "
            f"to {info.n_classes - 1} for each of the {len(images)} images"
        )
    return labels.astype(np.int64)
