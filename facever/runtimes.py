"""The packages that compute networks, and how they are started."""

import os
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, get_args

from facever.choices import Backend
from facever.errors import ModelFileError, ParameterError

if TYPE_CHECKING:
    import openvino


class Runtime(NamedTuple):
    """A package that computes networks.

    Attributes:
        packages: What is imported.
        extra: The extra of facever that brings it; None where facever needs it anyway.
    """

    packages: tuple[str, ...]
    extra: str | None


RUNTIMES: dict[Backend, Runtime] = {
    "openvino": Runtime(("openvino",), "openvino"),
    "onnxruntime": Runtime(("onnx", "onnxruntime"), "onnx"),
    "torch": Runtime(("torch",), None),
}
"""By the name of the backend; those that are faster on CPUs come first."""


def is_installed(backend: Backend) -> bool:
    """Whether the packages of a backend are there; they are not imported."""
    return all(find_spec(package) for package in RUNTIMES[backend].packages)


def check_backend(backend: Backend) -> None:
    """Refuse a backend that is unknown, or not installed.

    Raises:
        ParameterError: If there is no backend of that name; the message lists them.
        ModelFileError: If its package is missing; the message says how it is had.
    """
    if backend not in get_args(Backend):
        names = ", ".join(get_args(Backend))
        raise ParameterError(f"backend must be one of {names}, got {backend!r}")
    if backend == "auto" or is_installed(backend):
        return
    runtime = RUNTIMES[backend]
    raise ModelFileError(
        f"backend {backend} needs the package {' and '.join(runtime.packages)}: "
        f"pip install '.[{runtime.extra}]' in a checkout of facever"
    )


@cache
def openvino_core() -> "openvino.Core":
    """The one core of OpenVINO in this process.

    On Linux every core that computes gives its thread another stack for signals,
    and puts the one before back when it ends. Cores that do not end in the reverse of
    their order leave a stack that is no more, and the next Ctrl-C or SIGTERM kills the
    process with a segmentation fault.
    """
    import openvino

    return openvino.Core()


def num_threads() -> int:
    """Threads that a runtime may use: OMP_NUM_THREADS, or the CPUs of this process."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
