import numpy as np
import pytest
import torch

from facever.heads.center import Center


def oracle(embeddings: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> float:
    squares = [
        sum((f - c) ** 2 for f, c in zip(feature, centers[label], strict=True))
        for feature, label in zip(embeddings, labels, strict=True)
    ]
    return sum(squares) / (2 * len(squares))


def wen(
    embeddings: np.ndarray, labels: np.ndarray, centers: np.ndarray, rate: float
) -> np.ndarray:
    """c_j - rate * sum [y_i = j] (c_j - x_i) / (1 + sum [y_i = j])."""
    moved = centers.copy()
    for j in range(len(centers)):
        above, below = np.zeros(centers.shape[1]), 1.0
        for feature, label in zip(embeddings, labels, strict=True):
            if label == j:
                above += centers[j] - feature
                below += 1
        moved[j] = centers[j] - rate * above / below
    return moved


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    # Class 4 has no sample.
    labels = np.array([0, 0, 0, 1, 2, 2, 3, 5, 5, 0])
    return rng.normal(size=(10, 4)), labels, rng.normal(size=(6, 4))


@pytest.mark.parametrize("update", ["wen", "gradient"])
def test_loss_is_half_the_mean_squared_distance(update: str) -> None:
    embeddings, labels, centers = draw()
    head = Center(4, 6, update=update).double()
    head.load_state_dict({"centers.vectors": torch.from_numpy(centers)})
    loss = head(torch.from_numpy(embeddings), torch.from_numpy(labels)).loss
    expected = oracle(embeddings, labels, centers)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rate", [0.5, 0.1, 1.0])
def test_wens_rule_moves_the_centers_in_training_only(rate: float) -> None:
    embeddings, labels, centers = draw()
    head = Center(4, 6, rate=rate).double()
    head.load_state_dict({"centers.vectors": torch.from_numpy(centers)})
    inputs = torch.from_numpy(embeddings), torch.from_numpy(labels)
    head.eval()(*inputs)
    np.testing.assert_array_equal(head.centers.vectors, centers)
    head.train()(*inputs)
    expected = wen(embeddings, labels, centers, rate)
    np.testing.assert_allclose(head.centers.vectors, expected)
    np.testing.assert_array_equal(head.centers.vectors[4], centers[4])


def test_one_step_by_hand() -> None:
    # |(3, 4)|^2 = 25 and |(1, 0)|^2 = 1: (25 + 1) / 2 / 2 = 6.5.
    # The center moves by 0.5 * ((3, 4) + (1, 0)) / (1 + 2) = (2/3, 2/3).
    head = Center(2, 3)
    features = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert float(head(features, torch.tensor([1, 1])).loss) == pytest.approx(6.5)
    expected = [[0, 0], [2 / 3, 2 / 3], [0, 0]]
    np.testing.assert_allclose(head.centers.vectors, expected, rtol=1e-6)


def test_the_gradient_is_that_of_the_centers_before_they_moved() -> None:
    embeddings, labels, centers = draw()
    head = Center(4, 6).double().train()
    head.load_state_dict({"centers.vectors": torch.from_numpy(centers)})
    features = torch.from_numpy(embeddings).requires_grad_()
    head(features, torch.from_numpy(labels)).loss.backward()
    np.testing.assert_allclose(features.grad, (embeddings - centers[labels]) / 10)


def test_only_the_gradient_rule_gives_the_optimiser_the_centers() -> None:
    assert list(Center(4, 6).parameters()) == []
    embeddings, labels, _ = draw()
    head = Center(4, 6, update="gradient").double()
    head(torch.from_numpy(embeddings), torch.from_numpy(labels)).loss.backward()
    (centers,) = head.parameters()
    assert not centers.any(), "only the optimiser moves them"
    expected = [-embeddings[labels == j].sum(axis=0) / 10 for j in range(6)]
    assert centers.grad._nnz() <= 10, "a row a sample, not a row a class"
    np.testing.assert_allclose(centers.grad.to_dense(), expected, atol=1e-15)
