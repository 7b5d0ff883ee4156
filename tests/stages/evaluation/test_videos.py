import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from facever.data.store.writer import CropWriter
from facever.errors import DataError, FaceverError, FileError, ParameterError
from facever.inference.embedder import load
from facever.stages.evaluation import named_crops
from facever.stages.evaluation.evaluate import PairReport
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.judging import Judging
from facever.stages.evaluation.videos import evaluate_ytf

Command = Callable[..., Any]
NUM_FRAMES = {
    "Ann_Lee/0": 3,
    "Ann_Lee/4": 2,
    "Bob/1": 4,
    "Bob/2": 1,
    "Cy/0": 3,
    "Cy/3": 2,
    "Dee/1": 3,
    "Dee/5": 3,
}
SPLITS = """split number, pair, first, second, is same
1, 1, Ann_Lee/0, Ann_Lee/4, 1
1, 2, Bob/1, Bob/2, 1
1, 3, Ann_Lee/0, Bob/1, 0
1, 4, Ann_Lee/4, Bob/2, 0
2, 1, Cy/0, Cy/3, 1
2, 2, Dee/1, Dee/5, 1
2, 3, Cy/0, Dee/1, 0
2, 4, Cy/3, Dee/5, 0
"""
PAIRS = [
    tuple(field.strip() for field in line.split(",")[2:4])
    for line in SPLITS.splitlines()[1:]
]
PLAIN = Judging(pca=False)

# The types of every step of a report are checked elsewhere; here it is slow.
pytestmark = pytest.mark.usefixtures("types_unchecked")


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    path = tmp_path / "splits.txt"
    path.write_text(SPLITS)
    return path


def frames_of(video: str) -> list[str]:
    """In the order of time, which is not that of the alphabet."""
    number = video.rpartition("/")[2]
    return [f"{video}/{number}.{8 + frame}.jpg" for frame in range(NUM_FRAMES[video])]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Frames as YTF has them, and those of a video that no pair names."""
    folder = tmp_path / "frames"
    for frame in [*(f for v in NUM_FRAMES for f in frames_of(v)), "Eve/0/0.1.jpg"]:
        (folder / frame).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / frame), np.zeros((8, 8, 3), np.uint8))
    return folder


@pytest.fixture
def model(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    return make_model(tmp_path / "model.safetensors")


def draw_crop(frame: str) -> np.ndarray:
    """A coarse pattern for a person, with a grain of the frame's own."""
    person = np.random.default_rng(len(frame.partition("/")[0]))
    coarse = person.integers(60, 190, (7, 6, 3)).repeat(16, 0).repeat(16, 1)
    grain = np.random.default_rng(list(frame.encode())).integers(-60, 61, (112, 96, 3))
    return (coarse + grain).astype(np.uint8)


@pytest.fixture
def failing() -> set[str]:
    """Frames without a face; a test adds some."""
    return set()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, failing: set[str]) -> list[set[str]]:
    """Stands in for alignment, and keeps what was to be aligned."""
    kept: list[set[str]] = []

    def align(
        source: Path,
        out: Path,
        *,
        face: str,
        only: set[str],
        template: str,
        max_pixels: int,
        by_person: bool,
    ) -> SimpleNamespace:
        assert face == "center"
        kept.append(only)
        if out.exists():
            return SimpleNamespace(num_new=0)
        listing = [(frame, frame.partition("/")[0]) for frame in sorted(only)]
        with CropWriter(out, {}, listing) as writer:
            for frame, _ in listing:
                if frame in failing:
                    writer.fail(frame, "no face found")
                else:
                    unknown = np.full((1, 5, 2), np.nan), np.array([np.nan])
                    writer.add(frame, draw_crop(frame)[None], *unknown)
            writer.finish()
        return SimpleNamespace(num_new=len(only))

    monkeypatch.setattr(named_crops, "align", align)
    return kept


@pytest.fixture(autouse=True)
def _ready(splits: Path, photos: Path, model: Path, asked: list[set[str]]) -> None:
    """Every test begins with the list, the frames, a model and no alignment."""


