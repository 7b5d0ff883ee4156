"""Files changed at random: each gives a result or one of our errors, in little memory.

``eval/attacks/mutated_files.py`` writes and changes them. 300 mutations of each run by
default (100 of model files), and 6,000 others with ``--hypothesis-profile explore``.
"""

import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from attacks.mutated_files import (
    FORMS,
    errors_are_ours,
    mutate,
    use_model,
    write_model,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# Reading takes thousands of tiny steps: too many to check the types of each.
pytestmark = pytest.mark.usefixtures("types_unchecked")

PATIENCE = 60  # Seconds for what takes a few milliseconds.
MOST_MEMORY = 16 << 20  # Bytes, where files have a few thousand.


@pytest.fixture(scope="module", autouse=True)
def models_were_loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is imported with the first takes more memory than any file."""
    folder = tmp_path_factory.mktemp("model")
    list(use_model(write_model(folder, lambda content: content, False, 0)))


# How a file is changed. Places are parts of its length, or of the list of places.
PLACES = st.integers(0, (1 << 16) - 1)
CHANGES = st.one_of(
    st.tuples(st.just("field"), PLACES, PLACES),
    st.tuples(st.just("another field"), PLACES, PLACES),
    st.tuples(st.just("flip"), PLACES, st.integers(0, 7)),
    st.tuples(st.just("byte"), PLACES, st.integers(0, 255)),
    st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("cut"), PLACES, st.just(0)),
    st.tuples(st.just("drop"), PLACES, st.integers(1, 600)),
    st.tuples(st.just("again"), PLACES, st.integers(1, 600)),
    st.tuples(st.just("swap"), PLACES, PLACES),
    st.tuples(st.just("zeros"), PLACES, st.integers(1, 600)),
)


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@contextmanager
def no_hang() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"nothing came of it in {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


ONE_TO_THREE = st.lists(CHANGES, min_size=1, max_size=3)
VARIANTS = st.integers(0, 47)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("form", [form for form in FORMS if form != "model"])
@settings(max_examples=3 * settings().max_examples)
@given(changes=ONE_TO_THREE, variant=VARIANTS)
def test_a_result_or_one_line(
    form: str, inside: bool, changes: list[tuple], variant: int
) -> None:
    check(form, inside, changes, variant)


@pytest.mark.parametrize("inside", [False, True])
@given(changes=ONE_TO_THREE, variant=VARIANTS)
def test_a_model_or_one_line(inside: bool, changes: list[tuple], variant: int) -> None:
    check("model", inside, changes, variant)


def check(form: str, inside: bool, changes: list[tuple], variant: int) -> None:
    write, use, _ = FORMS[form]
    with TemporaryDirectory() as folder:
        mutated = partial(mutate, form, changes)
        path = write(Path(folder), mutated, inside, variant)
        with little_memory(), no_hang(), errors_are_ours():
            list(use(path))


@pytest.mark.parametrize("variant", range(12))
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_without_a_change_all_is_read(
    tmp_path: Path, form: str, inside: bool, variant: int
) -> None:
    write, use, num_results = FORMS[form]
    results = list(use(write(tmp_path, lambda content: content, inside, variant)))
    assert len(results) == num_results
