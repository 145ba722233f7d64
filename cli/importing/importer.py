"""Carries JSON lines into a log: in order, each once, however often it is interrupted.

One batch is under way at a time, so positions follow the file. Event ids depend on nothing
but the source and the line, so whatever is sent again is recognised by the server.
"""

import asyncio
import math
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import BinaryIO

from anyio.from_thread import BlockingPortal, start_blocking_portal

from cli.client.transport import credentials
from cli.failure import Failed
from cli.importing.jsonlines import BadLine, Format, Line, draft, event_id, lines
from girih.client import (
    AppendStream,
    CallContext,
    EventIdReused,
    EventStoreClient,
    GirihError,
    InvalidRequest,
    NewEvent,
    Placement,
    RetryPolicy,
    Unavailable,
)

NAMESPACE = uuid.UUID("c2f0e7a4-5a0b-5b5e-9a63-7d1c0a1f6b0e")
"""Makes the ids of imported events differ from everybody else's. Never changed."""

BATCH_BYTES_MAX = 4 * 1024 * 1024
"""Of lines. An event takes about as much as its line."""
_ATTEMPT_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to import, and how."""

    source: str
    """Part of every event's id: the same file under another name is another source."""
    correlation_id: str
    form: Format = field(default_factory=Format)
    namespace: uuid.UUID = NAMESPACE
    batch_count_max: int = 1_000
    retry_for_s: float = 60.0
    """How long the server may be away before the import gives up."""
    skips_bad: bool = False
    token: Callable[[], str]
    """Answers an access token; asked for each call, since an import may outlive many tokens. The
    log is its tenant's. Raises Failed."""


@dataclass
class Report:
    """What became of the lines."""

    appended: int = 0
    already_stored: int = 0
    skipped: int = 0
    retry_count: int = 0
    last_line: int = 0
    """Everything up to this line is stored or skipped."""
    first_position: int | None = None
    last_position: int | None = None
    duration_s: float = 0.0

    @property
    def event_count(self) -> int:
        return self.appended + self.already_stored

    @property
    def events_per_s(self) -> float:
        return self.event_count / self.duration_s if self.duration_s else 0.0


@dataclass(frozen=True)
class _Batch:
    """Consecutive events of the file, and the line of each."""

    events: list[NewEvent]
    numbers: list[int]

    def without(self, indexes: Iterable[int]) -> "_Batch":
        kept = sorted(set(range(len(self.events))) - set(indexes))
        return _Batch([self.events[at] for at in kept], [self.numbers[at] for at in kept])


def import_lines(
    address: str,
    file: BinaryIO,
    job: Job,
    *,
    environ: Mapping[str, str] = MappingProxyType({}),
    on_progress: Callable[[Report], None] = lambda _report: None,
    on_bad: Callable[[BadLine], None] = lambda _bad: None,
    on_trouble: Callable[[str], None] = lambda _message: None,
) -> Report:
    """Append the lines of `file` that are not stored yet. Memory does not grow with the file.

    `environ` says how the calls are encrypted.

    Raises BadLine unless `job.skips_bad`, with everything before that line stored, and
    GirihError: Unavailable when the server was away for longer than `job.retry_for_s`.
    Whatever was raised, the same import made again goes on where this ended.
    """
    run = _Import(job, on_bad, on_trouble)
    # The calls have a thread and an event loop of their own, so that this one may wait for
    # the file, and be interrupted.
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        client = EventStoreClient.connect(
            address,
            token=run.token,
            tls=credentials(environ),
            context=lambda: CallContext(job.correlation_id),
            retry=run.retry_policy,
        )
        events = stack.enter_context(portal.wrap_async_context_manager(client))
        head_position = portal.call(events.head)
        stream = portal.wrap_async_context_manager(events.append_stream())
        appends = stack.enter_context(stream)
        return run.all(file, _Appender(portal, appends), head_position, on_progress)


class _Appender:
    """Appends of one call, begun and awaited from this thread."""

    def __init__(self, portal: BlockingPortal, appends: AppendStream) -> None:
        self._portal = portal
        self._appends = appends

    def begin(self, events: list[NewEvent]) -> "Future[list[Placement]]":
        return self._portal.start_task_soon(self._placements, events)

    async def _placements(self, events: list[NewEvent]) -> list[Placement]:
        return await (await self._appends.begin(events))


