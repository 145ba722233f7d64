"""Carries JSON lines into a log: in order, each once, however often it is interrupted.

One batch is under way at a time, so positions follow the file. Event ids depend on nothing
but the source and the line, so whatever is sent again is recognised by the server.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, BinaryIO

import grpc

from cli.client.retrying import CallRefused, RetryPolicy, Unavailable, UnderWay
from cli.client.transport import open_channel
from cli.importing.jsonlines import BadLine, Format, Line, draft, event_id, lines
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import events_pb2_grpc as rpc
from services.plumbing.correlation import CORRELATION_KEY

__all__ = ["CallRefused", "Job", "Report", "Unavailable", "import_lines"]

NAMESPACE = uuid.UUID("c2f0e7a4-5a0b-5b5e-9a63-7d1c0a1f6b0e")
"""Makes the ids of imported events differ from everybody else's. Never changed."""

BATCH_BYTES_MAX = 4 * 1024 * 1024
_CALL_TIMEOUT_S = 30.0

_CHANNEL_OPTIONS = (
    # A service that was killed is back sooner than gRPC would look by itself.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


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
    """Answers an access token that outlives one call; asked for each call, since an import may
    outlive many tokens. The log is its tenant's. Raises Failed."""

    def metadata(self) -> list[tuple[str, str]]:
        """For one call."""
        return [
            (CORRELATION_KEY, self.correlation_id),
            ("authorization", f"Bearer {self.token()}"),
        ]


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

    events: list[pb.Event]
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

    Raises BadLine unless `job.skips_bad`, with everything before that line stored; CallRefused;
    Unavailable. Whatever was raised, the same import made again goes on where this ended.
    """
    with open_channel(address, environ, _CHANNEL_OPTIONS) as channel:
        run = _Import(channel, job, on_bad, on_trouble)
        return run.all(file, on_progress)


class _Import:
    def __init__(
        self,
        channel: grpc.Channel,
        job: Job,
        on_bad: Callable[[BadLine], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._stub: Any = rpc.EventStoreServiceStub(channel)
        self._job = job
        self._on_bad = on_bad
        self._patience = RetryPolicy(job.retry_for_s, on_trouble)
        self._report = Report()
        self._began = time.monotonic()
        self._head_position = 0

    def all(self, file: BinaryIO, on_progress: Callable[[Report], None]) -> Report:
        self._head_position = self._patience.result(self._ask_head).head_position
        for _ in self._exchange(self._batches(lines(file))):
            self._report.retry_count = self._patience.retry_count
            self._report.duration_s = time.monotonic() - self._began
            on_progress(self._report)
        return self._report

    def _exchange(self, batches: Iterator[_Batch]) -> Iterator[None]:
        """Send the batches one after another; the next is cut while one is under way."""
        batch = next(batches)
        while True:
            under_way = self._append(batch) if batch.events else None
            following, bad = _next_or_bad(batches)
            # A bad line ends the import, and what stands before it is stored nevertheless.
            self._finish(batch, under_way)
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
                event = self._event(line)
            except BadLine as bad:
                if not self._job.skips_bad:
                    yield batch
                    raise
                self._skip(bad)
                continue
            size += event.ByteSize()
            if batch.events and (
                size > BATCH_BYTES_MAX or len(batch.events) >= self._job.batch_count_max
            ):
                yield batch
                batch, size = _Batch([], []), event.ByteSize()
            batch.events.append(event)
            batch.numbers.append(line.number)
        yield batch

    def _event(self, line: Line | BadLine) -> pb.Event:
        if isinstance(line, BadLine):
            raise line
        cut = draft(line, self._job.form)
        try:
            return pb.Event(
                id=event_id(self._job.namespace, self._job.source, line),
                stream=cut.stream,
                type=cut.type,
                json=cut.payload,
            )
        except ValueError as error:
            # "\ud800" is JSON, and no text.
            raise BadLine(line.number, "holds half a surrogate pair") from error

    def _skip(self, bad: BadLine) -> None:
        self._report.skipped += 1
        self._on_bad(bad)

    def _ask_head(self) -> UnderWay[pb.GetLogResponse]:
        call: UnderWay[pb.GetLogResponse] = self._stub.GetLog.future(
            pb.GetLogRequest(), timeout=_CALL_TIMEOUT_S, metadata=self._job.metadata()
        )
        return call

    def _append(self, batch: _Batch) -> UnderWay[pb.AppendResponse]:
        call: UnderWay[pb.AppendResponse] = self._stub.Append.future(
            pb.AppendRequest(events=batch.events),
            timeout=_CALL_TIMEOUT_S,
            metadata=self._job.metadata(),
        )
        return call

    def _finish(self, batch: _Batch, under_way: UnderWay[pb.AppendResponse] | None) -> None:
        """Wait until a batch is stored; bad lines that may be skipped are left out of it."""
        retry_count = self._patience.retry_count
        while batch.events:
            try:
                response = self._patience.result(partial(self._append, batch), under_way)
            except CallRefused as refused:
                batch, under_way = self._without_bad(batch, refused), None
            else:
                was_repeated = self._patience.retry_count > retry_count
                self._count(batch, response, was_repeated=was_repeated)
                return

    def _without_bad(self, batch: _Batch, refused: CallRefused) -> _Batch:
        """The batch without the lines that the server finds bad. Raises for what is not theirs."""
        problems = dict(_bad_events(batch, refused))
        if not problems:
            raise refused
        for index, message in sorted(problems.items()):
            bad = BadLine(batch.numbers[index], message)
            if not self._job.skips_bad:
                self._store_before(batch, index)
                raise bad from refused
            self._skip(bad)
        return batch.without(problems)

    def _store_before(self, batch: _Batch, index: int) -> None:
        """Store what stands before a bad line, as promised."""
        good = _Batch(batch.events[:index], batch.numbers[:index])
        self._finish(good, None)

    def _count(self, batch: _Batch, response: pb.AppendResponse, *, was_repeated: bool) -> None:
        report = self._report
        for placement in response.placements:
            # A call whose answer was lost finds its own events when it is repeated. They lie
            # above the head that this import began with.
            is_own = was_repeated and placement.position > self._head_position
            if placement.already_stored and not is_own:
                report.already_stored += 1
            else:
                report.appended += 1
        positions = [placement.position for placement in response.placements]
        report.first_position = min(*positions, report.first_position or positions[0])
        report.last_position = max(*positions, report.last_position or 0)
        report.last_line = batch.numbers[-1]


def _next_or_bad(batches: Iterator[_Batch]) -> tuple[_Batch | None, BadLine | None]:
    try:
        return next(batches, None), None
    except BadLine as bad:
        return None, bad


_FIELD_OF_EVENT = re.compile(r"events\[(\d+)\]\.?(.*)", re.DOTALL).fullmatch


def _bad_events(batch: _Batch, refused: CallRefused) -> Iterator[tuple[int, str]]:
    """Which events of a refused batch are to blame, by index, and why."""
    error = refused.error
    for violation in error.violations:
        match = _FIELD_OF_EVENT(violation.field)
        if match and int(match[1]) < len(batch.events):
            yield int(match[1]), f"{match[2] or 'event'}: {violation.description}"
    if error.reason == "EVENT_ID_REUSED":
        reused = error.metadata.get("event_ids", "").split(",")
        for index, event in enumerate(batch.events):
            if event.id in reused:
                yield index, "was imported before, as another event (other options perhaps)"
