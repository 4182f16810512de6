"""`mnist` and `fashion-mnist`: four IDX files each, found in a folder or fetched when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data.cache import cached_arrays, content_hash
from experiments.data.dataset import Dataset, DatasetInfo
from experiments.data.download import fetch_by_torchvision
from experiments.data.examples import ArrayExamples
from experiments.data.idx import idx_shape, read_idx
from experiments.data.request import Request
from experiments.data.subsets import stratified_split

_VERSION = 1
_N_CLASSES = 10
# 5,000 of the 60,000 training images are held out for validation.
_VALIDATION_SHARE = 12
_STEMS = {
    "train_images": "train-images",
    "train_labels": "train-labels",
    "test_images": "t10k-images",
    "test_labels": "t10k-labels",
}
_SYSTEM_FOLDER = Path("/usr/share/datasets")


@dataclass(frozen=True)
class _Kind:
    torchvision_name: str
    mean: float
    std: float
    first_labels: bytes  # of the training labels: the two data sets' files bear the same names
    description: str
    source: str
    licence: str
    remedy: str


# Means and deviations are those of the training images; tests compare them with the files.
_KINDS = {
    "mnist": _Kind(
        torchvision_name="MNIST",
        mean=0.1307,
        std=0.3081,
        first_labels=bytes([5, 0, 4, 1, 9, 2, 1, 3]),
        description="handwritten digits, 28 x 28",
        source="LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition",
        licence="not stated by its authors",
        remedy="put the four IDX files of MNIST there",
    ),
    "fashion-mnist": _Kind(
        torchvision_name="FashionMNIST",
        mean=0.2860,
        std=0.3530,
        first_labels=bytes([9, 0, 0, 3, 0, 2, 7, 2]),
        description="photographs of clothes, 28 x 28",
        source="Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747",
        licence="MIT",
        remedy="install the package dataset-fashion-mnist (Debian, Ubuntu), "
        "put the four IDX files of https://github.com/zalandoresearch/fashion-mnist there",
    ),
}


def check(request: Request) -> None:
    """Make sure that the four files are there.

    Raises:
        ValueError: If one is missing, with the places where it was looked for and the remedy.
    """
    request.allow_options()
    files = _found_files(request)
    if not request.download and len(files) < len(_STEMS):
        raise ValueError(_missing(request))


def describe(request: Request) -> DatasetInfo:
    """Describe the data set: sizes from the files' headers, or as published where there are no files.

    Raises:
        ValueError: If a file is there but is no IDX file.
    """
    request.allow_options()
    kind = _KINDS[request.kind]
    n_train, n_test, height, width = 60_000, 10_000, 28, 28
    files = _found_files(request)
    if len(files) == len(_STEMS):
        n_train, height, width = idx_shape(files["train_images"], 3)
        n_test = idx_shape(files["test_images"], 3)[0]
    n_validation = _n_validation(n_train)
    return DatasetInfo(
        name=request.name,
        n_classes=_N_CLASSES,
        channels=1,
        height=height,
        width=width,
        n_train=n_train - n_validation,
        n_validation=n_validation,
        n_test=n_test,
        mean=(kind.mean,),
        std=(kind.std,),
        description=kind.description,
        source=kind.source,
        licence=kind.licence,
    )


def load(request: Request) -> Dataset:
    """Load the images; validation is cut from the training images by a fixed stratified draw.

    Raises:
        ValueError: If a file is missing, damaged, or belongs to another data set.
    """
    request.allow_options()
    files = _found_files(request)
    if len(files) < len(_STEMS) and request.download:
        fetch_by_torchvision(_KINDS[request.kind].torchvision_name, request)
        files = _found_files(request)
    if len(files) < len(_STEMS):
        raise ValueError(_missing(request))
    name = f"{request.kind}-v{_VERSION}-{content_hash([files[part] for part in _STEMS])}"
    arrays = cached_arrays(request.cache_folder, name, lambda: _read_and_split(request.kind, files))
    parts = ("train", "validation", "test")
    return Dataset(
        describe(request), *(ArrayExamples(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in parts)
    )


def _folders(request: Request) -> list[Path]:
    return [
        request.data_folder / request.kind,
        request.data_folder,
        request.data_folder / _KINDS[request.kind].torchvision_name / "raw",
        _SYSTEM_FOLDER / request.kind,
    ]


def _found_files(request: Request) -> dict[str, Path]:
    """The four files from the first folder that holds them all; empty if none does."""
    for folder in _folders(request):
        files = {part: _idx_file(folder, stem) for part, stem in _STEMS.items()}
        found = {part: path for part, path in files.items() if path is not None}
        if len(found) == len(_STEMS):
            return found
    return {}


def _idx_file(folder: Path, stem: str) -> Path | None:
    """Find a file under the names in use: `-idx3-ubyte` or `.idx3-ubyte`, gzipped or not."""
    dimensions = 3 if stem.endswith("images") else 1
    names = [f"{stem}{dot}idx{dimensions}-ubyte{end}" for end in ("", ".gz") for dot in "-."]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _missing(request: Request) -> str:
    places = ", ".join(str(folder) for folder in _folders(request))
    return (
        f"{request.kind}: no folder holds all four files, of which the first is train-images-idx3-ubyte or "
        f"train-images-idx3-ubyte.gz; looked in {places}; {_KINDS[request.kind].remedy}, or set "
        "NINTHPOWER_DOWNLOAD=1 to let torchvision fetch them"
    )


def _n_validation(n_images: int) -> int:
    return max(1, n_images // _VALIDATION_SHARE)


def _read_and_split(kind: str, files: dict[str, Path]) -> dict[str, NDArray[np.generic]]:
    images, labels = _read_pair(kind, files["train_images"], files["train_labels"])
    test_images, test_labels = _read_pair(kind, files["test_images"], files["test_labels"])
    if test_images.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"{files['test_images']} holds images of {test_images.shape[2:]} pixels, "
            f"{files['train_images']} of {images.shape[2:]}; they are not of one data set"
        )
    kept, held_out = stratified_split(labels, _n_validation(len(labels)), key=f"{kind} validation {_VERSION}")
    return {
        "train_images": images[kept],
        "train_labels": labels[kept],
        "validation_images": images[held_out],
        "validation_labels": labels[held_out],
        "test_images": test_images,
        "test_labels": test_labels,
    }


def _read_pair(kind: str, image_file: Path, label_file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if len(images) != len(labels):
        raise ValueError(
            f"{image_file} holds {len(images)} images, {label_file} {len(labels)} labels; fetch both again"
        )
    if len(labels) and labels.max() >= _N_CLASSES:
        raise ValueError(f"{label_file} holds the label {labels.max()}, allowed are 0 to {_N_CLASSES - 1}")
    for other, facts in _KINDS.items():
        if other != kind and labels[:8].tobytes() == facts.first_labels:
            raise ValueError(
                f"{label_file} belongs to {other}, whose files bear the same names; "
                f"put the files of {kind} into a folder called {kind}"
            )
    return images[:, None], labels.astype(np.int64)
