import math

import numpy as np
import pytest
import torch

from facever.heads import HEADS
from facever.heads.cosface import cosface_logits

MARGINS = [0.0, 0.1, 0.35, 1.0, 2.0]


def oracle(
    embeddings: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray,
    margin: float,
    scale: float,
) -> float:
    total = 0.0
    for feature, label in zip(embeddings, labels, strict=True):
        logits = []
        for index, row in enumerate(weight):
            cosine = row @ feature / math.sqrt((row @ row) * (feature @ feature))
            logits.append(scale * (cosine - margin * (index == label)))
        total -= math.log(math.exp(logits[label]) / sum(map(math.exp, logits)))
    return total / len(labels)


@pytest.mark.parametrize("margin", MARGINS)
def test_loss_subtracts_the_margin_from_the_cosine(margin: float) -> None:
    rng = np.random.default_rng(3)
    weight, embeddings = rng.normal(size=(7, 3)), rng.normal(size=(40, 3))
    labels = rng.integers(0, 7, 40)
    head = HEADS["cosface"](3, 7, margin=margin, scale=5.0).double()
    head.load_state_dict({"weight": torch.from_numpy(weight)})
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    expected = oracle(embeddings, labels, weight, margin, 5.0)
    assert float(output.loss) == pytest.approx(expected, rel=1e-9)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    np.testing.assert_allclose(output.logits, 5 * unit @ rows.T, atol=1e-12)


def test_one_value_by_hand() -> None:
    # Class 0 lies at a right angle: 2 (0 - 0.5) = -1; class 1 on the embedding:
    # 2 * 1 = 2. Loss = log(1 + e^(2 - -1)) = 3.0485874.
    head = HEADS["cosface"](2, 2, margin=0.5, scale=2.0)
    head.load_state_dict({"weight": torch.tensor([[3.0, 0.0], [0.0, 1.0]])})
    loss = head(torch.tensor([[0.0, 7.0]]), torch.tensor([0])).loss
    assert float(loss) == pytest.approx(3.0485874)


def test_the_defaults_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    head, same = HEADS["cosface"](4, 5), HEADS["cosface"](4, 5, margin=0.35, scale=64.0)
    same.load_state_dict(head.state_dict())
    batch = torch.randn(8, 4), torch.arange(8) % 5
    assert torch.equal(head(*batch).loss, same(*batch).loss)


def test_margin_zero_is_normalised_softmax() -> None:
    torch.manual_seed(0)
    head = HEADS["cosface"](4, 5, margin=0.0, scale=7.0)
    softmax = HEADS["softmax"](4, 5, bias=False, normalised=True, scale=7.0)
    softmax.load_state_dict(head.state_dict())
    batch = torch.randn(8, 4), torch.arange(8) % 5
    assert float(head(*batch).loss) == pytest.approx(float(softmax(*batch).loss))


def test_only_the_target_changes() -> None:
    cosine = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], dtype=torch.float64)
    logits = cosface_logits(cosine, torch.tensor([2, 0]), 0.5, 10.0)
    expected = [[1.0, 2.0, -2.0], [-1.0, 5.0, 6.0]]
    np.testing.assert_allclose(logits, expected, atol=1e-12)


@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_the_slope_is_the_scale_up_to_the_ends(cosine: float) -> None:
    values = torch.tensor([[cosine, 0.3]], requires_grad=True)
    cosface_logits(values, torch.tensor([0]), 0.35, 64.0).sum().backward()
    assert torch.equal(values.grad, torch.tensor([[64.0, 64.0]]))
