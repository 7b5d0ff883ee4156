"""Worker processes: a pool whose answers come in the order of the tasks.

Crops are read and photos aligned by such workers. torch's DataLoader is not used: when
one of its workers dies it raises in whatever line the main thread is at, not where the
next answer is asked for.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import cv2

from facever.errors import FaceverError

TASKS_AHEAD = 2
"""Tasks that are given out before the next answer is asked for, for each worker."""

Task = TypeVar("Task")
Answer = TypeVar("Answer")


class WorkerPool:
    """Processes that work on tasks a few ahead.

        with WorkerPool(4, load_network, ("model",), option="workers") as pool:
            for answer in pool.answers(embed, photos):
                ...

    A worker ends with this process, however that ends, and leaves Ctrl-C to it: an
    error that leaves the block, Ctrl-C among them, ends all of them in the middle of
    their work. OpenCV and what computes networks have one thread in it, since there is
    a worker for every CPU already.
    """

    def __init__(
        self,
        num_workers: int,
        prepare: Callable[..., None],
        arguments: tuple[Any, ...],
        *,
        option: str,
    ) -> None:
        """Get ready; the processes start with the first task.

        Args:
            num_workers: Number of processes, at least 1.
            prepare: A function of a module that each process calls when it starts.
            arguments: What ``prepare`` is called with; pickled.
            option: The name by which people set the number of workers, for messages.
        """
        self._num_workers = num_workers
        self._option = option
        # A fork would copy the threads' locks, as they happen to be at that moment.
        context = multiprocessing.get_context("spawn")
        ended, self._still_wanted = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            num_workers, context, _start_worker, (ended, prepare, *arguments)
        )

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self._still_wanted.close()
        self.close()

    def close(self) -> None:
        """End the processes; tasks that none has begun are not done."""
        self._pool.shutdown(cancel_futures=True)

    def answers(
        self, work: Callable[[Task], Answer], tasks: Iterable[Task]
    ) -> Iterator[Answer]:
        """The answers to tasks, in their order.

        The tasks are drawn from their iterator ``TASKS_AHEAD`` for each worker ahead:
        that many answers are under way, or wait, when one is taken.

        Args:
            work: A function of a module; an error that it raises is raised here, in the
                place of that task's answer.
            tasks: Picklable, as the answers are.

        Raises:
            FaceverError: If a worker is ended from outside, as the system does when
                memory runs out.
        """
        ahead: deque[Future[Answer]] = deque()
        try:
            for task in tasks:
                if len(ahead) == TASKS_AHEAD * self._num_workers:
                    yield ahead.popleft().result()
                with _without_ctrl_c():
                    ahead.append(self._pool.submit(work, task))
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool:
            raise FaceverError(
                f"one of {self._option}={self._num_workers} processes ended early (is "
                "memory short?): run the same command again, with fewer "
                f"{self._option}"
            ) from None


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Start processes that the Ctrl-C of a terminal leaves alone.

    It goes to the whole group, and one that is still importing would print where it
    was. They inherit the mask.
    SIGTERM stays: the pool ends workers by it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(
    ended: Connection, prepare: Callable[..., None], *arguments: Any
) -> None:
    threading.Thread(target=_end_with_parent, args=(ended,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_one_thread()
    prepare(*arguments)


def use_one_thread() -> None:
    """Let OpenCV, and what computes networks, have one thread in this process."""
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # As ``facever.runtimes.num_threads`` reads it.


def _end_with_parent(ended: Connection) -> None:
    """End this worker when the run is killed; it would wait for work for ever.

    Args:
        ended: A pipe whose other end the run closes when it wants no more answers.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel, ended])
    os._exit(1)
