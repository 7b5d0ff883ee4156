"""From recipe and set to result: on small sets in the published forms."""

import dataclasses
import hashlib
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from facever import build
from facever.config.reading import load_config
from facever.config.small_images import SmallImageTable
from facever.errors import ConfigError, FaceverError, FileError
from facever.small_images.sets import read_small_images
from facever.stages.small_images.cell import RESULT_FILE, train_cell
from facever.training.checkpoint import (
    CHECKPOINT_FILE,
    TrainingState,
    save_checkpoint,
)

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "configs" / "small_images").rglob("*.yaml"))
PIPELINE = ROOT / "pipelines" / "small_images.py"

SMALL: dict[str, Any] = {
    "title": "a <small> table",
    "paper": "none",
    "chosen": ["everything"],
    "train": {
        "data": {"set": "mnist", "preparation": ["divide_256", "mean_image"]},
        "network": {"name": "lenet", "embedding_size": 8},
        "optimiser": {"learning_rate": 0.05, "bias_rate": 2},
        "schedule": {"steps": 40, "drops": [30]},
        "batch_size": 20,
    },
    "cells": {
        "softmax": {"heads": [{"name": "softmax"}], "printed": {"error": 1.5}},
        "E-NCM tuned": {
            "heads": [{"name": "anchor_ncm", "anchors": "spread"}],
            "start": "softmax",
            "optimiser": {"learning_rate": 0.005},
            "schedule": {"steps": 10, "drops": []},
        },
    },
}


def write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def recipe(tmp_path: Path, small_image_files: SimpleNamespace) -> Path:
    small_image_files.write_mnist(tmp_path / "data" / "mnist", num_train=400)
    return write(tmp_path / "some" / "small.yaml", SMALL)


@pytest.fixture
def pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, types_unchecked: None
) -> Callable[..., None]:
    def run(*arguments: object) -> None:
        given = [*arguments, "--data", tmp_path / "data", "--out", tmp_path / "out"]
        monkeypatch.setattr(sys, "argv", ["small_images.py", *map(str, given)])
        runpy.run_path(str(PIPELINE), run_name="__main__")

    return run


def test_choices_are_judged_on_training_images_held_out(
    tmp_path: Path, recipe: Path, pipeline: Callable[..., None]
) -> None:
    given = [recipe, "--seeds", 1, "--unchecked", "--cells", "softmax"]
    pipeline(*given, "--hold-out", 100, "--set", "cells.softmax.batch_size=25")
    pipeline(*given)

    def batches(place: str) -> list[int]:
        file = tmp_path / "out" / "some" / place / "softmax" / "seed0" / "curve.jsonl"
        return [json.loads(line)["step"] for line in file.read_text().splitlines()]

    # An epoch has 300 / 25 steps, and 400 / 20.
    assert batches("small-hold-out-100") == [12, 24, 36, 40]
    assert batches("small") == [20, 40]
    folder = tmp_path / "out" / "some"
    for place, judged in (
        ("small-hold-out-100", "on 100 training images held out"),
        ("small", "on the test set, once"),
    ):
        results = json.loads((folder / place / "results.json").read_text())
        assert results["judged"] == f"the last step of each run, {judged}"
        assert results["judged"] in (folder / place / "table.md").read_text()


def test_a_table_with_pictures(
    tmp_path: Path, recipe: Path, pipeline: Callable[..., None]
) -> None:
    pipeline(recipe, "--seeds", 2, "--unchecked", "--figures")
    out = tmp_path / "out" / "some" / "small"
    results = json.loads((out / "results.json").read_text())
    runs = results["cells"]["softmax"]["runs"]
    assert [run["seed"] for run in runs] == [0, 1]
    # By chance it would be 0.9.
    assert max(run["error"] for run in runs) < 0.4
    assert all(run["steps"] == 40 and not run["verified"] for run in runs)
    table = (out / "table.md").read_text()
    mean = 100 * np.mean([run["error"] for run in runs])
    assert f"| softmax | 2 | 1.50 | {mean:.2f} ± " in table
    assert f" | {mean - 1.5:+.2f} | " in table
    figures = out / "figures"
    names = {"accuracy", "angles", "confidence", "margins", "similarities", "wc-intra"}
    assert {path.stem for path in figures.glob("*.png")} == names
    assert {path.stem for path in figures.glob("*.svg")} == names
    page = (figures / "index.html").read_text()
    assert page.count("data:image/png;base64,") == len(names)
    assert "a &lt;small&gt; table" in page
    # Of some million random letters four may be these, now and then.
    without_pictures = re.sub(r"base64,[\w+/=]+", "", page)
    assert "http" not in without_pictures.replace("http-equiv", "")


