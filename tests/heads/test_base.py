import math

import pytest
import torch
from torch import Tensor

from facever.errors import DataError, ParameterError
from facever.heads import Head, HeadOutput, JointHead, check_labels
from facever.heads.base import at_least_float32


class Squares(Head):
    """The mean square of the embeddings, shown as a part too."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        loss = embeddings.square().mean()
        return HeadOutput(loss, parts={"root": loss.detach().sqrt()})


class Sums(Head):
    """The sum of the embeddings, with them as logits."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        return HeadOutput(embeddings.sum(), embeddings.detach())


class Halves(Head):
    def compute(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        return HeadOutput(embeddings.sum() / 2, embeddings.detach() / 2)


EMBEDDINGS = torch.tensor([[1.0, 3.0], [3.0, 1.0]])
LABELS = torch.tensor([0, 1])


def test_joint_loss_is_the_weighted_sum() -> None:
    # Squares: (1 + 9 + 9 + 1) / 4 = 5; sums: 8; 0.1 * 5 + 2 * 8 = 16.5.
    joint = JointHead([("squares", Squares(2, 2), 0.1), ("sums", Sums(2, 2), 2.0)])
    output = joint(EMBEDDINGS, LABELS)
    assert float(output.loss) == pytest.approx(16.5)
    parts = {name: float(value) for name, value in output.parts.items()}
    assert parts == pytest.approx({"squares": 5, "squares.root": 5**0.5, "sums": 8})
    assert output.logits is not None
    assert torch.equal(output.logits, EMBEDDINGS)


def test_joint_logits_are_those_of_the_first_head_that_has_some() -> None:
    joint = JointHead([("halves", Halves(2, 2), 1.0), ("sums", Sums(2, 2), 1.0)])
    assert torch.equal(joint(EMBEDDINGS, LABELS).logits, EMBEDDINGS / 2)
    assert JointHead([("a", Squares(2, 2), 1.0)])(EMBEDDINGS, LABELS).logits is None


def test_joint_gradient_is_weighted_too() -> None:
    embeddings = EMBEDDINGS.clone().requires_grad_()
    joint = JointHead([("sums", Sums(2, 2), 3.0), ("halves", Halves(2, 2), 0.0)])
    joint(embeddings, LABELS).loss.backward()
    assert torch.equal(embeddings.grad, torch.full((2, 2), 3.0))


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([], "at least one head"),
        ([("a", Sums(2, 2), -1.0)], r"weight of a must be >= 0, got -1\.0"),
        ([("a", Sums(2, 2), math.nan)], "weight of a must be >= 0, got nan"),
        ([("a", Sums(2, 2), 1.0)] * 2, "may stand once, got a, a"),
    ],
)
def test_wrong_joints_are_refused(
    heads: list[tuple[str, Head, float]], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        JointHead(heads)


def test_labels_out_of_range_are_named_before_they_reach_a_device() -> None:
    check_labels(torch.tensor([0, 4, 2]), 5)
    check_labels(torch.empty(0, dtype=torch.int64), 5)
    for labels, wrong in ([0, 5, 9], 5), ([3, -1, 7], -1):
        with pytest.raises(DataError, match=rf"\[0, 5\), got {wrong}"):
            check_labels(torch.tensor(labels), 5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_only_half_types_are_widened(given: torch.dtype, expected: torch.dtype) -> None:
    assert at_least_float32(torch.ones(2, dtype=given)).dtype == expected
