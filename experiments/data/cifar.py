"""`cifar10` and `cifar100`, in the Python or the binary version of their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data.cache import cached_arrays, content_hash
from experiments.data.cifar_pickle import read_cifar_pickle
from experiments.data.dataset import Dataset, DatasetInfo
from experiments.data.download import fetch_by_torchvision
from experiments.data.examples import ArrayExamples
from experiments.data.request import Request
from experiments.data.subsets import stratified_split

_VERSION = 1
_SHAPE = (3, 32, 32)
_N_PIXELS = 3 * 32 * 32
# 5,000 of the 50,000 training images are held out for validation.
_VALIDATION_SHARE = 10


@dataclass(frozen=True)
class _Layout:
    """One version of the files: its folder and the names within it."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class _Kind:
    torchvision_name: str
    n_classes: int
    label_name: bytes  # in the Python version
    label_bytes: int  # before the pixels in the binary version; the last one is the class
    python: _Layout
    binary: _Layout
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    archives: str


_KINDS = {
    "cifar10": _Kind(
        torchvision_name="CIFAR10",
        n_classes=10,
        label_name=b"labels",
        label_bytes=1,
        python=_Layout("cifar-10-batches-py", tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",)),
        binary=_Layout(
            "cifar-10-batches-bin",
            tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            ("test_batch.bin",),
        ),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        archives="cifar-10-python.tar.gz or cifar-10-binary.tar.gz",
    ),
    "cifar100": _Kind(
        torchvision_name="CIFAR100",
        n_classes=100,
        label_name=b"fine_labels",
        label_bytes=2,
        python=_Layout("cifar-100-python", ("train",), ("test",)),
        binary=_Layout("cifar-100-binary", ("train.bin",), ("test.bin",)),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        archives="cifar-100-python.tar.gz or cifar-100-binary.tar.gz",
    ),
}


def check(request: Request) -> None:
    """Make sure that the files are there.

    Raises:
        ValueError: If they are not, with the places where they were looked for and the remedy.
    """
    request.allow_options()
    if not request.download and _found(request) is None:
        raise ValueError(_missing(request))


def describe(request: Request) -> DatasetInfo:
    """Describe the data set as published; no file is read."""
    return _info(request, n_train=45_000, n_validation=5_000, n_test=10_000)


def load(request: Request) -> Dataset:
    """Load the images; validation is cut from the training images by a fixed stratified draw.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    request.allow_options()
    if _found(request) is None and request.download:
        fetch_by_torchvision(_KINDS[request.kind].torchvision_name, request)
    found = _found(request)
    if found is None:
        raise ValueError(_missing(request))
    folder, layout = found
    files = [folder / name for name in (*layout.train, *layout.test)]
    name = f"{request.kind}-v{_VERSION}-{content_hash(files)}"
    arrays = cached_arrays(request.cache_folder, name, lambda: _read_and_split(request.kind, folder, layout))
    parts = {
        part: ArrayExamples(arrays[f"{part}_images"], arrays[f"{part}_labels"])
        for part in ("train", "validation", "test")
    }
    return Dataset(_info(request, **{f"n_{part}": len(examples) for part, examples in parts.items()}), **parts)


def _info(request: Request, *, n_train: int, n_validation: int, n_test: int) -> DatasetInfo:
    request.allow_options()
    kind = _KINDS[request.kind]
    return DatasetInfo(
        name=request.name,
        n_classes=kind.n_classes,
        channels=3,
        height=32,
        width=32,
        n_train=n_train,
        n_validation=n_validation,
        n_test=n_test,
        # Those in common use for the 50,000 training images.
        mean=kind.mean,
        std=kind.std,
        description=f"photographs of {kind.n_classes} kinds of things, 32 x 32, in colour",
        source="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        licence="not stated by its authors",
    )


def _folders(request: Request) -> list[Path]:
    return [request.data_folder / request.kind, request.data_folder]


def _found(request: Request) -> tuple[Path, _Layout] | None:
    """The first folder that holds all files of a version; the files may lie in the archive's own folder."""
    kind = _KINDS[request.kind]
    for parent in _folders(request):
        for layout in (kind.binary, kind.python):
            for folder in (parent / layout.folder, parent):
                if all((folder / name).is_file() for name in (*layout.train, *layout.test)):
                    return folder, layout
    return None


def _missing(request: Request) -> str:
    kind = _KINDS[request.kind]
    places = ", ".join(str(folder) for folder in _folders(request))
    return (
        f"{request.kind}: neither {kind.python.folder} nor {kind.binary.folder} is complete in {places}; unpack "
        f"{kind.archives} from https://www.cs.toronto.edu/~kriz/cifar.html there, or set "
        "NINTHPOWER_DOWNLOAD=1 to let torchvision fetch it"
    )


def _read_and_split(kind_name: str, folder: Path, layout: _Layout) -> dict[str, NDArray[np.generic]]:
    kind = _KINDS[kind_name]
    images, labels = _read_files(kind, [folder / name for name in layout.train])
    test_images, test_labels = _read_files(kind, [folder / name for name in layout.test])
    n_validation = max(1, len(labels) // _VALIDATION_SHARE)
    kept, held_out = stratified_split(labels, n_validation, key=f"{kind_name} validation {_VERSION}")
    return {
        "train_images": images[kept],
        "train_labels": labels[kept],
        "validation_images": images[held_out],
        "validation_labels": labels[held_out],
        "test_images": test_images,
        "test_labels": test_labels,
    }


def _read_files(kind: _Kind, paths: list[Path]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pairs = [_read_binary(kind, path) if path.suffix == ".bin" else _read_python(kind, path) for path in paths]
    for path, (_, labels) in zip(paths, pairs, strict=True):
        if len(labels) and not 0 <= labels.min() <= labels.max() < kind.n_classes:
            raise ValueError(f"{path} holds a label outside 0 to {kind.n_classes - 1}; fetch it again")
    images = np.concatenate([rows for rows, _ in pairs]).reshape(-1, *_SHAPE)
    return images, np.concatenate([labels for _, labels in pairs])


def _read_binary(kind: _Kind, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = np.fromfile(path, dtype=np.uint8)
    row_bytes = kind.label_bytes + _N_PIXELS
    if not content.size or content.size % row_bytes:
        raise ValueError(
            f"{path} has {content.size} bytes, which is no multiple of the {row_bytes} of an image and its "
            "label; it is cut off or another file, fetch it again"
        )
    rows = content.reshape(-1, row_bytes)
    return rows[:, kind.label_bytes :], rows[:, kind.label_bytes - 1].astype(np.int64)


def _read_python(kind: _Kind, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = read_cifar_pickle(path)
    pixels, labels = batch.get(b"data"), batch.get(kind.label_name)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_N_PIXELS,):
        raise ValueError(f"{path} holds no bytes of shape (n, {_N_PIXELS}) under 'data'; fetch it again")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise ValueError(f"{path} holds no list of whole numbers under {kind.label_name.decode()!r}; fetch it again")
    if len(labels) != len(pixels):
        raise ValueError(f"{path} holds {len(pixels)} images and {len(labels)} labels; fetch it again")
    return pixels, np.array(labels, dtype=np.int64)
