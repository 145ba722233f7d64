"""Which access tokens count no longer although they have not expired.

Every replica follows the log of accounts and so learns of endings wherever they happened.
Kept in memory only, and only for as long as access tokens live; a replica that starts
reads back that far.
"""

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from cachetools import TTLCache

from gateway.accounts.account_log import AccountLog
from gateway.accounts.ports import Clock
from gateway.accounts.state.events import (
    AccountRecord,
    KeyRevoked,
    MemberRemoved,
    SessionEnded,
    SessionMoved,
    SessionsEnded,
)
from girih.client import GirihError, Unavailable
from services.plumbing.auth.tokens import LIFETIME_S_MAX
from services.plumbing.logging import get_logger

MEMORY_S: Final = LIFETIME_S_MAX + 60
"""How long an ending is remembered: no access token lives longer."""

SESSIONS_MAX: Final = 200_000
"""How many sessions in use, and how many endings, are remembered."""

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
        self._ended: TTLCache[str, None] = TTLCache(SESSIONS_MAX, memory_s, timer=clock)
        self._in_use: OrderedDict[str, _InUse] = OrderedDict()
        self._of_user: defaultdict[str, set[str]] = defaultdict(set)

    def is_revoked(self, session_id: str) -> bool:
        """Whether tokens of this session, or of the key with this id, count no longer."""
        return session_id in self._ended

    def apply(self, recorded: Iterable[AccountRecord]) -> None:
        """Learn from records."""
        for one in recorded:
            self._apply(one)
        self._forget_old()

    def begin_anew(self, recorded: Iterable[AccountRecord]) -> None:
        """Know what these records tell and nothing else."""
        self._ended.clear()
        self._in_use.clear()
        self._of_user.clear()
        self.apply(recorded)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many endings, and how many sessions in use, are remembered."""
        return len(self._ended), len(self._in_use)

    def _apply(self, one: AccountRecord) -> None:
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
        self._ended[ended_id] = None

    def _forget_old(self) -> None:
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


class RevocationFollower:
    """Applies to `Revocations` what is recorded of accounts, wherever that happens."""

    def __init__(
        self,
        log: AccountLog,
        revocations: Revocations,
        clock: Clock,
        learn: Callable[[Sequence[AccountRecord]], None] = lambda _recorded: None,
        replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """`learn` gets all that is recorded, as well. `replaced` is called when the log was
        replaced by an earlier state of it: what else was read of it may be no more."""
        self._log = log
        self._learn = learn
        self._replaced = replaced
        self._has_begun = False
        self._revocations = revocations
        self._clock = clock
        self._follower = log.follower(self._apply, self._start, _interrupted)

    async def run(self) -> None:
        """Follow for ever: the work of a task."""
        await self._follower.run()

    async def until_caught_up(self, timeout_s: float) -> bool:
        """Whether what happened before this process began is known in time."""
        try:
            await self._follower.until_caught_up(timeout_s)
        except Unavailable:
            return False
        return True

    @property
    def behind_s(self) -> float:
        """How many seconds ago everything was known that was recorded until then."""
        return self._follower.behind_s

    def _apply(self, recorded: Sequence[AccountRecord]) -> None:
        self._revocations.apply(recorded)
        self._learn(recorded)

    async def _start(self) -> int:
        """Read back as far as access tokens live, and answer where the log ended."""
        oldest_ms = self._clock() - int(MEMORY_S * 1_000)
        records: list[AccountRecord] = []
        async with aclosing(self._log.backwards()) as newest_first:
            async for record in newest_first:
                records.append(record)
                is_old = record.event and record.event.at_ms < oldest_ms
                if is_old or len(records) >= SESSIONS_MAX:
                    break
        if self._has_begun:
            self._revocations.begin_anew(reversed(records))
            self._replaced()
        else:
            # Others may have been read before what these tell.
            self._apply(records[::-1])
        self._has_begun = True
        return records[0].position if records else 0


def _interrupted(error: GirihError) -> None:
    _log.warning("endings of sessions are not followed now", problem=str(error))
