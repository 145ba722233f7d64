"""Tokens that are renewed before they expire, one renewal at a time. Knows not where from."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from girih.client.errors import Unavailable

_MARGIN: Final = 0.2
"""The part of its life before whose end a token is renewed: what it is sent with shall end before
it does."""
_MARGIN_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Grant:
    """An access token, and how long it is valid from when it was asked for."""

    token: str = field(repr=False)
    valid_s: float


Renew = Callable[[str], Grant]
"""Gives another token than the one that was refused, empty when none was. Blocks, for some
seconds at most. Raises Unavailable when the same may succeed later, and other errors for good."""


@dataclass(frozen=True, slots=True)
class _Held:
    token: str = field(repr=False)
    renew_at_s: float
    """From when on it is renewed where that can be done: on the clock of `time.monotonic()`."""
    ends_at_s: float


class RenewedToken:
    """A token that `renew` makes anew when need be. Safe from many threads, and tasks."""

    def __init__(self, renew: Renew) -> None:
        self._renew = renew
        self._held: _Held | None = None
        self._refused = ""
        self._renewing = threading.Lock()
        self._renewing_beside = asyncio.Lock()

    def get(self) -> str:
        """A token that is good for now; renews it here when it is time for another. While
        somebody does, others get the one that is valid still."""
        if token := self._fresh():
            return token
        if not self._renewing.acquire(blocking=not self._valid()):
            return self._valid() or self.get()
        try:
            return self._fresh() or self._renewed()
        finally:
            self._renewing.release()

    async def get_beside(self) -> str:
        """The same, and renews it in a thread."""
        if token := self._fresh():
            return token
        if self._renewing_beside.locked() and (token := self._valid()):
            return token
        async with self._renewing_beside:
            return self._fresh() or await asyncio.to_thread(self.get)

    def refused(self, token: str) -> None:
        """A service has refused it: it is not given again."""
        held = self._held
        if held is not None and held.token == token:
            self._held, self._refused = None, token

    def _fresh(self) -> str:
        """The token held, empty when it is time for another."""
        held = self._held
        return held.token if held is not None and time.monotonic() < held.renew_at_s else ""

    def _valid(self) -> str:
        """The token held, empty when it is not valid any longer."""
        held = self._held
        return held.token if held is not None and time.monotonic() < held.ends_at_s else ""

    def _renewed(self) -> str:
        began_s = time.monotonic()
        try:
            grant = self._renew(self._refused)
        except Unavailable:
            # While it is valid, that nobody renews it for a moment is no reason to stop.
            if token := self._valid():
                return token
            raise
        margin_s = min(grant.valid_s * _MARGIN, _MARGIN_S_MAX)
        ends_at_s = began_s + grant.valid_s
        self._held, self._refused = _Held(grant.token, ends_at_s - margin_s, ends_at_s), ""
        return grant.token


Token = str | RenewedToken | Callable[[], str] | Callable[[], Awaitable[str]]
"""A token, or what gives one: asked before every attempt, so it should remember what is good.
Empty sends none, for channels that add their own."""
