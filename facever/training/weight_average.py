"""A moving average of a network's weights, which judges better than the last ones."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """``average += (1 - d) (weights - average)`` after every step.

    d is ``min(decay, (1 + step) / (10 + step))``, so that a short run is not the
    average of its random start. Running statistics of batch normalisation are averaged
    as weights are; what counts in whole numbers is copied.

    Args:
        network: The network whose weights the average begins with.
        decay: Decay of the average at each step, in (0, 1); about ``1 / (1 - decay)``
            steps count.

    References:
        Polyak and Juditsky, Acceleration of stochastic approximation by averaging,
        1992; the warm-up of d is that of TensorFlow's ``ExponentialMovingAverage``.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in network.state_dict().items()
        }

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """After a step, counted from 1, of which the network has the weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            average = self.weights[name]
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's.

        Raises:
            KeyError: If the weights are those of another network.
            RuntimeError: If a weight has another shape.
        """
        for name, average in self.weights.items():
            average.copy_(weights[name])
