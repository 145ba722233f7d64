"""When a call is repeated, and when it is given up: decisions, for both stacks of gRPC.

Knows errors and the clock. Waits for nothing itself, and makes no call.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from girih.backoff import Backoff
from girih.client.errors import GirihError, Unauthenticated, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long calls are tried, and how often."""

    timeout_s: float = 15.0
    """How long a call may take with all its attempts; a read, from one answer to the next."""
    attempt_timeout_s: float | None = 5.0
    """How long one attempt waits for an answer. None: as long as the call may take."""
    attempt_count_max: int | None = None
    """None allows as many as the time does."""
    pause_s_min: float = 0.05
    """The longest first pause between attempts. Each later one may be twice the one before."""
    pause_s_max: float = 2.0
    """The longest pause, unless the server asks for a longer one."""
    on_retry: Callable[[GirihError], None] | None = None
    """Called before each pause, with what the attempt ended with. What it raises ends the call."""

    def __post_init__(self) -> None:
        if not 0 < self.attempt_s <= self.timeout_s:
            raise ValueError("attempt_timeout_s must be above 0 and at most timeout_s")
        if not 0 < self.pause_s_min <= self.pause_s_max:
            raise ValueError("pause_s_min must be above 0 and at most pause_s_max")
        if self.attempt_count_max is not None and self.attempt_count_max < 1:
            raise ValueError("attempt_count_max must be at least 1")

    @property
    def attempt_s(self) -> float:
        """How long one attempt waits for an answer."""
        return self.timeout_s if self.attempt_timeout_s is None else self.attempt_timeout_s

    def within(self, timeout: float | None) -> "RetryPolicy":
        """The same for calls that may take `timeout` seconds; None changes nothing."""
        if timeout is None:
            return self
        attempt_s = self.attempt_timeout_s
        shorter_s = None if attempt_s is None else min(attempt_s, timeout)
        return replace(self, timeout_s=timeout, attempt_timeout_s=shorter_s)

    def backoff(self) -> Backoff:
        """The pauses of one call."""
        return Backoff(self.pause_s_min, self.pause_s_max)


class Attempts:
    """The attempts at one call, within its time."""

    def __init__(self, policy: RetryPolicy, remaining_s: float, *, renews_token: bool) -> None:
        """`remaining_s` bounds the whole call, whatever the policy allows."""
        self._policy = policy
        self._renews_token = renews_token
        self._backoff = policy.backoff()
        self._last_s = time.monotonic() + remaining_s
        self._deadline_s = 0.0
        self._count = 0
        self._renewed = False
        self.progressed()

    def progressed(self) -> None:
        """There was an answer: the next may take as long again."""
        self._deadline_s = min(self._last_s, time.monotonic() + self._policy.timeout_s)
        self._backoff.reset()
        self._count = 0
        self._renewed = False

    def remaining_s(self) -> float:
        """How much of the call's time is left, in seconds."""
        return max(0.0, self._deadline_s - time.monotonic())

    def begin(self) -> float:
        """How long the next attempt may wait for an answer; raises Unavailable when time is up."""
        remaining_s = self.remaining_s()
        if remaining_s <= 0.0:
            raise Unavailable.no_answer("there was no time left for the call")
        self._count += 1
        return min(remaining_s, self._policy.attempt_s)

    def pause_after(self, error: GirihError) -> float:
        """How long to wait before the next attempt; raises `error` when there is none."""
        pause_s = self._pause_s(error)
        count_max = self._policy.attempt_count_max
        is_last = count_max is not None and self._count >= count_max
        if pause_s is None or is_last or pause_s >= self.remaining_s():
            try:
                raise error
            finally:
                # It knows this frame from now on: they would hold each other, and the call.
                del error
        if self._policy.on_retry is not None:
            self._policy.on_retry(error)
        return pause_s

    def _pause_s(self, error: GirihError) -> float | None:
        if isinstance(error, Unauthenticated):
            # A new token answers a stale one at once, or not at all.
            if not self._renews_token or not error.is_stale or self._renewed:
                return None
            self._renewed = True
            return 0.0
        return self._backoff.next_s(error.retry_after_s) if isinstance(error, Unavailable) else None


_LASTED_S: Final = 1.0
"""A call that lasted so long has done its work: the next begins without a pause."""


class Resumption:
    """The calls of one that follows: as many as it takes, since it waits for whoever is away."""

    def __init__(self, policy: RetryPolicy, *, renews_token: bool) -> None:
        self._backoff = policy.backoff()
        self._renews_token = renews_token
        self._began_s = 0.0
        self._is_doubted = False

    def began(self) -> None:
        """A call begins."""
        self._began_s = time.monotonic()

    def progressed(self) -> None:
        """Events came."""
        self._backoff.reset()
        self._is_doubted = False

    def pause_after(self, error: GirihError) -> float:
        """How long to wait before the next call; raises `error` when that would end alike."""
        if not self._may_resume(error):
            try:
                raise error
            finally:
                del error  # see `Attempts.pause_after`
        if time.monotonic() - self._began_s >= _LASTED_S:
            self._backoff.reset()
        return self._backoff.next_s(error.retry_after_s)

    def _may_resume(self, error: GirihError) -> bool:
        if not isinstance(error, Unauthenticated):
            return isinstance(error, Unavailable)
        if not self._renews_token or not error.is_stale:
            return False
        # One that is not valid is doubted once; a second that is not valid is no accident.
        was_doubted, self._is_doubted = self._is_doubted, not error.is_expired
        return error.is_expired or not was_doubted
