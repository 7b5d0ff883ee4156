import base64
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facever.errors import DataError, FileError, ParameterError
from facever.inference.embedder import load
from facever.stages.evaluation import evaluate
from facever.stages.evaluation.compare import compare_reports
from facever.stages.evaluation.evaluate import evaluate_bin
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.judging import Judging
from facever.verification.protocols import write_bin

Command = Callable[..., Any]
SAME = [True, False] * 10
BROKEN = 7
PLAIN = Judging(pca=False)


@pytest.fixture
def model(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    return make_model(tmp_path / "model.safetensors")


def draw_photos() -> np.ndarray:
    """40 photos of 112x112; the two of a genuine pair resemble each other."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 230, (40, 7, 7, 3))
    for pair, same in enumerate(SAME):
        if same:
            coarse[2 * pair + 1] = coarse[2 * pair]
    photos = coarse.repeat(16, axis=1).repeat(16, axis=2)
    return (photos + rng.integers(-20, 21, photos.shape)).astype(np.uint8)


def encode(photos: np.ndarray) -> list[bytes]:
    return [cv2.imencode(".png", photo[:, :, ::-1])[1].tobytes() for photo in photos]


def test_a_bin_from_the_command_to_its_report(
    tmp_path: Path, model: Path, command: Command
) -> None:
    photos = draw_photos()
    encoded = encode(photos)
    encoded[BROKEN] = b"no photo"
    write_bin(tmp_path / "tiny_30.bin", encoded, SAME)
    out = tmp_path / "out"
    finished = command(
        *("evaluate", "bin", model, tmp_path / "tiny_30.bin", "--out", out),
        *("--no-pca", "--precision", "fp32"),
    )
    assert finished.code == 0, finished.err
    assert "1 pair without a photo (reject), 1 photo missing" in finished.out
    assert "embed: 40 photos" in finished.err
    numbers = json.loads((out / "report.json").read_text())
    assert numbers["title"] == "tiny_30, 20 pairs in 10 folds"
    assert numbers["settings"]["model_fingerprint"] == load(model).model_fingerprint
    [found] = numbers["models"]
    assert found["missing"]["photos"] == [f"{BROKEN:06d}"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"{BROKEN:06d} (not an image that can be read)" in page


def test_photos_of_short_embeddings_are_refused(
    tmp_path: Path, model: Path, command: Command
) -> None:
    photos = draw_photos()
    write_bin(tmp_path / "set.bin", encode(photos), SAME)
    features = load(model, "cpu", "fp32").embed_crops(photos[:, :, 8:104])
    lengths = np.linalg.norm(features.astype(float), axis=1)
    least = float(np.sort(lengths)[5:7].mean())
    given = ("evaluate", "bin", model, tmp_path / "set.bin", "--out", tmp_path / "out")
    finished = command(
        *(*given, "--no-pca", "--precision", "fp32"),
        *("--min-quality", f"embedding-length={least!r}"),
    )
    assert finished.code == 0, finished.err
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    short = [f"{place:06d}" for place in np.flatnonzero(lengths < least)]
    assert len(short) == 6
    assert numbers["models"][0]["missing"]["photos"] == short
    finished = command(*given, "--min-quality", "sharpness=1")
    assert finished.code == 2
    assert "--min-quality sharpness is measured on crops" in finished.err


def test_reports_of_a_bin_are_compared_with_pictures(
    tmp_path: Path, model: Path, make_model: Callable[..., Path]
) -> None:
    # Nobody resembles anybody, so what a model takes for one person is chance.
    coarse = np.random.default_rng(0).integers(0, 256, (40, 7, 7, 3), np.uint8)
    photos = coarse.repeat(16, axis=1).repeat(16, axis=2)
    bin_file = tmp_path / "set.bin"
    write_bin(bin_file, encode(photos), SAME)
    other = make_model(tmp_path / "other.safetensors", seed=1)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, each in zip(folders, (model, other), strict=True):
        evaluate_bin(folder, bin_file, Inputs(each), PLAIN)
    found = compare_reports(tmp_path / "both", folders)
    page = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    assert found.num_differing > 0
    assert "data:image/jpeg" in page
    # Of other photos under that name, none are shown.
    write_bin(bin_file, encode(photos[::-1]), SAME)
    compare_reports(tmp_path / "changed", folders)
    page = (tmp_path / "changed" / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page


def test_pairs_in_any_order_have_a_number_by_both_rules(
    tmp_path: Path, model: Path, command: Command
) -> None:
    """Genuine pairs first, as users write them; protocol 1, truth as numbers."""
    genuine = [pair for pair in range(20) if SAME[pair]][:2]
    photos = encode(draw_photos())
    chosen = [photos[2 * pair + side] for pair in (*genuine, 1, 3) for side in (0, 1)]
    content = pickle.dumps((chosen, [1, 1, 0, 0]), protocol=1)
    (tmp_path / "four.bin").write_bytes(content)
    finished = command(
        *("evaluate", "bin", model, tmp_path / "four.bin", "--out", tmp_path / "out"),
        *("--no-pca", "--precision", "fp32", "--rule", "insightface"),
    )
    assert finished.code == 0, finished.err
    assert "cosine: accuracy 100.00" in finished.out
    assert "rule insightface: 100.000" in finished.out
    assert "fold 1 of 4 in the list's order has 1 genuine and 0 imp" in finished.out
    assert "own 4 folds, of which 4 have pairs of one kind" in finished.out
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["title"] == "four, 4 pairs in 2 folds"
    assert "dealt in turn into 2 folds" in numbers["settings"]["notes"]


@pytest.mark.parametrize("chunk", [512, 7, 1])
def test_scores_are_those_of_the_photos_whatever_the_chunk(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    types_unchecked: None,
    chunk: int,
) -> None:
    monkeypatch.setattr(evaluate, "_BIN_CHUNK", chunk)
    photos = draw_photos()
    encoded = encode(photos)
    encoded[BROKEN] = b"no photo"
    write_bin(tmp_path / "set.bin", encoded, SAME)
    inputs = Inputs(model, device="cpu", precision="fp32")
    found = evaluate_bin(tmp_path / "out", tmp_path / "set.bin", inputs, PLAIN)
    result = found.evaluations["cosine"]
    crops = np.ascontiguousarray(photos[:, :, 8:104])
    vectors = load(model, "cpu", "fp32").embed_crops(crops).astype(float)
    for pair in range(20):
        first, second = vectors[2 * pair], vectors[2 * pair + 1]
        cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
        if pair == BROKEN // 2:
            cosine = -np.inf
        assert result.scores[pair] == pytest.approx(cosine, abs=1e-5)
    assert result.missing == [f"{BROKEN:06d}"]
    assert result.num_missing_pairs == 1
    assert result.pairs.fold.tolist() == [pair // 2 for pair in range(20)]


def test_the_worst_errors_show_the_photos(
    tmp_path: Path, model: Path, types_unchecked: None
) -> None:
    photos = draw_photos()
    # Every genuine pair of two looks, every impostor pair of one: most is judged wrong.
    wrong = [not same for same in SAME]
    encoded = encode(photos)
    encoded[BROKEN] = b"no photo"
    write_bin(tmp_path / "set.bin", encoded, wrong)
    # By this rule the pair of the broken photo is the least similar of the genuine.
    judging = Judging(pca=False, missing="lowest")
    evaluate_bin(tmp_path / "out", tmp_path / "set.bin", Inputs(model), judging)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    shown = re.findall(r'alt="(\d{6})" src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(shown) > 4
    for name, content in shown:
        picture = cv2.imdecode(
            np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR_RGB
        )
        crop = photos[int(name), :, 8:104].astype(float)
        assert np.abs(picture - crop).mean() < 25
    assert f"{BROKEN:06d}" not in dict(shown)
    assert page.count("no picture") == 1


def test_a_rule_for_missing_photos(
    tmp_path: Path, model: Path, types_unchecked: None
) -> None:
    encoded = encode(draw_photos())
    encoded[BROKEN] = b"no photo"
    write_bin(tmp_path / "set.bin", encoded, SAME)
    with pytest.raises(DataError, match=f"such as '{BROKEN:06d}'"):
        evaluate_bin(
            tmp_path / "out",
            tmp_path / "set.bin",
            Inputs(model),
            Judging(pca=False, missing="error"),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["photos", "crops", "embeddings", None])
def test_a_model_alone(tmp_path: Path, given: str | None) -> None:
    path = tmp_path / "here"
    inputs = Inputs(path, **{given: path}) if given else Inputs()
    with pytest.raises(ParameterError, match="give a model and no others"):
        evaluate_bin(tmp_path / "out", tmp_path / "set.bin", inputs)


def test_bad_files_leave_no_report(
    tmp_path: Path, model: Path, types_unchecked: None
) -> None:
    small = draw_photos()[:, :64, :64]
    write_bin(tmp_path / "small.bin", encode(small), SAME)
    write_bin(tmp_path / "broken.bin", [b"no photo"] * 40, SAME)
    (tmp_path / "text.bin").write_text("no pickle")
    for name, error, says in (
        ("small.bin", DataError, r"small\.bin photo 0: not an aligned crop: 64x64"),
        ("broken.bin", DataError, "no pair has embeddings of both its photos"),
        ("text.bin", FileError, r"text\.bin is no pickle"),
        ("none.bin", FileError, r"cannot read .*none\.bin"),
    ):
        with pytest.raises(error, match=says):
            evaluate_bin(tmp_path / "out", tmp_path / name, Inputs(model), PLAIN)
    assert not (tmp_path / "out").exists()
