import csv
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facever.data.batches.people_list import read_people_list
from facever.data.store.crop_store import CropStore
from facever.inference.embedder import Embedder
from facever.inference.model_file import load_model
from facever.stages.align import align
from facever.synthetic import write_pairs, write_photos
from facever.verification.protocols import person_of, read_lfw_pairs
from facever.verification.thresholds import best_threshold

PIPELINE = Path(__file__).parents[2] / "pipelines" / "lfw_no_outside.py"
CONFIG = PIPELINE.parents[1] / "configs" / "lfw" / "no-outside.yaml"
SEED, PEOPLE, PHOTOS, FOLDS = 7, 15, 4, 3
FAST = [
    "train.network.width=0.0625",
    "train.network.embedding_size=16",
    "train.schedule.steps=4",
    "train.schedule.warmup=1",
    "train.batch_size=8",
    "train.checkpoint_every=2",
    "train.precision=fp32",
    "train.device=cpu",
    "held_out_people=4",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops, pairs.txt and people.txt of 15 drawn people in 3 folds."""
    folder = tmp_path_factory.mktemp("world")
    photos = folder / "photos"
    write_photos(photos, SEED, 0, PEOPLE, PHOTOS)
    align(photos, folder / "crops", landmarks=photos / "landmarks.txt", workers=1)
    write_pairs(folder / "pairs.txt", SEED, 0, PEOPLE, PHOTOS, FOLDS, 12)
    pairs = read_lfw_pairs(folder / "pairs.txt")
    fold_of = {
        person_of(source): fold
        for sources in (pairs.left, pairs.right)
        for source, fold in zip(sources, pairs.fold.tolist(), strict=True)
    }
    assert len(fold_of) == PEOPLE
    lines = [str(FOLDS)]
    for fold in range(FOLDS):
        names = sorted(name for name, where in fold_of.items() if where == fold)
        lines += [str(len(names)), *(f"{name}\t{PHOTOS}" for name in names)]
    (folder / "people.txt").write_text("\n".join(lines) + "\n")
    return folder


def arguments(world: Path, out: Path, *more: str) -> list[str]:
    return [
        f"--people={world / 'people.txt'}",
        f"--pairs={world / 'pairs.txt'}",
        f"--config={CONFIG}",
        f"train.data.crops={world / 'crops'}",
        f"train.out={out}",
        *FAST,
        *more,
    ]


def run(monkeypatch: pytest.MonkeyPatch, *given: Any) -> None:
    monkeypatch.setattr(sys, "argv", [str(PIPELINE), *arguments(*given)])
    runpy.run_path(str(PIPELINE))["main"]()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Path:
    """The folder of a run that nothing disturbed; tests only read it."""
    out = tmp_path_factory.mktemp("done") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run(monkeypatch, world, out)
    return out


def test_a_file_in_the_place_of_the_folder(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(SystemExit, match=r"lfw_no_outside: cannot write .* is a file"):
        run(monkeypatch, world, tmp_path / "out" / "x", "train.data.crops=none")


def report_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "report.json").read_text())
    return content


def test_a_network_a_fold_learns_of_the_others_alone(world: Path, done: Path) -> None:
    """Each fold again by hand, from the model file and the crops."""
    pairs = read_lfw_pairs(world / "pairs.txt")
    store = CropStore.open(world / "crops")
    row_of = {source: row for row, source in enumerate(store.sources)}
    plain = report_of(done)["models"][1]
    assert plain["name"] == "cosine"
    accuracies = []
    for fold in range(FOLDS):
        folder = done / f"fold-{fold + 1:02d}"
        people = read_people_list(folder / "people.csv")
        tested = pairs.fold == fold
        places = np.flatnonzero(tested)
        faces = [(pairs.left[place], pairs.right[place]) for place in places]
        of_fold = {person_of(source) for pair in faces for source in pair}
        assert len(of_fold) == 5
        assert not of_fold & {*people.train, *people.held_out}
        assert (len(people.train), len(people.held_out)) == (6, 4)

        embedder = Embedder(load_model(folder / "model.safetensors"), "cpu", "fp32")
        assert embedder.header.training_data == f"LFW without fold {fold + 1}"
        kept = torch.load(folder / "checkpoint.pt", weights_only=True)
        assert kept["head"]["heads.softmax.weight"].shape[0] == 6
        scores = []
        for pair in faces:
            left, right = embedder.embed_crops(
                store.crops[[row_of[source] for source in pair]]
            ).astype(np.float64)
            scores.append(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
        threshold = plain["folds"][fold]["threshold"]
        accuracies.append(np.mean((np.array(scores) > threshold) == pairs.same[tested]))
        assert plain["folds"][fold]["accuracy"] == pytest.approx(accuracies[-1])
        # Not the threshold that the tested pairs would like.
        assert threshold != best_threshold(np.array(scores), pairs.same[tested])
    assert plain["accuracy"] == pytest.approx(np.mean(accuracies))
    error = np.std(accuracies, ddof=1) / np.sqrt(FOLDS)
    assert plain["standard_error"] == pytest.approx(error)


def test_the_report_says_what_it_is(done: Path) -> None:
    report = report_of(done)
    assert report["pairs"]["num_pairs"] == FOLDS * 24
    assert "part" not in report["title"]
    assert "partial" not in report["settings"]
    assert report["settings"]["detector"] == "landmarks"
    assert "Label-Free Outside Data" in report["settings"]["outside_data"]
    assert [model["name"] for model in report["models"]] == [
        "PCA to 8, cosine",
        "cosine",
    ]
    names = {path.name for path in done.iterdir() if path.is_file()}
    pages = {"report.html", "report.json", "scores.csv"}
    pictures = {"roc.png", "roc.svg", "det.png", "det.svg"}
    assert names == pages | pictures | {"folds.csv"}
    with (done / "folds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["1", "2", "3"]
    assert {row["people"] for row in rows} == {"6"}
    assert {row["crops"] for row in rows} == {"24"}
    for row, fold in zip(rows, report["models"][1]["folds"], strict=True):
        assert float(row["accuracy cosine"]) == fold["accuracy"]
        assert float(row["threshold cosine"]) == fold["threshold"]


def test_a_part_says_so_and_trains_nothing_else(
    tmp_path: Path,
    world: Path,
    done: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    shutil.copytree(done / "fold-01", out / "fold-01")
    run(monkeypatch, world, out, "--folds=1")
    assert "a report needs at least two folds" in capsys.readouterr().out
    assert not (out / "report.json").exists()

    run(monkeypatch, world, out, "--folds=3,1")

    printed = capsys.readouterr().out
    assert "[2/2] test fold 3" in printed
    # Fold 1 was trained before, so one training is to do.
    assert "1 of 1 trainings to do in" in printed
    assert not (out / "fold-02").exists()
    report, whole = report_of(out), report_of(done)
    assert report["title"].endswith("a part, folds 1, 3 of 3")
    assert "no result of the protocol" in report["settings"]["partial"]
    for model, complete in zip(report["models"], whole["models"], strict=True):
        expected = [complete["folds"][fold] for fold in (0, 2)]
        found = [fold["accuracy"] for fold in model["folds"]]
        assert found == [fold["accuracy"] for fold in expected]


KILLED = """
import os, runpy, signal, sys
from pathlib import Path

replace = os.replace

def replace_or_die(path, target, **options):
    replace_or_die.saved += Path(target).name == "checkpoint.pt"
    if replace_or_die.saved == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target, **options)

