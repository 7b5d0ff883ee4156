import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facever.heads.ie import IncludeExclude, ie_loss

CLASSES, DIM = 9, 4


def draw(seed: int = 0, size: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    # Classes 1 and 4 never appear: their centers must not matter.
    present = np.array([0, 2, 3, 5, 6, 7, 8])
    labels = np.concatenate([present, rng.choice(present, size - 7)])
    centers = 3 * rng.normal(size=(CLASSES, DIM))
    # From close to the own center, past the hinge, to far from it.
    offsets = np.linspace(0.1, 2.2, size)[:, None] * rng.normal(size=(size, DIM))
    return centers[labels] + offsets, labels, centers


def square(a: np.ndarray, b: np.ndarray) -> float:
    return float(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def nearest_others(
    feature: np.ndarray, label: int, labels: np.ndarray, centers: np.ndarray, q: int
) -> list[int]:
    others = sorted(set(labels.tolist()) - {int(label)})
    return sorted(others, key=lambda c: square(feature, centers[c]))[:q]


def terms(
    embeddings: np.ndarray,
    labels: np.ndarray,
    centers: np.ndarray,
    sigma2: float,
    alpha: float,
    q: int,
    denominator: str,
) -> list[float]:
    """What stands within the braces of eq. 6 or A.1, sample by sample."""
    found = []
    for feature, label in zip(embeddings, labels, strict=True):
        chosen = nearest_others(feature, label, labels, centers, q)
        k = len(chosen) if denominator == "appendix" else 1
        above = math.exp(-square(feature, centers[label]) / (2 * sigma2) - alpha)
        below = sum(
            math.exp(-square(feature, centers[c]) / (2 * sigma2 * k)) for c in chosen
        )
        found.append(-math.log(above / below))
    return found


def measure(
    embeddings: np.ndarray, labels: np.ndarray, centers: np.ndarray, **options: Any
) -> float:
    head = IncludeExclude(DIM, CLASSES, **options).double()
    head.centers.vectors.data.copy_(torch.from_numpy(centers))
    return float(head(torch.from_numpy(embeddings), torch.from_numpy(labels)).loss)


@pytest.mark.parametrize("denominator", ["appendix", "eq6"])
@pytest.mark.parametrize(
    # Six other classes: 0.2 * 6 rounds to 1, 0.01 * 6 to none but at least one is kept.
    ("nearest", "q"),
    [(1, 1), (3, 3), (6, 6), (99, 6), (0.2, 1), (0.5, 3), (1.0, 6), (0.01, 1)],
)
def test_loss_is_the_printed_equation(
    nearest: int | float, q: int, denominator: str
) -> None:
    batch = draw()
    inside = terms(*batch, 0.8, 0.1, q, denominator)
    assert min(inside) < 0 < max(inside), "both sides of the hinge"
    expected = sum(max(term, 0.0) for term in inside) / len(inside)
    options = {"alpha": 0.1, "sigma2": 0.8, "denominator": denominator}
    loss = measure(*batch, nearest=nearest, **options)
    assert loss == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("denominator", ["appendix", "eq6"])
def test_one_nearest_and_sigma2_a_half_is_equation_7(denominator: str) -> None:
    embeddings, labels, centers = draw(1)
    total = 0.0
    for feature, label in zip(embeddings, labels, strict=True):
        own = square(feature, centers[label])
        least = min(square(feature, centers[c]) for c in set(labels) - {label})
        total += max(own + 0.3 - least, 0.0)
    assert total > 0
    options = {"alpha": 0.3, "sigma2": 0.5, "denominator": denominator}
    loss = measure(embeddings, labels, centers, nearest=1, **options)
    assert loss == pytest.approx(total / len(labels), rel=1e-9)


def test_one_value_by_hand() -> None:
    # On a line: centers at 0, 2 and 4, the feature 1.5 of class 0; sigma2 = 1.
    # p = 2.25 / 2 + 0.1 = 1.225. Squares to the others 0.25 and 6.25; with k = 2,
    # q = log(e^-0.0625 + e^-1.5625) = -0.0625 + log(1 + e^-1.5) = 0.1389133.
    # The other two lie on their centers; p = 0.1, squares 4 and 4, 4 and 16:
    # q = log(2 e^-1) = -0.3068528 and log(e^-1 + e^-4) = -0.9514126: below the hinge.
    # mean(1.3639133, 0, 0) = 0.4546378.
    centers = torch.tensor([[0.0], [2.0], [4.0]])
    features = torch.tensor([[1.5], [2.0], [4.0]])
    loss = ie_loss(features, torch.arange(3), centers, torch.tensor(1.0), 0.1, 2)
    assert float(loss) == pytest.approx(0.4546378, rel=1e-6)


def printed_gradients(
    embeddings: np.ndarray,
    labels: np.ndarray,
    centers: np.ndarray,
    sigma2: float,
    alpha: float,
    q: int,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Equations 8, 9 and 10, over the samples whose braces are positive."""
    inside = terms(embeddings, labels, centers, sigma2, alpha, q, "appendix")
    num_samples = len(embeddings)
    to_features = np.zeros_like(embeddings)
    to_centers = np.zeros_like(centers)
    to_sigma2 = 0.0
    for n, (f, y) in enumerate(zip(embeddings, labels, strict=True)):
        if inside[n] <= 0:
            continue
        chosen = nearest_others(f, y, labels, centers, q)
        e = {c: math.exp(-square(f, centers[c]) / (2 * sigma2 * q)) for c in chosen}
        total = sum(e.values())
        to_features[n] = (f - centers[y]) / sigma2 - f / (sigma2 * q)
        for c in chosen:
            to_features[n] += e[c] * centers[c] / (sigma2 * q * total)
            to_centers[c] += e[c] * (f - centers[c]) / (sigma2 * q) / total
            far = square(f, centers[c]) / (2 * sigma2**2 * q)
            to_sigma2 += e[c] * far / total
        to_centers[y] -= (f - centers[y]) / sigma2
        to_sigma2 -= square(f, centers[y]) / (2 * sigma2**2)
    m = num_samples
    return to_features / m, to_centers / m, to_sigma2 / m


@pytest.mark.parametrize("q", [1, 2, 6])
def test_autograd_gives_the_printed_gradients(q: int) -> None:
    embeddings, labels, centers = draw(2)
    features = torch.from_numpy(embeddings).requires_grad_()
    means = torch.from_numpy(centers).requires_grad_()
    variance = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    classes = torch.from_numpy(labels)
    ie_loss(features, classes, means[classes], variance, 0.1, q).backward()
    expected = printed_gradients(embeddings, labels, centers, 0.8, 0.1, q)
    assert np.abs(expected[0]).sum(axis=1).min() == 0, "some sample is past the hinge"
    for values, printed in zip((features, means, variance), expected, strict=True):
        np.testing.assert_allclose(values.grad, printed, rtol=1e-9, atol=1e-12)
    assert not means.grad[[1, 4]].any(), "absent classes stay"


@pytest.mark.parametrize("sigma2", ["learned", "batch", 0.5])
@pytest.mark.parametrize(
    ("labels", "nearest"),
    [([3, 3, 3, 3], 1), ([0, 1, 2, 1], 0), ([0, 1, 2, 1], 0.0), ([5, 5, 5, 5], 0)],
)
def test_without_negatives_the_loss_is_zero(
    labels: list[int], nearest: int | float, sigma2: Any
) -> None:
    head = IncludeExclude(DIM, CLASSES, nearest=nearest, sigma2=sigma2)
    torch.nn.init.normal_(head.centers.vectors)
    features = torch.randn(4, DIM, requires_grad=True)
    loss = head(features, torch.tensor(labels)).loss
    loss.backward()
    assert loss == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_nearest_as_a_whole_number_is_a_count_and_as_a_float_a_share() -> None:
    batch = draw()
    one, share = (measure(*batch, nearest=nearest, sigma2=0.8) for nearest in (1, 1.0))
    assert one == pytest.approx(measure(*batch, nearest=0.01, sigma2=0.8))
    assert share == pytest.approx(measure(*batch, nearest=6, sigma2=0.8))
    assert one != pytest.approx(share)


def head_with(batch: tuple[np.ndarray, ...], sigma2: Any) -> tuple[Any, Tensor, Tensor]:
    embeddings, labels, centers = batch
    head = IncludeExclude(DIM, CLASSES, sigma2=sigma2).double()
    head.centers.vectors.data.copy_(torch.from_numpy(centers))
    return head, torch.from_numpy(embeddings), torch.from_numpy(labels)


def test_sigma2_of_the_batch_is_the_definition_under_equation_5() -> None:
    embeddings, labels, centers = batch = draw()
    squares = [square(f, centers[y]) for f, y in zip(embeddings, labels, strict=True)]
    variance = sum(squares) / (len(squares) - 1)
    head, features, classes = head_with(batch, "batch")
    output = head(features.requires_grad_(), classes)
    assert float(output.parts["sigma2"]) == pytest.approx(variance)
    fixed, _, _ = head_with(batch, variance)
    constant = torch.from_numpy(embeddings).requires_grad_()
    expected = fixed(constant, classes)
    assert float(output.loss) == pytest.approx(float(expected.loss))
    output.loss.backward()
    expected.loss.backward()
    # Detached: the gradient is that of a constant of the same value.
    np.testing.assert_allclose(features.grad, constant.grad, atol=1e-12)
    ours, theirs = (each.centers.vectors.grad.to_dense() for each in (head, fixed))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_learned_sigma2_follows_its_gradient_and_stays_positive() -> None:
    batch = draw(2)
    head, features, labels = head_with(batch, "learned")
    assert float(head(features, labels).parts["sigma2"]) == pytest.approx(DIM)
    head.log_sigma2.data.zero_()
    output = head(features, labels)
    output.loss.backward()
    # d exp(s) / ds = exp(s) = 1 at s = 0, so eq. 10 comes through unchanged.
    *_, expected = printed_gradients(*batch, 1.0, 0.1, 1)
    assert float(head.log_sigma2.grad) == pytest.approx(expected)
    head.log_sigma2.data.fill_(-50.0)
    output = head(features, labels)
    assert output.parts["sigma2"] > 0
    assert output.loss.isfinite()


def test_fixed_sigma2_is_no_parameter() -> None:
    names = {
        str(sigma2): set(IncludeExclude(DIM, CLASSES, sigma2=sigma2).state_dict())
        for sigma2 in ("learned", "batch", 0.5)
    }
    assert names == {
        "learned": {"centers.vectors", "log_sigma2"},
        "batch": {"centers.vectors"},
        "0.5": {"centers.vectors"},
    }
    head, features, labels = head_with(draw(), 0.5)
    assert float(head(features, labels).parts["sigma2"]) == 0.5


def test_wens_rule_moves_the_centers_after_the_loss_in_training_only() -> None:
    embeddings, labels, centers = batch = draw()
    head = IncludeExclude(DIM, CLASSES, sigma2=0.8, update="wen", rate=0.3).double()
    head.centers.vectors.copy_(torch.from_numpy(centers))
    inputs = torch.from_numpy(embeddings).requires_grad_(), torch.from_numpy(labels)
    expected = measure(*batch, sigma2=0.8)
    assert float(head.eval()(*inputs).loss) == pytest.approx(expected)
    np.testing.assert_array_equal(head.centers.vectors, centers)
    loss = head.train()(*inputs).loss
    assert float(loss) == pytest.approx(expected), "with the centers before the step"
    to_features, _, _ = printed_gradients(*batch, 0.8, 0.1, 1)
    loss.backward()
    np.testing.assert_allclose(inputs[0].grad, to_features, atol=1e-12)
    moved = centers.copy()
    for j in set(labels.tolist()):
        mine = embeddings[labels == j]
        moved[j] += 0.3 * (mine - centers[j]).sum(axis=0) / (1 + len(mine))
    np.testing.assert_allclose(head.centers.vectors, moved)
    assert list(head.parameters()) == []
