"""The job on a local cluster of Ray, whose workers and driver are killed."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facever.errors import FileError, ParameterError
from facever.gallery.opening import open_gallery
from facever.stages.many_machines import ray_workers
from facever.stages.many_machines.job import run_job
from facever.stages.many_machines.ray_workers import RayWorkers

PIPELINE = Path(__file__).parents[3] / "pipelines/many_machines.py"

# Runs the pipeline. A worker ends in the middle of its first shard of crops; when the
# one in its place has done that, this process ends.
KILLED = """
import os, runpy, signal, sys
from pathlib import Path
from facever.stages.many_machines import job, ray_workers, shards

FOLDER = Path(sys.argv.pop(1))

def end():
    os.kill(os.getpid(), signal.SIGKILL)

class Embedder(shards.ShardEmbedder):
    def _embed(self, shard):
        if shard.number == 0 and not (FOLDER / "killed").exists():
            (FOLDER / "killed").touch()
            end()
        return super()._embed(shard)

class Workers(ray_workers.RayWorkers):
    def answers(self, make_work, plan, shards):
        for answer in super().answers(make_work, plan, shards):
            yield answer
            if plan.faces(0).exists():
                end()

job.ShardEmbedder, ray_workers.RayWorkers = Embedder, Workers
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_killed_workers_and_a_killed_driver(
    tmp_path: Path, photos: Path, make_model: Callable[..., Path], here: Any
) -> None:
    model = str(make_model(tmp_path / "model.safetensors"))
    options: Any = {"detector": "crops", "shard_photos": 64}
    whole, out = tmp_path / "whole", tmp_path / "job"
    run_job(photos, whole, model, here(), gallery=tmp_path / "whole-gallery", **options)
    arguments = [photos, f"--out={out}", f"--model={model}", "--detector=crops"]
    arguments += ["--shard-photos=64", "--workers=2", f"--gallery={tmp_path / 'ours'}"]

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, PIPELINE, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "killed").exists()
    assert (out / "faces/00000.parquet").exists()
    left = run_job(photos, out, model, here(), gallery=tmp_path / "ours", **options)
    assert left.num_new == 0
    ours, theirs = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (out, whole)
    )
    assert ours == theirs
    with (
        open_gallery(tmp_path / "ours") as gallery,
        open_gallery(tmp_path / "whole-gallery") as wanted,
    ):
        found, expected = (
            [
                (entry.name, entry.source, embedding.tobytes())
                for entries, embeddings in each.read()
                for entry, embedding in zip(entries, embeddings, strict=True)
            ]
            for each in (gallery, wanted)
        )
        assert found == expected


def test_an_address_where_nobody_answers() -> None:
    with pytest.raises(
        ParameterError, match=r"running cluster's, got '127\.0\.0\.1:1'"
    ):
        RayWorkers(address="127.0.0.1:1")
    with pytest.raises(ParameterError, match="workers must be at least 1, got 0"):
        RayWorkers(0)


def test_a_slip_is_told_before_ray_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayWorkers, "_start", lambda self: pytest.fail("started"))
    with RayWorkers() as workers, pytest.raises(FileError, match="no photos at"):
        run_job(tmp_path / "none", tmp_path / "job", "sface", workers)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r"the package ray: pip install '\.\[ray"):
        RayWorkers()
