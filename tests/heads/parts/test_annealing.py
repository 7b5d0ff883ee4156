import copy
import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import ParameterError
from facever.heads import HEADS, Head
from facever.heads.parts.annealing import Annealing

ANNEALED = ["lsoftmax", "sphereface"]
FAST = Annealing(start=20.0, floor=0.5, gamma=1.0, power=2.0)
BATCH = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.arange(5)

annealings = st.builds(
    lambda start, share, gamma, power: Annealing(start, start * share, gamma, power),
    st.floats(0, 1e4),
    st.floats(0, 1),
    st.floats(0, 10),
    st.floats(0, 5),
)


def train(head: Head, num_batches: int) -> list[float]:
    """The lambda of each of so many batches."""
    head.train()
    return [float(head(*BATCH).parts["lambda"]) for _ in range(num_batches)]


def test_some_values_by_hand() -> None:
    annealing = Annealing()
    # 1000 / (1 + 0.12 * 100) = 1000 / 13 = 76.9230769; 1000 / (1 + 0.12 n) meets the
    # floor of 5 at n = 199 / 0.12 = 1658.33.
    assert float(annealing.at(0)) == 1000
    assert float(annealing.at(100)) == pytest.approx(76.9230769)
    assert 5 < float(annealing.at(1658)) < 5.002
    assert float(annealing.at(1659)) == 5
    assert float(annealing.at(10**9)) == 5
    # 20 (1 + 1)^-2 = 5, 20 * 3^-2 = 2.2222222, 20 * 7^-2 = 0.41 < 0.5.
    values = [float(FAST.at(step)) for step in (0, 1, 2, 6)]
    assert values == pytest.approx([20, 5, 2.2222222, 0.5])


@given(annealings, st.integers(0, 10**6))
def test_an_int_and_a_tensor_agree(annealing: Annealing, step: int) -> None:
    expected = float(annealing.at(step))
    own = max(
        annealing.floor,
        annealing.start / (1 + annealing.gamma * step) ** annealing.power,
    )
    assert expected == pytest.approx(own)
    value = annealing.at(torch.tensor(step))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert value.shape == ()


@given(annealings, st.integers(0, 10**6), st.integers(0, 1000))
def test_it_never_rises_nor_leaves_its_range(
    annealing: Annealing, step: int, gap: int
) -> None:
    early, late = float(annealing.at(step)), float(annealing.at(step + gap))
    assert late <= early * (1 + 1e-12)
    assert annealing.floor <= late <= annealing.start


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"start": 1.0, "floor": 2.0}, ["start", "floor", "1.0", "2.0"]),
        ({"floor": -1.0}, ["floor", "-1.0"]),
        ({"floor": math.nan}, ["floor", "nan"]),
        ({"start": math.nan}, ["start", "nan"]),
        ({"gamma": -0.1}, ["gamma", ">= 0", "-0.1"]),
        ({"gamma": math.nan}, ["gamma", ">= 0", "nan"]),
        ({"power": -1.0}, ["power", ">= 0", "-1.0"]),
        ({"power": math.nan}, ["power", ">= 0", "nan"]),
    ],
)
def test_a_value_out_of_range_is_named(
    options: dict[str, float], fragments: list[str]
) -> None:
    with pytest.raises(ParameterError) as caught:
        Annealing(**options)
    assert all(fragment in str(caught.value) for fragment in fragments)
    assert "\n" not in str(caught.value)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Annealing().start = 3.0  # type: ignore[misc]


@pytest.mark.parametrize("name", ANNEALED)
def test_lambda_falls_with_the_batches_of_the_training(name: str) -> None:
    head = HEADS[name](3, 5, annealing=FAST)
    assert head.step.dtype == torch.int64
    assert head.step.shape == ()
    assert int(head.step) == 0
    assert train(head, 8) == pytest.approx([float(FAST.at(n)) for n in range(8)])
    assert int(head.step) == 8


@pytest.mark.parametrize("name", ANNEALED)
def test_lambda_stands_still_in_evaluation(name: str) -> None:
    head = HEADS[name](3, 5, annealing=FAST)
    train(head, 2)
    head.eval()
    values = [float(head(*BATCH).parts["lambda"]) for _ in range(3)]
    assert values == pytest.approx([float(FAST.at(2))] * 3)
    assert int(head.step) == 2
    assert train(head, 1) == pytest.approx([float(FAST.at(2))])


@pytest.mark.parametrize("name", ANNEALED)
def test_lambda_goes_on_where_the_state_was_saved(name: str) -> None:
    head, other = (HEADS[name](3, 5, annealing=FAST) for _ in range(2))
    train(head, 3)
    saved = copy.deepcopy(head.state_dict())
    assert saved["step"].dtype == torch.int64
    assert int(saved["step"]) == 3
    train(head, 1)
    assert int(saved["step"]) == 3, "a copy"
    other.load_state_dict(saved)
    assert train(other, 2) == pytest.approx([float(FAST.at(3)), float(FAST.at(4))])
    assert "step" not in dict(head.named_parameters())


@pytest.mark.parametrize("name", ANNEALED)
def test_the_count_stays_whole_in_other_types(name: str) -> None:
    for convert in (Head.double, Head.float, Head.half):
        head = HEADS[name](3, 5, annealing=FAST)
        assert convert(head).step.dtype == torch.int64


@pytest.mark.parametrize("name", ANNEALED)
def test_counting_does_not_disturb_a_gradient_still_to_come(name: str) -> None:
    torch.manual_seed(0)
    head = HEADS[name](3, 5, annealing=FAST)
    alone = copy.deepcopy(head)
    first = head(*BATCH).loss
    head(*BATCH)
    first.backward()
    alone(*BATCH).loss.backward()
    assert torch.equal(head.weight.grad, alone.weight.grad)


@pytest.mark.parametrize("name", ANNEALED)
def test_the_loss_uses_the_lambda_shown(name: str) -> None:
    torch.manual_seed(0)
    head = HEADS[name](3, 5, margin=3, annealing=FAST)
    constant = Annealing(start=5.0, floor=5.0, gamma=0.0)
    same = HEADS[name](3, 5, margin=3, annealing=constant)
    same.load_state_dict(head.state_dict())
    head(*BATCH)
    output = head(*BATCH)
    assert float(output.parts["lambda"]) == pytest.approx(5)
    assert float(output.loss) == pytest.approx(float(same(*BATCH).loss))
