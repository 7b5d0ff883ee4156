"""The page's section of the worst errors, with the pictures inside the page."""

import base64
from collections.abc import Callable, Sequence
from html import escape

import cv2
import numpy as np
from jaxtyping import Int64, UInt8

from facever.verification.evaluation import Evaluation
from facever.verification.protocols import photo_key

CropOf = Callable[[str], UInt8[np.ndarray, "height width 3"] | None]

NUM_WORST = 12


def worst_errors(
    name: str, evaluation: Evaluation, crop_of: CropOf | None, alone: bool
) -> str:
    """The section with the most confident false accepts and false rejects.

    Args:
        name: The model's name.
        evaluation: The model's results.
        crop_of: Gives the picture of a source; without it pairs are listed by name.
        alone: Whether the page has no other model, so that the name is left out.
    """
    accepted, pairs = evaluation.accepted, evaluation.pairs
    # How far a score is on the wrong side of its own fold's threshold.
    excess = evaluation.scores - evaluation.thresholds[pairs.fold]
    false_accepts = np.flatnonzero(accepted & ~pairs.same)
    false_accepts = false_accepts[np.argsort(-excess[false_accepts], kind="stable")]
    false_rejects = np.flatnonzero(
        ~accepted & pairs.same & np.isfinite(evaluation.scores)
    )
    false_rejects = false_rejects[np.argsort(excess[false_rejects], kind="stable")]
    whose = "" if alone else f'<span class="soft">: {escape(name)}</span>'
    no_pictures = NO_PICTURES if crop_of is None else ""
    return (
        f"<h2>Worst errors{whose}</h2>{no_pictures}"
        + _error_cards("accept", false_accepts, evaluation, crop_of)
        + _error_cards("reject", false_rejects, evaluation, crop_of)
    )


def _error_cards(
    kind: str,
    wrong: Int64[np.ndarray, " errors"],
    evaluation: Evaluation,
    crop_of: CropOf | None,
) -> str:
    what = {
        "accept": "False accepts: two people, judged to be one",
        "reject": "False rejects: one person, judged to be two",
    }[kind]
    pairs = evaluation.pairs
    cards = [
        error_card(
            kind,
            (pairs.left[pair], pairs.right[pair]),
            crop_of,
            f"score <b>{evaluation.scores[pair]:.3f}</b>",
            f"threshold {evaluation.thresholds[pairs.fold[pair]]:.3f}",
        )
        for pair in wrong[:NUM_WORST].tolist()
    ]
    return error_cards(what, cards, len(wrong))


NO_PICTURES = (
    '<p class="soft">The pictures need the crops, which this run does not know.</p>'
)
_JPEG_QUALITY = 88


def error_card(
    kind: str, sources: Sequence[str], crop_of: CropOf | None, left: str, right: str
) -> str:
    """Two faces that were judged wrongly.

    Args:
        kind: CSS class of the card: ``accept`` or ``reject``.
        sources: Sources of the faces.
        crop_of: Gives their pictures; without it only their names are shown.
        left: Ready HTML below the faces, on the left.
        right: Ready HTML on the right, in a softer colour.
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
