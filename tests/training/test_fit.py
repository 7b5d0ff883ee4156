import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facever.errors import DivergedError, FaceverError, TerminatedError
from facever.heads import Head, HeadOutput, JointHead
from facever.inference.preprocessing import Preprocessing
from facever.training.checkpoint import TrainingState, read_checkpoint
from facever.training.fine_tuning import freeze
from facever.training.fit import Callbacks, Computation, Intervals, fit
from facever.training.log_lines import log_to
from facever.training.schedule import Schedule
from facever.training.weight_average import WeightAverage

pytestmark = pytest.mark.usefixtures("one_thread")


PARTS = ("data", "network", "optimiser")
COMPUTATION = {field.name for field in fields(Computation)}
CALLBACKS = {field.name for field in fields(Callbacks)}


class Stopped(Exception):
    """Stands for Ctrl-C."""


def flatten(state: TrainingState) -> dict[str, Any]:
    found: dict[str, Any] = {"step": state.step}
    found |= {f"network.{k}": v for k, v in state.network.state_dict().items()}
    found |= {f"head.{k}": v for k, v in state.head.state_dict().items()}
    for number, values in state.optimiser.state_dict()["state"].items():
        found |= {f"optimiser.{number}.{k}": v for k, v in values.items()}
    if state.average is not None:
        found |= {f"average.{k}": v for k, v in state.average.weights.items()}
    return found


def assert_same_bits(left: TrainingState, right: TrainingState) -> None:
    one, other = flatten(left), flatten(right)
    assert one.keys() == other.keys()
    for part in ("optimiser", "average"):
        assert any(key.startswith(part) for key in one)
    for key, value in one.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key


