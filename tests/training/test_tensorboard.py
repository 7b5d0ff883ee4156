import subprocess
import sys
from pathlib import Path

import pytest

from facever.errors import ParameterError
from facever.training.tensorboard import check_tensorboard, tensorboard_log

LINES = [{"step": step, "loss": 1 / step, "ie.sigma2": 2.0} for step in range(1, 9)]


def shown(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(each.step, each.value) for each in events.Scalars(tag)]


def test_a_resumed_run_shows_every_step_once_and_as_the_last_start_had_it(
    tmp_path: Path,
) -> None:
    pytest.importorskip("tensorboard")
    with tensorboard_log(tmp_path, 0) as write:
        for line in LINES[:6]:  # Two of them behind the last checkpoint.
            write({**line, "loss": 100.0} if line["step"] > 4 else line)
    with tensorboard_log(tmp_path, 4) as write:
        for line in LINES[4:]:
            write(line)
    expected = [(line["step"], pytest.approx(line["loss"])) for line in LINES]
    assert shown(tmp_path, "loss") == expected
    assert [step for step, _ in shown(tmp_path, "ie.sigma2")] == list(range(1, 9))


def test_what_was_written_is_there_before_the_end(tmp_path: Path) -> None:
    """A killed run loses nothing that it logged."""
    pytest.importorskip("tensorboard")
    with tensorboard_log(tmp_path, 0) as write:
        write(LINES[0])
        assert shown(tmp_path, "loss") == [(1, 1.0)]


def test_without_the_extra_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ParameterError, match=r"pip install 'facever\[tensorboard\]'"):
        check_tensorboard()


def test_importing_facever_does_not_import_it() -> None:
    code = (
        "import sys, facever.stages.training.train; "
        "print([name for name in sys.modules if name.startswith('tensorboard')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"
