"""A picture of some crops of a store, each with its row and identity."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

from facever.data.crops import CROP_SHAPE, CropStore
from facever.data.payloads import read_crops

NUM_SHEET_CROPS = 95
_NUM_COLUMNS = 12
_GAP = 8
_CAPTION_HEIGHT = 18
_HEIGHT, _WIDTH = CROP_SHAPE[:2]
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


def draw_sheet(
    store: CropStore,
    rows: Int64[np.ndarray, " rows"],
    mean: Float64[np.ndarray, "112 96 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The mean image and then the crops of these rows, line by line.

    Args:
        store: Whose crops they are.
        rows: Of the crops to show.
        mean: The first picture, with the caption ``mean``.
    """
    pictures = [np.rint(mean).astype(np.uint8), *read_crops(store.crops, rows)]
    captions = ["mean"] + [f"{row} {store.identity_of(row)}" for row in rows.tolist()]
    num_lines = -(-len(pictures) // _NUM_COLUMNS)
    width = _GAP + _NUM_COLUMNS * (_WIDTH + _GAP)
    height = _GAP + num_lines * (_HEIGHT + _CAPTION_HEIGHT + _GAP)
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        line, column = divmod(place, _NUM_COLUMNS)
        left = _GAP + column * (_WIDTH + _GAP)
        top = _GAP + line * (_HEIGHT + _CAPTION_HEIGHT + _GAP)
        sheet.paste(Image.fromarray(picture), (left, top))
        text = _shorten(caption)
        pen.text((left, top + _HEIGHT + 2), text, _INK, _font())
    return np.asarray(sheet)


@cache
def _font() -> ImageFont.FreeTypeFont:
    # Of the fonts that come with the dependencies the one with the most letters.
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(fonts / "DejaVuSans.ttf", 11)


def _shorten(caption: str) -> str:
    """As much of a caption as fits under a crop, in letters that can be drawn."""
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for letter in caption
    )
    if _font().getlength(text) <= _WIDTH:
        return text
    while _font().getlength(text + "…") > _WIDTH:
        text = text[:-1]
    return text + "…"
