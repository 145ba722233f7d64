"""Streams that are opened with a ticket: who may have one, and who may use it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from gateway.accounts.account_log import Change, StreamChanged
from gateway.accounts.callers import UserCaller
from gateway.accounts.errors import TicketInvalid
from gateway.accounts.grants import AccessTokens
from gateway.accounts.ports import Clock
from gateway.accounts.sessions.opening import OpenSession, Sessions
from gateway.accounts.state.events import AccountRecord, TicketUsed
from gateway.accounts.store import AccountsStore, session_stream, ticket_stream
from gateway.accounts.tickets.ticket import Target, Ticket, TicketCodes
from girih.client import ABSENT

BEGINS_WITHIN_S: Final = 30
"""How long after it was made a ticket opens its stream for the first time."""


@dataclass(frozen=True, slots=True)
class OpenedStream:
    """What a stream goes on with that a ticket has opened."""

    token: str = field(repr=False)
    """An access token of the session, as one would get that is refreshed now."""
    session_id: str
    browser_secret: str = field(repr=False)
    """Lets the same browser open the same URL again, as long as the session lives."""


class Tickets:
    """Makes tickets for users, and opens streams for those who bring one."""

    def __init__(
        self,
        store: AccountsStore,
        sessions: Sessions,
        codes: TicketCodes,
        access_tokens: AccessTokens,
        on_in_use: Callable[[Iterable[AccountRecord]], None],
        clock: Clock,
    ) -> None:
        """`on_in_use` gets the last record of a session that a token is made for."""
        self._store = store
        self._sessions = sessions
        self._codes = codes
        self._access_tokens = access_tokens
        self._on_in_use = on_in_use
        self._clock = clock

    def issue(self, caller: UserCaller, target: Target) -> Ticket:
        """A ticket for the session that the caller's token is of."""
        begins_by_s = self._clock() // 1_000 + BEGINS_WITHIN_S
        return self._codes.new(caller.session_id, target, begins_by_s)

    async def open(
        self, text: str, target: Target, browser_secret: Callable[[str], str]
    ) -> OpenedStream:
        """Let the stream begin, or go on in the browser that it began in; raises TicketInvalid.

        Of all replicas one lets it begin: what says so is recorded before, where nothing is
        recorded twice. `browser_secret` gives what the browser has kept of a session, or "".
        """
        ticket = Ticket.parse(text)
        if ticket is None or not self._codes.fits(ticket, target):
            raise _invalid()
        opened = await self._present(ticket.session_id)
        is_first = await self._use(ticket, opened.user.user_id)
        kept = browser_secret(ticket.session_id)
        if not is_first and not self._codes.is_of_browser(kept, ticket.session_id):
            raise _invalid()
        access = self._access_tokens.for_user(
            opened.user.user_id, opened.tenant, opened.role, ticket.session_id
        )
        secret = self._codes.of_browser(ticket.session_id)
        return OpenedStream(access.token, ticket.session_id, secret)

    async def _present(self, session_id: str) -> OpenSession:
        """The session as it is now; raises TicketInvalid when it is over.

        Told before it is looked at: what ends it from then on ends the stream, though it may
        be long ago that anybody refreshed it.
        """
        last = await self._store.last_record(session_stream(session_id))
        if last is None:
            raise _invalid()
        self._on_in_use([last])
        opened = await self._sessions.present(session_id)
        if opened is None:
            raise _invalid()
        return opened

    async def _use(self, ticket: Ticket, user_id: str) -> bool:
        """Whether this is the ticket's first use; raises TicketInvalid when it never had one
        and it is too late."""
        stream, at_ms = ticket_stream(ticket.ticket_id), self._clock()
        if at_ms // 1_000 >= ticket.begins_by_s:
            if await self._store.last_record(stream) is None:
                raise _invalid()
            return False
        used = TicketUsed(session_id=ticket.session_id, user_id=user_id, at_ms=at_ms)
        try:
            await self._store.record([Change(stream, used)], {stream: ABSENT})
        except StreamChanged:
            return False
        return True


def _invalid() -> TicketInvalid:
    return TicketInvalid("the ticket is not valid here, or no longer; ask for a new one")
