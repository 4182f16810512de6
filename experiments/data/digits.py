"""`digits`: scikit-learn's scans of handwritten digits, the data set that needs no files."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from experiments.data.cache import cached_arrays
from experiments.data.dataset import Dataset, DatasetInfo
from experiments.data.examples import ArrayExamples
from experiments.data.randomness import random_bits, stream_key
from experiments.data.request import Request

# Whole classes of equal size in the pool, so that every n_train up to all of it can be balanced.
TRAIN_PER_CLASS = 110
VALIDATION_PER_CLASS = 25
_VERSION = 1


def check(request: Request) -> None:
    """Make sure that scikit-learn is there.

    Raises:
        ValueError: If it is not installed, or an option is given.
    """
    request.allow_options()
    if find_spec("sklearn") is None:
        raise ValueError("digits comes with scikit-learn, which is not installed; pip install scikit-learn")


def describe(request: Request) -> DatasetInfo:
    """Describe the digits; nothing is read."""
    request.allow_options()
    return DatasetInfo(
        name=request.name,
        n_classes=10,
        channels=1,
        height=8,
        width=8,
        n_train=1100,
        n_validation=250,
        n_test=447,
        mean=(0.3053,),
        std=(0.3760,),
        description="handwritten digits, 8 x 8 counts of ink from 0 to 16, scaled to 0 to 255",
        source="Alpaydin and Kaynak 1998, UCI Machine Learning Repository, doi:10.24432/C50P49, "
        "by way of sklearn.datasets.load_digits",
        licence="CC BY 4.0",
    )


def load(request: Request) -> Dataset:
    """Load the digits, split by a fixed draw into 1,100 + 250 + 447."""
    info = describe(request)
    check(request)
    arrays = cached_arrays(request.cache_folder, f"digits-v{_VERSION}", _read_and_split)
    return Dataset(
        info,
        *(
            ArrayExamples(arrays[f"{part}_images"], arrays[f"{part}_labels"])
            for part in ("train", "validation", "test")
        ),
    )


def _read_and_split() -> dict[str, NDArray[np.generic]]:
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = np.round(scans.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = scans.target.astype(np.int64)
    arrays: dict[str, NDArray[np.generic]] = {}
    for part, indices in _split(labels).items():
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = images[indices], labels[indices]
    return arrays


def _split(labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Give each class its fixed share of training and validation; what is left over is test."""
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "validation": [], "test": []}
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        drawn = members[np.argsort(random_bits(stream_key("digits split", _VERSION), members))]
        ends = [TRAIN_PER_CLASS, TRAIN_PER_CLASS + VALIDATION_PER_CLASS]
        for part, share in zip(parts, np.split(drawn, ends), strict=True):
            parts[part].append(share)
    return {part: np.sort(np.concatenate(shares)) for part, shares in parts.items()}
