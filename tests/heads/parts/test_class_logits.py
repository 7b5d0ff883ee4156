"""Logits over so many classes that they are computed in several pieces."""

import pytest
import torch
from torch import Tensor

from facever.heads.parts.class_logits import Curve, unit_weight_logits


class Cubes:
    """A curve whose slope is not that of a line."""

    def values(self, straight: Tensor) -> Tensor:
        return straight**3

    def slopes(self, straight: Tensor) -> Tensor:
        return 3 * straight**2


@pytest.mark.parametrize("curve", [None, Cubes()], ids=["straight", "curved"])
@pytest.mark.parametrize("num_classes", [512, 1300])
def test_logits_and_gradients_are_those_of_autograd(
    num_classes: int, curve: Curve | None
) -> None:
    """Oracle: the equation in float64, differentiated by torch."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return drawn.requires_grad_()

    embeddings, weight = draw(6, 5), draw(num_classes, 5)
    # In the first and the last piece, at their borders, and one class twice.
    labels = torch.tensor([0, 511, num_classes - 1, 3, 3, num_classes // 2])
    by_logits, by_target = draw(6, num_classes).detach(), draw(6).detach()
    straight = embeddings @ (weight / weight.norm(dim=1, keepdim=True)).T
    logits = straight if curve is None else straight**3
    target = straight[torch.arange(6), labels]
    expected = torch.autograd.grad(
        [logits, target], [embeddings, weight], [by_logits, by_target]
    )
    found = unit_weight_logits(embeddings, weight, labels, curve)
    torch.testing.assert_close(found, (logits, target))
    gradients = torch.autograd.grad(found, [embeddings, weight], [by_logits, by_target])
    torch.testing.assert_close(gradients, expected)
