"""Images on their way from a data set to a device: chosen, normalised, shuffled, augmented, batched."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from experiments.data import Examples

# Up to this size the chosen images are normalised once and stay on the device; above it they are
# read, batch by batch and one ahead, from the node's one copy.
RESIDENT_BYTES = 256 * 2**20


class ImageBatches(Protocol):
    """Batches of normalised images and their labels, on a device."""

    device: torch.device
    n_classes: int

    def stream(self, batch_size: int, n_batches: int, *, n_done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield full batches from one permutation of the examples after another, but for the first `n_done`."""

    def once(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every example once, in order; the last batch may be short."""

    def state_dict(self) -> dict[str, Any]:
        """What decides the batches of the latest stream that are still to come, beside how many are done."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next stream, less what was done of it, go on as the one that the state was taken of."""


class Shuffle:
    """Places of examples in random order, one permutation after another.

    Args:
        n: Number of examples.
        seed: Of the order.
    """

    def __init__(self, n: int, seed: int) -> None:
        self._n = n
        self._generator = torch.Generator().manual_seed(seed)
        self._at_start = self._generator.get_state()

    def batches(self, batch_size: int, n_batches: int, *, n_done: int = 0) -> Iterator[Tensor]:
        """Yield places, `batch_size` at a time; the first `n_done` of `n_batches` are drawn and not yielded."""
        self._at_start = self._generator.get_state()
        waiting = torch.empty(0, dtype=torch.int64)
        for number in range(n_batches):
            while len(waiting) < batch_size:
                waiting = torch.cat([waiting, torch.randperm(self._n, generator=self._generator)])
            if number >= n_done:
                yield waiting[:batch_size]
            waiting = waiting[batch_size:]

    def state_dict(self) -> dict[str, Any]:
        """The generator's state as the latest stream began."""
        return {"order": self._at_start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next stream as that one."""
        self._generator.set_state(state["order"])


class Images:
    """The images of some examples of a data set, as a model sees them.

    Args:
        examples: Where the pixels are, as bytes.
        indices: Which examples, shape (n,).
        mean: Per channel, in [0, 1].
        std: Per channel, in [0, 1], positive.
        n_classes: Number of classes.
        device: Where batches are wanted.
        seed: Of the shuffling and the augmentation.
        augmentation: ``none``, ``shift``, ``flip`` or ``shift-flip``; only `stream` augments.
        channels_last: Memory layout of the batches.
    """

    def __init__(
        self,
        examples: Examples,
        indices: NDArray[np.int64],
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        n_classes: int,
        device: torch.device,
        seed: int = 0,
        augmentation: str = "none",
        channels_last: bool = False,
    ) -> None:
        self.device = device
        self.n_classes = n_classes
        self._examples = examples
        self._indices = indices
        self._labels = torch.from_numpy(np.ascontiguousarray(examples.labels[indices])).to(device)
        self._scale, self._shift = _scale_and_shift(mean, std, device)
        self._shuffle = Shuffle(len(indices), seed)
        self._chance = torch.Generator(device).manual_seed(seed + 1)
        self._augmentation = augmentation
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._resident: Tensor | None = None
        if examples.in_memory and len(indices) and 4 * examples.read(indices[:1]).size * len(indices) <= RESIDENT_BYTES:
            self._resident = self._normalised(examples.read(indices))

    def __len__(self) -> int:
        return len(self._indices)

    def stream(self, batch_size: int, n_batches: int, *, n_done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield full batches from one permutation of the examples after another, but for the first `n_done`."""
        for images, labels in self._batches(self._shuffle.batches(batch_size, n_batches, n_done=n_done)):
            yield self._augmented(images), labels

    def state_dict(self) -> dict[str, Any]:
        """Of the order as the latest stream began, of the augmentation as it is."""
        return {**self._shuffle.state_dict(), "chance": self._chance.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next stream, less what was done of it, go on as the one that the state was taken of."""
        self._shuffle.load_state_dict(state)
        self._chance.set_state(state["chance"])

    def once(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every example once, in order; the last batch may be short."""
        if self._resident is not None:
            yield from zip(self._resident.split(batch_size), self._labels.split(batch_size), strict=True)
        else:
            yield from self._batches(iter(torch.arange(len(self)).split(batch_size)))

    def _batches(self, positions: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        if self._resident is not None:
            for chosen in positions:
                on_device = chosen.to(self.device)
                yield self._resident[on_device], self._labels[on_device]
            return
        with ThreadPoolExecutor(1) as reader:  # reads one batch ahead
            ahead = None
            for chosen in positions:
                coming = (reader.submit(self._examples.read, self._indices[chosen.numpy()]), chosen)
                if ahead is not None:
                    yield self._read(*ahead)
                ahead = coming
            if ahead is not None:
                yield self._read(*ahead)

    def _read(self, pixels: object, chosen: Tensor) -> tuple[Tensor, Tensor]:
        return self._normalised(pixels.result()), self._labels[chosen.to(self.device)]  # type: ignore[attr-defined]

    def _normalised(self, pixels: NDArray[np.uint8]) -> Tensor:
        images = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).float()
        return torch.addcmul(self._shift, images, self._scale).contiguous(memory_format=self._layout)

    def _augmented(self, images: Tensor) -> Tensor:
        if "shift" in self._augmentation:
            images = shifted(images, self._chance)
        if "flip" in self._augmentation:
            mirrored = torch.rand(len(images), 1, 1, 1, generator=self._chance, device=self.device) < 0.5
            images = torch.where(mirrored, images.flip(-1), images)
        return images


def normalised(pixels: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images as a model sees them, from bytes of shape (n, channels, height, width) on any device."""
    scale, shift = _scale_and_shift(mean, std, pixels.device)
    return torch.addcmul(shift, pixels.float(), scale)


def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    scale = 1 / (255 * torch.tensor(std, device=device).view(1, -1, 1, 1))
    return scale, -torch.tensor(mean, device=device).view(1, -1, 1, 1) * 255 * scale


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Translate each image by its own whole number of pixels, up to an eighth of its side.

    What comes in from outside repeats the border.

    Args:
        images: Shape (n, channels, height, width).
        generator: On the images' device.
    """
    n, channels, height, width = images.shape
    device = images.device
    reach = max(1, min(height, width) // 8)
    down, right = torch.randint(-reach, reach + 1, (2, n, 1), generator=generator, device=device)
    rows = (torch.arange(height, device=device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + right).clamp(0, width - 1)
    return images[
        torch.arange(n, device=device).view(n, 1, 1, 1),
        torch.arange(channels, device=device).view(1, channels, 1, 1),
        rows.view(n, 1, height, 1),
        columns.view(n, 1, 1, width),
    ]
