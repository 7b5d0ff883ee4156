"""Freed memory that the process keeps, for the activations of the next step."""

import ctypes

# From malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let large tensors take memory that was freed, for as long as the process lives.

    The C library gives a large block back to the system when it is freed, and the
    system fills each page with zeros when it is taken again: a tenth of the time of a
    step on a CPU. Kept instead, a step takes the blocks of the one before. Nothing
    happens where the C library is not GNU's.

    References:
        mallopt(3) of the Linux manual pages.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
