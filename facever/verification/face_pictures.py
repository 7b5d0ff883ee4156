"""Faces inside a report's page."""

import base64
from collections.abc import Callable, Sequence
from html import escape

import cv2
import numpy as np
from jaxtyping import UInt8

from facever.verification.protocols import photo_key

CropOf = Callable[[str], UInt8[np.ndarray, "height width 3"] | None]

NO_PICTURES = (
    '<p class="soft">The pictures need the crops; this run was given embeddings alone.'
    "</p>"
)
_JPEG_QUALITY = 88


def error_card(
    kind: str, sources: Sequence[str], crop_of: CropOf | None, left: str, right: str
) -> str:
    """Two faces that were judged wrongly.

    Args:
        kind: CSS class: ``accept`` or ``reject``.
        sources: Of the faces.
        crop_of: Gives their pictures; without it they are named alone.
        left: Ready HTML below them.
        right: Likewise, softer.
    """
    faces = "".join(_face(source, crop_of) for source in sources)
    return (
        f'<li class="{kind}"><div class="pair">{faces}</div><p class="score">'
        f'<span>{left}</span><span class="soft">{right}</span></p></li>'
    )


def error_cards(what: str, cards: Sequence[str], num_errors: int) -> str:
    """Cards below a heading that says how many errors there are in all."""
    rest = f"The worst {len(cards)} of {num_errors:,}." if num_errors else "None."
    return (
        f'<h3 style="margin-top:24px">{what}. <span class="soft">{rest}</span></h3>'
        f'<ul class="errors">{"".join(cards)}</ul>'
    )


def _face(source: str, crop_of: CropOf | None) -> str:
    folder, _, name = photo_key(source).rpartition("/")
    person = folder.rpartition("/")[2]
    # LFW's file names say the person; a video's number, or 1.jpg, does not.
    name = escape(name if name.startswith(person) else f"{person}/{name}")
    caption = name.replace("_", "_<wbr>").replace("/", "/<wbr>")
    picture = ""
    if crop_of is not None:
        crop = crop_of(source)
        picture = (
            '<div class="none">no picture</div>'
            if crop is None
            else f'<img alt="{name}" src="data:image/jpeg;base64,{_jpeg(crop)}">'
        )
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _jpeg(crop: UInt8[np.ndarray, "height width 3"]) -> str:
    bgr = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return base64.b64encode(encoded.tobytes()).decode("ascii")
