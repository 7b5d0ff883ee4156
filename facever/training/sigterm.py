"""SIGTERM, by which batch systems and containers ask a run to end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def watch_for_sigterm() -> Iterator[Callable[[], bool]]:
    """Note SIGTERM within the block, in place of dying of it.

    Signals belong to the main thread; in another one nothing changes.

    Yields:
        Whether the process was asked to end.
    """
    asked = threading.Event()

    def note(*_: Any) -> None:
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
