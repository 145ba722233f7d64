"""Tokens that are renewed before they expire, one renewal at a time. Knows not where from."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final

from girih.client.errors import Unavailable

_MARGIN: Final = 0.2
"""The part of its life before whose end a token is renewed: what it is sent with shall end before
it does."""
_MARGIN_S_MAX: Final = 60.0
_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Grant:
    """An access token, and how long it is valid from when it was asked for."""

    token: str = field(repr=False)
    valid_s: float


Renew = Callable[[str], Grant]
"""Gives another token than the one that was refused, empty when none was. Blocks. Raises
Unavailable when the same may succeed later, and other errors of GirihError for good."""


@dataclass(frozen=True, slots=True)
class _Held:
    token: str = field(repr=False)
    renew_at_s: float
    """From when on it is renewed where that can be done: on the clock of `time.monotonic()`."""
    ends_at_s: float


class RenewedToken:
    """A token that `renew` makes anew when need be. Safe from many threads, and tasks.

    A thread of its own asks for another, which may take as long as a gateway that hangs. While the
    token at hand is valid nobody waits for it; else all calls wait for the same one, each as long
    as it may, and are told what is wrong.
    """

    def __init__(self, renew: Renew) -> None:
        self._renew = renew
        self._held: _Held | None = None
        self._refused = ""
        self._again_at_s = 0.0
        """When a renewal that has failed is tried again, while the token is valid."""
        self._renewal: Future[str] | None = None
        """The one under way."""
        self._lock = threading.Lock()

    def at_hand(self) -> str:
        """The token held, empty when it is not valid any longer."""
        held, now_s = self._held, time.monotonic()
        if held is None or now_s >= held.ends_at_s:
            return ""
        if now_s >= max(held.renew_at_s, self._again_at_s):
            with suppress(RuntimeError):  # the interpreter is about to end
                self._renewed(held)
        return held.token

    def get(self, timeout_s: float) -> str:
        """The token at hand, or a new one; raises Unavailable when that does not come in time."""
        held = self._held
        if token := self.at_hand():
            return token
        try:
            return self._renewed(held).result(timeout_s)
        except TimeoutError:
            raise Unavailable.no_answer("no token came in time") from None

    async def get_async(self) -> str:
        """The same, for as long as its task waits."""
        held = self._held
        return self.at_hand() or await asyncio.wrap_future(self._renewed(held))

    def refused(self, token: str) -> None:
        """A service has refused it: it is not given again."""
        with self._lock:
            held = self._held
            if held is not None and held.token == token:
                self._held, self._refused = None, token

    def _renewed(self, held: _Held | None) -> "Future[str]":
        """What comes in the place of `held`, unless it has come already."""
        with self._lock:
            renewal = self._renewal
            if renewal is not None:
                return renewal
            renewal = Future()
            # Whoever stops waiting does not cancel it for the others.
            renewal.set_running_or_notify_cancel()
            if self._held is not None and self._held is not held:
                renewal.set_result(self._held.token)
                return renewal
            run = copy_context().run  # its request carries the ids of the call that needs it
            thread = threading.Thread(
                target=run, args=(self._run, renewal), name="girih token", daemon=True
            )
            thread.start()
            self._renewal = renewal
            return renewal

    def _run(self, renewal: "Future[str]") -> None:
        try:
            held = self._asked()
        except Exception as error:  # noqa: BLE001 - it is raised where the token is waited for
            with self._lock:
                self._again_at_s = time.monotonic() + _AGAIN_S
                self._renewal = None
            renewal.set_exception(error)
        else:
            with self._lock:
                self._held, self._refused, self._renewal = held, "", None
            renewal.set_result(held.token)

    def _asked(self) -> _Held:
        began_s = time.monotonic()
        grant = self._renew(self._refused)
        margin_s = min(grant.valid_s * _MARGIN, _MARGIN_S_MAX)
        ends_at_s = began_s + grant.valid_s
        return _Held(grant.token, ends_at_s - margin_s, ends_at_s)


Token = str | RenewedToken | Callable[[], str] | Callable[[], Awaitable[str]]
"""A token, or what gives one: asked before every attempt, so it should remember what is good.
Empty sends none, for channels that add their own."""
