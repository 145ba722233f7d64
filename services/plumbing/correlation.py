"""The call that is being served: whose it is, what caused it, until when. Knows no transport.

The context travels in a `ContextVar`, so everything that runs on behalf of a call, and
every log line and outgoing call it makes, carries the same correlation id.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from girih.ids import NO_TENANT, TenantId
from services.plumbing.identity import Principal

CORRELATION_KEY = "x-correlation-id"
CAUSATION_KEY = "x-causation-id"
TRACEPARENT_KEY = "traceparent"
TOKEN_KEY = "authorization"  # noqa: S105 - the name of a key of metadata

_well_formed = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII).fullmatch
_well_formed_tenant = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII).fullmatch
_well_formed_traceparent = re.compile(
    r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII
).fullmatch


@dataclass(frozen=True, slots=True)
class Call:
    """One call's context. Empty text means that nobody said."""

    correlation_id: str
    causation_id: str = ""
    tenant: TenantId = NO_TENANT
    traceparent: str = ""
    deadline_s: float | None = None
    """On the clock of `time.monotonic()`; None when the call may take any time."""
    principal: Principal | None = None
    """Who makes the call, as its token proves; None where no token is asked for."""
    token: str = field(default="", repr=False)
    """The token the call came with, to be passed on and never to be written down."""

    @property
    def trace_id(self) -> str:
        """Of the trace that the call is a part of; empty where there is none."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """Of the span of the call, or of its caller's where this process records none."""
        return self.traceparent[36:52]

    def made_by(self, principal: Principal, token: str) -> "Call":
        """The same call, once it is known whose it is."""
        return Call(
            self.correlation_id,
            self.causation_id,
            principal.tenant,
            self.traceparent,
            self.deadline_s,
            principal,
            token,
        )

    def remaining_s(self) -> float | None:
        """How long the call may still take, never below zero."""
        return None if self.deadline_s is None else max(0.0, self.deadline_s - time.monotonic())


_call: ContextVar[Call | None] = ContextVar("girih_call", default=None)


def well_formed(text: str) -> bool:
    """Whether a correlation or causation id may travel on: 1 to 64 of A-Z a-z 0-9 . _ -"""
    return _well_formed(text) is not None


def well_formed_tenant(text: str) -> bool:
    """1 to 63 of a-z 0-9 -, the first not a hyphen."""
    return _well_formed_tenant(text) is not None


def well_formed_traceparent(text: str) -> bool:
    """Whether it is a `traceparent` of W3C Trace Context, version 00."""
    return _well_formed_traceparent(text) is not None


def fresh() -> str:
    """A new correlation id: 32 hexadecimal digits, unpredictable."""
    return os.urandom(16).hex()


def bound() -> Call | None:
    """The call being served, or None outside of any."""
    return _call.get()


def current() -> Call:
    """The call being served. Outside of any, one with a fresh id that nothing else shares."""
    return _call.get() or Call(correlation_id=fresh())


def enter(call: Call) -> None:
    """Make `call` the current one for the rest of this task. Others use `bind`."""
    _call.set(call)


@contextmanager
def bind(call: Call) -> Iterator[Call]:
    """Make `call` the current one inside the block."""
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """What a call made on behalf of the current one carries in its metadata."""
    call = current()
    pairs: tuple[tuple[str, str], ...] = ()
    if call.correlation_id:
        pairs = ((CORRELATION_KEY, call.correlation_id),)
    if call.causation_id:
        pairs = (*pairs, (CAUSATION_KEY, call.causation_id))
    if call.traceparent:
        pairs = (*pairs, (TRACEPARENT_KEY, call.traceparent))
    return pairs
