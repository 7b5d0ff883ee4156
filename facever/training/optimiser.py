"""What the optimiser gets: groups of parameters, and AdamW for sparse gradients too."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from facever.heads.base import heads_in

PLAIN = "plain"
"""Key of a parameter group that moves by plain gradient descent."""


class AdamW(torch.optim.AdamW):
    """AdamW, and plain gradient descent for the groups that say ``plain``.

    Those hold the centers of metric heads (see ``parameter_groups``), whose gradients
    are sparse: Adam cannot take them, and would move each center by about the learning
    rate whatever its distance.

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


def parameter_groups(
    network: nn.Module, head: nn.Module, weight_decay: float, decay_all: bool = False
) -> list[dict[str, Any]]:
    """Three groups for the optimiser: what decays, what does not, what moves plainly.

    Weights decay; biases and norms do not. The ``plain_parameters`` of heads are the
    centers of classes (Algorithm 1 of the IE paper), which stand for means of
    embeddings: decay would bias them towards 0. Momentum would move the centers of
    classes that are not in the batch, on outdated advice, and keep a row for each.

    Args:
        network: The network that trains.
        head: A head or a module that holds heads.
        weight_decay: The decay of the first group.
        decay_all: Whether all of the network decays, its biases and norms too.
    """
    plain = [each for _, part in heads_in(head) for each in part.plain_parameters()]
    apart = {id(each) for each in plain}
    decaying: list[Tensor] = []
    free: list[Tensor] = []
    for module in (network, head):
        for parameter in module.parameters():
            if id(parameter) not in apart:
                decays = parameter.ndim >= 2 or (decay_all and module is network)
                (decaying if decays else free).append(parameter)
    return [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
        {"params": plain, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False},
    ]
