"""Which access tokens count no longer although they have not expired.

Every replica follows the log of accounts and so learns of endings wherever they happened.
Kept in memory only, and only for as long as access tokens live; a replica that starts
reads back that far.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sized
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from gateway.accounts.events import (
    KeyRevoked,
    MemberRemoved,
    Recorded,
    SessionEnded,
    SessionMoved,
    SessionsEnded,
)
from gateway.accounts.journal import FollowingEnded, Journal
from gateway.accounts.ports import Clock
from gateway.own_calls import EventsRefused, EventsUnavailable
from services.plumbing.auth.tokens import LIFETIME_S_MAX
from services.plumbing.logging import get_logger

MEMORY_S: Final = LIFETIME_S_MAX + 60
"""How long an ending is remembered: no access token lives longer."""

SESSIONS_MAX: Final = 200_000
"""How many sessions in use, and how many endings, are remembered."""

_PAUSE_S = 1.0

_log = get_logger("accounts")


@dataclass(frozen=True, slots=True)
class _InUse:
    """A session that was given an access token not long ago."""

    user_id: str
    tenant_id: str
    moved_position: int
    """Where the log tells of it: what had ended all sessions before did not end this one."""
    forget_at_s: float


class Revocations:
    """Sessions and keys that have ended.

    May be told the same twice, and of this process's own records before those of others:
    positions tell what came first.
    """

    def __init__(
        self, memory_s: float = MEMORY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._memory_s = memory_s
        self._clock = clock
        self._ended: OrderedDict[str, float] = OrderedDict()
        self._in_use: OrderedDict[str, _InUse] = OrderedDict()
        self._of_user: defaultdict[str, set[str]] = defaultdict(set)

    def is_revoked(self, session_id: str) -> bool:
        """Whether tokens of this session, or of the key with this id, count no longer."""
        forget_at_s = self._ended.get(session_id)
        return forget_at_s is not None and self._clock() < forget_at_s

    def apply(self, recorded: Iterable[Recorded]) -> None:
        """Learn from records."""
        for one in recorded:
            self._apply(one)
        self._forget_old()

    @property
    def sizes(self) -> tuple[int, int]:
        """How many endings, and how many sessions in use, are remembered."""
        return len(self._ended), len(self._in_use)

    def _apply(self, one: Recorded) -> None:
        match one.event:
            case SessionMoved() as moved:
                self._note(moved, one.position)
            case SessionEnded(session_id=ended) | KeyRevoked(key_id=ended):
                self._end(ended)
            case SessionsEnded(user_id=user_id, kept_session=kept):
                self._end_all(user_id, one.position, kept=kept)
            case MemberRemoved(user_id=user_id, tenant_id=tenant_id):
                self._end_all(user_id, one.position, tenant_id=tenant_id)

    def _note(self, moved: SessionMoved, position: int) -> None:
        self._in_use.pop(moved.session_id, None)
        self._in_use[moved.session_id] = _InUse(
            moved.user_id, moved.tenant_id, position, self._clock() + self._memory_s
        )
        self._of_user[moved.user_id].add(moved.session_id)

    def _end_all(self, user_id: str, position: int, *, kept: str = "", tenant_id: str = "") -> None:
        for session_id in tuple(self._of_user.get(user_id, ())):
            session = self._in_use[session_id]
            is_before = session.moved_position < position
            if is_before and session_id != kept and tenant_id in ("", session.tenant_id):
                self._end(session_id)

    def _end(self, ended_id: str) -> None:
        self._ended[ended_id] = self._clock() + self._memory_s
        self._ended.move_to_end(ended_id)

    def _forget_old(self) -> None:
        while self._ended and self._is_over(self._ended, next(iter(self._ended.values()))):
            self._ended.popitem(last=False)
        while self._in_use and self._is_over(
            self._in_use, next(iter(self._in_use.values())).forget_at_s
        ):
            session_id, session = self._in_use.popitem(last=False)
            self._forget(session_id, session.user_id)

    def _is_over(self, kept: Sized, forget_at_s: float) -> bool:
        return forget_at_s <= self._clock() or len(kept) > SESSIONS_MAX

    def _forget(self, session_id: str, user_id: str) -> None:
        sessions = self._of_user[user_id]
        sessions.discard(session_id)
        if not sessions:
            del self._of_user[user_id]


class Follower:
    """Tells `Revocations` what happens in the log of accounts, wherever it was recorded."""

    def __init__(self, journal: Journal, revocations: Revocations, clock: Clock) -> None:
        self._journal = journal
        self._revocations = revocations
        self._clock = clock
        self._position: int | None = None
        self._is_away = False
        self.caught_up = asyncio.Event()
        """Set once what happened before this process began is known."""

    async def follow(self) -> None:
        """Follow for ever: the work of a task."""
        while True:
            try:
                await self._follow()
            except FollowingEnded as ended:
                if ended.must_start_anew:
                    self._position = None
            except (EventsUnavailable, EventsRefused) as error:
                self._tell_once(error)
                await asyncio.sleep(_PAUSE_S)

    async def _follow(self) -> None:
        position = await self._catch_up() if self._position is None else self._position
        self.caught_up.set()
        async with aclosing(self._journal.follow(position)) as batches:
            async for batch in batches:
                self._is_away = False
                self._revocations.apply(batch)
                self._position = batch[-1].position

    async def _catch_up(self) -> int:
        """Read back as far as access tokens live, and answer where the log ended."""
        oldest_ms = self._clock() - int(MEMORY_S * 1_000)
        found: list[Recorded] = []
        async with aclosing(self._journal.backwards()) as records:
            async for one in records:
                found.append(one)
                is_old = one.event and one.event.at_ms < oldest_ms
                if is_old or len(found) >= SESSIONS_MAX:
                    break
        self._revocations.apply(reversed(found))
        self._position = found[0].position if found else 0
        return self._position

    def _tell_once(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            _log.warning("endings of sessions are not followed now", problem=str(error))
