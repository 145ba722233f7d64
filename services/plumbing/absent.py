"""Keeps a module from being imported by another that can do without it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Around an import: what it takes in if it is there counts as not installed.

    `structlog` draws tracebacks with `rich`, which nobody here sees. With what that imports in
    turn it was a sixth of the time that a process takes to start, and 7 MiB of its memory.
    What is imported already stays.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment] # so an import is refused
    try:
        yield
    finally:
        del sys.modules[name]
