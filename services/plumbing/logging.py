"""Log lines: JSON for machines, readable for people, and never in the way of a call.

Lines go through a bounded queue to a thread of their own. When nobody reads what we write,
lines are dropped and counted, and calls are served on.
"""

import atexit
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final, Literal, Protocol

import orjson

from services.plumbing import correlation
from services.plumbing.importing import absent

with absent("rich"):
    import structlog
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]


class LogSettings(Protocol):
    """What a process is told of its log."""

    @property
    def log_level(self) -> LogLevel:
        """Lines below it are left out."""

    @property
    def log_renderer(self) -> LogFormat:
        """`json` is one object per line, `console` is for people."""


Render = Callable[[EventDict], bytes]

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_QUEUE_LINES_MAX = 10_000
_LINE_BYTES_MAX = 64 * 1024
_LINE_END = ord("\n")
_FLUSH_INTERVAL_S = 0.05
_EXIT_FLUSH_S = 1.0


class LineWriter:
    """Writes lines to a file descriptor from a thread; `write` never blocks and never raises."""

    def __init__(self, descriptor: int, lines_max: int = _QUEUE_LINES_MAX) -> None:
        self._descriptor = descriptor
        self._lines_max = lines_max
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._unwritten = 0
        self._is_cut = False
        """What was written last ends in the middle of a line."""
        self._closed = False
        self.dropped_count = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue one line that ends in a newline, or count it as dropped."""
        if len(self._lines) >= self._lines_max:
            self.dropped_count += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is written; false when the reader did not take it in time."""
        deadline_s = time.monotonic() + timeout_s
        while self._lines or self._unwritten:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.001)
        return True

    def close(self, timeout_s: float = _EXIT_FLUSH_S) -> None:
        """Write what is queued, as far as the reader takes it in time, and end the thread."""
        self.flush(timeout_s)
        self._closed = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            self._write_queued()
            # Gathers what is logged meanwhile: waking for every line would take the
            # interpreter away from the calls that log them.
            time.sleep(_FLUSH_INTERVAL_S)

    def _write_queued(self) -> None:
        while self._lines:
            self._unwritten = 1
            chunk = b"".join(self._take())
            # What could not be written whole is not to spoil the line behind it.
            data = memoryview(b"\n" + chunk if self._is_cut else chunk)
            try:
                while data:
                    data = data[self._write_some(data) :]
            except OSError:
                # The reader is gone or the disk is full: there is no one left to tell.
                self.dropped_count += bytes(data).lstrip(b"\n").count(b"\n")
            self._unwritten = 0

    def _write_some(self, data: memoryview) -> int:
        try:
            count = os.write(self._descriptor, data)
        except BlockingIOError:  # somebody who shares the pipe made it non-blocking
            time.sleep(_FLUSH_INTERVAL_S)
            return 0
        self._is_cut = data[count - 1] != _LINE_END
        return count

    def _take(self) -> list[bytes]:
        return [self._lines.popleft() for _ in range(min(len(self._lines), 256))]


class _Log:
    """The process's one log: where lines go, how they look, and from which level on."""

    def __init__(self, writer: LineWriter, render: Render, level: int) -> None:
        self.writer = writer
        self.render = render
        self.level = level


_log: _Log | None = None


