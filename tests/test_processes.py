import os
import signal
import time
from collections.abc import Iterator

import cv2
import pytest

from facever.errors import FaceverError, ParameterError
from facever.processes import TASKS_AHEAD, WorkerPool
from facever.runtimes import num_threads

added = 0


def prepare(number: int) -> None:
    global added
    added = number


def add(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number % 3 == 0))  # The first of three is the last to be done.
    if number == 7:
        raise ParameterError("no sevens")
    if number == 70:
        os.kill(os.getpid(), signal.SIGKILL)
    return number + added, os.getpid()


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2, prepare, (100,), option="things.workers") as pool:
        yield pool


def threads(_: int) -> tuple[int, int]:
    return num_threads(), cv2.getNumThreads()


def test_a_worker_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with WorkerPool(1, prepare, (0,), option="workers") as another:
        assert list(another.answers(threads, [0])) == [(1, 1)]


def test_answers_come_in_order_from_all_workers(pool: WorkerPool) -> None:
    tasks = [number for number in range(40) if number != 7]
    answers, workers = zip(*pool.answers(add, tasks), strict=True)
    assert answers == tuple(number + 100 for number in tasks)
    assert os.getpid() not in workers


def test_tasks_are_drawn_a_few_ahead_and_no_more(pool: WorkerPool) -> None:
    drawn = []

    def tasks() -> Iterator[int]:
        for number in range(8, 40):
            drawn.append(number)
            yield number

    for number, _ in enumerate(pool.answers(add, tasks()), start=1):
        assert len(drawn) == min(number + 2 * TASKS_AHEAD, 32)


def test_an_error_comes_in_the_place_of_its_answer(pool: WorkerPool) -> None:
    answers = pool.answers(add, range(5, 9))
    assert [next(answers)[0] for _ in range(2)] == [105, 106]
    with pytest.raises(ParameterError, match="no sevens"):
        next(answers)


def test_a_worker_that_dies_is_one_line_that_names_the_option() -> None:
    with WorkerPool(2, prepare, (0,), option="things.workers") as pool:
        with pytest.raises(FaceverError, match=r"one of things\.workers=2 ") as e:
            list(pool.answers(add, [1, 70, 2]))
    assert "with fewer things.workers" in str(e.value)
    assert "\n" not in str(e.value)
