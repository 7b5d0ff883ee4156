import math

import numpy as np
import pytest
import torch

from facever.heads import HEADS


def angle(a: np.ndarray, b: np.ndarray) -> float:
    cosine = a @ b / math.sqrt((a @ a) * (b @ b))
    return math.acos(max(-1.0, min(1.0, cosine)))


def oracle(
    embeddings: np.ndarray, labels: np.ndarray, weight: np.ndarray, scale: float
) -> float:
    total = 0.0
    for feature, label in zip(embeddings, labels, strict=True):
        powers = [math.exp(-scale * angle(row, feature)) for row in weight]
        total -= math.log(powers[label] / sum(powers))
    return total / len(labels)


@pytest.mark.parametrize("scale", [3.5, 10.0])
def test_loss_is_that_of_real_angles(scale: float) -> None:
    rng = np.random.default_rng(3)
    weight, embeddings = rng.normal(size=(7, 3)), 5 * rng.normal(size=(40, 3))
    labels = rng.integers(0, 7, 40)
    head = HEADS["angular"](3, 7, scale=scale).double()
    head.load_state_dict({"weight": torch.from_numpy(weight)})
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    expected = oracle(embeddings, labels, weight, scale)
    assert float(output.loss) == pytest.approx(expected, rel=1e-9)
    logits = [
        [-scale * angle(row, feature) for row in weight] for feature in embeddings
    ]
    np.testing.assert_allclose(output.logits, logits, rtol=1e-9)


def test_one_value_by_hand() -> None:
    # Class 0 at 90 degrees, class 1 at 45: logits -2 pi and -pi with k = 4.
    # log(1 + e^pi) = 3.1838989.
    head = HEADS["angular"](2, 2, scale=4.0)
    head.load_state_dict({"weight": torch.tensor([[3.0, 0.0], [2.0, 2.0]])})
    output = head(torch.tensor([[0.0, 7.0]]), torch.tensor([0]))
    assert float(output.loss) == pytest.approx(3.1838989)
    np.testing.assert_allclose(output.logits, [[-2 * math.pi, -math.pi]], rtol=1e-6)


def test_the_slope_of_the_target_is_the_same_at_every_angle() -> None:
    # In the plane with two opposite classes, theta_0 + theta_1 = pi, so the loss is
    # log(1 + e^(k (2 theta_0 - pi))), and per unit of it |d logit_0 / d theta| = k:
    # d loss / d theta = 2 k p_1, eq. 11 with a rival that moves as well.
    head = HEADS["angular"](2, 2, scale=4.0).double()
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    head.load_state_dict({"weight": weight})
    for degrees in (1, 10, 60, 90, 150, 179):
        theta = torch.tensor(math.radians(degrees), dtype=torch.float64)
        theta.requires_grad_()
        embedding = 3 * torch.stack([theta.cos(), theta.sin()])[None]
        head(embedding, torch.tensor([0])).loss.backward()
        wrong = 1 / (1 + math.exp(-4 * (2 * float(theta.detach()) - math.pi)))
        assert float(theta.grad) == pytest.approx(8 * wrong, rel=1e-6)


def test_the_default_scale_is_ten() -> None:
    head = HEADS["angular"](2, 2)
    head.load_state_dict({"weight": torch.eye(2)})
    output = head(torch.tensor([[1.0, 1.0]]), torch.tensor([0]))
    np.testing.assert_allclose(output.logits, [[-2.5 * math.pi] * 2], rtol=1e-6)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_loss_and_gradient_exactly_on_and_opposite_the_class(side: float) -> None:
    head = HEADS["angular"](3, 3, scale=4.0)
    head.load_state_dict({"weight": torch.eye(3)})
    embeddings = (side * torch.eye(3)).requires_grad_()
    output = head(embeddings, torch.arange(3))
    output.loss.backward()
    # theta = 0 or pi for the target, pi / 2 for the others.
    logits = torch.full((3, 3), -2 * math.pi)
    logits.fill_diagonal_(0.0 if side > 0 else -4 * math.pi)
    np.testing.assert_allclose(output.logits, logits, atol=0.01)
    expected = math.log(1 + 2 * math.exp(-side * 2 * math.pi))
    assert float(output.loss) == pytest.approx(expected, rel=0.01)
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max() < 1e5
    assert head.weight.grad.abs().max() < 1e5
