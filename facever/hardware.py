"""Which device and which number format to compute with."""

import torch

from facever.choices import Precision
from facever.errors import ParameterError


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name, or the best one that is there.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or any other name of torch's.

    Returns:
        The device.

    Raises:
        ParameterError: If there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" computes nothing
    except (RuntimeError, AssertionError, ImportError):
        raise ParameterError(
            f"device must be auto, cpu or one that this machine has, got {name!r}"
        ) from None
    return device


def has_bf16_units(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware, not by emulation."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        known = torch.cpu.get_capabilities()
        return any(known.get(unit, False) for unit in ("avx512_bf16", "amx_bf16"))
    return False


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether a precision means bfloat16 on a device.

    ``auto`` takes bfloat16 where there are units for it, float32 elsewhere.
    """
    if precision == "auto":
        return has_bf16_units(device)
    return precision == "bf16"
