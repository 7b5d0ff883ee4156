"""What a number was measured with: versions and machine, for reports and benchmarks."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from facever.version import __version__

_PACKAGES = ("torch", "numpy", "opencv-python-headless", "facenet-pytorch")
_UNITS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def describe_versions() -> dict[str, str]:
    """Versions of facever, Python and the packages that decide the numbers."""
    packages = {name: version(name) for name in _PACKAGES}
    return {"facever": __version__, "python": platform.python_version(), **packages}


def describe_commit() -> str | None:
    """The git commit of facever's own checkout, or None where it is installed.

    ``+changes`` stands behind it where files differ from the commit.
    """
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", *words], cwd=folder, capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changes else commit


def describe_machine() -> dict[str, str | int]:
    """The processor, the CPUs that this process may use, and the GPU if any."""
    import torch

    if hasattr(os, "sched_getaffinity"):
        num_cpus = len(os.sched_getaffinity(0))
    else:
        num_cpus = os.cpu_count() or 1
    machine: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "num_cpus": num_cpus,
    }
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def cpu_units() -> list[str]:
    """Which of the units that networks gain from the processor has, where known."""
    flags = _cpu_fields().get("flags", "").split()
    return [unit for unit in _UNITS if unit in flags]


def _processor() -> str:
    """The processor's name; Linux keeps it where platform does not look."""
    name = _cpu_fields().get("model name", platform.processor())
    units = cpu_units()
    return f"{name} ({', '.join(units)})" if units else name


def _cpu_fields() -> dict[str, str]:
    """What Linux says of its first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    fields = (line.partition(":")[::2] for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, value in fields}
