"""Sweeps through the pipeline of small images, on drawn digits."""

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from facever.stages.tables.running import RESULT_FILE

PIPELINE = Path(__file__).parents[3] / "pipelines" / "small_images.py"

SWEPT: dict[str, Any] = {
    "title": "a sweep",
    "paper": "none",
    "train": {
        "data": {"set": "mnist", "preparation": ["divide_256"]},
        "network": {"name": "lenet", "embedding_size": 8},
        "optimiser": {"learning_rate": 0.05},
        "schedule": {"steps": 8, "drops": []},
        "measure_every": 4,
        "batch_size": 20,
    },
    "cells": {
        "softmax": {
            "heads": [{"name": "softmax"}, {"name": "ie", "weight": 0.0}],
            "sweep": {"heads.1.weight": [0.0, 0.5]},
            "printed": {"error": [1.0, 0.5]},
        },
    },
}


@pytest.fixture
def recipe(tmp_path: Path, small_image_files: SimpleNamespace) -> Path:
    small_image_files.write_mnist(tmp_path / "data" / "mnist", num_train=200)
    path = tmp_path / "some" / "swept.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(SWEPT, sort_keys=False))
    return path


@pytest.fixture
def pipeline(
    tmp_path: Path,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    types_unchecked: None,
) -> Callable[..., None]:
    def run(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", command(tmp_path, recipe, *arguments))
        runpy.run_path(str(PIPELINE), run_name="__main__")

    return run


def command(tmp_path: Path, recipe: Path, *arguments: object) -> list[str]:
    places = ["--data", tmp_path / "data", "--out", tmp_path / "out", "--unchecked"]
    return [*map(str, [PIPELINE, recipe, *places, *arguments])]


def test_a_table_and_a_curve(tmp_path: Path, pipeline: Callable[..., None]) -> None:
    pipeline("--seeds", 2, "--figures", "--set", "train.batch_size=10")
    out = tmp_path / "out" / "some" / "swept"
    cells = json.loads((out / "results.json").read_text())["cells"]
    assert list(cells) == ["softmax, weight=0.0", "softmax, weight=0.5"]
    assert [cell["printed"] for cell in cells.values()] == [
        {"error": 1},
        {"error": 0.5},
    ]
    assert [len(cell["runs"]) for cell in cells.values()] == [2, 2]
    weights = [
        run["recipe"]["heads"][1]["weight"]
        for cell in cells.values()
        for run in cell["runs"]
    ]
    assert weights == [0, 0, 0.5, 0.5]
    text = (out / "table.md").read_text()
    assert "| softmax, weight=0.5 | 2 | 0.50 | " in text
    assert "Changed in the recipe: `train.batch_size=10`." in text
    for kind in ("png", "svg"):
        assert (out / f"sweep-heads.1.weight-error.{kind}").stat().st_size > 1000
    page = (out / "figures" / "index.html").read_text()
    assert "<h2>Sweep</h2>" in page


def test_a_value_fails_and_the_others_go_on(
    tmp_path: Path, pipeline: Callable[..., None]
) -> None:
    sweep = "sweep={optimiser.learning_rate: [-1, 0.05, 1.0e+9]}"
    pipeline("--seeds", 1, "--set", f"cells.softmax.{sweep}", "--set", NOTHING_PRINTED)
    out = tmp_path / "out" / "some" / "swept"
    table = (out / "table.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| softmax")]
    assert "learning_rate: input should be greater than 0, got -1" in rows[0]
    assert "failed" not in rows[1]
    assert "failed: embeddings hold NaN or infinity" in rows[2]
    assert len(list(out.glob("sweep-optimiser.learning_rate-error.png"))) == 1


NOTHING_PRINTED = "cells.softmax.printed={}"


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ("heads.1.wieght", "head ie: unknown key wieght; valid keys: alpha, nearest"),
        ("heads.2.weight", "'2' must be an index in [0, 2)"),
        ("optimiser.rate", "valid keys there: learning_rate, momentum"),
        ("network.depth", "network lenet: unknown key depth; valid keys: embedding_si"),
    ],
)
def test_a_key_that_does_not_exist(
    tmp_path: Path,
    pipeline: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    sweep: str,
    words: str,
) -> None:
    with pytest.raises(SystemExit) as stop:
        pipeline("--set", f"cells.softmax.sweep={{{sweep}: [1, 2]}}")
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert not (tmp_path / "out").exists()


KILLED = """
import os, runpy, signal, sys
import facever.stages.small_images.cell as stage
save = stage.save_checkpoint
def save_and_die(path, state, fingerprint):
    save(path, state, fingerprint)
    if "weight=0.5" in str(path) and state.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
stage.save_checkpoint = save_and_die
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_sweep_that_was_killed_goes_on(
    tmp_path: Path, recipe: Path, pipeline: Callable[..., None]
) -> None:
    """kill -9 in the midst of the second value."""
    script = f"import sys; sys.argv = {command(tmp_path, recipe, '--seeds', 1)!r}"
    environment = os.environ | {"PYTHONPATH": str(PIPELINE.parents[1])}
    died = subprocess.run(
        [sys.executable, "-c", f"{script}\n{KILLED}"],
        env=environment,
        check=False,
        capture_output=True,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    out = tmp_path / "out" / "some" / "swept"
    first = out / "softmax,-weight=0.0" / "seed0" / RESULT_FILE
    second = out / "softmax,-weight=0.5" / "seed0" / RESULT_FILE
    assert not second.exists()
    before = first.stat().st_mtime_ns
    pipeline("--seeds", 1)
    assert first.stat().st_mtime_ns == before
    result = json.loads(second.read_text())
    assert (result["steps"], result["steps_of_this_run"]) == (8, 4)
    cells = json.loads((out / "results.json").read_text())["cells"]
    assert [len(cell["runs"]) for cell in cells.values()] == [1, 1]
