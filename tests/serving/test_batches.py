import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from facever.serving import batches
from facever.serving.batches import Batches


class Halving:
    """Work that can be held up; it halves even numbers and refuses odd ones."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.begun = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.begun.set()
        assert self.goes_on.wait(60)
        for number in numbers:
            if number % 2:
                raise ValueError(f"{number} is odd")
        return [number // 2 for number in numbers]


@pytest.fixture
def work() -> Halving:
    return Halving()


@pytest.fixture
def thread(work: Halving) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread
        work.goes_on.set()


def hold_up(halves: Batches[int, int], work: Halving) -> None:
    """Keep the thread busy with a first item."""
    halves.submit(0)
    assert work.begun.wait(60)


def test_what_waits_is_done_together_in_the_order_it_came(
    work: Halving, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MOST_TOGETHER", 3)
    halves: Batches[int, int] = Batches(thread, work)
    hold_up(halves, work)
    replies = [halves.submit(number) for number in (8, 2, 6, 4)]
    work.goes_on.set()
    assert [reply.result(60) for reply in replies] == [4, 1, 3, 2]
    assert work.batches == [[0], [8, 2, 6], [4]]


def test_only_what_may_be_is_done_together(
    work: Halving, thread: ThreadPoolExecutor
) -> None:
    halves: Batches[int, int] = Batches(
        thread, work, lambda batch, number: sum(batch) + number <= 10
    )
    hold_up(halves, work)
    replies = [halves.submit(number) for number in (20, 4, 6, 2, 8, 20, 2)]
    work.goes_on.set()
    assert [reply.result(60) for reply in replies] == [10, 2, 3, 1, 4, 10, 1]
    assert work.batches == [[0], [20], [4, 6], [2, 8], [20], [2]]


def test_an_item_that_fails_costs_only_itself(
    work: Halving, thread: ThreadPoolExecutor
) -> None:
    halves: Batches[int, int] = Batches(thread, work)
    hold_up(halves, work)
    replies = [halves.submit(number) for number in (2, 5, 4, 7)]
    work.goes_on.set()
    assert [replies[place].result(60) for place in (0, 2)] == [1, 2]
    for place, number in ((1, 5), (3, 7)):
        with pytest.raises(ValueError, match=f"{number} is odd"):
            replies[place].result(60)
    assert halves.submit(10).result(60) == 5


def test_what_is_cancelled_is_left_out(
    work: Halving, thread: ThreadPoolExecutor
) -> None:
    halves: Batches[int, int] = Batches(thread, work)
    hold_up(halves, work)
    replies = [halves.submit(number) for number in (2, 4, 6)]
    assert replies[1].cancel()
    work.goes_on.set()
    assert [replies[place].result(60) for place in (0, 2)] == [1, 3]
    with pytest.raises(CancelledError):
        replies[1].result(60)
    assert work.batches == [[0], [2, 6]]


def test_nothing_is_lost_when_the_thread_is_ended(work: Halving) -> None:
    with ThreadPoolExecutor(1) as thread:
        halves: Batches[int, int] = Batches(
            thread, work, lambda batch, number: len(batch) < 2
        )
        hold_up(halves, work)
        replies = [halves.submit(2 * number) for number in range(9)]
        work.goes_on.set()
    assert [reply.result(0) for reply in replies] == list(range(9))


def test_many_threads_get_their_own_replies(
    work: Halving, thread: ThreadPoolExecutor
) -> None:
    work.goes_on.set()
    halves: Batches[int, int] = Batches(thread, work)

    def ask(number: int) -> int:
        return halves.submit(2 * number).result(60)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(2000))) == list(range(2000))
