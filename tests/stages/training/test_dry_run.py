import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facever.config.training import TrainConfig
from facever.errors import FileError, ParameterError
from facever.files import hold_folder
from facever.stages.training.dry_run import dry_run


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, make_store: Callable[..., Path]
) -> Path:
    return make_store(tmp_path_factory.mktemp("dry") / "crops", (4, 3, 5))


def make_config(store: Path, out: Path, **changes: Any) -> TrainConfig:
    content: dict[str, Any] = {
        "data": {"crops": str(store)},
        "network": {"name": "resnet27", "width": 1 / 16, "embedding_size": 8},
        "schedule": {"steps": 1000, "shape": "cosine"},
        "batch_size": 6,
        "precision": "fp32",
        "device": "cpu",
        "out": str(out),
    }
    return TrainConfig.model_validate(content | changes)


def convolutions() -> list[tuple[int, int, int]]:
    """Inputs, outputs and places of every convolution at width 1/16, from Table 5."""
    found = [(3, 2, 110 * 94)]
    depth, units = (4, 8, 16, 32), (1, 2, 5, 3)
    sizes = ((108, 92), (52, 44), (24, 20), (10, 8))
    inputs = 2
    for outputs, count, (height, width) in zip(depth, units, sizes, strict=True):
        found.append((inputs, outputs, height * width))
        pooled = (height // 2) * (width // 2)
        found += [(outputs, outputs, pooled)] * (2 * count)
        inputs = outputs
    return found


def test_counts_by_hand(store: Path, tmp_path: Path) -> None:
    found = dry_run(make_config(store, tmp_path / "run"))
    layers = convolutions()
    assert len(layers) == 27
    fc5 = 5 * 4 * 32 * 8
    norms = sum(2 * outputs for _, outputs, _ in layers)
    kernels = sum(9 * inputs * outputs for inputs, outputs, _ in layers)
    assert found.num_weights == kernels + norms + fc5
    assert found.num_head_weights == 3 * 8 + 3
    products = [9 * inputs * outputs * size for inputs, outputs, size in layers]
    # Forward, by the weights and by the input, which the pixels do not ask for.
    multiplied = 3 * (sum(products) + fc5) - products[0]
    assert found.flops == 2 * multiplied
    # Weights, gradients and momentum of float32; running statistics and their count.
    statistics = norms * 4 + 27 * 8
    learned = found.num_weights + found.num_head_weights
    assert found.state_bytes == 3 * 4 * learned + statistics
    # The input of each convolution is kept, and at least that.
    inputs = 6 * 4 * (3 * 112 * 96 + sum(o * size for _, o, size in layers[:-1]))
    assert inputs < found.activation_bytes < 8 * inputs
    assert found.steps == 1000
    assert 0 <= found.data_seconds < found.step_seconds


def test_parts_need_less_and_averages_more(store: Path, tmp_path: Path) -> None:
    whole, parts = (
        dry_run(make_config(store, tmp_path / "run", accumulate=count, ema=ema))
        for count, ema in ((1, None), (3, 0.9))
    )
    assert parts.activation_bytes * 3 == pytest.approx(whole.activation_bytes, abs=3)
    statistics = whole.state_bytes - 12 * (whole.num_weights + whole.num_head_weights)
    extra = parts.state_bytes - whole.state_bytes
    assert extra == 4 * whole.num_weights + statistics


def test_refuses_what_the_run_would_refuse(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="choose another place"):
        dry_run(make_config(store, tmp_path / "file" / "run"))
    with (
        hold_folder(tmp_path / "run"),
        pytest.raises(FileError, match="another process is"),
    ):
        dry_run(make_config(store, tmp_path / "run"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ParameterError, match="run it without torchrun"):
        dry_run(make_config(store, tmp_path / "run"))


def test_the_command_prints_and_writes_nothing(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    config = make_config(store, tmp_path / "run")
    path.write_text(config.model_dump_json())
    command = [sys.executable, "-m", "facever", "train", str(path), "--dry-run"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    for word in ("weights:", "GFLOP", "memory:", "s: 1,000 steps"):
        assert word in result.stdout
    assert sorted(each.name for each in tmp_path.iterdir()) == ["train.yaml"]


def test_the_command_gives_json(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(make_config(store, tmp_path / "run").model_dump_json())
    command = [sys.executable, "-m", "facever", "train", str(path), "--dry-run"]
    result = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout)["steps"] == 1000
