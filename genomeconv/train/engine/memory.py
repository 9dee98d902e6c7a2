"""What becomes of memory between two steps."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Have the process keep what it frees: the next step needs as much again.

    glibc gives large blocks back to the kernel one by one, and every step then takes
    its tensors as fresh pages, filled with zeros first: a fifth of the time of a step
    on a CPU. Kept, the blocks lie a little less densely (mallopt(3)). Elsewhere than
    on glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_TRIM_THRESHOLD, _NEVER)
    mallopt(_MMAP_MAX, 0)
