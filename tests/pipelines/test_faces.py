"""Tables on faces through their pipeline, on stores of coarse patterns."""

import csv
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from facever.config.faces import FaceTable
from facever.config.reading import load_config
from facever.data.batches.sampling import split_identities
from facever.data.store.crop_store import CropStore
from facever.data.store.writer import CropWriter
from facever.errors import ConfigError
from facever.inference.embedder import Embedder
from facever.inference.model_file import load_model
from facever.stages.face_tables.judging import make_tests
from facever.verification.protocols import read_lfw_pairs, read_ytf_splits
from facever.verification.thresholds import best_threshold

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "pipelines" / "faces.py"
PEOPLE = [f"P{person}" for person in range(6)]

RECIPE: dict[str, Any] = {
    "title": "some <faces>",
    "paper": "none",
    "chosen": ["everything"],
    "pca_components": 4,
    "train": {
        "data": {"crops": "nowhere", "validation_identities": 2},
        "network": {"name": "resnet27", "width": 0.0625, "embedding_size": 16},
        "schedule": {"steps": 4, "drops": []},
        "batch_size": 8,
        "log_every": 2,
        "checkpoint_every": 2,
        "precision": "fp32",
        "device": "cpu",
    },
    "cells": {
        "softmax": {"heads": [{"name": "softmax"}], "printed": {"lfw": 97.42}},
        "IE": {
            "heads": [{"name": "softmax"}, {"name": "ie", "weight": 0.05}],
            "printed": {"lfw": 99.1, "ytf": 94.12},
        },
    },
}


def write_store(folder: Path, sources: list[str], seed: int) -> Path:
    """A pattern for each person, a grain for each crop."""
    patterns = {
        name: np.random.default_rng(place).integers(20, 230, (7, 6, 3))
        for place, name in enumerate(PEOPLE)
    }
    rng = np.random.default_rng(seed)
    unknown = np.full((1, 5, 2), np.nan)
    listing = [(source, source.split("/")[0]) for source in sources]
    with CropWriter(folder, {}, listing) as writer:
        for source, name in listing:
            coarse = patterns[name].repeat(16, axis=0).repeat(16, axis=1)
            crop = (coarse + rng.integers(-20, 21, (112, 96, 3))).astype(np.uint8)
            writer.add(source, crop[None], unknown, np.array([np.nan]))
        writer.finish()
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops to train on, LFW's and YTF's, with their pairs in two folds."""
    folder = tmp_path_factory.mktemp("world")
    photos = [f"{p}/{p}_000{n}.jpg" for p, n in product(PEOPLE, (1, 2, 3, 4))]
    write_store(folder / "crops", [f"{p}/{n}.jpg" for p in PEOPLE for n in range(5)], 0)
    write_store(folder / "lfw", photos, 1)
    frames = [f"{p}/{v}/{f}.jpg" for p, v, f in product(PEOPLE, (0, 1), (1, 2, 3))]
    write_store(folder / "ytf", frames, 2)
    lines, splits = ["2\t9"], []
    for fold in (0, 1):
        people = PEOPLE[3 * fold : 3 * fold + 3]
        genuine = [(p, a, b) for p in people for a, b in combinations((1, 2, 3, 4), 2)]
        lines += [f"{p}\t{a}\t{b}" for p, a, b in genuine[::2]]
        impostor = [(p, a, q) for p, q in combinations(people, 2) for a in (1, 2, 3)]
        lines += [f"{p}\t{a}\t{q}\t{a + 1}" for p, a, q in impostor]
        splits += [f"{fold + 1}, 1, {p}/0, {p}/1, 1" for p in people]
        splits += [
            f"{fold + 1}, 1, {p}/0, {q}/1, 0" for p, q in combinations(people, 2)
        ]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
    (folder / "splits.txt").write_text("\n".join(splits) + "\n")
    path = folder / "some" / "small.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return folder


def arguments(world: Path, out: Path, *more: object, tests: str = "lfw") -> list[str]:
    given: list[object] = [world / "some" / "small.yaml", "--crops", world / "crops"]
    if "lfw" in tests:
        given += ["--lfw-crops", world / "lfw", "--pairs", world / "pairs.txt"]
    if "ytf" in tests:
        given += ["--ytf-crops", world / "ytf", "--ytf-splits", world / "splits.txt"]
    return [*map(str, [PIPELINE, *given, "--out", out, *more])]


def run(argv: list[str]) -> None:
    """Run the pipeline as a user does, without the type checks that pytest adds."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", argv)
        try:
            runpy.run_path(str(PIPELINE), run_name="__main__")
        finally:
            jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Path:
    """The folder of a table that nothing disturbed; tests only read it."""
    out = tmp_path_factory.mktemp("done")
    run(arguments(world, out, "--seeds", 2, tests="lfw ytf"))
    return out / "some" / "small"


