"""AdamW over parameters of which some have sparse gradients."""

from collections.abc import Callable
from typing import Any

import torch

PLAIN = "plain"
"""Key of a parameter group that moves by plain gradient descent."""


class AdamW(torch.optim.AdamW):
    """AdamW, and plain gradient descent for the groups that say ``plain``.

    Those are the centers of metric heads (see ``parameter_groups``): their gradients
    are sparse, which Adam cannot take, and it would move each center by about the
    learning rate whatever its distance.

    References:
        Loshchilov and Hutter, Decoupled weight decay regularization, 2019.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Move every parameter that has a gradient; plain ones lose theirs by it."""
        for group in self.param_groups:
            if group.get(PLAIN, False):
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.add_(parameter.grad, alpha=-group["lr"])
                        parameter.grad = None
        return super().step(closure)