def test_pictures_of_two_dimensions(
    tmp_path: Path, recipe: Path, pipeline: Callable[..., None]
) -> None:
    options = ["--set", "train.network.embedding_size=2"]
    options += ["--set", "train.schedule.factor=0.1", "--figures"]
    pipeline(recipe, "--seeds", 1, "--unchecked", *options)
    figures = tmp_path / "out" / "some" / "small" / "figures"
    names = {path.stem for path in figures.glob("*.svg")}
    assert {"features-train", "features-test"} < names


def test_what_is_done_is_not_done_again(
    tmp_path: Path, recipe: Path, pipeline: Callable[..., None]
) -> None:
    pipeline(recipe, "--seeds", 1, "--unchecked", "--cells", "softmax")
    result = tmp_path / "out" / "some" / "small" / "softmax" / "seed0" / RESULT_FILE
    before = result.stat().st_mtime_ns
    pipeline(recipe, "--seeds", 1, "--unchecked")
    assert result.stat().st_mtime_ns == before
    assert (result.parents[2] / "E-NCM-tuned" / "seed0" / RESULT_FILE).exists()


def test_a_cell_brings_the_one_it_goes_on_from(
    tmp_path: Path, recipe: Path, pipeline: Callable[..., None]
) -> None:
    pipeline(recipe, "--seeds", 1, "--unchecked", "--cells", "E-NCM tuned")
    out = tmp_path / "out" / "some" / "small"
    first, second = (
        torch.load(out / name / "seed0" / CHECKPOINT_FILE, weights_only=True)["network"]
        for name in ("softmax", "E-NCM-tuned")
    )
    fresh = build.make_small_image_network(
        load_config(SmallImageTable, recipe).cells["softmax"].network
    ).state_dict()
    for name in ("layers.0.weight", "layers.2.weight", "layers.5.weight"):
        moved = (second[name] - first[name]).norm() / first[name].norm()
        assert 0 < moved < 0.3
        assert (fresh[name] - first[name]).norm() / first[name].norm() > 0.5


def test_what_starts_from_a_cell_that_failed_fails_too(
    tmp_path: Path,
    recipe: Path,
    pipeline: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    change = ["--set", "cells.softmax.optimiser={learning_rate: 1.0e+9}"]
    with pytest.raises(SystemExit):
        pipeline(recipe, "--seeds", 1, "--unchecked", *change)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no run of 'a <small> table' came to an end; the first, softmax" in said
    table = (tmp_path / "out" / "some" / "small" / "table.md").read_text()
    reason = "failed: 'softmax', from whose network it starts, came to no end"
    assert reason in next(row for row in table.splitlines() if "E-NCM" in row)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0", "--unchecked"], "--seeds must be >= 1, got 0"),
        (["--cells", "hinge", "--unchecked"], "has no cell 'hinge'; it has softmax"),
        ([], "pass --unchecked to take it"),
        (["--set", "train.data.set=cifar10"], r"put cifar-10-python.tar.gz or"),
        (["--set", "train.network.name=vgg", "--unchecked"], "unknown network"),
    ],
)
def test_a_users_mistake_is_one_line(
    recipe: Path,
    pipeline: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    with pytest.raises(SystemExit) as stop:
        pipeline(recipe, *arguments)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("cells.softmax.batch_size", 1, "cells.softmax.batch_size"),
        ("cells.softmax.colour", 1, "unknown key cells.softmax.colour; valid keys"),
        ("cells.softmax.data.shift", 1, "valid keys there: set, preparation, mirror"),
        ("cells.E-NCM tuned.start", "IE", "starts from 'IE', which is no cell above"),
        ("cells.softmax.sweep", {"batch_size": [4, 8]}, "'softmax', which is a sweep"),
        ("cells", {}, "cells"),
        ("train.heads", 3, "heads"),
        ("colour", 3, "unknown key colour; valid keys there: title, paper, chosen"),
    ],
)
def test_recipes_that_are_wrong(
    recipe: Path, place: str, value: object, words: str
) -> None:
    content = yaml.safe_load(recipe.read_text())
    *parents, last = place.split(".")
    inner = content
    for step in parents:
        inner = inner.setdefault(step, {})
    inner[last] = value
    if last == "heads":
        del content["cells"]["softmax"]["heads"]
    with pytest.raises(ConfigError, match=words):
        load_config(SmallImageTable, write(recipe, content))


