import math

import numpy as np
import pytest
import torch

from facever.errors import DataError, ParameterError
from facever.heads import HEADS, JointHead
from facever.heads.distillation import Distillation, distillation_loss

FEATURES = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
TEACHER = torch.tensor([[5.0, 0.0], [7.0, 0.0], [0.0, -2.0]])
# Angles of 0, 90 and 135 degrees.
COSINES = [1.0, 0.0, -math.sqrt(0.5)]


def test_cosine_is_one_less_the_mean_cosine() -> None:
    found = distillation_loss(FEATURES, TEACHER)
    assert float(found) == pytest.approx(1 - sum(COSINES) / 3, rel=1e-6)


def test_squared_is_the_mean_square_to_the_teachers_direction() -> None:
    # (3 - 1)^2, 2^2 + 1^2, 1^2 + (1 + 1)^2.
    found = distillation_loss(FEATURES, TEACHER, "squared")
    assert float(found) == pytest.approx((4 + 5 + 5) / 3, rel=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "squared"])
def test_losses_are_those_of_a_loop(distance: str) -> None:
    generator = np.random.default_rng(0)
    features, teacher = generator.standard_normal((2, 9, 6))
    rows = []
    for feature, target in zip(features, teacher, strict=True):
        target = target / np.linalg.norm(target)
        if distance == "cosine":
            rows.append(1 - feature @ target / np.linalg.norm(feature))
        else:
            rows.append(sum((a - b) ** 2 for a, b in zip(feature, target, strict=True)))
    given = torch.from_numpy(features), torch.from_numpy(teacher)
    found = distillation_loss(*given, distance)
    assert float(found) == pytest.approx(np.mean(rows), rel=1e-12)


def test_the_length_of_the_teachers_embeddings_does_not_matter() -> None:
    for distance in ("cosine", "squared"):
        expected = distillation_loss(FEATURES, TEACHER, distance)
        assert torch.equal(distillation_loss(FEATURES, 8 * TEACHER, distance), expected)


def test_labels_do_not_matter() -> None:
    head = Distillation(2, 5, 2)
    losses = {
        float(head(FEATURES, torch.tensor(labels), TEACHER).loss)
        for labels in ([0, 1, 2], [4, 4, 4])
    }
    assert len(losses) == 1


def test_the_part_is_the_cosine_whatever_the_distance() -> None:
    for distance in ("cosine", "squared"):
        head = Distillation(2, 5, 2, distance=distance)
        output = head(FEATURES, torch.zeros(3, dtype=torch.int64), TEACHER)
        assert float(output.parts["cosine"]) == pytest.approx(sum(COSINES) / 3)


def test_a_teacher_of_another_size_is_reached_by_a_learned_map() -> None:
    torch.manual_seed(0)
    head = Distillation(2, 5, 3)
    teacher = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    [(name, weight)] = head.named_parameters()
    assert (name, weight.shape) == ("projection.weight", (3, 2))
    labels = torch.zeros(3, dtype=torch.int64)
    loss = head(FEATURES, labels, teacher).loss
    rows = FEATURES.double().numpy() @ weight.detach().double().numpy().T
    cosines = (rows * teacher.numpy()).sum(axis=1) / np.linalg.norm(rows, axis=1)
    assert float(loss.detach()) == pytest.approx(1 - cosines.mean(), rel=1e-6)
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.any()


def test_a_teacher_of_the_same_size_needs_no_map() -> None:
    assert list(Distillation(4, 5, 4).parameters()) == []


def test_a_joint_head_gives_the_teacher_to_whom_it_belongs() -> None:
    torch.manual_seed(0)
    softmax, taught = HEADS["softmax"](2, 5), Distillation(2, 5, 2)
    joint = JointHead([("softmax", softmax, 1.0), ("distillation", taught, 3.0)])
    labels = torch.tensor([0, 1, 4])
    output = joint(FEATURES, labels, TEACHER)
    expected = (
        softmax(FEATURES, labels).loss + 3 * taught(FEATURES, labels, TEACHER).loss
    )
    assert float(output.loss) == pytest.approx(float(expected), rel=1e-6)
    assert output.logits is not None
    assert set(output.parts) == {"softmax", "distillation", "distillation.cosine"}


@pytest.mark.parametrize(
    ("teacher", "got"),
    [(None, "none"), (TEACHER[:2], "[2, 2]"), (torch.ones(3, 4), "[3, 4]")],
)
@pytest.mark.usefixtures("types_unchecked")
def test_embeddings_that_do_not_fit_are_refused(
    teacher: torch.Tensor | None, got: str
) -> None:
    head = Distillation(2, 5, 2)
    with pytest.raises(DataError) as caught:
        head(FEATURES, torch.zeros(3, dtype=torch.int64), teacher)
    assert str(caught.value) == f"the teacher's embeddings must be [3, 2], got {got}"


def test_a_teacher_without_dimensions_is_refused() -> None:
    with pytest.raises(ParameterError, match="teacher_size must be >= 1, got 0"):
        Distillation(2, 5, 0)
