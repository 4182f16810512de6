"""How glyphs vary: font, pose, stroke, blur, contrast and noise of each, drawn from its index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.glyph_atlas import FONTS, LETTERS, N_FORMS
from experiments.data.randomness import random_uniforms, stream_key

# Raised whenever an image changes, so that no cache mixes two kinds.
RENDER_VERSION = 1

# A glyph's difficulty is the cube of a uniform number and scales every variation below: easy glyphs
# abound and hard ones grow rare without a gap, so that error falls without a cliff. The power and the
# extents, which are those of the hardest glyph, were set by trial; docs/data.md has the errors.
LARGEST_HALF_ANGLE_TANGENT = 0.50  # turns by up to 53 degrees
USUAL_SCALE, SCALE_RANGE = 0.75, 0.35  # of the letter's longer side to the image's
LARGEST_STRETCH = 0.5
LARGEST_SHEAR = 0.6
LARGEST_SHIFT = 0.20  # of the image's side
LARGEST_BEND = 0.6
THINNEST_STROKE, THICKEST_STROKE = -1.0, 4.0  # added to both sides of a line [texel]
LARGEST_BLUR = 0.2  # width of the ramp at an outline, of the image's side
LEAST_CONTRAST = 0.25
LARGEST_NOISE = 0.45  # standard deviation, of the contrast between letter and ground

_N_DRAWS = 16
Float = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Looks:
    """What distinguishes glyphs of one batch, each field of shape (n,)."""

    letter: NDArray[np.int64]  # row of the atlas, flattened over letter, font and form
    turn: Float  # tangent of half the angle
    scale: Float
    stretch: Float
    shear: Float
    shift_across: Float
    shift_down: Float
    bend_across: Float
    bend_down: Float
    stroke: Float
    blur: Float
    contrast: Float
    ground: Float
    noise: Float


def glyph_labels(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Class of each glyph: its index modulo the number of letters."""
    return indices % len(LETTERS)


def draw_looks(split: str, indices: NDArray[np.int64]) -> Looks:
    """Draw how the glyphs at `indices` of a split look."""
    counters = indices[:, None] * _N_DRAWS + np.arange(_N_DRAWS)
    stream = stream_key("glyph", RENDER_VERSION, split)
    font, form, uniform, *draws = random_uniforms(stream, counters).astype(np.float32).T
    difficulty = uniform * uniform * uniform
    signed = [(2 * draw - 1) * difficulty for draw in draws[:8]]
    stroke, blur, paleness, ground, noise = (draw * difficulty for draw in draws[8:13])
    contrast = 1 - (1 - LEAST_CONTRAST) * paleness
    return Looks(
        letter=_letter_rows(glyph_labels(indices), font, form),
        turn=LARGEST_HALF_ANGLE_TANGENT * signed[0],
        scale=USUAL_SCALE + SCALE_RANGE * signed[1],
        stretch=1 + LARGEST_STRETCH * signed[2],
        shear=LARGEST_SHEAR * signed[3],
        shift_across=LARGEST_SHIFT * 2 * signed[4],
        shift_down=LARGEST_SHIFT * 2 * signed[5],
        bend_across=LARGEST_BEND * signed[6],
        bend_down=LARGEST_BEND * signed[7],
        stroke=difficulty * THINNEST_STROKE + (THICKEST_STROKE - THINNEST_STROKE) * stroke,
        blur=LARGEST_BLUR * blur,
        contrast=contrast,
        ground=(1 - contrast) * ground,
        noise=LARGEST_NOISE * contrast * noise,
    )


def _letter_rows(labels: NDArray[np.int64], font: Float, form: Float) -> NDArray[np.int64]:
    """Choose font and form; fonts follow Zipf's law, so that rare shapes go on being new as data grow."""
    weights = 1 / np.arange(1, len(FONTS) + 1)
    fonts = np.searchsorted(np.cumsum(weights / weights.sum())[:-1], font, side="right")
    return (labels * len(FONTS) + fonts) * N_FORMS + (form * N_FORMS).astype(np.int64)
