"""Where a command would write is looked at before its work begins.

None of the inputs that the calls name is there: what a command says first is of OUT.
"""

import errno
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Command = Callable[..., Any]

# {f} is a file that cannot be written, {d} a folder.
CALLS = [
    "align PHOTOS {d}",
    "cluster PHOTOS {d} --model MODEL",
    "detect PHOTOS --out {f}.csv",
    "detect PHOTOS --show {d}",
    "detect PHOTO.jpg --show {f}.png",
    "embed MODEL CROPS {f}.npz",
    "train {w}/train.yaml out={d}",
    "train {w}/train.yaml out={d} --dry-run",
    "verify A.jpg B.jpg --model MODEL --show {f}.png",
    "data info CROPS --sheet {f}.png",
    "data merge CROPS --out {d}",
    "data subset CROPS {d}",
    "data split CROPS {d} {w}/second",
    "data split CROPS {w}/first {d}",
    "data compress CROPS {d}",
    "data export CROPS {d} --to rec",
    "data clean CROPS {d} --model MODEL",
    "data clean CROPS LISTS --apply {d}",
    "evaluate lfw MODEL --photos P --pairs P --out {d}",
    "evaluate lfw MODEL --photos P --pairs A --pairs B --out {d}",
    "evaluate pairs MODEL --photos P --pairs P --out {d}",
    "evaluate bin MODEL P.bin --out {d}",
    "evaluate ytf MODEL --photos P --splits S --out {d}",
    "evaluate blufr MODEL --photos P --out {d}",
    "evaluate identify MODEL --photos P --gallery G --probes P --out {d}",
    "evaluate compare A B --out {d}",
    "gallery create {d} --model MODEL",
    "gallery add {d} PHOTOS --model MODEL",
    "gallery import PATH {d}",
    "gallery migrate {d} --model MODEL",
    "gallery threshold {d} --far 0.1",
    "model get sface {f}.onnx",
    "model get buffalo_l {f}.onnx",
    "model probe NETWORK.onnx --photos P --pairs P --out {d}",
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file in it, and a config; the current folder is another."""
    (tmp_path / "file").write_text("somebody's")
    config = {"data": {"crops": "CROPS"}, "network": {"name": "resnet27"}}
    config |= {"batch_size": 3, "schedule": {"steps": 3, "drops": []}}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def check_refused(finished: Any, place: str, reason: str) -> None:
    assert finished.code == 2, finished.err
    [line] = finished.err.splitlines()
    assert line.startswith(f"facever: cannot write {place}"), line
    assert reason in line
    assert "choose another" in line


@pytest.mark.parametrize("call", CALLS)
def test_a_file_stands_in_the_way(world: Path, command: Command, call: str) -> None:
    place = f"{world}/file/new"
    words = call.format(w=world, f=place, d=place).split()
    check_refused(command(*words), place, f"{world}/file is a file")
    assert (world / "file").read_text() == "somebody's"
    assert not list(Path().iterdir())


@pytest.mark.parametrize("call", [call for call in CALLS if "{d}" in call])
def test_a_file_is_no_folder(world: Path, command: Command, call: str) -> None:
    words = call.format(w=world, d=world / "file").split()
    check_refused(command(*words), str(world / "file"), "it is a file")


@pytest.mark.parametrize("call", [call for call in CALLS if "{f}" in call])
def test_a_folder_is_no_file(world: Path, command: Command, call: str) -> None:
    for suffix in (".csv", ".npz", ".png", ".onnx"):
        (world / f"folder{suffix}").mkdir()
    finished = command(*call.format(w=world, f=world / "folder").split())
    check_refused(finished, str(world / "folder"), "it is a folder")


@pytest.mark.parametrize("call", CALLS[::7])
def test_a_disk_that_can_only_be_read(
    world: Path, command: Command, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an administrator has it, whom permissions do not stop."""

    def refuse(**folder: Path) -> None:
        assert folder == {"dir": world}
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    words = call.format(w=world, f=world / "new", d=world / "new" / "deep").split()
    check_refused(command(*words), str(world / "new"), "Read-only file system")
    assert not (world / "new").exists()


def test_gallery_export(world: Path, command: Command) -> None:
    people = world / "people"
    assert command("gallery", "create", people, "--embedding-size", 2).code == 0
    for out, reason in (
        (world / "file", "it is a file"),
        (world / "file" / "new", f"{world}/file is a file"),
        (world / "file" / "new.parquet", "File exists"),
    ):
        check_refused(command("gallery", "export", people, out), str(out), reason)
    (world / "folder.parquet").mkdir()
    finished = command("gallery", "export", people, world / "folder.parquet")
    check_refused(finished, str(world / "folder.parquet"), "it is a folder")


def test_a_model_file_that_is_there_is_not_written_over(
    world: Path, command: Command
) -> None:
    (world / "in.onnx").write_text("a network")
    (world / "mine.onnx").write_text("a threshold is in here")
    for call in ("import {w}/in.onnx {w}/mine.onnx", "get sface {w}/mine.onnx"):
        finished = command("model", *call.format(w=world).split())
        assert (finished.code, finished.err) == (
            2,
            f"facever: {world}/mine.onnx is there already: choose another name, or "
            "remove it\n",
        )
    assert (world / "mine.onnx").read_text() == "a threshold is in here"


def test_a_probe_does_not_write_over_the_network(world: Path, command: Command) -> None:
    (world / "in.onnx").write_text("a network")
    call = f"model probe {world}/in.onnx --photos P --pairs P --out {world}"
    finished = command(*call.split())
    assert finished.code == 2
    assert f"{world}/in.onnx is there already" in finished.err
