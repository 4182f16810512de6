"""`glyphs`: letters in random font, pose, stroke, blur and noise; any number of them, with no download."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

from experiments.data.cache import cached_arrays
from experiments.data.dataset import Dataset, DatasetInfo
from experiments.data.examples import Images
from experiments.data.glyph_atlas import LETTERS, atlas_key, draw_atlas, font_paths
from experiments.data.glyph_looks import RENDER_VERSION, glyph_labels
from experiments.data.glyph_render import render_glyphs
from experiments.data.glyph_store import StoredExamples
from experiments.data.request import Request

POOL, LARGEST_POOL = 1_000_000, 2**24
N_VALIDATION, N_TEST = 5_000, 10_000
SIZE, SMALLEST_SIZE, LARGEST_SIZE = 28, 8, 256


def check(request: Request) -> None:
    """Make sure that the fonts are there.

    Raises:
        ValueError: If one is missing, or an option is wrong.
    """
    describe(request)
    font_paths()


def describe(request: Request) -> DatasetInfo:
    """Describe the glyphs; nothing is drawn.

    Options: `size`, the side of the images [pixel]; `pool`, the training examples to draw from.
    """
    request.allow_options("size", "pool")
    size = request.whole_number("size", SIZE, SMALLEST_SIZE, LARGEST_SIZE)
    return DatasetInfo(
        name=request.name,
        n_classes=len(LETTERS),
        channels=1,
        height=size,
        width=size,
        n_train=request.whole_number("pool", POOL, len(LETTERS), LARGEST_POOL),
        n_validation=N_VALIDATION,
        n_test=N_TEST,
        # Measured at 28 pixels; other sizes differ in the second decimal.
        mean=(0.1976,),
        std=(0.3209,),
        description=f"capital and small letters {LETTERS}, {size} x {size}, each drawn from its index",
        source="drawn here from the fonts that ship with matplotlib: DejaVu, STIX, Computer Modern",
        licence="images: public domain; fonts: Bitstream Vera, SIL OFL 1.1, BaKoMa",
    )


def load(request: Request) -> Dataset:
    """Load the glyphs. None is drawn before it is read; then it is kept in the cache."""
    info = describe(request)
    atlas = cached_arrays(request.cache_folder, f"glyph-atlas-{atlas_key()}", lambda: {"atlas": draw_atlas()})
    version = hashlib.sha256(f"{RENDER_VERSION}".encode() + atlas["atlas"].tobytes()).hexdigest()[:16]

    def part(split: str, count: int) -> StoredExamples:
        draw = functools.partial(_draw, atlas["atlas"], split, info.height)
        name = f"glyphs-{version}-{info.height}-{split}-{count}"
        return StoredExamples(glyph_labels(np.arange(count)), info.shape, draw, request.cache_folder, name)

    return Dataset(info, part("train", info.n_train), part("validation", N_VALIDATION), part("test", N_TEST))


def _draw(atlas: NDArray[np.int8], split: str, size: int, indices: NDArray[np.int64]) -> Images:
    return render_glyphs(atlas, split, indices, size)
