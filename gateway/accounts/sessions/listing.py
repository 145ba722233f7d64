"""The sessions of a user: which are open, and one of them ended from another."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.accounts.callers import UserCaller
from gateway.accounts.errors import CredentialsInvalid, SessionNotFound
from gateway.accounts.sessions.opening import OpenSession, Sessions
from gateway.accounts.state.events import AccountRecord, SessionEnded, SessionMoved
from gateway.accounts.store import AccountsStore, retry_on_conflict

SESSIONS_MAX: Final = 100
"""How many are listed: those that began last."""

_RECORDS_MAX = 400
"""How far back is looked for them: each begins and ends with a record."""


@dataclass(frozen=True, slots=True)
class ListedSession:
    """An open session, as its user is shown it."""

    opened: OpenSession
    expires_at_ms: int
    """When it ends unless it is refreshed before."""
    is_current: bool
    """It is the one that asks."""


class OwnSessions:
    """Lists and ends what a user has opened."""

    def __init__(self, store: AccountsStore, sessions: Sessions) -> None:
        self._store = store
        self._sessions = sessions

    async def of(self, caller: UserCaller) -> Sequence[ListedSession]:
        """The open ones, the one that began last first. Takes a read for each of them."""
        user = await self._store.user(caller.user_id)
        if user is None:
            raise CredentialsInvalid("the user of the token is not known here")
        records = await self._store.session_records(user.user_id, _RECORDS_MAX)
        present = await asyncio.gather(
            *(self._sessions.present_of(user, one) for one in _begun(records)[:SESSIONS_MAX])
        )
        return [
            ListedSession(
                one,
                self._sessions.expires_at_ms(one.session),
                is_current=one.session.session_id == caller.session_id,
            )
            for one in present
            if one is not None
        ]

    async def end(self, caller: UserCaller, session_id: str) -> None:
        """Raises SessionNotFound for what is not an open session of the caller."""
        await retry_on_conflict(lambda: self._end(caller, session_id))

    async def _end(self, caller: UserCaller, session_id: str) -> None:
        present = await self._sessions.present(session_id)
        if present is None or present.user.user_id != caller.user_id:
            raise SessionNotFound("the user has no such session that is open")
        await self._sessions.end(present.session)


def _begun(newest_first: Sequence[AccountRecord]) -> list[str]:
    """The ids of sessions of which these do not tell that they ended."""
    ids: dict[str, bool] = {}
    for one in newest_first:
        if isinstance(one.event, SessionMoved | SessionEnded):
            ids.setdefault(one.event.session_id, isinstance(one.event, SessionMoved))
    return [session_id for session_id, is_open in ids.items() if is_open]