@pytest.mark.parametrize(
    "path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_recipe_can_be_built(path: Path) -> None:
    table = load_config(SmallImageTable, path)
    text = path.read_text()
    assert f"configs/small_images/{path.parent.name}/{path.name}" in text
    built: dict[str, tuple[int, int]] = {}
    for each in table.variants():
        cell = each.cell
        assert cell is not None, each.refusal
        schedule = build.make_schedule(cell)
        assert 0 < schedule.rate(schedule.steps - 1) <= cell.optimiser.learning_rate
        key = cell.network.model_dump_json()
        if key not in built:
            network = build.make_small_image_network(cell.network).eval()
            side = 28 if "mnist" in cell.data.set else 32
            channels = 1 if "mnist" in cell.data.set else 3
            with torch.inference_mode():
                shape = network(torch.zeros(1, channels, side, side)).shape
            built[key] = tuple(shape)
        num_classes = 100 if cell.data.set == "cifar100" else 10
        assert built[key][0] == 1
        build.make_head(cell.heads, built[key][1], num_classes)


@pytest.mark.parametrize(
    ("path", "classes"),
    [
        ("angular-loss/cifar10-augmented.yaml", 10),
        ("ie-loss/cifar100.yaml", 100),
        ("angular-loss/fashion-mnist.yaml", 0),
    ],
)
def test_recipes_of_sets_that_are_not_here_run(
    tmp_path: Path, small_image_files: SimpleNamespace, path: str, classes: int
) -> None:
    if classes:
        small_image_files.write_cifar(tmp_path, classes, "python", per_file=100)
        name = f"cifar{classes}"
    else:
        small_image_files.write_mnist(tmp_path, num_train=100)
        name = "fashion-mnist"
    images = read_small_images(name, tmp_path, verify=False)
    overrides = ["train.schedule.factor=0.00001", "train.batch_size=10"]
    table = load_config(
        SmallImageTable, ROOT / "configs" / "small_images" / path, overrides
    )
    cell = list(table.cells.values())[1]
    result = train_cell(cell, images, 0, tmp_path / "out", title="some")
    assert 0 <= result.top5_error <= result.error <= 1
    assert result.steps == max(1, round(cell.schedule.steps * 0.00001))


def test_the_same_seed_gives_the_same_run(tmp_path: Path, recipe: Path) -> None:
    images = read_small_images("mnist", tmp_path / "data" / "mnist", verify=False)
    cell = load_config(SmallImageTable, recipe).cells["softmax"]
    first, second, other = (
        train_cell(cell, images, seed, tmp_path / out, title="some")
        for out, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.wc_intra == pytest.approx(second.wc_intra, rel=1e-4)
    assert first.wc_intra != pytest.approx(other.wc_intra, rel=1e-4)
    with pytest.raises(FileError, match="another recipe or another set"):
        train_cell(cell, images, 1, tmp_path / "a", title="some")


def test_on_a_cpu_memory_is_kept_from_step_to_step(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    place = "facever.stages.small_images.cell.keep_freed_memory"
    monkeypatch.setattr(place, lambda: asked.append(True))
    images = read_small_images("mnist", tmp_path / "data" / "mnist", verify=False)
    overrides = ["train.schedule.factor=0.05", "train.schedule.drops=[]"]
    cell = load_config(SmallImageTable, recipe, overrides).cells["softmax"]
    train_cell(cell, images, 0, tmp_path / "out", title="some", device="cpu")
    assert asked == [True]


@pytest.mark.parametrize(
    ("asked", "has_units", "expected"),
    [
        ("auto", True, "bf16"),
        ("auto", False, "fp32"),
        ("bf16", True, "bf16"),
        ("fp32", True, "fp32"),
    ],
)
def test_the_precision_is_told(
    tmp_path: Path,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: str,
    has_units: bool,
    expected: str,
) -> None:
    monkeypatch.setattr("facever.hardware.has_bf16_units", lambda device: has_units)
    make, seen = build.make_small_image_network, []

    def watched(config: Any) -> torch.nn.Module:
        network = make(config)
        network.register_forward_hook(lambda *given: seen.append(given[2].dtype))
        return network

    monkeypatch.setattr(build, "make_small_image_network", watched)
    images = read_small_images("mnist", tmp_path / "data" / "mnist", verify=False)
    overrides = [f"train.precision={asked}", "train.schedule.factor=0.05"]
    overrides.append("train.schedule.drops=[]")
    cell = load_config(SmallImageTable, recipe, overrides).cells["softmax"]
    result = train_cell(cell, images, 0, tmp_path / "out", title="some", device="cpu")
    assert result.precision == expected
    assert seen[0] == {"bf16": torch.bfloat16, "fp32": torch.float32}[expected]
    assert f"some, {expected}: " in capsys.readouterr().err


def test_bfloat16_without_units_is_refused(
    tmp_path: Path,
    recipe: Path,
    pipeline: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("facever.hardware.has_bf16_units", lambda device: False)
    with pytest.raises(SystemExit):
        pipeline(recipe, "--set", "train.precision=bf16", "--device", "cpu")
    assert "precision must be auto or fp32, got 'bf16'" in capsys.readouterr().err
    # Another machine may have units: no run may have failed for it.
    assert not list((tmp_path / "out").rglob("*.json"))


def test_a_run_that_goes_on_with_other_numbers_names_both(
    tmp_path: Path,
    recipe: Path,
    pipeline: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = [recipe, "--seeds", 1, "--unchecked", "--cells", "softmax", "--figures"]
    given += ["--device", "cpu", "--set", "train.measure_every=20"]

    def save_and_die(path: Path, state: TrainingState, fingerprint: str) -> None:
        save_checkpoint(path, state, fingerprint)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("facever.hardware.has_bf16_units", lambda device: False)
        place = "facever.stages.small_images.cell.save_checkpoint"
        patched.setattr(place, save_and_die)
        with pytest.raises(KeyboardInterrupt):
            pipeline(*given)
    monkeypatch.setattr("facever.hardware.has_bf16_units", lambda device: True)
    pipeline(*given)
    out = tmp_path / "out" / "some" / "small"
    (run,) = json.loads((out / "results.json").read_text())["cells"]["softmax"]["runs"]
    assert run["precision"] == "fp32, bf16"
    assert "Trained with bf16 and fp32." in (out / "table.md").read_text()
    assert "Trained with bf16 and fp32." in (out / "figures/index.html").read_text()


def test_a_run_from_before_precision_was_a_choice_is_known(
    tmp_path: Path, recipe: Path
) -> None:
    images = read_small_images("mnist", tmp_path / "data" / "mnist", verify=False)
    overrides = ["train.schedule.factor=0.05", "train.schedule.drops=[]"]
    cell = load_config(SmallImageTable, recipe, overrides).cells["softmax"]
    out = tmp_path / "out"
    result = train_cell(cell, images, 0, out, title="some")
    # The hash over the options, the images and the seed, as it was written then.
    options = cell.model_dump(mode="json", exclude={"printed", "sweep", "precision"})
    text = json.dumps([options, images.fingerprint, 0], sort_keys=True)
    assert result.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    content = json.loads((out / RESULT_FILE).read_text())
    del content["precision"]
    (out / RESULT_FILE).write_text(json.dumps(content))
    again = train_cell(cell, images, 0, out, title="some")
    assert again == dataclasses.replace(result, precision="fp32")


def test_a_run_that_was_killed_ends_as_one_that_was_not(
    tmp_path: Path, recipe: Path
) -> None:
    images = read_small_images("mnist", tmp_path / "data" / "mnist", verify=False)
    overrides = ["train.measure_every=10"]
    cell = load_config(SmallImageTable, recipe, overrides).cells["softmax"]
    whole = train_cell(cell, images, 0, tmp_path / "whole", title="some")
    out = tmp_path / "killed"
    script = f"""
import os, signal
from pathlib import Path
import facever.stages.small_images.cell as stage
from facever.config.reading import load_config
from facever.small_images.sets import read_small_images
from facever.config.small_images import SmallImageTable
save = stage.save_checkpoint
def save_and_die(path, state, fingerprint):
    save(path, state, fingerprint)
    if state.step == 20:
        os.kill(os.getpid(), signal.SIGKILL)
stage.save_checkpoint = save_and_die
table = load_config(SmallImageTable, Path({str(recipe)!r}), {overrides})
cell = table.cells["softmax"]
folder = Path({str(tmp_path / "data/mnist")!r})
images = read_small_images("mnist", folder, verify=False)
stage.train_cell(cell, images, 0, Path({str(out)!r}), title="some")
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (out / RESULT_FILE).exists()
    result = train_cell(cell, images, 0, out, title="some")
    assert result.steps_of_this_run == 20
    assert [line["step"] for line in result.curve] == [10, 20, 30, 40]
    assert result.wc_intra == pytest.approx(whole.wc_intra, rel=1e-3)
    for ours, theirs in zip(result.curve, whole.curve, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)


def test_a_run_that_diverges_says_so(tmp_path: Path, recipe: Path) -> None:
    images = read_small_images("mnist", tmp_path / "data" / "mnist", verify=False)
    overrides = ["train.optimiser.learning_rate=1e9"]
    cell = load_config(SmallImageTable, recipe, overrides).cells["softmax"]
    with pytest.raises(FaceverError, match="the learning rate is 1e"):
        train_cell(cell, images, 0, tmp_path / "out", title="some")
    assert not (tmp_path / "out" / RESULT_FILE).exists()


@pytest.mark.realdata
def test_digits_are_learned(tmp_path: Path, data_folder: Path) -> None:
    images = read_small_images("mnist", data_folder / "mnist")
    recipe = ROOT / "configs" / "small_images" / "ie-loss" / "mnist-lenet.yaml"
    cell = load_config(SmallImageTable, recipe, ["train.schedule.factor=0.0125"]).cells
    result = train_cell(cell["softmax"], images, 0, tmp_path, title="LeNet")
    assert (result.steps, result.verified) == (150, True)
    assert result.error < 0.08
