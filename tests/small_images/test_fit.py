import copy
import math

import pytest
import torch
from torch import nn

from facever.errors import DivergedError
from facever.heads import HEADS, JointHead
from facever.small_images.batches import PreparedImages, SmallImageBatches
from facever.small_images.fit import RATE_FACTOR, fit_small_images
from facever.training.checkpoint import TrainingState
from facever.training.log_lines import LogLine
from facever.training.optimiser import parameter_groups
from facever.training.schedule import Schedule

DECAY = 0.01


def make(momentum: float = 0.0) -> tuple[TrainingState, SmallImageBatches]:
    torch.manual_seed(0)
    images = torch.randn(24, 1, 3, 3)
    batches = SmallImageBatches(
        PreparedImages(images, torch.arange(24) % 4), batch_size=6, seed=0
    )
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 5))
    head = JointHead([("softmax", HEADS["softmax"](5, 4), 1.0)])
    groups = parameter_groups(network, head, DECAY)
    groups[1][RATE_FACTOR] = 2.0
    return TrainingState(
        network, head, torch.optim.SGD(groups, lr=1.0, momentum=momentum)
    ), batches


def test_one_step_by_hand() -> None:
    state, batches = make()
    before = copy.deepcopy(state)
    images, labels = batches.batch(0)
    before.head(before.network(images), labels).loss.backward()
    fit_small_images(
        state, batches, Schedule(1, 0.3), every=1, measure=lambda line: None
    )
    linear, old = state.network[1], before.network[1]
    # Weights decay; biases do not, and move at twice the rate.
    torch.testing.assert_close(
        linear.weight, old.weight - 0.3 * (old.weight.grad + DECAY * old.weight)
    )
    torch.testing.assert_close(linear.bias, old.bias - 0.6 * old.bias.grad)
    assert state.step == 1


def test_measured_every_so_often_and_at_the_end() -> None:
    state, batches = make(momentum=0.9)
    lines: list[LogLine] = []

    def measure(line: LogLine) -> None:
        lines.append(line)
        state.network.eval()

    schedule = Schedule(10, 0.1, drops=(5,))
    fit_small_images(state, batches, schedule, every=4, measure=measure)
    assert [line["step"] for line in lines] == [4, 8, 10]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.1, 0.01, 0.01])
    assert all(0 <= line["train_error"] <= 1 for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert state.network.training


def test_goes_on_from_a_step() -> None:
    whole, batches = make(momentum=0.9)
    schedule = Schedule(7, 0.1)
    fit_small_images(whole, batches, schedule, every=7, measure=lambda line: None)
    parts, batches = make(momentum=0.9)
    fit_small_images(
        parts, batches, Schedule(3, 0.1), every=9, measure=lambda line: None
    )
    fit_small_images(parts, batches, schedule, every=9, measure=lambda line: None)
    torch.testing.assert_close(parts.network[1].weight, whole.network[1].weight)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_is_named_before_it_is_measured(value: float) -> None:
    state, batches = make()
    with torch.no_grad():
        state.head.heads["softmax"].bias[0] = value

    def go_on() -> None:
        fit_small_images(
            state,
            batches,
            Schedule(4, 0.1),
            every=1,
            measure=lambda line: pytest.fail("measured"),
        )

    with pytest.raises(DivergedError, match="the loss is nan at step 1; the learning"):
        go_on()
    # Its gradient has spoilt the network by then.
    with pytest.raises(DivergedError, match="row 0, at step 2; the learning rate is"):
        go_on()


@pytest.mark.parametrize("bf16", [False, True])
def test_the_network_alone_computes_in_bfloat16(bf16: bool) -> None:
    state, batches = make()
    seen: list[torch.dtype] = []
    state.network.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    losses: list[torch.dtype] = []
    head = state.head.heads["softmax"]
    head.register_forward_hook(lambda *given: losses.append(given[2].loss.dtype))

    def measure(line: LogLine) -> None:
        state.network(torch.zeros(2, 1, 3, 3))

    fit_small_images(
        state, batches, Schedule(1, 0.3), every=1, measure=measure, bf16=bf16
    )
    assert seen == [torch.bfloat16 if bf16 else torch.float32, torch.float32]
    assert losses == [torch.float32]
    assert state.network[1].weight.dtype == torch.float32


def test_bfloat16_learns_what_float32_does() -> None:
    ends = []
    for bf16 in (False, True):
        state, batches = make()
        lines: list[LogLine] = []
        schedule = Schedule(40, 0.1)
        fit_small_images(
            state, batches, schedule, every=40, measure=lines.append, bf16=bf16
        )
        ends.append(lines[-1]["loss"])
    assert ends[0] != ends[1]
    assert ends[0] == pytest.approx(ends[1], rel=0.02)
