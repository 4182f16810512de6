"""Another data set, made to fit the trial's images, for what is learnt before the trial's own examples are seen."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from experiments.data import ArrayExamples, Dataset, DatasetInfo, check_dataset, describe_dataset, nested_subset
from experiments.data.dataset import channel_statistics
from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.workbench import Workbench, open_dataset

# Enough to see on the training curve that something is learnt; nothing is chosen on them.
VALIDATION_EXAMPLES = 500
# Weights of red, green and blue in brightness: ITU-R BT.601.
BRIGHTNESS = (0.299, 0.587, 0.114)


def check_source(spec: TrialSpec, machine: Machine, *, source: str, source_train: int) -> None:
    """Refuse a source that is the target itself, is not there, or has too few examples.

    Raises:
        ValueError: With the reason.
    """
    if source.partition("?")[0] == spec.dataset.partition("?")[0]:
        raise ValueError(f"the source {source!r} is the data set of the trial itself; take another, such as glyphs")
    check_dataset(source, data_folder=machine.data_folder)
    info = describe_dataset(source, data_folder=machine.data_folder)
    if not info.n_classes <= source_train <= info.n_train:
        raise ValueError(
            f"source_train is {source_train}, but {source} has {info.n_train} training examples in "
            f"{info.n_classes} classes; take {info.n_classes} to {info.n_train}"
        )


def source_workbench(workbench: Workbench, spec: TrialSpec) -> Workbench:
    """A workbench like this one, with the data set of `spec`, resized to the shape of this one's images.

    Its ledger and clock are this one's. Images are resized bilinearly with antialiasing; a grey image is
    repeated over the channels, a coloured one becomes its brightness where the target is grey.

    Args:
        workbench: The trial's.
        spec: Names the source, the number of its examples and the seed of their draw.
    """
    machine = workbench.machine
    dataset = _resized(
        spec.dataset, spec.n_train, spec.seed, workbench.dataset.info.shape, machine.data_folder, machine.cache_folder
    )
    return dataclasses.replace(workbench, spec=spec, dataset=dataset)


def resize_images(images: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Bring images, shape (n, channels, height, width), to another (channels, height, width)."""
    channels, height, width = shape
    pixels: Tensor = torch.from_numpy(np.ascontiguousarray(images)).float()
    if pixels.shape[1] != channels:
        if pixels.shape[1] == len(BRIGHTNESS):
            pixels = (pixels * torch.tensor(BRIGHTNESS).view(1, -1, 1, 1)).sum(1, keepdim=True)
        elif pixels.shape[1] != 1:
            pixels = pixels.mean(1, keepdim=True)
        pixels = pixels.expand(-1, channels, -1, -1)
    if pixels.shape[2:] != (height, width):
        pixels = functional.interpolate(pixels, (height, width), mode="bilinear", antialias=True)
    return pixels.round().clamp(0, 255).to(torch.uint8).numpy()


@functools.lru_cache(maxsize=4)
def _resized(
    name: str,
    n_train: int,
    seed: int,
    shape: tuple[int, int, int],
    data_folder: Path | None,
    cache_folder: Path | None,
) -> Dataset:
    source = open_dataset(name, data_folder, cache_folder)
    indices = nested_subset(source.train.labels, n_train, seed)
    looks = np.arange(min(VALIDATION_EXAMPLES, len(source.validation)))
    train, validation = (
        ArrayExamples(resize_images(examples.read(chosen), shape), examples.labels[chosen])
        for examples, chosen in ((source.train, indices), (source.validation, looks))
    )
    mean, std = channel_statistics(train.images)
    channels, height, width = shape
    info: DatasetInfo = dataclasses.replace(
        source.info,
        channels=channels,
        height=height,
        width=width,
        n_train=n_train,
        n_validation=len(looks),
        n_test=len(looks),
        mean=mean,
        std=tuple(max(value, 1e-3) for value in std),
    )
    return Dataset(info, train, validation, validation)
