"""``torchrun -m facever train`` and its end, on real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]

# Kills the second process, once, in the midst of step 6: after the checkpoint of 4.
KILLED = """
import os, signal, sys
from facever.training import heads_across_processes

forward = heads_across_processes.HeadAcrossProcesses.forward
steps = 0

def forward_or_die(self, *given):
    global steps
    steps += 1
    first_life = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if steps == 6 and os.environ["RANK"] == "1" and first_life:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(self, *given)

heads_across_processes.HeadAcrossProcesses.forward = forward_or_die
from facever.cli import main
main()
"""


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory,
    make_store: Callable[..., Path],
    make_model: Callable[..., Path],
) -> Path:
    """Crops, with a teacher beside them."""
    folder = tmp_path_factory.mktemp("group")
    make_model(folder / "teacher.safetensors")
    return make_store(folder / "crops", (6, 5, 7, 4, 4))


def write_config(store: Path, folder: Path, **changes: Any) -> Path:
    content = {
        "data": {"crops": str(store), "validation_identities": 2},
        "network": {"name": "resnet27", "width": 1 / 16, "embedding_size": 16},
        "heads": [
            {"name": "arcface", "sample": 0.9},
            {"name": "ie", "weight": 0.05},
            {"name": "distillation"},
        ],
        "teacher": str(store.with_name("teacher.safetensors")),
        "augmentation": {"mirror": True, "shift": 2},
        "mean": "image",
        "optimiser": {"learning_rate": 0.005},
        "schedule": {"steps": 10, "shape": "cosine", "warmup": 2},
        "batch_size": 8,
        "precision": "fp32",
        "device": "cpu",
        "log_every": 2,
        "checkpoint_every": 4,
        "out": str(folder / "run"),
    }
    folder.mkdir(exist_ok=True)
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return path


def start(command: list[str], folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        env=ENVIRONMENT,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def torchrun(config: Path, *options: str) -> "subprocess.Popen[str]":
    job = [*TORCHRUN, "--nproc-per-node=2", *options]
    return start([*job, "-m", "facever", "train", str(config)], config.parent)


def log_steps(run: Path) -> list[int]:
    lines = (run / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


@pytest.fixture(scope="module")
def trained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a job of two that nothing disturbed, and what it printed."""
    folder = tmp_path_factory.mktemp("trained") / "job"
    with torchrun(write_config(store, folder)) as job:
        printed = job.communicate()[0]
    assert job.returncode == 0, printed
    return folder / "run", printed


def test_a_job_prints_logs_and_writes_once(trained: tuple[Path, str]) -> None:
    run, printed = trained
    assert sorted(path.name for path in run.iterdir()) == [
        "README.md",
        "checkpoint.pt",
        "config.yaml",
        "log.jsonl",
        "model.safetensors",
        "starts.jsonl",
    ]
    assert log_steps(run) == [2, 4, 6, 8, 10]
    for once in ("in 2 processes", "held out: AUC", "model: ", "train: 80 crops"):
        assert printed.count(once) == 1, printed


def test_a_job_that_lost_a_process_restarts_and_ends_alike(
    trained: tuple[Path, str], store: Path, tmp_path: Path
) -> None:
    """kill -9 of one of two; torchrun starts both anew."""
    config = write_config(store, tmp_path / "job")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [*TORCHRUN, "--nproc-per-node=2", "--max-restarts=1", str(script)]
    with start([*command, "train", str(config)], tmp_path) as job:
        printed = job.communicate()[0]
    assert job.returncode == 0, printed
    assert "going on from step 4 of 10" in printed
    assert "another process of this job ended" in printed
    run, expected = tmp_path / "job" / "run", trained[0]
    for name in ("model.safetensors", "checkpoint.pt"):
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name
    assert log_steps(run) == [2, 4, 6, 8, 10]


def test_a_mistake_ends_a_job_with_its_line(store: Path, tmp_path: Path) -> None:
    with torchrun(write_config(store, tmp_path, batch_size=7)) as job:
        printed = job.communicate()[0]
    assert job.returncode != 0
    line = "facever: batch_size must be a multiple of the 2 processes, got 7"
    assert line in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_saves_and_ends_with_a_line(
    processes: int, store: Path, tmp_path: Path
) -> None:
    longer = {"steps": 100_000, "shape": "cosine", "warmup": 2}
    config = write_config(store, tmp_path, schedule=longer, checkpoint_every=50_000)
    run = tmp_path / "run"
    one = [sys.executable, "-m", "facever", "train", str(config)]
    with torchrun(config) if processes == 2 else start(one, tmp_path) as job:
        while job.poll() is None:
            if (run / "log.jsonl").exists() and len(log_steps(run)) > 1:
                break
            time.sleep(0.05)
        job.send_signal(signal.SIGTERM)
        printed = job.communicate()[0]
    step = torch.load(run / "checkpoint.pt", weights_only=True)["step"]
    assert step >= 4
    line = f"facever: stopped at step {step:,} of 100,000"
    assert printed.count(line) == 1, printed
    if processes == 1:
        assert job.returncode == 128 + signal.SIGTERM
        assert "Traceback" not in printed
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoint.pt",
        "config.yaml",
        "log.jsonl",
        "starts.jsonl",
    ]
