"""`imagefolder:PATH`: ImageNet-style folders, train/CLASS/*.jpeg and val/CLASS/*.jpeg, decoded when read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data.cache import Arrays, cached_arrays
from experiments.data.dataset import Dataset, DatasetInfo
from experiments.data.image_files import SUFFIXES, FileExamples
from experiments.data.request import Request
from experiments.data.subsets import stratified_split

_VERSION = 1
PARTS = ("train", "val", "test")
SIZE, SMALLEST_SIZE, LARGEST_SIZE = 224, 8, 1024
# Where there is no test folder, val/ is the test set, as is usual for ImageNet, and validation is
# cut from train/: a tenth of each class, but no more than ImageNet's own 50.
_VALIDATION_SHARE, _MOST_VALIDATION_PER_CLASS = 10, 50
# Of ImageNet's training images, in common use for photographs.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def check(request: Request) -> None:
    """Make sure that the folders are there.

    Raises:
        ValueError: If the folder or its train/ or val/ is missing.
    """
    _size(request)
    _part_folders(request)


def describe(request: Request) -> DatasetInfo:
    """Describe the folder: its files are counted, none is decoded.

    Options: `size`, the side of the square that images are brought to [pixel].
    """
    size = _size(request)
    classes = class_names(request)
    counts = {part: len(arrays["labels"]) for part, arrays in _listed(request, classes).items()}
    return DatasetInfo(
        name=request.name,
        n_classes=len(classes),
        channels=3,
        height=size,
        width=size,
        n_train=counts["train"],
        n_validation=counts["validation"],
        n_test=counts["test"],
        mean=_MEAN,
        std=_STD,
        description=f"images of {len(classes)} classes in folders, brought to {size} x {size}",
        source=str(_root(request)),
        licence="not stated",
    )


def load(request: Request) -> Dataset:
    """Load the lists of files; images are decoded when they are read.

    Raises:
        ValueError: If a folder is missing or empty, or val/ has a class that train/ has not.
    """
    info = describe(request)
    lists = _listed(request, class_names(request))
    root = _root(request)
    return Dataset(
        info,
        *(
            FileExamples(root, lists[part]["paths"], lists[part]["labels"], info.height)
            for part in ("train", "validation", "test")
        ),
    )


def _size(request: Request) -> int:
    request.allow_options("size")
    return request.whole_number("size", SIZE, SMALLEST_SIZE, LARGEST_SIZE)


def _root(request: Request) -> Path:
    """The folder; a relative one lies in the data folder, since trials run in folders of their own."""
    if not request.target:
        raise ValueError(f"{request.name!r} names no folder; write imagefolder:/path/to/folder?size=64")
    return request.data_folder / Path(request.target).expanduser()


def _part_folders(request: Request) -> dict[str, Path]:
    """The folders that are there, by their part: train, val and perhaps test."""
    root = _root(request)
    folders = {part: root / part for part in PARTS}
    for part in ("train", "val"):
        if not folders[part].is_dir():
            raise ValueError(
                f"{request.name!r}: there is no folder {folders[part]}; an image folder holds "
                f"train/CLASS/*.jpeg and val/CLASS/*.jpeg, and test/CLASS/*.jpeg if you like{_advice(root)}"
            )
    # ImageNet's own test folder has no classes, since its labels are not published.
    has_test = folders["test"].is_dir() and any(entry.is_dir() for entry in folders["test"].iterdir())
    return folders if has_test else {part: folders[part] for part in ("train", "val")}


def _advice(root: Path) -> str:
    """How to bring a folder of another layout into this one; nothing where there is no image near."""
    if not root.is_dir():
        return ""
    n_flat = len(_image_names(root))
    if n_flat:
        return f": sort the images that lie in {root} ({n_flat}) into a folder per class below train/ and below val/"
    holders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name not in PARTS)
    classes = [name for name in holders if _image_names(root / name)]
    if len(classes) > 1:
        return f": move class folders such as {classes[0]}/ below train/, and a part of the images of each below val/"
    return ""


def class_names(request: Request) -> list[str]:
    """Class folders of train/ in the order of their names, which is the order of the labels."""
    folders = _part_folders(request)
    classes = sorted(entry.name for entry in folders["train"].iterdir() if entry.is_dir())
    if len(classes) < 2:
        n_flat = len(_image_names(folders["train"]))
        raise ValueError(
            f"{folders['train']} holds {len(classes)} class folder{'' if len(classes) == 1 else 's'}; at least 2 are "
            "needed" + (f": sort the images that lie in it ({n_flat}) into a folder per class" if n_flat else "")
        )
    for part, folder in folders.items():
        strange = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name not in set(classes))
        if strange:
            raise ValueError(f"{folder} holds the class {strange[0]!r}, which train has not; is {part} complete?")
    return classes


def _listed(request: Request, classes: list[str]) -> dict[str, Arrays]:
    """List the files of each part, by way of the cache: ImageNet has more than a million."""
    folders = _part_folders(request)
    digest = hashlib.sha256(repr((_VERSION, str(_root(request).resolve()), sorted(folders))).encode())
    for folder in folders.values():
        for name in classes:
            changed = (folder / name).stat().st_mtime_ns if (folder / name).is_dir() else 0
            digest.update(f"{folder.name}/{name}/{changed}".encode())
    name = f"imagefolder-{digest.hexdigest()[:16]}"
    arrays = cached_arrays(request.cache_folder, name, lambda: _list_and_split(folders, classes))
    return {
        part: {"paths": arrays[f"{part}_paths"], "labels": arrays[f"{part}_labels"]}
        for part in ("train", "validation", "test")
    }


def _list_and_split(folders: dict[str, Path], classes: list[str]) -> Arrays:
    lists = {part: list_files(folder, classes) for part, folder in folders.items()}
    paths, labels = lists["train"]
    _refuse_small_classes(labels, classes, folders["train"], least=1 if "test" in lists else 2)
    if "test" in lists:
        validation, test = lists["val"], lists["test"]
    else:
        kept, held_out = _cut_validation(labels)
        validation, test = (paths[held_out], labels[held_out]), lists["val"]
        paths, labels = paths[kept], labels[kept]
    arrays: Arrays = {}
    for part, (part_paths, part_labels) in (
        ("train", (paths, labels)), ("validation", validation), ("test", test),
    ):  # fmt: skip
        arrays[f"{part}_paths"], arrays[f"{part}_labels"] = part_paths, part_labels
    return arrays


def list_files(folder: Path, classes: list[str]) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """Images of the class folders, as paths from the folder's parent, and their labels.

    Raises:
        ValueError: If there is none.
    """
    paths: list[bytes] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for found in sorted(_image_names(folder / name)):
            paths.append(os.fsencode(f"{folder.name}/{name}/{found}"))
            labels.append(label)
    if not paths:
        raise ValueError(f"{folder} holds no image; looked for {', '.join(sorted(SUFFIXES))} in its class folders")
    return np.array(paths), np.array(labels, dtype=np.int64)


def _image_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if os.path.splitext(entry.name)[1].lower() in SUFFIXES]


def _refuse_small_classes(labels: NDArray[np.int64], classes: list[str], folder: Path, least: int) -> None:
    sizes = np.bincount(labels, minlength=len(classes))
    smallest = int(sizes.argmin())
    if sizes[smallest] < least:
        raise ValueError(
            f"{folder} has {sizes[smallest]} image{'' if sizes[smallest] == 1 else 's'} of the class "
            f"{classes[smallest]!r}; at least {least} are needed, one to train and, where there is no test folder, one "
            "for validation"
        )


def _cut_validation(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n_held_out = min(len(labels) // _VALIDATION_SHARE, _MOST_VALIDATION_PER_CLASS * len(np.unique(labels)))
    return stratified_split(labels, max(n_held_out, 1), key=f"imagefolder validation {_VERSION}")
