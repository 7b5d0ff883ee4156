import signal
import threading

import pytest

from facever.training.sigterm import watch_for_sigterm


def test_sigterm_is_noted_within_the_block_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with watch_for_sigterm() as asked:
        assert not asked()
        # To this thread: another may take its time, until nobody watches any more.
        signal.raise_signal(signal.SIGTERM)
        assert asked()
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_error_within_gives_the_signal_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), watch_for_sigterm():
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[object] = []

    def work() -> None:
        with watch_for_sigterm() as asked:
            found.extend([signal.getsignal(signal.SIGTERM), asked()])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before, False]
