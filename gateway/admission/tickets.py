"""The ticket of a stream as a browser's `EventSource` brings it: in the URL, and a cookie.

`EventSource` can send no header of its own. The ticket is taken out of the URL before
anything else reads it.
"""

from dataclasses import dataclass, field
from typing import Final

from gateway.accounts.tickets.ticket import QUERY_PARAMETER, Target
from gateway.http.exchange import Headers, HttpExchange
from gateway.http.page import page_origin

_ASSIGNED: Final = f"{QUERY_PARAMETER}=".encode()
_COOKIE_S: Final = 24 * 3_600
"""Longer than a browser is without its stream, which sets it again each time it begins."""


@dataclass(frozen=True, slots=True)
class PresentedTicket:
    """What a request brings in place of a token."""

    text: str = field(repr=False)
    target: Target
    """What is asked for."""
    cookies: str = field(repr=False)

    def cookie(self, name: str) -> str:
        """The value of a cookie; empty when there is none."""
        for pair in self.cookies.split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return value
        return ""


def take_ticket(exchange: HttpExchange) -> PresentedTicket | None:
    """The ticket in the URL of a request, which has none from then on."""
    pairs = exchange.query_string.split(b"&")
    tickets = [pair for pair in pairs if pair.startswith(_ASSIGNED)]
    if len(tickets) != 1:
        return None
    pairs.remove(tickets[0])
    rest = exchange.scope["query_string"] = b"&".join(pairs)
    path: bytes = exchange.scope.get("raw_path") or exchange.scope["path"].encode()
    url = (path + b"?" + rest if rest else path).decode("latin-1")
    return PresentedTicket(
        tickets[0].removeprefix(_ASSIGNED).decode("latin-1"),
        Target(url=url, origin=page_origin()),
        exchange.headers.get(b"cookie", b"").decode("latin-1"),
    )


class BrowserCookie:
    """What a browser keeps of a session in which it has opened a stream."""

    def __init__(self, *, is_secure: bool) -> None:
        self._prefix = "__Host-girih-stream-" if is_secure else "girih-stream-"
        self._attributes = f"Path=/; Max-Age={_COOKIE_S}; HttpOnly; SameSite=Strict" + (
            "; Secure" if is_secure else ""
        )

    def name(self, session_id: str) -> str:
        """One for each session: two users in one browser keep each their own."""
        return self._prefix + session_id[:8]

    def header(self, session_id: str, secret: str) -> Headers:
        text = f"{self.name(session_id)}={secret}; {self._attributes}"
        return ((b"set-cookie", text.encode()),)
