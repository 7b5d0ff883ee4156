import math

import numpy as np
import pytest
import torch

from facever.heads.arcface import ArcFace
from facever.heads.softmax import Softmax


def oracle(
    embeddings: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> float:
    total = 0.0
    for feature, label in zip(embeddings, labels, strict=True):
        scores = [math.exp(w @ feature + b) for w, b in zip(weight, bias, strict=True)]
        total -= math.log(scores[label] / sum(scores))
    return total / len(labels)


@pytest.mark.parametrize("bias", [True, False])
def test_loss_is_cross_entropy(bias: bool) -> None:
    rng = np.random.default_rng(0)
    weight, shift = rng.normal(size=(7, 5)), rng.normal(size=7) * bias
    embeddings, labels = rng.normal(size=(9, 5)), rng.integers(0, 7, 9)
    head = Softmax(5, 7, bias=bias).double()
    head.load_state_dict(
        {"weight": torch.from_numpy(weight)}
        | ({"bias": torch.from_numpy(shift)} if bias else {})
    )
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    expected = oracle(embeddings, labels, weight, shift)
    assert float(output.loss) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(output.logits, embeddings @ weight.T + shift)


def test_one_value_by_hand() -> None:
    # Logits (ln 3, 0), so probabilities 3/4 and 1/4: -ln(3/4) and -ln(1/4).
    head = Softmax(2, 2)
    head.load_state_dict(
        {"weight": torch.tensor([[math.log(3), 0], [0, 0]]), "bias": torch.zeros(2)}
    )
    feature = torch.tensor([[1.0, 5.0]])
    assert float(head(feature, torch.tensor([0])).loss) == pytest.approx(0.2876821)
    assert float(head(feature, torch.tensor([1])).loss) == pytest.approx(1.3862944)


def test_bias_is_a_parameter_only_when_asked_for() -> None:
    assert set(Softmax(2, 3).state_dict()) == {"weight", "bias"}
    assert set(Softmax(2, 3, bias=False).state_dict()) == {"weight"}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_normalised_loss_is_cross_entropy_of_the_cosines(
    scale: float, bias: bool
) -> None:
    rng = np.random.default_rng(1)
    weight, shift = rng.normal(size=(7, 5)), rng.normal(size=7) * bias
    embeddings, labels = 4 * rng.normal(size=(9, 5)), rng.integers(0, 7, 9)
    head = Softmax(5, 7, bias=bias, normalised=True, scale=scale).double()
    head.load_state_dict(
        {"weight": torch.from_numpy(weight)}
        | ({"bias": torch.from_numpy(shift)} if bias else {})
    )
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    rows = np.array([scale * row / math.hypot(*row) for row in weight])
    unit = np.array([feature / math.hypot(*feature) for feature in embeddings])
    expected = oracle(unit, labels, rows, shift)
    assert float(output.loss) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(output.logits, unit @ rows.T + shift, atol=1e-12)


def test_one_normalised_value_by_hand() -> None:
    # Cosines 0.6 and 0.8 of (3, 4): logits 30 * 0.6 + 5 = 23 and 30 * 0.8 = 24 with
    # the default scale: log(1 + e) = 1.3132617.
    head = Softmax(2, 2, normalised=True)
    head.load_state_dict(
        {"weight": torch.tensor([[9.0, 0], [0, 0.1]]), "bias": torch.tensor([5.0, 0])}
    )
    loss = head(torch.tensor([[3.0, 4.0]]), torch.tensor([0])).loss
    assert float(loss) == pytest.approx(1.3132617, rel=1e-5)


def test_normalised_softmax_is_arcface_without_a_margin() -> None:
    torch.manual_seed(0)
    head = Softmax(4, 5, bias=False, normalised=True, scale=7.0)
    other = ArcFace(4, 5, margin=0.0, scale=7.0)
    other.load_state_dict(head.state_dict())
    batch = torch.randn(8, 4), torch.arange(8) % 5
    assert float(head(*batch).loss) == pytest.approx(float(other(*batch).loss))


def test_the_scale_is_of_the_normalised_form_alone() -> None:
    torch.manual_seed(0)
    batch = torch.randn(8, 4), torch.arange(8) % 5
    head, other = Softmax(4, 5), Softmax(4, 5, scale=3.0)
    other.load_state_dict(head.state_dict())
    assert torch.equal(head(*batch).loss, other(*batch).loss)


@pytest.mark.parametrize("side", [1.0, -1.0, 0.0])
def test_normalised_loss_and_gradient_at_the_ends(side: float) -> None:
    head = Softmax(3, 3, bias=False, normalised=True, scale=2.0)
    head.load_state_dict({"weight": 5 * torch.eye(3)})
    embeddings = (side * torch.eye(3)).requires_grad_()
    loss = head(embeddings, torch.arange(3)).loss
    loss.backward()
    assert float(loss) == pytest.approx(math.log(1 + 2 * math.exp(-2 * side)))
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max() < 1e6
