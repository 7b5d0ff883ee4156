import math

import numpy as np
import pytest
import torch

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
