import numpy as np
import pytest
import torch
from torch.nn.functional import multi_margin_loss

from facever.heads import HEADS
from facever.heads.hinge import hinge_loss

MARGINS = [0.1, 1.0, 3.0]


def oracle(scores: np.ndarray, labels: np.ndarray, margin: float) -> float:
    total = 0.0
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        rivals = [score for index, score in enumerate(row) if index != label]
        total += max(0.0, margin + max(rivals) - row[label])
    return total / len(labels)


@pytest.mark.parametrize("margin", MARGINS)
def test_loss_is_that_of_crammer_and_singer(margin: float) -> None:
    rng = np.random.default_rng(0)
    weight, embeddings = rng.normal(size=(7, 5)), rng.normal(size=(30, 5))
    labels = rng.integers(0, 7, 30)
    head = HEADS["hinge"](5, 7, margin=margin).double()
    head.load_state_dict({"weight": torch.from_numpy(weight)})
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    expected = oracle(embeddings @ weight.T, labels, margin)
    assert float(output.loss) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(output.logits, embeddings @ weight.T, atol=1e-12)


def test_one_value_by_hand() -> None:
    # Logits (2, 1, 0.5) each time. Class 0: max(0, 1 + 1 - 2) = 0; class 1:
    # 1 + 2 - 1 = 2; class 2: 1 + 2 - 0.5 = 2.5. Mean = 1.5.
    logits = torch.tensor([[2.0, 1.0, 0.5]]).repeat(3, 1)
    assert float(hinge_loss(logits, torch.arange(3), 1.0)) == pytest.approx(1.5)


@pytest.mark.parametrize("margin", MARGINS)
def test_two_classes_are_the_binary_hinge(margin: float) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(20, 2).double(), torch.arange(20) % 2
    # torch sums over the rivals, here one, and divides by the number of classes.
    expected = 2 * multi_margin_loss(logits, labels, margin=margin)
    assert float(hinge_loss(logits, labels, margin)) == pytest.approx(float(expected))


def test_only_the_target_and_its_nearest_rival_move() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.3], [5.0, 0.0, 1.0]], requires_grad=True)
    hinge_loss(logits, torch.tensor([0, 0]), 1.0).backward()
    # The second sample is past its margin.
    np.testing.assert_allclose(logits.grad, [[-0.5, 0.5, 0], [0, 0, 0]])


def test_one_class_has_nothing_to_lose() -> None:
    head = HEADS["hinge"](3, 1)
    embeddings = torch.randn(4, 3, requires_grad=True)
    loss = head(embeddings, torch.zeros(4, dtype=torch.int64)).loss
    loss.backward()
    assert loss == 0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()
