"""The network as kernels that torch.compile makes of it.

Experimental on a GPU: not run on one yet; the tests compile for the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from facever.errors import ParameterError


def compiled(network: nn.Module) -> nn.Module:
    """The same network, its weights shared, compiled when it is first called.

    Each shape is compiled on its own: a run meets one, and kernels for any shape are
    slower.

    Args:
        network: The network, which keeps the plain names of its weights; save this one.
    """
    module = torch.compile(network, dynamic=False)
    assert isinstance(module, nn.Module)  # torch says less: any callable.
    return module


@contextmanager
def explain_compiler_errors() -> Iterator[None]:
    """What the compiler refuses within the block, in a line.

    Raises:
        ParameterError: If this machine has no compiler, or the compiler fails.
    """
    from torch._dynamo.exc import TorchDynamoException  # Seconds, for this alone.

    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ParameterError(
            f"compile=true: {reason}; install a C++ compiler such as g++ (on a GPU "
            "Triton too), or leave it out"
        ) from None
