from pathlib import Path

import pytest

from facever.training import checkpoint as kept_checkpoints
from facever.training.checkpoint import KeptCheckpoints
from facever.training.fit import Intervals


def save(folder: Path, step: int, kept: KeptCheckpoints) -> None:
    """As a run does: a new file takes the name."""
    temporary = folder / "new"
    temporary.write_text(str(step))
    temporary.replace(folder / "checkpoint.pt")
    kept.keep(folder / "checkpoint.pt", step)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("links", [True, False])
def test_the_newest_and_the_milestones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr(kept_checkpoints.os, "link", refuse)
    kept = KeptCheckpoints(last=2, milestones=(20, 50))
    for step in range(10, 71, 10):
        save(tmp_path, step, kept)
    expected = {f"checkpoint-{step:08d}.pt": str(step) for step in (20, 50, 60, 70)}
    assert contents(tmp_path) == expected | {"checkpoint.pt": "70"}
    kept.keep(tmp_path / "checkpoint.pt", 70)
    assert contents(tmp_path) == expected | {"checkpoint.pt": "70"}


def test_one_is_the_file_itself_and_other_files_are_let_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-best.pt").write_text("mine")
    for step in (1, 2, 3):
        save(tmp_path, step, KeptCheckpoints(milestones=(2,)))
    assert contents(tmp_path) == {
        "checkpoint.pt": "3",
        "checkpoint-00000002.pt": "2",
        "checkpoint-best.pt": "mine",
    }


def test_a_killed_run_left_half_of_a_name(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-00000001.pt.partial").write_text("half")
    save(tmp_path, 1, KeptCheckpoints(last=2))
    save(tmp_path, 2, KeptCheckpoints(last=2))
    assert contents(tmp_path) == {
        "checkpoint.pt": "2",
        "checkpoint-00000001.pt": "1",
        "checkpoint-00000002.pt": "2",
    }


def test_milestones_are_saved_whatever_the_interval() -> None:
    intervals = Intervals(checkpoint=4, milestones=(3, 6))
    assert [step for step in range(1, 10) if intervals.is_checkpoint_due(step)] == [
        3,
        4,
        6,
        8,
    ]
