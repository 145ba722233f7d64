"""How a job is shown while it runs: a bar, its rate, the time left, and what it observes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Shown = Callable[[Any], None]
"""Takes the job as it is now."""


@contextmanager
def progress_of(job: Any) -> Iterator[Shown]:  # noqa: ANN401 - JSON
    """A line on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.fields[state]}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[pace]}"),
        TextColumn("{task.fields[observed]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("job", total=int(job["steps"]), state="", pace="", observed="")

        def show(now: Any) -> None:  # noqa: ANN401 - JSON
            progress.update(
                task,
                completed=int(now["progress"]["stepsDone"]),
                state=now["state"].removeprefix("JOB_STATE_").lower(),
                pace=pace(now["progress"]),
                observed=observed(now["progress"]),
            )

        show(job)
        yield show


def pace(progress: Any) -> str:  # noqa: ANN401 - JSON
    """How fast it goes, and how long it still takes; empty before that is known."""
    if not progress["stepsPerS"]:
        return ""
    left_s = round(progress["leftS"])
    left = f"{left_s // 3600}:{left_s // 60 % 60:02}:{left_s % 60:02}"
    return f"{progress['stepsPerS']:,.3g} steps/s, {left} left"


def observed(progress: Any) -> str:  # noqa: ANN401 - JSON
    """The first two observables: mean and error."""
    return "  ".join(
        f"{each['name']} {measured(each, digits=5)}" for each in progress["observables"][:2]
    )


def measured(observable: Any, *, digits: int) -> str:  # noqa: ANN401 - JSON
    """A mean and its error, or what there is of them."""
    if "mean" not in observable:
        return "none yet"
    mean = f"{observable['mean']:.{digits}g}"
    return f"{mean} ± {observable['error']:.2g}" if "error" in observable else mean
