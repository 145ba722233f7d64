"""Traces: what a call led to, as spans. Knows no library that keeps or sends them: see `otlp`.

The span of a call travels in its `Call.traceparent`, so whatever is done for the call finds it
where it finds the correlation id. Where nothing is traced there is no recorder, which is all
that anybody looks at.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, Protocol

from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.errors import Scalar

Kind = Literal["server", "client", "internal", "consumer"]
Attributes = Mapping[str, Scalar]


class Recording(Protocol):
    """A span that is kept."""

    def set(self, name: str, value: Scalar) -> None: ...

    def end(self, problem: str, ended_ns: int | None) -> None:
        """`problem` is empty when all went well."""


class Recorder(Protocol):
    """Who keeps spans and sends them on."""

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: str,
        attributes: Attributes,
        links: Collection[str] = (),
        began_ns: int | None = None,
    ) -> tuple[Recording | None, str]:
        """The recording, None for a span that is not sampled, and its `traceparent`. `parent` and
        `links` are such ones, too; a span without parent is the first of its trace."""

    def close(self, timeout_s: float) -> None:
        """Send what is kept, as far as it is taken in time."""


class Span:
    """A piece of work, from its beginning to its end."""

    __slots__ = ("_recording", "traceparent")

    def __init__(self, recording: Recording | None, traceparent: str) -> None:
        self._recording = recording
        self.traceparent = traceparent
        """What those are told that work for it."""
        if recording is not None:
            _open.add(traceparent)

    @property
    def is_recorded(self) -> bool:
        return self._recording is not None

    def set(self, name: str, value: Scalar) -> None:
        if self._recording is not None:
            self._recording.set(name, value)

    def end(self, problem: str = "", ended_ns: int | None = None) -> None:
        """It is over; `problem` says in a word what went wrong."""
        if self._recording is not None:
            _open.discard(self.traceparent)
            self._recording.end(problem, ended_ns)
            self._recording = None


_recorder: Recorder | None = None
_open: set[str] = set()
"""The spans that are recorded and not over: what outlives its call is no part of it."""


def install(recorder: Recorder | None) -> None:
    """Record with `recorder` from now on, or not at all. A process has one."""
    global _recorder  # noqa: PLW0603
    _recorder = recorder
    _open.clear()


def close(timeout_s: float = 3.0) -> None:
    """Send what is kept, and record no more."""
    recorder = _recorder
    install(None)
    if recorder is not None:
        recorder.close(timeout_s)


def is_on() -> bool:
    return _recorder is not None


def served(name: str, parent: str, attributes: Attributes) -> Span | None:
    """The span of a call that is served, which goes on with the trace that the caller tells of, or
    begins one; None where nothing is traced."""
    if _recorder is None:
        return None
    return Span(*_recorder.begin(name, "server", parent, attributes))


def child(
    name: str, kind: Kind, attributes: Attributes, began_ns: int | None = None
) -> Span | None:
    """A span of something that is done for the current call; None where that is not recorded, or
    over. It began now, or then on the clock of `time.time_ns()`."""
    if _recorder is None:
        return None
    parent = parent_here()
    if not parent:
        return None
    return Span(*_recorder.begin(name, kind, parent, attributes, began_ns=began_ns))


def parent_here() -> str:
    """The `traceparent` of the current call's span, if it is recorded; empty otherwise."""
    if _recorder is None:
        return ""
    call = correlation.bound()
    return call.traceparent if call is not None and call.traceparent in _open else ""


@contextmanager
def shared(name: str, parents: Collection[str], attributes: Attributes) -> Iterator[None]:
    """The block is done for several calls at once, whose spans are `parents` as `parent_here` told
    them: a child of the first of them, with links to the others. What is done in it is a child of
    that, and of none of the calls that happen to be current.
    """
    if _recorder is None:
        yield
        return
    recorded = [parent for parent in parents if parent]
    if not recorded:
        with correlation.bind(replace(correlation.current(), traceparent="")):
            yield
        return
    first, *others = recorded
    span = Span(*_recorder.begin(name, "internal", first, attributes, others))
    with _current(span):
        yield


@contextmanager
def background(name: str, attributes: Attributes) -> Iterator[None]:
    """The block is nobody's call: it begins a trace of its own."""
    if _recorder is None:
        yield
        return
    with _current(Span(*_recorder.begin(name, "consumer", "", attributes))):
        yield


@contextmanager
def _current(span: Span) -> Iterator[None]:
    """What is done in the block is done for `span`, which is over with it."""
    problem = ""
    try:
        with correlation.bind(replace(correlation.current(), traceparent=span.traceparent)):
            yield
    except BaseException as error:
        problem = type(error).__name__
        raise
    finally:
        span.end(problem)


def exemplar(call: Call) -> dict[str, str] | None:
    """The trace that a measurement of the call is an example of, where one is recorded."""
    if _recorder is None or call.traceparent not in _open:
        return None
    return {"trace_id": call.trace_id, "span_id": call.span_id}
