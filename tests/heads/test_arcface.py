import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.arcface import ArcFace, arcface_logits

MARGINS = [0.0, 0.1, 0.5, 1.0, 1.5]


def oracle(
    embeddings: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray,
    margin: float,
    scale: float,
) -> float:
    """With real angles; past pi - margin a line in the cosine goes on from -1."""
    total = 0.0
    for feature, label in zip(embeddings, labels, strict=True):
        logits = []
        for index, row in enumerate(weight):
            cosine = row @ feature / np.linalg.norm(row) / np.linalg.norm(feature)
            theta = math.acos(max(-1.0, min(1.0, cosine)))
            if index != label:
                logits.append(scale * math.cos(theta))
            elif theta <= math.pi - margin:
                logits.append(scale * math.cos(theta + margin))
            else:
                beyond = math.cos(theta) - math.cos(math.pi - margin)
                logits.append(scale * (-1 + beyond))
        total -= math.log(math.exp(logits[label]) / sum(map(math.exp, logits)))
    return total / len(labels)


def target_logit(theta: Tensor, margin: float, gradient: str = "exact") -> Tensor:
    """The target's logit at scale 1, of each angle."""
    cosine = torch.stack([theta.cos(), torch.zeros_like(theta)], dim=1)
    labels = torch.zeros(len(theta), dtype=torch.int64)
    return arcface_logits(cosine, labels, margin, 1.0, gradient)[:, 0]  # type: ignore[arg-type]


@pytest.mark.parametrize("gradient", ["exact", "detached"])
@pytest.mark.parametrize("margin", MARGINS)
def test_loss_is_that_of_real_angles(margin: float, gradient: str) -> None:
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(7, 3))
    # With three dimensions and 40 samples, some targets lie past pi - margin.
    embeddings, labels = rng.normal(size=(40, 3)), rng.integers(0, 7, 40)
    head = ArcFace(3, 7, margin=margin, scale=5.0, gradient=gradient).double()
    head.load_state_dict({"weight": torch.from_numpy(weight)})
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    expected = oracle(embeddings, labels, weight, margin, 5.0)
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-9)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    np.testing.assert_allclose(output.logits, 5 * unit @ rows.T, atol=1e-12)


def test_one_value_by_hand() -> None:
    # theta_y = 90 degrees, margin 30: 2 cos(120 degrees) = -1. The other class lies on
    # the embedding: 2 cos(0) = 2. Loss = log(1 + e^(2 - -1)) = 3.0485874.
    head = ArcFace(2, 2, margin=math.pi / 6, scale=2.0)
    head.load_state_dict({"weight": torch.tensor([[3.0, 0.0], [0.0, 1.0]])})
    loss = head(torch.tensor([[0.0, 7.0]]), torch.tensor([0])).loss
    assert float(loss) == pytest.approx(3.0485874)


def test_margin_zero_is_normalised_softmax() -> None:
    torch.manual_seed(0)
    cosine = torch.rand(50, 4, dtype=torch.float64) * 2 - 1
    cosine[0, 0], cosine[1, 1] = 1.0, -1.0
    labels = torch.arange(50) % 4
    logits = arcface_logits(cosine, labels, 0.0, 7.0)
    np.testing.assert_allclose(logits, 7 * cosine, rtol=0, atol=1e-12)


@given(st.sampled_from(MARGINS), st.floats(0, math.pi), st.floats(0, 1e-3))
def test_target_falls_with_the_angle_without_a_jump(
    margin: float, angle: float, gap: float
) -> None:
    pair = torch.tensor([angle, min(math.pi, angle + gap)], dtype=torch.float64)
    near, far = target_logit(pair, margin).tolist()
    # No slope is above 1; near sin(theta) = 0 the sine is held at sqrt(1e-7).
    assert near - 2e-3 <= far <= near + 1e-12 + 4e-4 * (min(pair) < 1e-3)


@pytest.mark.parametrize("margin", MARGINS)
def test_target_is_continuous_where_the_margin_meets_the_opposite(
    margin: float,
) -> None:
    turn = math.pi - margin
    around = torch.tensor([turn - 1e-6, min(math.pi, turn + 1e-6)], dtype=torch.float64)
    before, after = target_logit(around, margin).tolist()
    # cos(pi - margin + margin) = -1.
    assert before == pytest.approx(-1, abs=4e-4)
    assert after == pytest.approx(-1, abs=4e-4)


@pytest.mark.parametrize("gradient", ["exact", "detached"])
@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_gradient_is_finite_at_the_ends(
    cosine: float, margin: float, gradient: str
) -> None:
    values = torch.tensor([[cosine, 0.3]], requires_grad=True)
    logits = arcface_logits(values, torch.tensor([0]), margin, 64.0, gradient)  # type: ignore[arg-type]
    logits.sum().backward()
    assert logits.isfinite().all()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert values.grad.abs().max() < 64 * 4000


@pytest.mark.parametrize("margin", MARGINS)
def test_detached_gradient_is_the_exact_one_times_the_sines(margin: float) -> None:
    theta = torch.linspace(0.05, math.pi - margin - 0.05, 30, dtype=torch.float64)
    slopes = {}
    for gradient in ("exact", "detached"):
        angle = theta.clone().requires_grad_()
        logit = target_logit(angle, margin, gradient)
        np.testing.assert_allclose(logit.detach(), np.cos(theta + margin), atol=1e-9)
        (slopes[gradient],) = torch.autograd.grad(logit.sum(), angle)
    factor = theta.sin() / (theta + margin).sin()
    np.testing.assert_allclose(slopes["exact"], -np.sin(theta + margin), atol=1e-9)
    expected = slopes["exact"] * factor
    np.testing.assert_allclose(slopes["detached"], expected, atol=1e-9)


def test_only_the_target_changes() -> None:
    cosine = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    logits = arcface_logits(cosine, torch.tensor([2, 0]), 0.5, 10.0)
    changed = logits != 10 * cosine
    assert changed.tolist() == [[False, False, True], [True, False, False]]


def test_the_function_checks_its_ranges_too() -> None:
    cosine, labels = torch.zeros(1, 2), torch.tensor([0])
    with pytest.raises(ParameterError, match=r"\[0, pi/2\) radians, got 2\.0"):
        arcface_logits(cosine, labels, 2.0, 64.0)
    with pytest.raises(ParameterError, match=r"scale must be positive, got -1\.0"):
        arcface_logits(cosine, labels, 0.5, -1.0)
