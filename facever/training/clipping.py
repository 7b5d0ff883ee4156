"""Gradients that are too long, cut to a length."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facever.training.distributed import Processes
from facever.training.heads_across_processes import sliced_parameters


@torch.no_grad()
def clip_gradients(
    network: nn.Module, head: nn.Module, limit: float, processes: Processes
) -> Float[Tensor, ""]:
    """Scale all gradients, in place, so that their common length is at most a limit.

    Class vectors that the processes share count as one matrix. All processes must call
    it, after their gradients were made alike.

    Args:
        network: The network, with the gradients of the whole batch.
        head: The heads, with the gradients of the whole batch.
        limit: Largest root of the sum of squares over all parameters; positive.
        processes: The processes of the job.

    Returns:
        The length of the gradient before it was clipped.

    References:
        Pascanu et al., On the difficulty of training recurrent neural networks, 2013.
    """
    sliced = sliced_parameters(head)
    shared_values: list[Tensor] = []
    own_values: list[Tensor] = []
    parameters = [*network.parameters(), *head.parameters()]
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            # A row stands there once for each sample of its class until they are added.
            parameter.grad = gradient = gradient.coalesce()
            gradient = gradient._values()
        (own_values if id(parameter) in sliced else shared_values).append(gradient)
    device = parameters[0].device
    square = processes.add(_square(own_values, device)) + _square(shared_values, device)
    # One factor for all, whatever the processes' devices round.
    norm = processes.copy_from_first(square.sqrt())
    factor = (limit / norm).clamp_max(1)
    for values in (*own_values, *shared_values):
        values.mul_(factor)
    return norm


def _square(gradients: list[Tensor], device: torch.device) -> Float[Tensor, ""]:
    """Sum of squares, 0 of none."""
    norms = [torch.linalg.vector_norm(each) for each in gradients]
    norms = [*norms, torch.zeros((), device=device)]
    return torch.stack([norm.to(torch.float64) for norm in norms]).square().sum()
