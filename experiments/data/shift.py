"""A test set under distribution shift: the same images, each rotated, blurred, noisy or pale.

The corruptions are four of the kinds of Hendrycks and Dietterich, at five severities each, with the
severities of their CIFAR-10-C for small images and of their ImageNet-C for others. Rotation is among
their perturbations without a scale of severities; the angles here are ours.

Source:
    Hendrycks and Dietterich 2019, Benchmarking neural network robustness to common corruptions and
    perturbations, arXiv:1903.12261; the severities from the code published with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.examples import Examples, Images, Labels, checked_indices
from experiments.data.randomness import random_bits, random_normals, stream_key

CORRUPTIONS = ("rotation", "blur", "noise", "contrast")
N_SEVERITIES = 5
ROTATION_DEGREES = (6.0, 12.0, 18.0, 24.0, 30.0)
_VERSION = 1
Float = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Severities:
    """Strength of each corruption from the mildest to the strongest."""

    blur_pixels: tuple[float, ...]  # standard deviation of the Gaussian
    noise: tuple[float, ...]  # standard deviation, pixels scaled to [0, 1]
    contrast: tuple[float, ...]  # what is left of the distance from the image's mean
    blur_side: int | None  # side that blur_pixels belong to, None if they are not to be scaled


# CIFAR-10-C, 32 x 32. Smaller images get the same pixels: a fraction of these would blur nothing.
SMALL = Severities((0.4, 0.6, 0.7, 0.8, 1.0), (0.04, 0.06, 0.08, 0.09, 0.10), (0.75, 0.5, 0.4, 0.3, 0.15), None)
# ImageNet-C, 224 x 224.
LARGE = Severities((1, 2, 3, 4, 6), (0.08, 0.12, 0.18, 0.26, 0.38), (0.4, 0.3, 0.2, 0.1, 0.05), 224)
SMALLEST_LARGE_SIDE = 64


@dataclass(frozen=True)
class ShiftedExamples:
    """Examples seen through corruptions, each a function of the seed and the example's index.

    Args:
        examples: What is corrupted; order and labels stay.
        seed: Decides which image suffers what.
    """

    examples: Examples
    seed: int = 0

    @property
    def labels(self) -> Labels:
        """Classes, unchanged."""
        return self.examples.labels

    @property
    def in_memory(self) -> bool:
        """As of the examples themselves."""
        return self.examples.in_memory

    def __len__(self) -> int:
        return len(self.examples)

    def corruptions(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Say what happens to the images at `indices`.

        Returns:
            ``(kinds, severities)``: positions in `CORRUPTIONS`, and 0 (mild) to 4, all equally likely.
        """
        bits = random_bits(stream_key("shift", _VERSION, self.seed), checked_indices(indices, len(self)))
        combined = ((bits >> np.uint64(32)) % np.uint64(len(CORRUPTIONS) * N_SEVERITIES)).astype(np.int64)
        return combined % len(CORRUPTIONS), combined // len(CORRUPTIONS)

    def read(self, indices: NDArray[np.int64]) -> Images:
        """Read the images at `indices` and corrupt them."""
        wanted = checked_indices(indices, len(self))
        clean = self.examples.read(wanted)
        kinds, severities = self.corruptions(wanted)
        shifted = np.empty_like(clean)
        for kind, corruption in enumerate(CORRUPTIONS):
            for severity in range(N_SEVERITIES):
                chosen = (kinds == kind) & (severities == severity)
                if chosen.any():
                    shifted[chosen] = corrupt(
                        clean[chosen], corruption, severity, indices=wanted[chosen], seed=self.seed
                    )
        return shifted


def corrupt(images: Images, corruption: str, severity: int, *, indices: NDArray[np.int64], seed: int) -> Images:
    """Apply one corruption at one severity.

    Args:
        images: Shape (n, channels, height, width).
        corruption: One of `CORRUPTIONS`.
        severity: 0 (mild) to 4.
        indices: Of the images, shape (n,): the noise and the sense of the rotation follow from them.
        seed: The noise follows from it too.

    Returns:
        Corrupted images of the same shape.

    Raises:
        ValueError: If there is no such corruption or severity.
    """
    if corruption not in CORRUPTIONS or severity not in range(N_SEVERITIES):
        raise ValueError(
            f"there is no corruption {corruption!r} of severity {severity}; allowed are "
            f"{', '.join(CORRUPTIONS)} of 0 to {N_SEVERITIES - 1}"
        )
    scaled = images.astype(np.float32) / 255
    side = min(images.shape[2:])
    table = SMALL if side < SMALLEST_LARGE_SIDE else LARGE
    if corruption == "rotation":
        corrupted = _rotated(scaled, ROTATION_DEGREES[severity], indices, seed)
    elif corruption == "blur":
        scale = side / table.blur_side if table.blur_side else 1.0
        corrupted = _blurred(scaled, table.blur_pixels[severity] * scale)
    elif corruption == "noise":
        corrupted = _noisy(scaled, table.noise[severity], indices, seed)
    else:
        corrupted = _pale(scaled, table.contrast[severity])
    return np.round(np.clip(corrupted, 0, 1) * 255).astype(np.uint8)


def _rotated(images: Float, degrees: float, indices: NDArray[np.int64], seed: int) -> Float:
    """Turn about the middle, half of the images each way; what comes in at the border repeats its edge."""
    from scipy.ndimage import rotate

    leftwards = (random_bits(stream_key("shift sense", _VERSION, seed), indices) >> np.uint64(63)).astype(bool)
    turned = np.empty_like(images)
    for chosen, angle in ((leftwards, degrees), (~leftwards, -degrees)):
        if chosen.any():
            turned[chosen] = rotate(images[chosen], angle, axes=(3, 2), reshape=False, order=1, mode="nearest")
    return turned


def _blurred(images: Float, sigma_pixels: float) -> Float:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, sigma=(0, 0, sigma_pixels, sigma_pixels), mode="nearest")


def _noisy(images: Float, deviation: float, indices: NDArray[np.int64], seed: int) -> Float:
    noise = random_normals(stream_key("shift noise", _VERSION, seed), indices, int(np.prod(images.shape[1:])))
    return images + deviation * noise.reshape(images.shape)


def _pale(images: Float, remaining: float) -> Float:
    means = images.mean(axis=(2, 3), keepdims=True)
    return (images - means) * remaining + means