def configure(settings: LogSettings, descriptor: int | None = None) -> None:
    """Send all logs of this process, the libraries' included, to `descriptor` (or stdout)."""
    global _log  # noqa: PLW0603 - a process has one log
    close()
    level = LEVELS[settings.log_level]
    writer = LineWriter(sys.stdout.fileno() if descriptor is None else descriptor)
    log = _log = _Log(writer, _renderer(settings.log_renderer), level)
    structlog.configure(
        processors=[
            _add_call,
            structlog.processors.add_log_level,
            _add_time,
            _add_exception,
            lambda _logger, _method, event: log.render(event),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_names: _WriterLogger(writer),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=max(level, logging.INFO), force=True)
    logging.captureWarnings(capture=True)
    atexit.register(flush)


def close() -> None:
    """Write the last lines and stop; what is logged after that goes nowhere of ours."""
    global _log  # noqa: PLW0603
    if _log is not None:
        _log.writer.close()
        _log = None


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of a part of the system; `log.info("what happened", how_many=3)`."""
    logger: FilteringBoundLogger = structlog.get_logger(component=name)
    return logger


def flush(timeout_s: float = _EXIT_FLUSH_S) -> None:
    """Wait for the lines written so far; for the last words of a process."""
    if _log is not None:
        _log.writer.flush(timeout_s)


def dropped_count() -> int:
    """How many lines were lost because nobody read them."""
    return 0 if _log is None else _log.writer.dropped_count


def write_line(level: str, fields: EventDict) -> None:
    """Write one line with exactly these fields: the short way for the line of every call.

    Leaves out what structlog's chain adds, which the caller knows already.
    """
    log = _log
    if log is not None and LEVELS[level] >= log.level:
        log.writer.write(log.render({**fields, "level": level, "timestamp": datetime.now(UTC)}))


def _renderer(log_format: "LogFormat") -> Render:
    return _render_json if log_format == "json" else _render_console


def _render_json(event: EventDict) -> bytes:
    try:
        line = orjson.dumps(event, default=repr)
    except TypeError:  # keys that are no text, which take longer to look for than to write
        line = _dumped_anyway(event)
    if len(line) > _LINE_BYTES_MAX:
        return _render_json(_abridged(event))
    return line + b"\n"


def _dumped_anyway(event: EventDict) -> bytes:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # numbers beyond 64 bits, halves of surrogate pairs, keys of any kind
        return orjson.dumps({ascii(name)[1:-1]: _safe(value) for name, value in event.items()})


def _safe(value: object) -> object:
    return value if isinstance(value, datetime) else ascii(value).strip("'")


def _abridged(event: EventDict) -> EventDict:
    chars_max = (
        _LINE_BYTES_MAX // (len(event) + 1) // 6
    )  # an escaped character takes up to six bytes
    kept = {
        name: value if _is_short(value) else str(value)[:chars_max] for name, value in event.items()
    }
    return {str(name)[:100]: value for name, value in kept.items()} | {"abridged": True}


def _is_short(value: object) -> bool:
    return isinstance(value, bool | int | float | datetime | None)


_console = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=32, sort_keys=False)


def _render_console(event: EventDict) -> bytes:
    event = {"timestamp": "", **event}
    moment = event["timestamp"]
    if isinstance(moment, datetime):
        event["timestamp"] = moment.astimezone().strftime("%H:%M:%S.%f")[:-3]
    return (_console(None, "", event) + "\n").encode("utf-8", "backslashreplace")


def _add_call(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    call = correlation.bound()
    if call is not None:
        event.setdefault("correlation_id", call.correlation_id)
        if call.tenant:
            event.setdefault("tenant", call.tenant)
        if call.traceparent:
            event.setdefault("trace_id", call.trace_id)
            event.setdefault("span_id", call.span_id)
    return event


def _add_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = datetime.now(UTC)
    return event


def _add_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put the traceback in as text, without the values of local variables."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, tuple):
        info = info[1]
    if isinstance(info, BaseException):
        text = StringIO()
        traceback.print_exception(info, file=text)
        event["exception"] = text.getvalue()
    return event


class _WriterLogger:
    """What structlog's chain ends in: it has a method per level and they all write."""

    def __init__(self, writer: LineWriter) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = writer.write
        self.exception = self.log = self.msg = writer.write


class _ToStructlog(logging.Handler):
    """Takes what libraries log the standard way into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        log: Any = structlog.get_logger(component=record.name)
        log.log(record.levelno, message, exc_info=record.exc_info)