def embed(model: Path, video: str, failing: set[str]) -> np.ndarray:
    frames = [frame for frame in frames_of(video) if frame not in failing]
    crops = np.stack([draw_crop(frame) for frame in frames])
    return load(model, "cpu", "fp32").embed_crops(crops).astype(float)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def run(tmp_path: Path, judging: Judging = PLAIN, **options: Any) -> PairReport:
    inputs = Inputs(
        tmp_path / "model.safetensors",
        tmp_path / "frames",
        device="cpu",
        precision="fp32",
    )
    splits = tmp_path / "splits.txt"
    return evaluate_ytf(tmp_path / "out", splits, inputs, judging, **options)


def read_settings(tmp_path: Path) -> dict[str, str]:
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    settings: dict[str, str] = report["settings"]
    return settings


def test_pooled_embeddings_are_the_frames_means(
    tmp_path: Path, model: Path, asked: list[set[str]], failing: set[str]
) -> None:
    failing |= {"Bob/1/1.9.jpg", "Cy/0/0.8.jpg"}
    result = run(tmp_path).evaluations["cosine"]
    assert asked == [{frame for video in NUM_FRAMES for frame in frames_of(video)}]
    mean = {video: embed(model, video, failing).mean(axis=0) for video in NUM_FRAMES}
    expected = [cosine(mean[left], mean[right]) for left, right in PAIRS]
    np.testing.assert_allclose(result.scores, expected, atol=1e-5)
    assert result.missing == []
    settings = read_settings(tmp_path)
    assert settings["frames"] == "all; 21 taken of 21, 2 without a face"
    assert settings["pool"] == "embeddings"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["frames"] == {
        "num_found": 21,
        "num_taken": 21,
        "num_failed": 2,
        "num_videos": 8,
        "num_videos_with_failed_frames": 2,
        "num_videos_lost": 0,
        # A third of three before a quarter of four, whatever the alphabet says.
        "videos_with_failed_frames": [
            {"video": "Cy/0", "num_found": 3, "num_taken": 3, "num_failed": 1},
            {"video": "Bob/1", "num_found": 4, "num_taken": 4, "num_failed": 1},
        ],
    }
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "2 give no face (9.52%) and were left out, in 2 videos." in page
    assert page.index(">Cy/0</th>") < page.index(">Bob/1</th>")
    assert settings["model_fingerprint"] == load(model).model_fingerprint


def test_pooled_scores_are_the_means_over_all_pairs_of_frames(
    tmp_path: Path, model: Path, failing: set[str]
) -> None:
    failing |= {"Bob/1/1.9.jpg"}
    report = run(tmp_path, Judging(), pool="scores")
    found = report.evaluations
    assert list(found) == ["mean cosine of frames"]
    result = found["mean cosine of frames"]
    vectors = {video: embed(model, video, failing) for video in NUM_FRAMES}
    expected = [
        np.mean([cosine(a, b) for a, b in product(vectors[left], vectors[right])])
        for left, right in PAIRS
    ]
    np.testing.assert_allclose(result.scores, expected, atol=1e-5)
    assert result.pca_components is None
    settings = read_settings(tmp_path)
    assert settings["pool"] == "scores"
    assert settings["pca"] is None
    assert report.lines()[0].startswith("mean cosine of frames: accuracy ")


@pytest.mark.parametrize(
    ("rule", "places", "number"),
    [("first:2", slice(2), 15), ("every:2", slice(None, None, 2), 13)],
)
def test_frame_rules(
    tmp_path: Path, asked: list[set[str]], rule: str, places: slice, number: int
) -> None:
    run(tmp_path, frames=rule)
    taken = {frame for video in NUM_FRAMES for frame in frames_of(video)[places]}
    assert len(taken) == number
    assert asked == [taken]
    frames = read_settings(tmp_path)["frames"]
    assert frames == f"{rule}; {number} taken of 21, 0 without a face"


def test_random_frames_hang_on_the_seed(
    tmp_path: Path, splits: Path, photos: Path, model: Path, asked: list[set[str]]
) -> None:
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        inputs = Inputs(model, photos)
        options = {"frames": "random:1", "seed": seed}
        evaluate_ytf(tmp_path / folder, splits, inputs, PLAIN, **options)
    first, again, other = asked
    assert first == again != other
    assert [frame.rpartition("/")[0] for frame in sorted(first)] == list(NUM_FRAMES)


