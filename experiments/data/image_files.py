"""Images that stay in their files and are decoded when they are read."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from experiments.data.examples import Images, Labels, checked_indices
from experiments.machine import n_cores

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
# Decoding releases Python's lock; more threads than this were not seen to help.
_MOST_THREADS = 8


@dataclass(frozen=True)
class FileExamples:
    """Images in files, brought to a square: the shorter side to `size`, then the middle cut out.

    Args:
        root: Folder that the paths start from.
        paths: Relative paths, bytes, shape (n,).
        labels: Classes, shape (n,).
        size: Side of the square [pixel].
    """

    root: Path
    paths: NDArray[np.bytes_]
    labels: Labels
    size: int
    in_memory: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> Images:
        """Decode the images at `indices`, several at once, each as red, green and blue.

        Raises:
            ValueError: If an index lies outside, or a file is missing or damaged; it is named.
        """
        wanted = checked_indices(indices, len(self))
        images = np.empty((len(wanted), 3, self.size, self.size), dtype=np.uint8)

        def fill(position: int) -> None:
            path = self.root / os.fsdecode(bytes(self.paths[wanted[position]]))
            images[position] = decode_square(path, self.size)

        n_threads = min(_MOST_THREADS, n_cores(), max(len(wanted), 1))
        if n_threads == 1:
            for position in range(len(wanted)):
                fill(position)
            return images
        with ThreadPoolExecutor(n_threads) as threads:
            list(threads.map(fill, range(len(wanted))))
        return images


def decode_square(path: Path, size: int) -> Images:
    """Decode a file, bring its shorter side to `size` and cut out the middle, shape (3, size, size).

    Raises:
        ValueError: If the file is missing or damaged.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            # JPEG decodes to a half, a quarter or an eighth for less, never below what is asked for.
            image.draft("RGB", (2 * size, 2 * size))
            square = _centre_square(image.convert("RGB"), size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"the image {path} cannot be read ({error}); mend it or take it away") from error
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)


def _centre_square(image: PillowImage, size: int) -> PillowImage:
    from PIL import Image

    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
