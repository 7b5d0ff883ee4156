"""Weights that can be computed with: floating numbers, finite, no negative variance."""

import torch
from torch import Tensor

from facever.errors import DataError

_VARIANCE = "running_var"


def check_tensor(name: str, value: Tensor) -> None:
    """Refuse a floating tensor of a network that no training gives.

    Args:
        name: What the network calls it; of a running variance it ends in
            ``running_var``.
        value: Its numbers.

    Raises:
        DataError: If a number is not finite, or a variance is negative, or all of a
            layer's are zero: one channel may have died, a whole layer has not been
            trained.
    """
    if not torch.isfinite(value).all():
        raise DataError(f"{name} holds numbers that are not finite")
    if name.endswith(_VARIANCE) and value.numel():
        if value.min() < 0:
            raise DataError(f"{name} holds a negative variance, {value.min():g}")
        if value.max() == 0:
            raise DataError(f"{name} holds no variance above zero")
