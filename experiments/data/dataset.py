"""What a data set is: facts about it, and three fixed sets of labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from experiments.data.examples import ArrayExamples, Examples, Images, Labels
from experiments.data.shift import ShiftedExamples
from experiments.data.subsets import stratified_split


@dataclass(frozen=True)
class DatasetInfo:
    """What can be known of a data set without looking at a pixel.

    `mean` and `std` belong to the training pool, one number per channel, with pixels scaled to
    [0, 1]; subtract and divide by them. `n_train` is the size of the pool that subsets are drawn from.
    """

    name: str
    n_classes: int
    channels: int
    height: int
    width: int
    n_train: int
    n_validation: int
    n_test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    description: str
    source: str
    licence: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one example: (channels, height, width)."""
        return (self.channels, self.height, self.width)


@dataclass(frozen=True)
class Dataset:
    """A data set with its fixed split. Choices are made on validation; test is read once.

    `real_shift` is a shifted test set that was collected and not made; None takes corruptions of `test`.

    Source:
        The way of splitting is stated per data set in docs/data.md.
    """

    info: DatasetInfo
    train: Examples
    validation: Examples
    test: Examples
    real_shift: Examples | None = None

    def shifted(self, seed: int = 0) -> Examples:
        """Return the real shifted test set, or the test set with each image rotated, blurred, noisy or pale.

        Of the latter, order and labels are those of `test`. See `experiments.data.shift`.
        """
        if self.real_shift is not None:
            return self.real_shift
        return ShiftedExamples(self.test, seed)


def dataset_from_arrays(
    name: str,
    train: tuple[ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike],
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    description: str = "brought by the user",
    source: str = "not stated",
    licence: str = "not stated",
) -> Dataset:
    """Make a data set of one's own from arrays.

    Args:
        name: What the runs table shall call it.
        train: Images, uint8, shape (n, channels, height, width) or (n, height, width), and labels
            0 to n_classes - 1, shape (n,).
        test: The same for testing.
        validation: The same for choices; by default a tenth of `train`, by a fixed draw that keeps
            the shares of the classes.
        description: One line on what it shows.
        source: Where it comes from.
        licence: What may be done with it.

    Raises:
        ValueError: If a shape, type or label does not fit.
    """
    parts = {"train": _checked_part("train", train), "test": _checked_part("test", test)}
    if validation is None:
        images, labels = parts["train"]
        kept, held_out = stratified_split(labels, max(1, len(labels) // 10), key=f"{name} validation")
        parts["train"] = (images[kept], labels[kept])
        parts["validation"] = (images[held_out], labels[held_out])
    else:
        parts["validation"] = _checked_part("validation", validation)
    images = parts["train"][0]
    mean, std = channel_statistics(images)
    info = DatasetInfo(
        name=name,
        n_classes=int(parts["train"][1].max()) + 1,
        channels=images.shape[1],
        height=images.shape[2],
        width=images.shape[3],
        n_train=len(images),
        n_validation=len(parts["validation"][1]),
        n_test=len(parts["test"][1]),
        mean=mean,
        std=std,
        description=description,
        source=source,
        licence=licence,
    )
    return Dataset(info, *(ArrayExamples(*parts[part]) for part in ("train", "validation", "test")))


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, with pixels scaled to [0, 1]; exact, from counts."""
    means, deviations = [], []
    values = np.arange(256) / 255
    for channel in range(images.shape[1]):
        shares = np.bincount(images[:, channel].reshape(-1), minlength=256) / images[:, channel].size
        mean = float(shares @ values)
        means.append(mean)
        deviations.append(float(shares @ (values - mean) ** 2) ** 0.5)
    return tuple(means), tuple(deviations)


def _checked_part(part: str, arrays: tuple[ArrayLike, ArrayLike]) -> tuple[Images, Labels]:
    images, labels = np.asarray(arrays[0]), np.asarray(arrays[1])
    if images.dtype != np.uint8:
        raise ValueError(f"{part} images are {images.dtype}; scale them to 0..255 and make them uint8")
    if images.ndim not in (3, 4):
        raise ValueError(
            f"{part} images have the shape {images.shape}; "
            "allowed are (n, channels, height, width) and (n, height, width)"
        )
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{part} labels have the shape {labels.shape} and the type {labels.dtype}; "
            f"give one whole number for each of the {len(images)} images"
        )
    if not len(labels) or labels.min() < 0:
        raise ValueError(
            f"{part} labels are {labels[:5]}, but they are numbers from 0, at least one; number the classes from 0"
        )
    return (images[:, None] if images.ndim == 3 else images), labels.astype(np.int64)