def log_lines(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").open()]
    for line in lines:
        seconds = sum(line.pop(f"{part}_seconds") for part in PARTS)
        assert 0 < seconds
        assert line.pop("crops_per_second") > 0
    return lines


@pytest.fixture(scope="module")
def uninterrupted(
    tiny: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingState, Path]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return tiny.train(folder), folder


def test_a_stopped_run_goes_on_bit_for_bit(
    tiny: SimpleNamespace, uninterrupted: tuple[TrainingState, Path], tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        raise Stopped

    # Twice stopped, in the warm-up's epoch and after the drop of the rate.
    for every in (4, 7):
        with pytest.raises(Stopped):
            tiny.train(tmp_path, checkpoint_every=every, after_save=stop)
    state = tiny.train(tmp_path, checkpoint_every=100, seed=999)
    assert_same_bits(state, uninterrupted[0])
    assert log_lines(tmp_path) == log_lines(uninterrupted[1])


def test_a_killed_run_goes_on_bit_for_bit(
    tiny: SimpleNamespace, uninterrupted: tuple[TrainingState, Path], tmp_path: Path
) -> None:
    """Killed at any moment, within a step or within the writing of a checkpoint."""
    command = [sys.executable, str(tiny.path), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment) as child:
        while not (tmp_path / "checkpoint.pt").exists() and child.poll() is None:
            time.sleep(0.005)
        time.sleep(random.random() / 5)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert_same_bits(tiny.train(tmp_path), uninterrupted[0])


def test_a_run_that_was_asked_to_stop_saves_and_goes_on_bit_for_bit(
    tiny: SimpleNamespace, uninterrupted: tuple[TrainingState, Path], tmp_path: Path
) -> None:
    asked = iter([False, False, True])
    with pytest.raises(TerminatedError, match="stopped at step 3 of 10") as caught:
        tiny.train(tmp_path, checkpoint_every=100, stop_asked=lambda: next(asked))
    assert "\n" not in str(caught.value)
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3
    assert [line["step"] for line in log_lines(tmp_path)] == [1, 2, 3]
    assert_same_bits(tiny.train(tmp_path, checkpoint_every=100), uninterrupted[0])


def test_asked_to_stop_in_its_last_step_a_run_just_ends(
    tiny: SimpleNamespace, uninterrupted: tuple[TrainingState, Path], tmp_path: Path
) -> None:
    steps = iter(range(1, 99))
    state = tiny.train(tmp_path, stop_asked=lambda: next(steps) == tiny.STEPS)
    assert_same_bits(state, uninterrupted[0])


def test_the_log_tells_step_rate_loss_and_parts(
    tiny: SimpleNamespace, uninterrupted: tuple[TrainingState, Path]
) -> None:
    lines = log_lines(uninterrupted[1])
    assert [line["step"] for line in lines] == list(range(1, tiny.STEPS + 1))
    expected = [0.025, 0.05, 0.05, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005, 0.005]
    assert [line["learning_rate"] for line in lines] == pytest.approx(expected)
    for line in lines:
        parts = line["softmax"] + 0.1 * line["ie"] + 0.01 * line["center"]
        assert line["loss"] == pytest.approx(parts, abs=1e-5)
        assert 0 <= line["accuracy"] <= 1
        assert line["ie.sigma2"] > 0


def run(
    tiny: SimpleNamespace, folder: Path, state: TrainingState, **options: Any
) -> list[int]:
    """Train a state; the steps at which it was saved."""
    saved: list[int] = []
    computation = {key: options.pop(key) for key in COMPUTATION & options.keys()}
    callbacks = {key: options.pop(key) for key in CALLBACKS & options.keys()}
    callbacks = {"save": lambda: saved.append(state.step)} | callbacks
    settings: dict[str, Any] = {
        "schedule": Schedule(4, 0.01),
        "intervals": Intervals(log=2, checkpoint=100),
    }
    fit(
        state,
        tiny.make_loader(),
        Preprocessing(),
        computation=Computation(torch.device("cpu"), **computation),
        callbacks=Callbacks(log=log_to(folder / "log.jsonl"), **callbacks),
        **(settings | options),
    )
    return saved


def test_log_lines_are_means_over_their_steps(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "single").mkdir()
    run(tiny, tmp_path / "single", tiny.make_state(), intervals=Intervals(1, 100))
    run(tiny, tmp_path, tiny.make_state(), intervals=Intervals(3, 100))
    single, means = log_lines(tmp_path / "single"), log_lines(tmp_path)
    assert [line["step"] for line in means] == [3, 4]
    for key in ("loss", "softmax", "accuracy"):
        mean = sum(line[key] for line in single[:3]) / 3
        assert means[0][key] == pytest.approx(mean, abs=2e-6)
        assert means[1][key] == pytest.approx(single[3][key], abs=2e-6)


def test_on_a_cpu_memory_is_kept_from_step_to_step(
    tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    place = "facever.training.fit.keep_freed_memory"
    monkeypatch.setattr(place, lambda: asked.append(True))
    run(tiny, tmp_path, tiny.make_state())
    assert asked == [True]


def test_the_average_follows_the_weights_of_every_step(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    state = tiny.make_state()
    expected = {k: v.double() for k, v in state.network.state_dict().items()}

    def save() -> None:
        # The decay is 0.7, less in the first steps: 2/11, 3/12, 4/13, 5/14.
        kept = (1 + state.step) / (10 + state.step)
        for name, value in state.network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                expected[name] = value.double()
            else:
                expected[name] = kept * expected[name] + (1 - kept) * value.double()

    run(tiny, tmp_path, state, save=save, intervals=Intervals(2, 1))
    assert state.average is not None
    for name, value in state.average.weights.items():
        assert torch.allclose(value.double(), expected[name], 1e-5, 1e-6), name
        if not name.endswith("num_batches_tracked"):
            assert not torch.equal(value, state.network.state_dict()[name]), name
    late = WeightAverage(linear := nn.Linear(1, 1), 0.9)
    before = late.weights["weight"].item()
    nn.init.constant_(linear.weight, before + 1)
    late.follow(linear, step=10**6)
    assert late.weights["weight"].item() == pytest.approx(before + 0.1, abs=1e-6)


@pytest.mark.parametrize("num_parts", [1, 2])
def test_frozen_parts_stay_to_the_last_bit(
    tiny: SimpleNamespace, tmp_path: Path, num_parts: int
) -> None:
    state, fresh = tiny.make_state(), tiny.make_state()
    state.frozen = freeze(state.network, ("trunk.0", "trunk.1", "trunk.7"))
    run(tiny, tmp_path, state, num_parts=num_parts)
    before = fresh.network.state_dict()
    kept = ("trunk.0.", "trunk.1.", "trunk.7.")
    num_kept = 0
    for name, value in state.network.state_dict().items():
        is_kept = name.startswith(kept)
        assert torch.equal(value, before[name]) == is_kept, name
        num_kept += is_kept
    assert num_kept > 6


@pytest.mark.parametrize(
    ("checkpoint", "expected"), [(1, [1, 2, 3, 4]), (3, [3, 4]), (2, [2, 4]), (9, [4])]
)
def test_it_saves_now_and_then_and_at_the_end(
    tiny: SimpleNamespace, tmp_path: Path, checkpoint: int, expected: list[int]
) -> None:
    intervals = Intervals(log=9, checkpoint=checkpoint)
    saved = run(tiny, tmp_path, tiny.make_state(), intervals=intervals)
    assert saved == expected


def test_progress_counts_crops_and_shows_the_loss(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    counts, notes = [], []

    def advance(count: int = 1, note: str = "") -> None:
        counts.append(count)
        notes.append(note)

    run(tiny, tmp_path, tiny.make_state(), advance=advance)
    assert sum(counts) == 4 * 4
    expected = [
        f"loss {line['loss']:.3f} (softmax {line['softmax']:.3f}, ie {line['ie']:.3f}, "
        f"center {line['center']:.3f})"
        for line in log_lines(tmp_path)
    ]
    assert [note for note in notes if note] == expected


def test_progress_shows_one_head_s_loss_once(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    notes = []

    def advance(count: int = 1, note: str = "") -> None:
        notes.append(note)

    run(tiny, tmp_path, with_head(tiny, Spy()), advance=advance)
    losses = [f"loss {line['loss']:.3f}" for line in log_lines(tmp_path)]
    assert [note for note in notes if note] == losses


def test_a_finished_state_is_left_alone(tiny: SimpleNamespace, tmp_path: Path) -> None:
    state, fresh = tiny.make_state(), tiny.make_state()
    state.step = 4
    assert run(tiny, tmp_path, state) == []
    fresh.step = 4
    for left, right in zip(
        state.network.parameters(), fresh.network.parameters(), strict=True
    ):
        assert torch.equal(left, right)


class TurnsNaN(Head):
    """A loss that is NaN from a step on, and a weight that follows it."""

    def __init__(self, steps: int) -> None:
        super().__init__(8, 4)
        self.weight = nn.Parameter(torch.ones(1, 8))
        self.steps = steps

    def compute(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        self.steps -= 1
        loss = (embeddings * self.weight).square().mean()
        return HeadOutput(loss * math.nan if self.steps < 0 else loss)


def with_head(tiny: SimpleNamespace, head: Head) -> TrainingState:
    network = tiny.make_state().network
    joint = JointHead([("spy", head, 1.0)])
    parameters = [*network.parameters(), *joint.parameters()]
    return TrainingState(network, joint, torch.optim.SGD(parameters, lr=1.0))


@pytest.mark.parametrize(
    ("intervals", "healthy", "stops_at", "saved"),
    [
        ((1, 100), 0, 1, []),
        ((1, 1), 2, 3, [1, 2]),
        ((2, 100), 2, 4, []),
        # A checkpoint falls due between the NaN and the next log line.
        ((2, 1), 2, 3, [1, 2]),
        ((100, 1), 1, 2, [1]),
    ],
)
def test_a_loss_that_is_no_number_stops_the_run_and_is_never_saved(
    tiny: SimpleNamespace,
    tmp_path: Path,
    intervals: tuple[int, int],
    healthy: int,
    stops_at: int,
    saved: list[int],
) -> None:
    state = with_head(tiny, TurnsNaN(healthy))
    steps: list[int] = []
    with pytest.raises(DivergedError, match="learning_rate") as caught:
        run(
            tiny,
            tmp_path,
            state,
            schedule=Schedule(8, 0.01),
            intervals=Intervals(*intervals),
            save=lambda: steps.append(state.step),
        )
    assert isinstance(caught.value, FaceverError)
    assert "\n" not in str(caught.value)
    assert f"step {stops_at} " in str(caught.value)
    assert steps == saved
    kept = "no checkpoint was written"
    if saved:
        kept = f"init takes the checkpoint of step {saved[-1]}, which is kept"
    assert str(caught.value).endswith(kept)


def test_weights_that_burst_after_a_good_loss_are_never_saved(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    steps: list[int] = []
    with pytest.raises(DivergedError, match=r"NaN or infinite after step 1 .*inf"):
        run(
            tiny,
            tmp_path,
            tiny.make_state(),
            schedule=Schedule(1, math.inf),
            save=lambda: steps.append(1),
        )
    assert steps == []
    assert math.isfinite(log_lines(tmp_path)[0]["loss"])


class Spy(Head):
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(8, 4)
        self.seen: list[tuple[torch.dtype, bool]] = []

    def compute(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        autocast = torch.is_autocast_enabled("cpu")
        self.seen.append((embeddings.dtype, autocast))
        return HeadOutput(embeddings.square().mean())


def test_under_bf16_the_network_is_cast_and_the_head_is_not(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    head = Spy()
    state = with_head(tiny, head)
    given: list[torch.dtype] = []
    state.network.fc5.register_forward_hook(lambda *a: given.append(a[2].dtype))
    run(tiny, tmp_path, state, bf16=True, schedule=Schedule(1, 0.01))
    assert given == [torch.bfloat16]
    assert head.seen == [(torch.float32, False)]