class _Import:
    def __init__(
        self, job: Job, on_bad: Callable[[BadLine], None], on_trouble: Callable[[str], None]
    ) -> None:
        self._job = job
        self._on_bad = on_bad
        self._on_trouble = on_trouble
        self._report = Report()
        self._began_s = time.monotonic()
        self._away_since_s: float | None = None
        self._head_position = 0

    @property
    def retry_policy(self) -> RetryPolicy:
        """How long attempts are repeated is decided by `_on_retry`."""
        return RetryPolicy(
            timeout_s=math.inf, attempt_timeout_s=_ATTEMPT_TIMEOUT_S, on_retry=self._on_retry
        )

    async def token(self) -> str:
        try:
            # A thread: it may have to be renewed by the gateway.
            return await asyncio.to_thread(self._job.token)
        except Failed as failed:
            if not failed.may_pass:
                raise
            raise Unavailable.no_answer(str(failed).splitlines()[0]) from failed

    def all(
        self,
        file: BinaryIO,
        appender: _Appender,
        head_position: int,
        on_progress: Callable[[Report], None],
    ) -> Report:
        self._head_position = head_position
        for _ in self._exchange(appender, self._batches(lines(file))):
            self._report.duration_s = time.monotonic() - self._began_s
            on_progress(self._report)
        return self._report

    def _on_retry(self, error: GirihError) -> None:
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
            self._on_trouble(f"{_trouble(error)}; trying again")
        if now_s - self._away_since_s >= self._job.retry_for_s:
            raise error
        self._report.retry_count += 1

    def _exchange(self, appender: _Appender, batches: Iterator[_Batch]) -> Iterator[None]:
        """Send the batches one after another; the next is cut while one is under way."""
        batch = next(batches)
        while True:
            under_way = appender.begin(batch.events) if batch.events else None
            following, bad = _next_or_bad(batches)
            # A bad line ends the import, and what stands before it is stored nevertheless.
            self._finish(appender, batch, under_way)
            yield
            if bad is not None:
                raise bad
            if following is None:
                return
            batch = following

    def _batches(self, parsed: Iterable[Line | BadLine]) -> Iterator[_Batch]:
        """Cut the lines into batches. Ends with a last one, empty perhaps, or with BadLine."""
        batch, size = _Batch([], []), 0
        for line in parsed:
            try:
                if isinstance(line, BadLine):
                    raise line
                event = self._event(line)
            except BadLine as bad:
                if not self._job.skips_bad:
                    yield batch
                    raise
                self._skip(bad)
                continue
            size += len(line.content)
            if batch.events and (
                size > BATCH_BYTES_MAX or len(batch.events) >= self._job.batch_count_max
            ):
                yield batch
                batch, size = _Batch([], []), len(line.content)
            batch.events.append(event)
            batch.numbers.append(line.number)
        yield batch

    def _event(self, line: Line) -> NewEvent:
        cut = draft(line, self._job.form)
        if not (_is_text(cut.stream) and _is_text(cut.type)):
            raise BadLine(line.number, "must not hold half a surrogate pair")
        return NewEvent(
            id=event_id(self._job.namespace, self._job.source, line),
            stream=cut.stream,
            type=cut.type,
            json=cut.payload,
        )

    def _skip(self, bad: BadLine) -> None:
        self._report.skipped += 1
        self._on_bad(bad)

    def _finish(
        self, appender: _Appender, batch: _Batch, under_way: "Future[list[Placement]] | None"
    ) -> None:
        """Wait until a batch is stored; bad lines that may be skipped are left out of it."""
        retry_count = self._report.retry_count
        while batch.events:
            try:
                placements = (under_way or appender.begin(batch.events)).result()
            except (InvalidRequest, EventIdReused) as refused:
                batch, under_way = self._without_bad(appender, batch, refused), None
            else:
                self._away_since_s = None
                was_repeated = self._report.retry_count > retry_count
                self._count(batch, placements, was_repeated=was_repeated)
                return

    def _without_bad(
        self, appender: _Appender, batch: _Batch, refused: InvalidRequest | EventIdReused
    ) -> _Batch:
        """The batch without the lines that the server finds bad. Raises for what is not theirs."""
        problems = dict(_bad_events(batch, refused))
        if not problems:
            raise refused
        for index, message in sorted(problems.items()):
            bad = BadLine(batch.numbers[index], message)
            if not self._job.skips_bad:
                # What stands before a bad line is stored, as promised.
                self._finish(appender, _Batch(batch.events[:index], batch.numbers[:index]), None)
                raise bad from refused
            self._skip(bad)
        return batch.without(problems)

    def _count(self, batch: _Batch, placements: list[Placement], *, was_repeated: bool) -> None:
        report = self._report
        for placement in placements:
            # A call whose answer was lost finds its own events when it is repeated. They lie
            # above the head that this import began with.
            is_own = was_repeated and placement.position > self._head_position
            if placement.already_stored and not is_own:
                report.already_stored += 1
            else:
                report.appended += 1
        positions = [int(placement.position) for placement in placements]
        report.first_position = min(*positions, report.first_position or positions[0])
        report.last_position = max(*positions, report.last_position or 0)
        report.last_line = batch.numbers[-1]


def _next_or_bad(batches: Iterator[_Batch]) -> tuple[_Batch | None, BadLine | None]:
    try:
        return next(batches, None), None
    except BadLine as bad:
        return None, bad


_FIELD_OF_EVENT = re.compile(r"events\[(\d+)\]\.?(.*)", re.DOTALL).fullmatch


def _bad_events(
    batch: _Batch, refused: InvalidRequest | EventIdReused
) -> Iterator[tuple[int, str]]:
    """Which events of a refused batch are to blame, by index, and why."""
    if isinstance(refused, EventIdReused):
        for index, event in enumerate(batch.events):
            if event.id in refused.event_ids:
                yield index, "was imported before, as another event (other options perhaps)"
        return
    for violation in refused.violations:
        match = _FIELD_OF_EVENT(violation.field)
        if match and int(match[1]) < len(batch.events):
            yield int(match[1]), f"{match[2] or 'event'}: {violation.description}"


def _is_text(text: str) -> bool:
    """Whether UTF-8 has it: "\\ud800" is JSON, and no text."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _trouble(error: GirihError) -> str:
    return f"{error.code.name}: {error.message}" if error.message else error.code.name
