"""The script for Slurm, run as Slurm runs it: a process for each task of an array."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from facever.stages.align import align
from facever.stages.store.changes import merge_stores

SCRIPT = Path(__file__).parents[2] / "pipelines/slurm/align.sbatch"


def test_tasks_of_an_array_make_the_store_of_one_run(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for number in range(80):
        path = photos / f"P{number % 3}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        height = 90 if number == 50 else 112
        crop = rng.integers(0, 256, (height, 96, 3), dtype=np.uint8)
        Image.fromarray(crop).save(path)
    align(photos, tmp_path / "whole", detector="crops", workers=1)

    parts = tmp_path / "parts"
    beside_python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    tasks = [
        subprocess.Popen(
            ["bash", SCRIPT, photos, parts, "3", "--detector", "crops"],
            env={
                **os.environ,
                "PATH": beside_python,
                "SLURM_ARRAY_TASK_ID": f"{number}",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2, 3)
    ]
    for task in tasks:
        _, said = task.communicate()
        assert task.returncode == 0, said
    merge_stores(sorted(parts.iterdir()), tmp_path / "merged")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "merged").iterdir())
    for name in names:
        merged = (tmp_path / "merged" / name).read_bytes()
        assert merged == (tmp_path / "whole" / name).read_bytes(), name
    assert "90" in (tmp_path / "merged/failures.csv").read_text()
