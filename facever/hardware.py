"""Which device and which number format to compute with.

torch is imported where it is asked for: that takes seconds, and other runtimes than
torch do without.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from facever.choices import Precision
from facever.environment import cpu_units
from facever.errors import ParameterError

if TYPE_CHECKING:
    import torch

# Files of drivers: NVIDIA's, AMD's, and those of Windows under Linux.
_GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def device_name(name: str = "auto") -> str:
    """The name of a device, as ``pick_device`` finds it.

    torch is not imported where the CPU is meant, or all there is.

    Raises:
        ParameterError: If there is no such device on this machine.
    """
    has_gpu = any(Path(file).exists() for file in _GPU_FILES)
    if name == "cpu" or (name == "auto" and not has_gpu):
        return "cpu"
    return str(pick_device(name))


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name, or the best one that is there.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or any other name of torch's.

    Returns:
        The device.

    Raises:
        ParameterError: If there is no such device on this machine.
    """
    import torch

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


def has_bf16_units(device: str) -> bool:
    """Whether a device multiplies bfloat16 in hardware, not by emulation.

    Args:
        device: ``cpu``, or another name of torch's.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device == "cpu":
        return bool({"avx512_bf16", "amx_bf16"} & set(cpu_units()))
    return False


def precision_name(bf16: bool) -> Literal["bf16", "fp32"]:
    """The name of the numbers that a network computes with, as ``precision`` has it."""
    return "bf16" if bf16 else "fp32"


def uses_bf16(precision: Precision, device: str) -> bool:
    """Whether a precision means bfloat16 on a device.

    ``auto`` takes bfloat16 where there are units for it, float32 elsewhere.

    Raises:
        ParameterError: If it is asked of a device without units, which would emulate
            it, a hundred times as slowly.
    """
    has_units = has_bf16_units(device)
    if precision == "bf16" and not has_units:
        raise ParameterError(
            f"precision must be auto or fp32, got 'bf16', for which {device} has no "
            "units (avx512_bf16 or amx_bf16; of a GPU, compute capability 8.0)"
        )
    return has_units if precision == "auto" else precision == "bf16"
