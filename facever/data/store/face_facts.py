"""Which crops of a store leave a doubt: landmarks that fit badly, photos of several."""

from dataclasses import dataclass

import numpy as np

from facever.choices import DEFAULT_FACE, OneFace
from facever.data.store.crop_store import CropStore, photo_of
from facever.faces.detection import ONE_FACE_RULES

_NUM_WORST = 5


@dataclass(frozen=True)
class LandmarkFit:
    """How far landmarks are from the template, in distances of its eyes.

    Attributes:
        median: The median residual of the crops whose landmarks are known.
        percentile_99: The residual that 99 % of them do not exceed.
        worst: The largest residuals, by the crop's source.
    """

    median: float
    percentile_99: float
    worst: dict[str, float]


@dataclass(frozen=True)
class FaceChoices:
    """Photos that show several faces, and what the rules for one face make of them.

    Attributes:
        rule: The rule of the store, or the default where all faces were taken.
        num_several: Number of photos in which several faces were found.
        others: For each other rule, the photos of which it takes another face.
    """

    rule: OneFace
    num_several: int
    others: dict[OneFace, list[str]]


def landmark_fit(store: CropStore) -> LandmarkFit | None:
    """How well landmarks fit; None where none are known."""
    known = np.flatnonzero(~np.isnan(store.residuals))
    if not len(known):
        return None
    found = store.residuals[known]
    worst = np.argsort(-found, kind="stable")[:_NUM_WORST]
    return LandmarkFit(
        float(np.median(found)),
        float(np.quantile(found, 0.99, method="inverted_cdf")),
        {store.sources[known[place]]: float(found[place]) for place in worst},
    )


def face_choices(store: CropStore) -> FaceChoices | None:
    """What the rules make of photos with several faces; None where they are unknown."""
    if np.isnan(store.num_faces).all():
        return None
    given = store.settings.get("face")
    rule: OneFace = given if given in ONE_FACE_RULES else DEFAULT_FACE
    several = {photo_of(store.sources[row]) for row in _rows(store.num_faces > 1)}
    taken = dict(zip(ONE_FACE_RULES, store.by_rule.T, strict=True))
    return FaceChoices(
        rule,
        len(several),
        {
            other: [
                photo_of(store.sources[row])
                for row in _rows((taken[rule] == 1) & (taken[other] == 0))
            ]
            for other in ONE_FACE_RULES
            if other != rule
        },
    )


def _rows(chosen: np.ndarray) -> list[int]:
    rows: list[int] = np.flatnonzero(chosen).tolist()
    return rows
