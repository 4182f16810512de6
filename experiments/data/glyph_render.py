"""Drawing glyphs: each image is a pure function of (split, index), the same bytes on every machine.

Only sums, products, quotients and roots of floating-point numbers are used, which IEEE 754 fixes to
the last bit; sines and logarithms differ between processors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.data.glyph_atlas import FIELD_TEXELS, INK_TEXELS, STEPS_PER_TEXEL
from experiments.data.glyph_looks import RENDER_VERSION, Float, Looks, draw_looks
from experiments.data.randomness import random_normals, stream_key

# Measured on one core: 256 images of 28 pixels keep the arrays in the cache of the processor.
_BATCH = 256


def render_glyphs(atlas: NDArray[np.int8], split: str, indices: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Draw glyphs by their indices, in any order and any batch.

    Args:
        atlas: Distance fields, from `draw_atlas`.
        split: Names the stream: train, validation or test. Splits share no glyph.
        indices: Shape (n,), not negative.
        size: Side of the images [pixel].

    Returns:
        Shape (n, 1, size, size), light letters on a dark ground.
    """
    images = np.empty((len(indices), 1, size, size), dtype=np.uint8)
    for start in range(0, len(indices), _BATCH):
        batch = slice(start, start + _BATCH)
        images[batch, 0] = _render_batch(atlas, split, indices[batch], size)
    return images


def _render_batch(atlas: NDArray[np.int8], split: str, indices: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    looks = draw_looks(split, indices)
    image = _ink(_sample(atlas, looks.letter, *_field_coordinates(looks, size)), looks, size)
    image *= looks.contrast[:, None]
    image += looks.ground[:, None]
    noise = random_normals(stream_key("glyph noise", RENDER_VERSION, split), indices, size * size)
    image += noise * looks.noise[:, None]
    np.clip(image, 0, 1, out=image)
    image *= 255
    image += 0.5
    return image.astype(np.uint8).reshape(-1, size, size)


def _field_coordinates(looks: Looks, size: int) -> tuple[Float, Float]:
    """Where each pixel of each image falls in its letter's field, shape (n, size * size), in texels."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    x = (centres[None, :] - looks.shift_across[:, None])[:, None, :]
    y = (centres[None, :] - looks.shift_down[:, None])[:, :, None]
    (xx, xy), (yx, yy) = _inverse_pose(looks)
    column = xx[:, None, None] * x + xy[:, None, None] * y
    row = yx[:, None, None] * x + yy[:, None, None] * y
    # One parabola bends the upright strokes, a second the level ones; 0.2 keeps the letter in place.
    column += looks.bend_across[:, None, None] * (row * row - 0.2)
    row += looks.bend_down[:, None, None] * (column * column - 0.2)
    half = FIELD_TEXELS / 2
    return (column * half + half).reshape(len(x), -1), (row * half + half).reshape(len(x), -1)


def _inverse_pose(looks: Looks) -> tuple[tuple[Float, Float], tuple[Float, Float]]:
    """Matrix from the image's half sides to the field's: turned, sheared, stretched and scaled back."""
    square = looks.turn * looks.turn
    cosine, sine = (1 - square) / (1 + square), 2 * looks.turn / (1 + square)
    zoom = (INK_TEXELS / FIELD_TEXELS) / looks.scale
    wide, high = zoom * np.sqrt(looks.stretch), zoom / np.sqrt(looks.stretch)
    return (
        (wide * (cosine + looks.shear * sine), wide * (looks.shear * cosine - sine)),
        (high * sine, high * cosine),
    )


def _sample(atlas: NDArray[np.int8], letters: NDArray[np.int64], column: Float, row: Float) -> Float:
    """Read the nearest texel of each letter's field; beyond the border its edge goes on."""
    last = FIELD_TEXELS - 1
    flat = np.clip(row, 0, last).astype(np.int32) * FIELD_TEXELS
    flat += np.clip(column, 0, last).astype(np.int32)
    flat += (letters * FIELD_TEXELS**2).astype(np.int32)[:, None]
    return np.take(atlas.reshape(-1), flat).astype(np.float32)


def _ink(distance: Float, looks: Looks, size: int) -> Float:
    """Turn distances into ink between 0 and 1: thicker or thinner strokes, sharp or blurred edges."""
    texels_per_pixel = (INK_TEXELS / size) / looks.scale
    ramp = np.maximum(1, looks.blur * size) * texels_per_pixel
    ink = distance * (1 / (ramp * STEPS_PER_TEXEL))[:, None]
    ink += (0.5 + looks.stroke / ramp)[:, None]
    return np.clip(ink, 0, 1, out=ink)
