"""Shows on stderr, where that is a terminal, how far something is that takes its time."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Tells that so many more have come."""


@contextmanager
def counted(unit: str, total: int | None = None) -> Iterator[Advance]:
    """Something that is computed, then comes in parts: the time runs from the beginning on."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    template = (
        f"{{task.completed:,}} of {total:,} {unit}" if total else f"{{task.completed:,}} {unit}"
    )
    columns = [SpinnerColumn(), TextColumn(template), TimeElapsedColumn()]
    if total:
        columns.insert(1, BarColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.update(task, advance=count)
