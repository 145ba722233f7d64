"""Tickets: the right to open one stream by its URL alone, and what a browser shows to go on.

A browser's `EventSource` can send no header, so that what it proves stands in the URL, where
proxies write it down. A ticket is therefore worth little: it opens one URL, for pages of one
origin, once, and soon. Whoever has opened it gets a secret in a cookie, which goes on opening
it as long as the session lives; one for all streams of a session, since all start at once.

Both are codes of a key that all replicas share: nothing is stored before a ticket is used.
"""

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self
from uuid import UUID

from services.plumbing.base64url import to_base64url

QUERY_PARAMETER: Final = "ticket"
"""Where a ticket stands in the URL that it opens."""

_TICKET: Final = re.compile(
    r"([0-9a-f]{32})\.([0-9a-f]{32})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a ticket is for."""

    url: str
    """Path and query, as the browser sends them, without the ticket."""
    origin: str
    """Of the pages that may use it; empty for those of the gateway's own origin."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket as it is written. Whether it is one of ours only `TicketCodes` can tell."""

    ticket_id: str
    session_id: str
    begins_by_s: int
    """Unix seconds; it opens nothing for the first time from then on."""
    code: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The ticket, or None when it is none by its shape."""
        match = _TICKET.fullmatch(text)
        return cls(match[1], str(UUID(match[2])), int(match[3]), match[4]) if match else None

    @property
    def text(self) -> str:
        """Of characters that stand in a query as they are."""
        session = UUID(self.session_id).hex
        return f"{self.ticket_id}.{session}.{self.begins_by_s}.{self.code}"


class TicketCodes:
    """Makes tickets, and tells ours from others."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        """`key` gives the key of the moment. With another one, tickets of before are worth
        nothing."""
        self._key = key

    def new(self, session_id: str, target: Target, begins_by_s: int) -> Ticket:
        ticket_id, session_id = secrets.token_hex(16), str(UUID(session_id))
        code = self._of_ticket(ticket_id, session_id, begins_by_s, target)
        return Ticket(ticket_id, session_id, begins_by_s, code)

    def fits(self, ticket: Ticket, target: Target) -> bool:
        """Whether we made this ticket for this target."""
        code = self._of_ticket(ticket.ticket_id, ticket.session_id, ticket.begins_by_s, target)
        return hmac.compare_digest(code, ticket.code)

    def of_browser(self, session_id: str) -> str:
        """What a browser keeps that has opened a stream in this session."""
        return self._code(f"browser|{session_id}")

    def is_of_browser(self, secret: str, session_id: str) -> bool:
        return hmac.compare_digest(secret.encode(), self.of_browser(session_id).encode())

    def _of_ticket(self, ticket_id: str, session_id: str, begins_by_s: int, target: Target) -> str:
        # The origin has no line feed, nor has what stands before it: one text, one meaning.
        ids = f"{ticket_id}|{session_id}|{begins_by_s}"
        return self._code(f"ticket|{ids}|{target.origin}\n{target.url}")

    def _code(self, text: str) -> str:
        return to_base64url(hmac.digest(self._key(), text.encode(), "sha256"))
