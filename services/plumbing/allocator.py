"""How the C library keeps what was freed. Knows nobody who allocates."""

import ctypes
import sys
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
"""Of glibc's malloc.h."""

_LARGE_BYTES: Final = 256 * 2**10


def give_back_freed_memory() -> None:
    """From now on what is large goes back to the system when it is freed. For glibc alone.

    Left to itself glibc takes the first large block that is freed as a sign that more will
    come, and from then on keeps all of them: of requests of some MiB, whatever was held at
    the worst moment. What it costs is the page faults of large blocks, a quarter of a
    millisecond a MiB. Two arenas, since one a thread would keep as much each.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    mallopt(_TRIM_THRESHOLD, _LARGE_BYTES)
    mallopt(_ARENA_MAX, 2)
