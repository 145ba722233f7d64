"""How modules are imported: without what they can do without, and without looking for garbage."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Around an import: what it takes in if it is there counts as not installed.

    `structlog` draws tracebacks with `rich`, which nobody here sees. With what that imports in
    turn it was a sixth of the time that a process takes to start, and 7 MiB of its memory.
    Where it is imported already it is there again afterwards.
    """
    imported = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment] # so an import is refused
    try:
        yield
    finally:
        # Another thread may have been inside as well, and be gone by now.
        if imported is not None:
            sys.modules[name] = imported
        elif sys.modules.get(name) is None:
            sys.modules.pop(name, None)


@contextmanager
def uncollected() -> Iterator[None]:
    """Around the imports of a process: nobody looks for garbage among what they make.

    It all lives as long as the process does. To look through it again and again took an eighth
    of a start.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