def cells_of(table: Path) -> dict[str, Any]:
    cells: dict[str, Any] = json.loads((table / "results.json").read_text())["cells"]
    return cells


def test_the_table(done: Path) -> None:
    cells = cells_of(done)
    assert [len(cell["runs"]) for cell in cells.values()] == [2, 2]
    text = (done / "table.md").read_text()
    lfw = [100 * run["lfw"] for run in cells["IE"]["runs"]]
    mean, deviation = np.mean(lfw), np.std(lfw, ddof=1)
    shown = f"| IE | 2 | 99.10 | {mean:.2f} ± {deviation:.2f} | {mean - 99.1:+.2f} |"
    assert shown in text
    (precision,) = {run["precision"] for cell in cells.values() for run in cell["runs"]}
    start = json.loads((done / "IE" / "seed0" / "starts.jsonl").read_text())
    assert precision == start["precision"]
    assert f"Trained with {precision}." in text
    assert "36 pairs of LFW in 2 folds" in text
    assert "12 pairs of YouTube Faces in 2 folds" in text
    head = next(line for line in text.splitlines() if line.startswith("| cell"))
    assert "LFW %, Euclidean" in head
    assert "paper, YTF %" in head
    assert "WCIntra" in head


def fold_accuracy(scores: np.ndarray, same: np.ndarray, fold: np.ndarray) -> float:
    accuracies = []
    for tested in (fold == 0, fold == 1):
        threshold = best_threshold(scores[~tested], same[~tested])
        accuracies.append(np.mean((scores[tested] > threshold) == same[tested]))
    return float(np.mean(accuracies))


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    lengths = np.sqrt((left * left).sum()) * np.sqrt((right * right).sum())
    return float((left * right).sum() / lengths)


def test_the_numbers_of_a_run_by_hand(world: Path, done: Path) -> None:
    """From the model file and the crops again, pair by pair."""
    out = done / "IE" / "seed1"
    result = json.loads((out / "result.json").read_text())
    embedder = Embedder(load_model(out / "model.safetensors"), "cpu", "fp32")

    def embed(name: str) -> dict[str, np.ndarray]:
        store = CropStore.open(world / name)
        vectors = embedder.embed_crops(store.crops[:]).astype(float)
        return dict(zip(store.sources, vectors, strict=True))

    pairs, photos = read_lfw_pairs(world / "pairs.txt"), embed("lfw")
    sides = list(zip(pairs.left, pairs.right, strict=True))
    scores = np.array([cosine(photos[a], photos[b]) for a, b in sides])
    assert result["lfw_no_pca"] == fold_accuracy(scores, pairs.same, pairs.fold)

    splits, frames = read_ytf_splits(world / "splits.txt"), embed("ytf")
    videos = {
        video: np.mean([v for k, v in frames.items() if k.startswith(video)], axis=0)
        for video in {*splits.left, *splits.right}
    }
    kept = np.load(out / "ytf.npz")
    for name, vector in zip(kept["images"], kept["embeddings"], strict=True):
        np.testing.assert_allclose(vector, videos.pop(str(name)), rtol=1e-4, atol=1e-5)
    assert not videos
    kept = dict(zip(kept["images"], kept["embeddings"].astype(float), strict=True))
    sides = list(zip(splits.left, splits.right, strict=True))
    scores = np.array([cosine(kept[a], kept[b]) for a, b in sides])
    assert result["ytf_no_pca"] == fold_accuracy(scores, splits.same, splits.fold)

    store = CropStore.open(world / "crops")
    rows = split_identities(store.labels, 2, seed=1).held_out
    vectors = embedder.embed_crops(store.crops[rows]).astype(float)
    labels = store.labels[rows]
    both = {True: [], False: []}
    for a, b in combinations(range(len(rows)), 2):
        both[bool(labels[a] == labels[b])].append(cosine(vectors[a], vectors[b]))
    above = [g > i for g, i in product(both[True], both[False])]
    assert result["held_out_auc"] == pytest.approx(np.mean(above), abs=1e-6)


