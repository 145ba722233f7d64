"""Tokens that are renewed before they expire, one renewal at a time. Knows not where from."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from girih.client.errors import GirihError

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

    While the one at hand is valid nobody waits: another is asked for in a thread beside, which
    may take as long as a gateway that hangs. Calls wait, and are told what is wrong, when there is
    none any longer.
    """

    def __init__(self, renew: Renew) -> None:
        self._renew = renew
        self._held: _Held | None = None
        self._refused = ""
        self._again_at_s = 0.0
        """When a renewal that has failed is tried again, while the token is valid."""
        self._renewing = threading.Lock()
        self._waiting = asyncio.Lock()

    def at_hand(self) -> str:
        """The token held, empty when it is not valid any longer."""
        held, now_s = self._held, time.monotonic()
        if held is None or now_s >= held.ends_at_s:
            return ""
        if now_s >= max(held.renew_at_s, self._again_at_s):
            self._renew_beside()
        return held.token

    def get(self) -> str:
        """The token at hand, or a new one: of those who wait one asks for it."""
        if token := self.at_hand():
            return token
        with self._renewing:
            return self.at_hand() or self._renewed()

    async def get_async(self) -> str:
        """The same, waiting in a thread; of many tasks one does."""
        async with self._waiting:
            return self.at_hand() or await asyncio.to_thread(self.get)

    def refused(self, token: str) -> None:
        """A service has refused it: it is not given again."""
        held = self._held
        if held is not None and held.token == token:
            self._held, self._refused = None, token

    def _renewed(self) -> str:
        began_s = time.monotonic()
        grant = self._renew(self._refused)
        margin_s = min(grant.valid_s * _MARGIN, _MARGIN_S_MAX)
        ends_at_s = began_s + grant.valid_s
        self._held, self._refused = _Held(grant.token, ends_at_s - margin_s, ends_at_s), ""
        return grant.token

    def _renew_beside(self) -> None:
        if not self._renewing.acquire(blocking=False):
            return
        try:
            threading.Thread(target=self._try_to_renew, name="girih token", daemon=True).start()
        except RuntimeError:  # the interpreter is about to end
            self._renewing.release()

    def _try_to_renew(self) -> None:
        try:
            self._renewed()
        except GirihError:
            # Whoever needs it will be told, when there is no other any longer.
            self._again_at_s = time.monotonic() + _AGAIN_S
        finally:
            self._renewing.release()


Token = str | RenewedToken | Callable[[], str] | Callable[[], Awaitable[str]]
"""A token, or what gives one: asked before every attempt, so it should remember what is good.
Empty sends none, for channels that add their own."""
