"""`girih import` as people see it: progress, the rate at the end, and an exit code."""

import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli import exit_codes
from cli.client.rest import Tokens
from cli.failure import Failed
from cli.importing.importer import NAMESPACE, Job, Report, import_lines
from cli.importing.jsonlines import BadLine, Format
from cli.terminal import formats, output
from girih.client import GirihError, PermissionDenied, Unauthenticated, Unavailable
from services.plumbing import correlation

_PLAIN_INTERVAL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line, understood."""

    address: str
    source: str
    stream_field: str
    type_field: str
    namespace: uuid.UUID | None
    batch_count_max: int
    retry_for_s: float
    skips_bad: bool
    tokens: Tokens
    output_format: formats.Format


def run(path: Path, request: Request) -> None:
    """Import, tell people about it on stderr and the outcome on stdout. Raises Failed."""
    job = _job(request)
    console = Console(stderr=True, highlight=False)
    outcome = _Outcome(job)
    try:
        with _opened(path) as file, _progress(console, file, path) as display:
            outcome.report = import_lines(
                request.address,
                file,
                job,
                environ=os.environ,
                on_progress=lambda report: outcome.see(report, display),
                on_bad=lambda bad: display.say(f"{path}: {bad}; passed over"),
                on_trouble=lambda message: display.say(f"{request.address}: {message}"),
            )
    except BadLine as error:
        outcome.fail(exit_codes.DATAERR, f"{path}: {error}")
    except Unavailable as error:
        away = f"{error.code.name} for {request.retry_for_s:g} s: {error.message}"
        outcome.fail(exit_codes.UNAVAILABLE, f"events at {request.address} is away: {away}")
    except GirihError as error:
        outcome.fail(_exit_code(error), f"events at {request.address} refuses: {error}")
    except OSError as error:
        outcome.fail(exit_codes.USAGE, f"{path}: {error.strerror or error}")
    except Failed as error:
        outcome.fail(error.exit_code, str(error))
    except KeyboardInterrupt:
        outcome.fail(exit_codes.INTERRUPTED, "interrupted")
    outcome.show(request.output_format)


def _exit_code(refused: GirihError) -> int:
    is_about_caller = isinstance(refused, Unauthenticated | PermissionDenied)
    return exit_codes.NOPERM if is_about_caller else exit_codes.FAILED


def _job(request: Request) -> Job:
    return Job(
        source=request.source,
        correlation_id=correlation.fresh(),
        form=Format(request.stream_field, request.type_field),
        namespace=request.namespace or NAMESPACE,
        batch_count_max=request.batch_count_max,
        retry_for_s=request.retry_for_s,
        skips_bad=request.skips_bad,
        token=request.tokens.for_services,
    )


class _Shown(Protocol):
    """Where people look while the import runs."""

    def say(self, line: str) -> None: ...

    def update(self, report: Report) -> None: ...


class _Outcome:
    """How it went, for people and for programs."""

    def __init__(self, job: Job) -> None:
        self.report = Report()
        self._exit_code = 0
        self._error = ""
        self._job = job

    def see(self, report: Report, display: _Shown) -> None:
        self.report = report
        display.update(report)

    def fail(self, exit_code: int, message: str) -> None:
        self._exit_code, self._error = exit_code, message

    def show(self, output_format: formats.Format) -> None:
        """Print what became of the file. Raises Failed for what kept it from its end."""
        is_begun = bool(self.report.event_count or self.report.skipped)
        if not output_format.is_for_people:
            output.document(self._as_json(), output_format)
        elif is_begun or not self._error:
            print(self._sentence())
        if self._error:
            may_go_on = self._exit_code in {exit_codes.UNAVAILABLE, exit_codes.INTERRUPTED}
            hint = "\nImport again to go on; nothing is stored twice." if may_go_on else ""
            raise Failed(f"{self._error}{hint}", self._exit_code)

    def _as_json(self) -> dict[str, object]:
        return {
            "source": self._job.source,
            **{formats.camel_case(name): value for name, value in asdict(self.report).items()},
            "eventsPerS": round(self.report.events_per_s, 1),
            "correlation_id": self._job.correlation_id,
            "error": self._error or None,
        }

    def _sentence(self) -> str:
        report = self.report
        where = f", positions {report.first_position} to {report.last_position}"
        skipped = f", {report.skipped:,} bad lines passed over" if report.skipped else ""
        return (
            f"{report.appended:,} events appended, {report.already_stored:,} already there"
            f"{where if report.event_count else ''}{skipped};"
            f" {report.duration_s:.2f} s, {report.events_per_s:,.0f} events/s"
        )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
    else:
        with path.open("rb", buffering=1024 * 1024) as file:
            yield file


@contextmanager
def _progress(console: Console, file: BinaryIO, path: Path) -> Iterator[_Shown]:
    """A bar on a terminal, now and then a line elsewhere."""
    total = path.stat().st_size if path.is_file() else None
    if not console.is_terminal:
        yield _Lines()
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(path.name, total=total, events=0, rate=0.0)
        yield _Bar(bar, task, file if total else None)


class _Bar:
    def __init__(self, bar: Progress, task: TaskID, file: BinaryIO | None) -> None:
        self._bar = bar
        self._task = task
        self._file = file

    def say(self, line: str) -> None:
        self._bar.console.print(line, markup=False)

    def update(self, report: Report) -> None:
        self._bar.update(
            self._task,
            completed=self._file.tell() if self._file else None,
            events=report.event_count,
            rate=report.events_per_s,
        )


class _Lines:
    def __init__(self) -> None:
        self._last = time.monotonic()

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)

    def update(self, report: Report) -> None:
        if time.monotonic() - self._last > _PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            self.say(f"{report.event_count:,} events, {report.events_per_s:,.0f}/s")
