import io
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from rich.console import Console

from facever import progress
from facever.progress import (
    format_seconds,
    ignore_progress,
    progress_bar,
    shown_on_terminal,
    waiting,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.4, "0s"),
        (42.4, "42s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (60.0, "1m00s"),
        (185.0, "3m05s"),
        (3599.4, "59m59s"),
        (3599.6, "1h00m"),
        (7620.0, "2h07m"),
        (7679.0, "2h07m"),
        (360_000.0, "100h00m"),
    ],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


class Clock:
    """Stands in for time.monotonic."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


class TestInALog:
    """pytest's stderr is no terminal."""

    def test_a_line_now_and_then_and_one_at_the_end(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with progress_bar("align", 1000, "photos") as advance:
            for _ in range(100):
                clock.now += 0.5
                advance(10)
        out, err = capsys.readouterr()
        assert out == ""
        # Due at 2 s, then every 15 s: 50 s of work give four lines and the last one.
        assert err.splitlines() == [
            "align: 40/1000 photos, 20.0/s, 48s left",
            "align: 340/1000 photos, 20.0/s, 33s left",
            "align: 640/1000 photos, 20.0/s, 18s left",
            "align: 940/1000 photos, 20.0/s, 3s left",
            "align: 1000 photos in 50s (20.0/s)",
        ]

    def test_the_newest_note_stays_on_every_line(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with progress_bar("train", 100, "crops") as advance:
            for number in range(4):
                advance(0, f"loss {number}" if number < 2 else "")
                clock.now += 16
                advance(10)
        lines = capsys.readouterr().err.splitlines()
        assert [line[-6:] for line in lines[:4]] == ["loss 0"] + 3 * ["loss 1"]

    def test_a_short_job_is_one_line(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with progress_bar("embed", 3, "crops") as advance:
            for _ in range(3):
                advance()
                clock.now += 0.25
        assert capsys.readouterr().err == "embed: 3 crops in 1s (4.0/s)\n"

    def test_no_time_at_all_divides_by_nothing(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with progress_bar("embed", 0, "crops"):
            pass
        assert capsys.readouterr().err == "embed: 0 crops in 0s (0.0/s)\n"

    def test_nothing_done_yet_has_no_time_left(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with progress_bar("train", 10, "crops") as advance:
            clock.now += 3
            advance(0, "loss 4.200")
            assert capsys.readouterr().err == (
                "train: 0/10 crops, 0.0/s, ? left, loss 4.200\n"
            )

    def test_what_an_earlier_run_did_counts_but_not_in_the_rate(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with progress_bar("train", 1000, "crops", 800) as advance:
            clock.now += 10
            advance(100)
        # 100 crops in 10 s; 100 are left.
        assert capsys.readouterr().err.splitlines() == [
            "train: 900/1000 crops, 10.0/s, 10s left",
            "train: 100 crops in 10s (10.0/s)",
        ]

    def test_a_failure_passes_through_and_claims_no_end(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(KeyError), progress_bar("embed", 5, "crops"):
            raise KeyError
        assert capsys.readouterr().err == ""


class TestOnATerminal:
    @pytest.fixture
    def screen(self, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
        screen = io.StringIO()

        def make_console(stderr: bool) -> Console:
            assert stderr
            return Console(file=screen, force_terminal=True, width=80)

        monkeypatch.setattr(progress, "Console", make_console)
        return screen

    def test_shows_count_rate_and_note(
        self, screen: io.StringIO, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with progress_bar("train", 200, "crops") as advance:
            advance(150)
            advance(0, "loss 1.234 (softmax 1.000, ie 0.234)")
            advance(50)
        shown = screen.getvalue()
        assert "train" in shown
        assert "200/200" in shown
        assert "crops/s" in shown
        assert "loss 1.234 (softmax 1.000, ie 0.234)" in shown
        assert capsys.readouterr() == ("", "")

    def test_begins_where_an_earlier_run_stopped(self, screen: io.StringIO) -> None:
        with progress_bar("train", 200, "crops", 120):
            pass
        assert "120/200" in screen.getvalue()

    @pytest.mark.parametrize(
        "shown_work",
        [lambda: progress_bar("embed", 5, "crops"), lambda: shown_on_terminal("x")],
    )
    def test_a_failure_gives_the_cursor_back(
        self,
        screen: io.StringIO,
        shown_work: Callable[[], AbstractContextManager[object]],
    ) -> None:
        with pytest.raises(KeyError), shown_work():
            raise KeyError
        # ESC [ ? 25 l hides the cursor, h shows it.
        shown = screen.getvalue()
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0

    def test_what_has_no_length_is_told_at_once(
        self, screen: io.StringIO, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with shown_on_terminal("loading sface"):
            pass
        assert "loading sface ..." in screen.getvalue()
        assert capsys.readouterr() == ("", "")


def test_in_a_pipe_nothing_is_told_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_on_terminal("loading sface"):
        pass
    assert capsys.readouterr() == ("", "")


def test_the_default_of_library_calls_shows_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ignore_progress()
    ignore_progress(3, "note")
    assert capsys.readouterr() == ("", "")


class TestWaiting:
    def test_says_so_after_a_while(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        said = threading.Event()
        monkeypatch.setattr(progress, "_FIRST_LOG_SECONDS", 0.0)
        monkeypatch.setattr(
            progress,
            "print",
            lambda *a, **k: (print(*a, **k), said.set()),
            raising=False,
        )
        with waiting("listing photos.rec"):
            assert said.wait(60)
        assert capsys.readouterr().err == "listing photos.rec ...\n"

    def test_says_nothing_of_what_is_done_at_once(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = threading.active_count()
        with waiting("listing photos.rec"):
            pass
        assert capsys.readouterr() == ("", "")
        assert threading.active_count() == before

    def test_on_a_terminal_it_goes_away_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=80)
        monkeypatch.setattr(progress, "_FIRST_LOG_SECONDS", 0.0)
        monkeypatch.setattr(progress, "Console", lambda **_: console)
        with waiting("listing photos.rec"):
            while "listing" not in screen.getvalue():
                time.sleep(0.01)
        assert "\x1b[2K" in screen.getvalue()  # The line is erased.
