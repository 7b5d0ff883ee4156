import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import ParameterError
from facever.training.schedule import Schedule

PAPER = Schedule(28_000, 0.1, drops=(16_000, 24_000))


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.1),
        (15_999, 0.1),
        (16_000, 0.01),
        (23_999, 0.01),
        (24_000, 0.001),
        (27_999, 0.001),
    ],
)
def test_the_papers_rates(step: int, rate: float) -> None:
    assert PAPER.rate(step) == pytest.approx(rate, rel=1e-12)


def test_scaled_keeps_the_course() -> None:
    short = Schedule(28_000, 0.1, drops=(16_000, 24_000), warmup=1000).scaled(0.01)
    assert (short.steps, short.drops, short.warmup) == (280, (160, 240), 10)
    assert short.rate(159) == pytest.approx(0.1)
    assert short.rate(160) == pytest.approx(0.01)
    assert short.rate(240) == pytest.approx(0.001)
    assert PAPER.scaled(1.0) == PAPER


@given(
    st.integers(1, 30_000),
    st.floats(1e-6, 2),
    st.sets(st.floats(0.01, 0.99), max_size=3),
    st.floats(0, 0.999),
)
def test_scaled_is_always_a_schedule_that_starts_high(
    steps: int, factor: float, places: set[float], share: float
) -> None:
    drops = tuple(sorted({int(place * steps) for place in places} - {0}))
    long = Schedule(steps, 0.1, drops=drops, warmup=int(share * steps))
    short = long.scaled(factor)
    assert short.steps == max(1, round(steps * factor))
    assert all(0 < drop < short.steps for drop in short.drops)
    if short.warmup == 0:
        assert short.rate(0) == 0.1


@pytest.mark.parametrize("shape", ["drops", "cosine"])
def test_warmup_rises_in_a_straight_line_to_the_full_rate(shape: str) -> None:
    schedule = Schedule(100, 0.8, shape, warmup=4)  # type: ignore[arg-type]
    rates = [schedule.rate(step) for step in range(5)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])


@pytest.mark.parametrize("shape", ["inverse", "one_cycle"])
def test_warmup_is_a_factor_on_shapes_that_move_from_the_start(shape: str) -> None:
    plain, warm = (
        Schedule(100, 0.8, shape, warmup=warmup, gamma=0.5)  # type: ignore[arg-type]
        for warmup in (0, 4)
    )
    factors = [warm.rate(step) / plain.rate(step) for step in range(6)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_cosine_falls_from_the_full_rate_through_half_of_it_to_zero() -> None:
    schedule = Schedule(110, 0.4, "cosine", warmup=10)
    assert schedule.rate(10) == pytest.approx(0.4)
    # cos(60 degrees) = 1/2: three quarters after a third; half after a half.
    assert Schedule(99, 0.4, "cosine").rate(33) == pytest.approx(0.3)
    assert schedule.rate(60) == pytest.approx(0.2)
    assert 0 < schedule.rate(109) < 1.1e-4
    assert schedule.rate(110) == pytest.approx(0, abs=1e-15)
    rates = [schedule.rate(step) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"steps": 10, "warmup": 10}, r"warmup must be in \[0, 10\), .* got 10;"),
        ({"steps": 10, "warmup": -1}, r"warmup must be in \[0, 10\), .* got -1;"),
        ({"steps": 10, "drops": (5, 3)}, r"drops must rise, got \[5, 3\]"),
        ({"steps": 10, "drops": (5, 5)}, r"drops must rise, got \[5, 5\]"),
        ({"steps": 10, "drops": (5, 10)}, r"in \(0, 10\).* got 10; factor shortens"),
        ({"steps": 10, "drops": (0, 5)}, r"drops must be in \(0, 10\).* got 0"),
    ],
)
def test_wrong_schedules_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Schedule(learning_rate=0.1, **options)  # type: ignore[arg-type]


def test_caffes_inverse_decay() -> None:
    # lr_policy "inv": base_lr (1 + gamma iter) ^ -power, with LeNet's numbers.
    lenet = Schedule(12_000, 0.01, shape="inverse")
    assert lenet.rate(0) == 0.01
    assert lenet.rate(10_000) == pytest.approx(0.01 * 2**-0.75, rel=1e-12)
    short = lenet.scaled(0.1)
    assert short.rate(1000) == pytest.approx(lenet.rate(10_000), rel=1e-12)


def test_one_cycle() -> None:
    cycle = Schedule(1000, 0.1, shape="one_cycle")
    rates = [cycle.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[450] == max(rates) == pytest.approx(0.1)
    assert rates[225] == pytest.approx(0.055)
    assert rates[675] == pytest.approx(0.055)
    assert rates[900] == pytest.approx(0.01)
    assert rates[950] == pytest.approx((0.01 + 0.0001) / 2)
    assert rates[:451] == sorted(rates[:451])
    assert rates[450:] == sorted(rates[450:], reverse=True)


@pytest.mark.parametrize("name", ["gamma", "power"])
def test_inverse_refuses_what_would_grow(name: str) -> None:
    with pytest.raises(ParameterError, match=f"{name} must be >= 0, got -1"):
        Schedule(10, 0.1, shape="inverse", **{name: -1.0})  # type: ignore[arg-type]
