"""Calls made again while a server is away. Only for calls that are safe to repeat."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

import grpc
import grpc.aio

from cli.failure import Failed
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from services.plumbing.retry import Backoff

_BACKOFF_MIN_S = 0.05
_BACKOFF_MAX_S = 2.0

# CANCELLED is how a server that is being stopped ends the calls it cannot finish.
_RETRIED = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)

# Says why, where RESOURCE_EXHAUSTED is about the request itself: gRPC's own words.
_TOO_LARGE = "larger than max"

Response_co = TypeVar("Response_co", covariant=True)


class CallRefused(Exception):
    """The server will not take it, and repeating changes nothing."""

    def __init__(self, error: RemoteError) -> None:
        super().__init__(" ".join(filter(None, (error.code.name, error.reason, error.message))))
        self.error = error


class Unavailable(Exception):
    """The server was away, or too busy, for longer than we were told to try."""


class UnderWay(Protocol[Response_co]):
    """A call that has been sent."""

    def result(self) -> Response_co: ...


class RetryPolicy:
    """Repeats calls for up to `retry_for_s` each, with growing, jittered pauses.

    `on_trouble` gets a line when a call fails for the first time.
    """

    def __init__(self, retry_for_s: float, on_trouble: Callable[[str], None]) -> None:
        self._retry_for_s = retry_for_s
        self._on_trouble = on_trouble
        self.retry_count = 0

    def result(
        self,
        begin: Callable[[], UnderWay[Response_co]],
        first: UnderWay[Response_co] | None = None,
    ) -> Response_co:
        """The answer to `first`, a call under way, or to those that `begin` makes after it.

        Raises CallRefused, and Unavailable when time has run out.
        """
        deadline: float | None = None
        backoff = Backoff(_BACKOFF_MIN_S, _BACKOFF_MAX_S)
        call = first
        while True:
            try:
                return (call or begin()).result()
            except grpc.RpcError as raised:
                trouble = _trouble(_read(raised))
            except Failed as failed:
                # What the call is made with could not be had.
                if not failed.may_pass:
                    raise
                trouble = _Trouble(str(failed).splitlines()[0], "", None)
            now = time.monotonic()
            if deadline is None:
                deadline = now + self._retry_for_s
                self._on_trouble(f"{trouble}; trying again")
            pause_s = backoff.next_s(trouble.retry_after_s)
            if now + pause_s > deadline:
                raise Unavailable(trouble.lasting(self._retry_for_s))
            time.sleep(pause_s)
            self.retry_count += 1
            call = None


@dataclass(frozen=True)
class _Trouble:
    """Why a call is to be made again."""

    name: str
    message: str
    retry_after_s: float | None

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name

    def lasting(self, for_s: float) -> str:
        return f"{self.name} for {for_s:g} s{f': {self.message}' if self.message else ''}"


def _trouble(error: RemoteError) -> _Trouble:
    """Raises CallRefused for an error that does not pass."""
    if not _may_pass(error):
        raise CallRefused(error)
    return _Trouble(error.code.name, error.message, error.retry_after_s)


def _read(error: grpc.RpcError) -> RemoteError:
    # The errors of both kinds of gRPC client offer what is read here.
    return from_rpc_error(cast("grpc.aio.AioRpcError", error))


def _may_pass(error: RemoteError) -> bool:
    return error.code in _RETRIED and _TOO_LARGE not in error.message
