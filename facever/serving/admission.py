"""How many requests with photos are answered at a time, for how long, and for whom."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import HTTPException, Request

MOST_REQUESTS = 64
LONGEST_SECONDS = 30.0
_RETRY_AFTER = {"Retry-After": "1"}

Answer = TypeVar("Answer")


class Admission:
    """Lets requests in while there is room, and ends what nobody waits for.

    A request has its place until its work has ended, which may be after its answer: a
    photo that is being decoded cannot be stopped.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many requests are being answered."""
        return len(self._running)

    async def answer(
        self,
        request: Request,
        work: Callable[[], Coroutine[Any, Any, Answer]],
    ) -> Answer:
        """Do the work of a request whose body has been read.

        Raises:
            HTTPException: 503 with ``Retry-After`` if there are too many requests, or
                this one takes too long. Then, and if the client is gone, the work is
                cancelled.
        """
        if len(self._running) >= MOST_REQUESTS:
            raise HTTPException(
                503,
                f"{MOST_REQUESTS} requests are being answered; ask again in a second",
                _RETRY_AFTER,
            )
        task = asyncio.create_task(work())
        self._running.add(task)
        task.add_done_callback(self._forget)
        gone = asyncio.create_task(_wait_until_gone(request))
        try:
            await asyncio.wait(
                (task, gone),
                timeout=LONGEST_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            gone.cancel()
            if not task.done():
                task.cancel()
        if task.done():
            return task.result()
        # Nobody reads this if the client is gone.
        raise HTTPException(
            503,
            f"this was not answered within {LONGEST_SECONDS:.0f} s; ask again later",
            _RETRY_AFTER,
        )

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            # An error after the answer concerns nobody; asyncio would log it.
            task.exception()


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
