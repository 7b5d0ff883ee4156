"""What waits for a thread is done together, which takes less time for each."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Reply = TypeVar("Reply")

# How many things are done together at most.
_MOST_TOGETHER = 32


class Batches(Generic[Item, Reply]):
    """Items from many threads, which one thread works on in batches.

    Nothing waits for more to come: a batch is what has come while the thread was busy.
    If a batch fails, its items are done one by one, so that whoever sent the one that
    cannot be done costs the others time alone.
    """

    def __init__(
        self,
        thread: ThreadPoolExecutor,
        work: Callable[[Sequence[Item]], Sequence[Reply]],
        may_join: Callable[[Sequence[Item], Item], bool] = lambda batch, item: True,
    ) -> None:
        """Begin with nothing that waits.

        Args:
            thread: A single thread, which may be given other work, too.
            work: Gives a reply for each of some items, at least one, in their order.
            may_join: Whether an item may be done together with those of a batch.
        """
        self._thread = thread
        self._work = work
        self._may_join = may_join
        self._waiting: deque[tuple[Item, Future[Reply]]] = deque()

    def submit(self, item: Item) -> "Future[Reply]":
        """Let an item wait for its turn; first come, first served.

        Returns:
            Its reply, or the error that the work raised for it. Cancelled before its
            turn, the item is left out.
        """
        reply: Future[Reply] = Future()
        self._waiting.append((item, reply))
        # There is a turn for each item; those whose items are done have nothing to do.
        self._thread.submit(self._take_turn)
        return reply

    def _take_turn(self) -> None:
        batch = self._next_batch()
        if not batch:
            return
        try:
            self._answer(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:
                self._answer_one_by_one(batch)

    def _next_batch(self) -> list[tuple[Item, "Future[Reply]"]]:
        batch: list[tuple[Item, Future[Reply]]] = []
        items: list[Item] = []
        while self._waiting and len(batch) < _MOST_TOGETHER:
            item, reply = self._waiting[0]
            if batch and not self._may_join(items, item):
                break
            self._waiting.popleft()
            if reply.set_running_or_notify_cancel():
                batch.append((item, reply))
                items.append(item)
        return batch

    def _answer(self, batch: Sequence[tuple[Item, "Future[Reply]"]]) -> None:
        found = self._work([item for item, _ in batch])
        assert len(found) == len(batch), (len(found), len(batch))
        for (_, reply), own in zip(batch, found, strict=True):
            reply.set_result(own)

    def _answer_one_by_one(self, batch: Sequence[tuple[Item, "Future[Reply]"]]) -> None:
        for one in batch:
            try:
                self._answer([one])
            except Exception as error:
                one[1].set_exception(error)
