"""Keeps a module from being imported by another that can do without it."""

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
        if imported is None:
            del sys.modules[name]
        else:
            sys.modules[name] = imported
