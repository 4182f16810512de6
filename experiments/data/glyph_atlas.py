"""The letters that glyphs are made of, as distance fields of the outlines that ship with matplotlib."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import ImageFont

# Letters whose capital and small forms differ in shape and that no turn by 45 degrees makes alike;
# F and f, T and t share a class, so a class has two shapes per font.
LETTERS = "ABDEFGHNRT"
# In the order of their frequency, most frequent first.
FONTS = (
    "DejaVuSans",
    "STIXGeneral",
    "DejaVuSerif",
    "cmr10",
    "DejaVuSansMono",
    "cmtt10",
    "STIXGeneralItalic",
    "cmss10",
    "DejaVuSans-Bold",
    "cmmi10",
    "DejaVuSerif-Italic",
    "STIXGeneralBol",
    "DejaVuSansMono-Oblique",
    "cmb10",
    "DejaVuSerif-Bold",
    "DejaVuSans-Oblique",
    "STIXGeneralBolIta",
    "DejaVuSansMono-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono-BoldOblique",
)
N_FORMS = 2

# Texels of the square field of one letter, and of the longer side of the letter's ink within it.
FIELD_TEXELS = 96
INK_TEXELS = 64
# Distances are stored as whole eighths of a texel, positive inside the letter.
STEPS_PER_TEXEL = 8
_OVERSAMPLING = 2


def font_paths() -> list[Path]:
    """Find the font files in matplotlib's own data folder.

    Raises:
        ValueError: If this matplotlib ships without one of them.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = [folder / f"{font}.ttf" for font in FONTS]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ValueError(
            f"glyphs needs the font {missing[0]}, which matplotlib should have put into {folder}; "
            "install matplotlib from the package index, distributions sometimes leave its fonts out"
        )
    return paths


def atlas_key() -> str:
    """Hash of all that the atlas depends on: letters, fonts, resolution and the rasteriser's version."""
    from PIL import features

    digest = hashlib.sha256(
        repr(
            [LETTERS, FONTS, FIELD_TEXELS, INK_TEXELS, STEPS_PER_TEXEL, _OVERSAMPLING, features.version("freetype2")]
        ).encode()
    )
    for path in font_paths():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def draw_atlas() -> NDArray[np.int8]:
    """Draw every letter in every font and form as a signed distance to its outline.

    Returns:
        Shape (letters, fonts, forms, FIELD_TEXELS, FIELD_TEXELS), in `STEPS_PER_TEXEL` per texel,
        positive inside the ink, cut off at +-127.
    """
    atlas = np.empty((len(LETTERS), len(FONTS), N_FORMS, FIELD_TEXELS, FIELD_TEXELS), dtype=np.int8)
    for font_number, path in enumerate(font_paths()):
        for letter_number, letter in enumerate(LETTERS):
            for form, character in enumerate((letter, letter.lower())):
                atlas[letter_number, font_number, form] = _distance_field(path, character)
    return atlas


def _distance_field(font_path: Path, character: str) -> NDArray[np.int8]:
    from scipy.ndimage import distance_transform_edt

    ink = _centred_ink(font_path, character)
    # The outline lies half a pixel from the centres of the pixels on both of its sides.
    inside = distance_transform_edt(ink)
    outside = distance_transform_edt(~ink)
    signed = np.where(ink, inside - 0.5, 0.5 - outside) / _OVERSAMPLING
    blocks = signed.reshape(FIELD_TEXELS, _OVERSAMPLING, FIELD_TEXELS, _OVERSAMPLING).mean(axis=(1, 3))
    return np.clip(np.round(blocks * STEPS_PER_TEXEL), -127, 127).astype(np.int8)


def _centred_ink(font_path: Path, character: str) -> NDArray[np.bool_]:
    """Draw one letter so that the longer side of its ink has INK_TEXELS, in the middle of the field."""
    side, wanted, trial_size = FIELD_TEXELS * _OVERSAMPLING, INK_TEXELS * _OVERSAMPLING, 200
    longer_side = max(_ink(_font(font_path, trial_size), character).shape)
    ink = _ink(_font(font_path, round(trial_size * wanted / longer_side)), character)
    field = np.zeros((side, side), dtype=np.bool_)
    top, left = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
    field[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return field


def _ink(font: ImageFont.FreeTypeFont, character: str) -> NDArray[np.bool_]:
    """Draw one letter and cut its ink out; the font's own box has the space around the letter in it."""
    from PIL import Image, ImageDraw

    side = 3 * round(font.size)
    canvas = Image.new("L", (side, side))
    ImageDraw.Draw(canvas).text((side // 3, side // 3), character, font=font, fill=255)
    ink = np.asarray(canvas) >= 128
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