def test_the_pictures(done: Path) -> None:
    """One ROC of all cells, measures side by side, and pairs with their faces."""
    for name in ("lfw", "ytf"):
        assert (done / name / "roc.png").exists()
        assert (done / f"{name}-measures.png").exists()
        svg = (done / name / "roc.svg").read_text()
        assert svg.count("IE (") == svg.count("softmax (") == 1
    page = (done / "lfw" / "report.html").read_text()
    assert "IE is right, softmax wrong" in page
    assert "softmax is right, IE wrong" in page
    with (done / "lfw" / "differing.csv").open() as file:
        differing = list(csv.DictReader(file))
    evaluated = json.loads((done / "lfw" / "report.json").read_text())
    assert {model["name"] for model in evaluated["models"]} == {"softmax", "IE"}
    if differing:
        assert "data:image/jpeg" in page
    assert not list(done.glob("sweep-*"))


def test_the_picture_of_a_video_is_its_first_frame(world: Path) -> None:
    [test] = make_tests(None, None, world / "ytf", world / "splits.txt")
    store = CropStore.open(world / "ytf")
    row = store.sources.index("P3/1/1.jpg")
    np.testing.assert_array_equal(test.crop_of("P3/1"), store.crops[row])
    assert test.crop_of("P3/2") is None


def test_nothing_is_trained_again_and_other_cells_stay(
    tmp_path: Path, world: Path
) -> None:
    out = tmp_path / "some" / "small"
    run(arguments(world, tmp_path, "--cells", "softmax", "--seeds", 2))
    model = out / "softmax" / "seed0" / "model.safetensors"
    before = model.stat().st_mtime_ns
    run(arguments(world, tmp_path, "--cells", "IE"))
    assert {name: len(cell["runs"]) for name, cell in cells_of(out).items()} == {
        "softmax": 2,
        "IE": 1,
    }
    # Another PCA judges the same runs anew.
    first = cells_of(out)["IE"]["runs"][0]
    run(arguments(world, tmp_path, "--set", "pca_components=2"))
    assert model.stat().st_mtime_ns == before
    cells = cells_of(out)
    assert [each["runs"][0]["pca_components"] for each in cells.values()] == [2, 2]
    assert cells["IE"]["runs"][0]["lfw_no_pca"] == first["lfw_no_pca"]
    # The second seed was not asked for: what the other PCA gave is no number of it.
    assert [len(cell["runs"]) for cell in cells.values()] == [2, 1]
    assert [each["lfw"] is None for each in cells["softmax"]["runs"]] == [False, True]
    assert "(1 of 2 seeds)" in (out / "table.md").read_text()


def test_a_call_without_tests_keeps_what_was_judged(
    tmp_path: Path, world: Path
) -> None:
    out = tmp_path / "some" / "small"
    run(arguments(world, tmp_path, "--cells", "softmax", tests="lfw ytf"))
    before = cells_of(out)["softmax"]["runs"]
    run(arguments(world, tmp_path, tests=""))
    cells = cells_of(out)
    assert cells["softmax"]["runs"] == before
    assert cells["IE"]["runs"][0]["lfw"] is None
    # With another PCA the table has none of these numbers, but they are not lost.
    run(arguments(world, tmp_path, "--set", "pca_components=2", tests=""))
    assert cells_of(out)["softmax"]["runs"][0]["lfw"] is None
    run(arguments(world, tmp_path, tests=""))
    assert cells_of(out)["softmax"]["runs"] == before
    text = (out / "table.md").read_text()
    assert "on LFW as earlier calls had it and YTF as earlier calls had it." in text
    # Of other pairs the numbers of LFW are others; those of YTF stay.
    fewer = world / "pairs.txt"
    pairs = tmp_path / "other-pairs.txt"
    lines = fewer.read_text().splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    pairs.write_text("\n".join(lines) + "\n")
    argv = arguments(world, tmp_path, "--cells", "IE", tests="")
    run([*argv, "--lfw-crops", str(world / "lfw"), "--pairs", str(pairs)])
    cells = cells_of(out)
    assert cells["IE"]["runs"][0]["lfw"] is not None
    [softmax] = cells["softmax"]["runs"]
    assert softmax["lfw"] is None
    assert softmax["lfw_missing_pairs"] is None
    assert softmax["ytf"] == before[0]["ytf"]
    models = json.loads((out / "lfw" / "report.json").read_text())["models"]
    assert [model["name"] for model in models] == ["IE"]


