"""A picture of some crops of a store, each with its row and identity."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

from facever.data.store.crop_bytes import decode_crops
from facever.data.store.crop_store import CropStore

NUM_SHEET_CROPS = 95
_NUM_COLUMNS = 12
_GAP = 8
_CAPTION_HEIGHT = 18
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


def draw_sheet(
    store: CropStore,
    rows: Int64[np.ndarray, " rows"],
    mean: Float64[np.ndarray, "high wide 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The mean image and then the crops of these rows, line by line.

    Args:
        store: The store that is shown.
        rows: Rows of the crops to show.
        mean: The mean picture, which is shown first with the caption ``mean``.
    """
    crops = decode_crops(store.crops, rows)
    captions = [f"{row} {store.identity_of(row)}" for row in rows.tolist()]
    groups = [[picture] for picture in zip(crops, captions, strict=True)]
    return draw_groups([[(np.rint(mean).astype(np.uint8), "mean")], *groups])


def draw_groups(
    groups: Sequence[Sequence[tuple[UInt8[np.ndarray, "high wide 3"], str]]],
) -> UInt8[np.ndarray, "height width 3"]:
    """Crops that belong together side by side, the groups with gaps between them.

    Args:
        groups: At least one group of crops with captions, the first as long as any.
    """
    size = len(groups[0])
    shapes = [picture.shape for group in groups for picture, _ in group]
    height, width, _ = np.max(shapes, axis=0).tolist()
    step = size * width + (size - 1) + _GAP
    groups_a_line = max(1, _NUM_COLUMNS // size)
    num_lines = -(-len(groups) // groups_a_line)
    line_height = height + _CAPTION_HEIGHT + _GAP
    shape = (_GAP + groups_a_line * step, _GAP + num_lines * line_height)
    sheet = Image.new("RGB", shape, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, group in enumerate(groups):
        line, column = divmod(place, groups_a_line)
        top = _GAP + line * line_height
        for number, (picture, caption) in enumerate(group):
            left = _GAP + column * step + number * (width + 1)
            sheet.paste(Image.fromarray(picture), (left, top))
            text = _shorten(caption, width)
            pen.text((left, top + height + 2), text, _INK, _font())
    return np.asarray(sheet)


@cache
def _font() -> ImageFont.FreeTypeFont:
    # The font with the most letters among those that come with the dependencies.
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(fonts / "DejaVuSans.ttf", 11)


def _shorten(caption: str, width: int) -> str:
    """As much of a caption as fits under a crop, in letters that can be drawn."""
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for letter in caption
    )
    if _font().getlength(text) <= width:
        return text
    while _font().getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
