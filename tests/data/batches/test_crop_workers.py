import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facever.data.batches.crop_workers import CropWorkers, ReadTask
from facever.errors import FaceverError

CROPS = np.random.default_rng(0).integers(0, 256, (30, 16, 12, 3), np.uint8)


def tasks_of(rows: np.ndarray) -> Iterator[ReadTask]:
    for some in rows:
        yield ReadTask(some, np.zeros(len(some), np.uint64))


def make(crops: np.ndarray, num_workers: int = 2, batch_size: int = 4) -> CropWorkers:
    return CropWorkers(crops, None, num_workers=num_workers, batch_size=batch_size)


def test_batches_come_in_order_and_stay_as_they_came() -> None:
    """More batches than there is shared memory for, all kept to the end."""
    rows = np.random.default_rng(1).integers(0, len(CROPS), (17, 4))
    with make(CROPS) as workers:
        found = list(workers.read(tasks_of(rows)))
    np.testing.assert_array_equal(np.stack(found), CROPS[rows])


def test_tasks_are_drawn_a_few_ahead_only() -> None:
    drawn = []

    def counted() -> Iterator[ReadTask]:
        for task in tasks_of(np.zeros((50, 4), np.int64)):
            drawn.append(task)
            yield task

    with make(CROPS) as workers:
        for number, _ in enumerate(workers.read(counted()), start=1):
            assert len(drawn) <= number + 4


def test_an_error_in_a_worker_reaches_the_caller_at_its_batch() -> None:
    rows = np.zeros((6, 4), np.int64)
    rows[3, 2] = 30
    with make(CROPS) as workers:
        read = workers.read(tasks_of(rows))
        for _ in range(3):
            next(read)
        with pytest.raises(IndexError, match="30"):
            next(read)


def test_a_worker_that_dies_is_told_in_one_line() -> None:
    with make(CROPS) as workers:
        read = workers.read(tasks_of(np.zeros((10_000, 4), np.int64)))
        next(read)
        child = multiprocessing.active_children()[0]
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(FaceverError) as error:
            for _ in read:
                pass
    assert "data.workers=2 processes ended early" in str(error.value)
    assert "\n" not in str(error.value)
    assert not multiprocessing.active_children()


def test_leaving_early_ends_the_workers() -> None:
    with make(CROPS) as workers:
        next(workers.read(tasks_of(np.zeros((50, 4), np.int64))))
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


TRAINING = """
import multiprocessing, signal, time
import numpy as np
from facever.data.batches.loading import BatchLoader

# A shell that runs the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
crops = np.zeros((8, 16, 12, 3), np.uint8)
loader = BatchLoader(
    crops, np.arange(8), np.arange(8), batch_size=4, augmentation=None, mirror=False,
    seed=0, workers=2,
)
for step, batch in enumerate(loader.batches(0, 10**9)):
    if step == 20:
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        time.sleep(0.2)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_process_behind(
    stop: signal.Signals, tmp_path: Path
) -> None:
    """Ctrl-C reaches the whole group, as from a terminal; a kill the run alone."""
    errors = tmp_path / "errors.txt"
    with (
        errors.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-c", TRAINING],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,
        ) as run,
    ):
        assert run.stdout is not None
        workers = [int(pid) for pid in run.stdout.readline().split()]
        assert len(workers) == 2
        if stop == signal.SIGINT:
            os.killpg(run.pid, stop)
        else:
            run.kill()
    told = errors.read_text()
    # A worker that is still starting may say it, too.
    assert ("KeyboardInterrupt" in told) == (stop == signal.SIGINT)
    for _ in range(600):  # A minute on an idle machine: only a failure takes so long.
        if not any(map(is_running, workers)):
            break
        time.sleep(0.1)
    assert not any(map(is_running, workers))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
