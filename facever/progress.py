"""Progress of long work: count, rate, time left, on a terminal or in a log."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

_LOG_EVERY_SECONDS = 15.0
_FIRST_LOG_SECONDS = 2.0

# Columns of a terminal that hold all there is to show, with a note.
_WIDE = 130


@runtime_checkable
class Advance(Protocol):
    """Report that ``count`` more units are done, with an optional short note."""

    def __call__(self, count: int = 1, note: str = "") -> None: ...  # noqa: D102


def ignore_progress(count: int = 1, note: str = "") -> None:
    """An ``Advance`` that shows nothing, the default of library calls."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields["unit"]
        return Text(f"{speed:,.1f} {unit}/s" if speed else f"- {unit}/s")


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        seconds = task.time_remaining
        if task.finished or seconds is None:
            return Text("")
        return Text(f"{format_seconds(seconds)} left")


def format_seconds(seconds: float) -> str:
    """Seconds in a few letters.

    >>> format_seconds(42.3), format_seconds(185.0), format_seconds(7650.0)
    ('42s', '3m05s', '2h07m')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


@contextmanager
def shown_on_terminal(what: str) -> Iterator[None]:
    """Say at once on a terminal what goes on, until it is done; elsewhere nothing.

    Args:
        what: What is being done, such as ``"loading sface"``.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(f"{what} ..."):
        yield


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say that something of unknown length goes on, if it takes two seconds or more.

    Args:
        what: What is being done, such as ``"listing photos.rec"``.
    """
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    bar = Progress(*columns, console=console, transient=True)

    def say() -> None:
        if console.is_terminal:
            bar.add_task(what, total=None)
            bar.start()
        else:
            print(f"{what} ...", file=sys.stderr, flush=True)

    timer = threading.Timer(_FIRST_LOG_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if bar.live.is_started:
            bar.stop()


@contextmanager
def progress_bar(title: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
    """Show a bar on a terminal, or a line now and then in a log, both on stderr.

    Args:
        title: What is being done, a word or two.
        total: Units of work in all.
        unit: Plural name of a unit, such as ``photos``.
        done: Units that an earlier run did; the rate and the time left leave them out.

    Yields:
        A function to call with the number of units just done.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        # A narrow terminal shows the numbers alone: they would be cut off otherwise.
        is_wide = console.width >= _WIDE
        columns = (
            TextColumn("{task.description}"),
            *([BarColumn()] if is_wide else []),
            MofNCompleteColumn(),
            _Rate(),
            *([TimeElapsedColumn()] if is_wide else []),
            _TimeLeft(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console, speed_estimate_period=60) as bar:
            task = bar.add_task(title, total=total, completed=done, unit=unit, note="")

            def advance(count: int = 1, note: str = "") -> None:
                if note:
                    bar.update(task, advance=count, note=note)
                else:
                    bar.update(task, advance=count)

            yield advance
        return

    started = time.monotonic()
    next_line = started + _FIRST_LOG_SECONDS
    earlier = done
    newest = ""

    def log(count: int = 1, note: str = "") -> None:
        nonlocal done, next_line, newest
        done += count
        newest = note or newest
        now = time.monotonic()
        if now < next_line:
            return
        next_line = now + _LOG_EVERY_SECONDS
        rate = (done - earlier) / (now - started)
        left = format_seconds((total - done) / rate) if rate else "?"
        line = f"{title}: {done}/{total} {unit}, {rate:,.1f}/s, {left} left"
        print(f"{line}, {newest}" if newest else line, file=sys.stderr, flush=True)

    yield log
    seconds = time.monotonic() - started
    count = done - earlier
    rate = count / seconds if seconds else 0.0
    print(
        f"{title}: {count} {unit} in {format_seconds(seconds)} ({rate:,.1f}/s)",
        file=sys.stderr,
        flush=True,
    )