def test_without_tests_held_out_people_judge(tmp_path: Path, world: Path) -> None:
    sweep = "cells.IE.sweep={heads.1.weight: [0, 0.5, 5, -1]}"
    printed = "cells.IE.printed={}"
    more = ["--cells", "IE", "--set", sweep, "--set", printed]
    run(arguments(world, tmp_path, *more, tests=""))
    out = tmp_path / "some" / "small"
    cells = cells_of(out)
    assert list(cells) == [f"IE, weight={each}" for each in (-1, 0, 0.5, 5)]
    [zero] = cells["IE, weight=0"]["runs"]
    assert zero["lfw"] is None
    assert 0 <= zero["held_out_auc"] <= 1
    assert (
        "greater than or equal to 0, got -1" in cells["IE, weight=-1"]["failures"]["0"]
    )
    text = (out / "table.md").read_text()
    assert "Judged: the last step of each run, on held-out people." in text
    assert "got -1" in next(row for row in text.splitlines() if "weight=-1" in row)
    names = {path.name for path in out.glob("*.png")}
    assert names == {"sweep-heads.1.weight-held_out_auc.png"}
    # The tests come later, and nothing is trained again.
    model = out / "IE,-weight=0" / "seed0" / "model.safetensors"
    before = model.stat().st_mtime_ns
    run(arguments(world, tmp_path, *more))
    assert model.stat().st_mtime_ns == before
    assert cells_of(out)["IE, weight=0"]["runs"][0]["lfw"] is not None
    # Every row is set beside the first that has a run, and no two others.
    compared = json.loads((out / "lfw" / "report.json").read_text())["differences"]
    assert len(compared) == 2
    for each in compared:
        assert "IE, weight=0" in (each["first"], each["second"])


def test_a_cell_with_a_teacher(
    tmp_path: Path, world: Path, make_model: Callable[..., Path]
) -> None:
    """Of another teacher it is another run."""
    shutil.copytree(world / "crops", tmp_path / "crops")
    heads = "[{name: softmax}, {name: distillation, weight: 10}]"
    out = tmp_path / "out" / "some" / "small"

    def train(seed: int) -> None:
        teacher = make_model(tmp_path / "teacher.safetensors", seed)
        cell = f"cells.taught={{teacher: {teacher}, heads: {heads}}}"
        more = ["--cells", "taught", "--crops", tmp_path / "crops", "--set", cell]
        run(arguments(world, tmp_path / "out", *more))

    train(0)
    before = (out / "taught" / "seed0" / "model.safetensors").stat().st_mtime_ns
    train(0)
    [result] = cells_of(out)["taught"]["runs"]
    assert result["w_inter"] is not None
    assert result["lfw"] is not None
    assert "distillation" in result["last_log_line"]
    after = (out / "taught" / "seed0" / "model.safetensors").stat().st_mtime_ns
    assert after == before
    with pytest.raises(SystemExit):
        train(1)


