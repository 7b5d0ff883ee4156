"""Faces that touch the photo's border: how far landmarks move where the photo is cut.

    python eval/border_faces.py --photos LFW --crops CELEBA

Cuts photos close around a face, at margins on all sides and on one alone, and compares
the landmarks that each detector finds there with its own of the whole photo, in
distances of the eyes. ``roomy`` cuts touch no face: that is how far landmarks move by
themselves, because the pyramid falls otherwise. Crops that are aligned already are
searched as plain photos, and compared with the template's points and with the same crop
on a large grey canvas. facenet-pytorch's MTCNN, which cuts a box off at the border and
stretches what is left, stands beside; faces for which its cascade met no border must be
ours. About 15 minutes on one thread.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from facenet_pytorch.models.utils import detect_face
from PIL import Image

from facever.data.sources.any_source import find_photos
from facever.environment import describe_machine, describe_versions
from facever.faces.detection import Face, choose_faces
from facever.faces.detectors import make_detector
from facever.faces.photos import read_photo
from facever.faces.templates import CARD_POINTS, DEFAULT_TEMPLATE
from facever.progress import progress_bar

# What is left of the photo around the box of the landmarks: left, top, right, bottom,
# in distances of the eyes. A whole face takes about 0.7, 1.2, 0.7 and 0.8.
CUTS = {
    "roomy": (2.0, 2.0, 2.0, 2.0),
    "1.0 all round": (1.0, 1.0, 1.0, 1.0),
    "0.8 all round": (0.8, 0.8, 0.8, 0.8),
    "0.6 all round": (0.6, 0.6, 0.6, 0.6),
    "0.4 all round": (0.4, 0.4, 0.4, 0.4),
    "0.2 all round": (0.2, 0.2, 0.2, 0.2),
    "as an aligned crop": (0.86, 1.47, 0.86, 0.56),
    "0.5 at the left": (0.5, 1.5, 2.0, 1.5),
    "0.3 at the right": (2.0, 1.5, 0.3, 1.5),
    "in the corner": (0.5, 0.6, 2.0, 2.0),
    "chin cut": (1.2, 1.5, 1.2, 0.3),
    "mouth on the edge": (1.5, 2.0, 1.5, 0.05),
    "brow on the edge": (1.5, 0.35, 1.5, 1.5),
    "brow, tight": (0.8, 0.35, 0.8, 0.6),
    "eye on the edge": (0.1, 1.5, 1.5, 1.5),
}

_CANVAS = 112  # Pixels of grey on each side of an aligned crop.
_NEAR = (0.03, 0.05, 0.1)  # Distances of the eyes.
_SAME = 0.01  # Pixels.

Photo = np.ndarray
FindFaces = Callable[[Sequence[Photo]], list[list[Face]]]


class Cut(NamedTuple):
    """A part of a photo, and the landmarks of the face as seen in the whole."""

    photo: Photo
    landmarks: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/border-faces.json")
    )
    options = parser.parse_args()

    torch.set_num_threads(1)
    photos = _read(options.photos, options.count)
    crops = _read(options.crops, options.count)
    mtcnn, yunet = make_detector("mtcnn"), make_detector("yunet")
    detectors = {"facenet-pytorch": find_as_facenet, "mtcnn": mtcnn, "yunet": yunet}
    result = {
        "what": "landmarks of faces at the border, in distances of the eyes",
        "num_photos": len(photos),
        "cuts": {
            name: _measure_cuts(name, find, photos) for name, find in detectors.items()
        },
        "aligned_crops": {
            name: _measure_crops(name, find, crops) for name, find in detectors.items()
        },
        "faces_inside": _compare_inside(mtcnn, photos),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _read(source: Path, count: int) -> list[Photo]:
    photos = find_photos(source).photos
    return [read_photo(photo.path) for photo in photos[:: len(photos) // count][:count]]


def find_as_facenet(photos: Sequence[Photo]) -> list[list[Face]]:
    """The faces that facenet-pytorch finds, largest first."""
    detector = MTCNN(keep_all=True)
    found = []
    for photo in photos:
        boxes, scores, points = detector.detect(Image.fromarray(photo), landmarks=True)
        rows = [] if boxes is None else zip(boxes, scores, points, strict=True)
        found.append(
            [
                Face(landmarks.astype(np.float64), box.astype(np.float64), float(score))
                for box, score, landmarks in rows
            ]
        )
    return found


def cut_around(photo: Photo, landmarks: np.ndarray, margins: Sequence[float]) -> Cut:
    """A photo cut to so many distances of the eyes around the landmarks."""
    eyes = np.linalg.norm(landmarks[1] - landmarks[0])
    height, width, _ = photo.shape
    low = np.floor(landmarks.min(axis=0) - eyes * np.array(margins[:2]))
    high = np.ceil(landmarks.max(axis=0) + eyes * np.array(margins[2:])) + 1
    left, top = np.maximum(low, 0).astype(int)
    right, bottom = np.minimum(high, (width, height)).astype(int)
    part = np.ascontiguousarray(photo[top:bottom, left:right])
    return Cut(part, landmarks - [left, top])


def distance(face: Face, expected: np.ndarray) -> float:
    """Mean distance of landmarks from where they should be, in that of the eyes."""
    eyes = np.linalg.norm(expected[1] - expected[0])
    return float(np.linalg.norm(face.landmarks - expected, axis=1).mean() / eyes)


def _nearest(
    found: Sequence[Sequence[Face]], expected: Sequence[np.ndarray]
) -> list[float]:
    """How far the nearest face of each photo is; infinity where there is none."""
    return [
        min((distance(face, landmarks) for face in faces), default=float("inf"))
        for faces, landmarks in zip(found, expected, strict=True)
    ]


def _measure_cuts(
    name: str, find: FindFaces, photos: Sequence[Photo]
) -> dict[str, dict[str, float | None]]:
    whole = [
        (photo, choose_faces(faces, photo.shape[:2], "center")[0].landmarks)
        for photo, faces in zip(photos, find(photos), strict=True)
        if faces
    ]
    rows, everything = {}, []
    with progress_bar(name, len(CUTS), "cuts") as advance:
        for kind, margins in CUTS.items():
            cuts = [cut_around(*each, margins) for each in whole]
            found = find([cut.photo for cut in cuts])
            distances = _nearest(found, [cut.landmarks for cut in cuts])
            rows[kind] = _summarise(distances)
            everything += distances if kind != "roomy" else []
            advance(1)
    rows["all but roomy"] = _summarise(everything)
    for kind, row in rows.items():
        print(f"{name:16} {kind:20} {row}")
    return rows


def _summarise(distances: Sequence[float]) -> dict[str, float | None]:
    """Shares of all photos, and quantiles over those in which a face is found."""
    values = np.array(distances)
    found = values[np.isfinite(values)]
    return {
        "found": _round(np.isfinite(values).mean()),
        **{f"within_{near}": _round((values <= near).mean()) for near in _NEAR},
        **_quantiles(found),
    }


def _quantiles(values: np.ndarray) -> dict[str, float | None]:
    return {
        name: _round(np.quantile(values, part)) if len(values) else None
        for name, part in (("median", 0.5), ("95 %", 0.95), ("99 %", 0.99))
    }


def _round(value: float) -> float:
    return round(float(value), 4)


def _measure_crops(
    name: str, find: FindFaces, crops: Sequence[Photo]
) -> dict[str, dict[str, float | None]]:
    """Aligned crops as plain photos, against the template and a roomy canvas."""
    canvases = [
        cv2.copyMakeBorder(
            crop, *[_CANVAS] * 4, cv2.BORDER_CONSTANT, value=(127, 127, 127)
        )
        for crop in crops
    ]
    plain, roomy = find(crops), find(canvases)
    card = [CARD_POINTS] * len(crops)
    in_both = [pair for pair in zip(plain, roomy, strict=True) if pair[1]]
    outside = [
        DEFAULT_TEMPLATE.share_outside(crop.shape[:2], faces[:1])
        for crop, faces in zip(crops, plain, strict=True)
    ]
    rows = {
        "from the template": _summarise(_nearest(plain, card)),
        "from the template, on a canvas": _summarise(
            _nearest(roomy, [points + _CANVAS for points in card])
        ),
        "from those on a canvas": _summarise(
            _nearest(
                [faces for faces, _ in in_both],
                [faces[0].landmarks - _CANVAS for _, faces in in_both],
            )
        ),
        "share of the new crop outside": _quantiles(np.concatenate(outside)),
    }
    for kind, row in rows.items():
        print(f"{name:16} {kind:30} {row}")
    return rows


def _compare_inside(find: FindFaces, photos: Sequence[Photo]) -> dict[str, int]:
    """How many faces that lie inside the whole photo are facenet-pytorch's.

    A face of which its cascade saw no box over the border must be the same. Where it
    saw one on the way, it stretched what was left of it, and kept it or another by the
    score that it got: landmarks may be others although the face lies inside.
    """
    counts = Counter(facenet_pytorch_inside=0)
    for photo, ours in zip(photos, find(photos), strict=True):
        with patch.object(detect_face, "pad", wraps=detect_face.pad) as pad:
            [theirs] = find_as_facenet([photo])
        boxes = np.concatenate([call.args[0][:, :4] for call in pad.call_args_list])
        height, width, _ = photo.shape
        # Corners count from 1 here, and are cut to whole numbers.
        over = (np.trunc(boxes[:, :2]) < 1).any(axis=1)
        over |= (np.trunc(boxes[:, 2:]) > (width, height)).any(axis=1)
        counts["photos_in_which_it_finds_no_face"] += not theirs
        for face in theirs:
            low, high = face.box[:2], face.box[2:]
            if (low < 0).any() or (high > (width - 1, height - 1)).any():
                continue
            touches = (boxes[:, :2] < high).all(axis=1)
            touches &= (boxes[:, 2:] > low).all(axis=1)
            same = any(
                np.abs(other.landmarks - face.landmarks).max() < _SAME for other in ours
            )
            kind = "with_a" if (touches & over).any() else "without_a"
            counts["facenet_pytorch_inside"] += 1
            counts[f"{kind}_box_over_the_border"] += 1
            counts[f"{kind}_box_over_the_border_same_to_0.01_pixels"] += same
    print(dict(counts))
    return dict(counts)


if __name__ == "__main__":
    main()