@pytest.mark.parametrize("pool", ["embeddings", "scores"])
def test_a_video_whose_frames_all_fail_is_missing(
    tmp_path: Path, failing: set[str], pool: str
) -> None:
    failing |= {*frames_of("Ann_Lee/4"), "Cy/0/0.9.jpg"}
    [result] = run(tmp_path, pool=pool).evaluations.values()
    assert result.missing == ["Ann_Lee/4"]
    gone = ["Ann_Lee/4" in pair for pair in PAIRS]
    assert np.isneginf(result.scores).tolist() == gone
    assert result.num_missing_pairs == 2
    assert result.pairs.fold.tolist() == [0] * 4 + [1] * 4
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Ann_Lee/4 (2 of its frames give no face)" in page
    assert read_settings(tmp_path)["frames"].endswith("21, 3 without a face")
    judging = Judging(pca=False, missing="lowest")
    [lowest] = run(tmp_path, judging, pool=pool).evaluations.values()
    scored = result.scores[~np.array(gone)]
    assert lowest.scores[gone].tolist() == [scored.min()] * 2
    assert lowest.num_missing_pairs == 2
    with pytest.raises(DataError, match="let --missing reject"):
        run(tmp_path, Judging(pca=False, missing="error"), pool=pool)


@pytest.mark.parametrize(
    "judging",
    [
        Judging(pca_components=2),
        Judging(rule="all"),
        Judging(pca=False, rule="insightface"),
        Judging(whiten=True),
        Judging(subtract_mean=True),
        Judging(measure="euclidean"),
    ],
    ids=str,
)
def test_what_pooled_scores_cannot_honour(
    tmp_path: Path, asked: list[set[str]], judging: Judging
) -> None:
    with pytest.raises(ParameterError, match="pool scores compares frames by cosine"):
        run(tmp_path, judging, pool="scores")
    assert asked == []


def test_a_video_without_a_folder_is_missing(tmp_path: Path, photos: Path) -> None:
    (photos / "Dee" / "5").rename(tmp_path / "elsewhere")
    [result] = run(tmp_path).evaluations.values()
    assert result.missing == ["Dee/5"]
    assert result.num_missing_pairs == 2
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Each gives a face. Videos without a frame left: 1." in page


def test_no_frame_with_a_face_at_all(tmp_path: Path, failing: set[str]) -> None:
    failing |= {frame for video in NUM_FRAMES for frame in frames_of(video)}
    for pool, says in (
        ("embeddings", "pairs name photos such as 'Ann_Lee/0'"),
        ("scores", "at least one training pair with a score"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            run(tmp_path, pool=pool)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out" / "report.json").exists()


def test_wrong_options(
    tmp_path: Path, splits: Path, photos: Path, model: Path, asked: list[set[str]]
) -> None:
    path = tmp_path / "x"
    for options, inputs, error, says in (
        ({"pool": "mean"}, Inputs(model, photos), ParameterError, "got 'mean'"),
        ({"frames": "last:2"}, Inputs(model, photos), ParameterError, "got 'last:2'"),
        ({"frames": "first:0"}, Inputs(model, photos), ParameterError, "'first:0'"),
        ({"seed": -1}, Inputs(model, photos), ParameterError, "got -1"),
        ({}, Inputs(model), ParameterError, "the frames as photos"),
        ({}, Inputs(embeddings=path), ParameterError, "the frames as photos"),
        ({}, Inputs(photos=photos), ParameterError, "give a model with photos"),
        ({}, Inputs(model, model.parent), FileError, "no frames in"),
        ({}, Inputs(path, photos), FaceverError, "no model file"),
    ):
        with pytest.raises(error, match=says):
            evaluate_ytf(tmp_path / "out", splits, inputs, PLAIN, **options)
    assert asked == []
    assert not (tmp_path / "out").exists()


def test_command(
    tmp_path: Path,
    splits: Path,
    photos: Path,
    model: Path,
    asked: list[set[str]],
    command: Command,
) -> None:
    finished = command(
        *("evaluate", "ytf", model, "--photos", photos, "--splits", splits),
        *("--out", tmp_path / "out", "--frames", "random:2", "--seed", 5),
        *("--pca-components", 2, "--precision", "fp32"),
    )
    assert finished.code == 0, finished.err
    assert finished.out.splitlines()[0].startswith("PCA to 2, cosine: accuracy ")
    assert len(asked[0]) == 15
    assert read_settings(tmp_path)["frames"] == (
        "random:2 with seed 5; 15 taken of 21, 0 without a face"
    )