KILLED = """
import os, runpy, signal, sys
from pathlib import Path

replace = os.replace

def replace_or_die(path, target, **options):
    target = Path(target)
    replace(path, target, **options)
    if target.name == "checkpoint.pt" and "weight=0.5" in str(target):
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace_or_die
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_sweep_that_was_killed_goes_on(tmp_path: Path, world: Path) -> None:
    """kill -9 behind the first checkpoint of the second value."""
    sweep = "cells.IE.sweep={heads.1.weight: [0, 0.5]}"
    more = ["--cells", "IE", "--set", sweep, "--set", "cells.IE.printed={}"]
    argv = arguments(world, tmp_path, *more)
    died = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = {argv!r}\n{KILLED}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    out = tmp_path / "some" / "small"
    first, second = (out / f"IE,-weight={each}" / "seed0" for each in ("0", "0.5"))
    before = (first / "result.json").stat().st_mtime_ns
    assert torch.load(second / "checkpoint.pt", weights_only=True)["step"] == 2
    run(argv)
    assert (first / "result.json").stat().st_mtime_ns == before
    starts = [json.loads(line) for line in (second / "starts.jsonl").open()]
    assert [start["step"] for start in starts] == [0, 2]
    assert [len(cell["runs"]) for cell in cells_of(out).values()] == [1, 1]
    assert (out / "sweep-heads.1.weight-lfw.png").exists()


def stopped(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        run(argv)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    return lines[-1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cells.IE.sweep={heads.1.wait: [1]}", "head ie: unknown key wait; valid keys"),
        ("cells.IE.sweep={optimiser.rate: [1]}", "valid keys there: learning_rate"),
        ("cells.IE.sweep={network.depth: [1]}", "resnet27: unknown key depth; valid"),
        ("cells.IE.seed=3", "seed must be left out, got 3"),
        ("cells.IE.sweep={out: [a]}", "out must be left out, got a"),
    ],
)
def test_what_is_refused_before_anything_runs(
    tmp_path: Path,
    world: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
    words: str,
) -> None:
    more = ["--set", change, "--set", "cells.IE.printed={}", "--cells", "IE"]
    assert words in stopped(capsys, arguments(world, tmp_path / "out", *more))
    assert not list(tmp_path.glob("out/*/*/*/*/checkpoint.pt"))


def test_bfloat16_without_units_is_refused_before_anything_runs(
    tmp_path: Path,
    world: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("facever.hardware.has_bf16_units", lambda device: False)
    given = arguments(world, tmp_path / "out", "--set", "train.precision=bf16")
    assert "precision must be auto or fp32, got 'bf16'" in stopped(capsys, given)
    assert not list(tmp_path.glob("out/*/*/*/*"))


def test_a_run_of_another_recipe(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--cells", "softmax", "--set"]
    run(arguments(world, tmp_path, *more, "train.schedule.steps=2"))
    said = stopped(capsys, arguments(world, tmp_path, *more, "train.batch_size=6"))
    assert "holds a run with" in said
    assert "batch_size=8 and not 6" in said


@pytest.mark.parametrize("size", [12, 17])
def test_a_pca_of_more_dimensions_than_there_are(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    """12 are more than the photos of a fold, 17 more than an embedding has."""
    argv = arguments(world, tmp_path, "--set", f"pca_components={size}")
    assert "set pca_components to a smaller number" in stopped(capsys, argv)


def test_tests_come_with_their_pairs(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(world, tmp_path, "--ytf-crops", world / "ytf")
    assert "--ytf-crops and --ytf-splits must be given together" in stopped(
        capsys, argv
    )


FACES = ROOT / "configs" / "faces"


@pytest.mark.parametrize(
    "path",
    sorted(FACES.rglob("*.yaml")),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_every_recipe_can_be_built(path: Path) -> None:
    from facever import build

    table = load_config(FaceTable, path)
    assert f"configs/faces/{path.parent.name}/{path.name}" in path.read_text()
    for each in table.variants():
        assert each.cell is not None, each.refusal
        build.check_names(each.cell.network, each.cell.heads)
        build.make_head(each.cell.heads, 8, 4)
        schedule = build.make_schedule(each.cell)
        assert 0 < schedule.rate(schedule.steps - 1)


@pytest.mark.parametrize("width", ["normal", "powerful"])
def test_recipes_say_what_the_configs_of_training_say(width: str) -> None:
    table = load_config(FaceTable, FACES / "ie-loss" / f"{width}.yaml")
    suffix = "" if width == "normal" else "-powerful"
    for name, cell in table.cells.items():
        file = {"L-Softmax": "lsoftmax-m4"}.get(name, name.lower())
        config = load_config(
            type(cell.training(0, Path())),
            ROOT / "configs" / "train" / f"webface-{file}{suffix}.yaml",
        )
        assert cell.training(0, config.out) == config


def test_a_recipe_is_a_table() -> None:
    with pytest.raises(ConfigError, match="cells is missing"):
        load_config(FaceTable, None, ["title=a", "paper=b"])
