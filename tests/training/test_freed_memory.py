"""Memory that a step frees is taken again by the next."""

import ctypes
import subprocess
import sys

import pytest

# Fresh pages are counted in a process of its own: nothing undoes what it does.
_PROGRAM = """
import resource, sys
import numpy as np
from facever.training.freed_memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
np.ones(1 << 26, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(1 << 26, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _new_pages(how: str) -> int:
    command = [sys.executable, "-c", _PROGRAM, how]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not GNU's C library"
)
def test_large_blocks_are_taken_again() -> None:
    assert _new_pages("kept") < _new_pages("given back") / 10