replace_or_die.saved = 0
os.replace = replace_or_die
import torch
torch.set_num_threads(int(sys.argv.pop(1)))
runpy.run_path(sys.argv.pop(1))["main"]()
"""


def test_a_killed_run_goes_on_and_reports_the_same(
    tmp_path: Path, world: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 while the last checkpoint of fold 2 is being written."""
    out = tmp_path / "run"
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-c", KILLED, threads, str(PIPELINE)]
    killed = subprocess.run(
        [*command, *arguments(world, out)], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    first = out / "fold-01" / "model.safetensors"
    written = os.stat(first).st_mtime_ns
    assert torch.load(out / "fold-02" / "checkpoint.pt", weights_only=True)["step"] == 2

    run(monkeypatch, world, out)

    assert os.stat(first).st_mtime_ns == written
    report, expected = report_of(out), report_of(done)
    assert report["models"] == expected["models"]
    for name in ("scores.csv", "folds.csv"):
        assert (out / name).read_bytes() == (done / name).read_bytes()


class TestRefused:
    def stopped(
        self, monkeypatch: pytest.MonkeyPatch, world: Path, out: Path, *more: str
    ) -> str:
        with pytest.raises(SystemExit) as stop:
            run(monkeypatch, world, out, *more)
        return str(stop.value.code)

    def test_a_person_of_the_tested_fold_in_the_training(
        self,
        tmp_path: Path,
        world: Path,
        done: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Somebody edits the list that the training reads."""
        out = tmp_path / "run"
        out.joinpath("fold-01").mkdir(parents=True)
        tested = person_of(read_lfw_pairs(world / "pairs.txt").left[0])
        text = (done / "fold-01" / "people.csv").read_text()
        (out / "fold-01" / "people.csv").write_text(f"{text}{tested},train\n")
        message = self.stopped(monkeypatch, world, out)
        assert f"tested on fold 1, such as '{tested}'" in message
        assert not (out / "fold-01" / "checkpoint.pt").exists()

    def test_other_people_than_those_of_the_earlier_run(
        self, tmp_path: Path, world: Path, done: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "run"
        shutil.copytree(done, out)
        message = self.stopped(monkeypatch, world, out, "held_out_people=3")
        assert "people.csv lists other people than this config" in message

    @pytest.mark.parametrize("folds", ["0", "4", "1;2", "", "x"])
    def test_folds_that_are_none(
        self, tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch, folds: str
    ) -> None:
        message = self.stopped(monkeypatch, world, tmp_path, f"--folds={folds}")
        assert f"folds must be numbers in [1, 3], such as 1,2; got {folds!r}" in message

    def test_a_store_that_lacks_photos(
        self,
        tmp_path: Path,
        world: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        shutil.copytree(world, tmp_path / "world")
        people = tmp_path / "world" / "people.txt"
        people.write_text(people.read_text().replace("_00003\t4", "_00003\t5"))
        out = tmp_path / "run"
        message = self.stopped(monkeypatch, tmp_path / "world", out)
        assert "person_00003 has 5, the store and its ledger 4" in message
        assert not out.exists()


def test_the_config_holds_people_out_by_their_list_alone(
    tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        [
            str(PIPELINE),
            *arguments(world, tmp_path, "train.data.validation_identities=2"),
        ],
    )
    with pytest.raises(SystemExit, match="validation_identities must be 0"):
        runpy.run_path(str(PIPELINE))["main"]()
