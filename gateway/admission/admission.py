"""Who is let in: everything that is asked of a request before its route is called.

Nobody gets to a route of the contract unless the contract says so: a route asks for a scope,
or it says that it is public. What a client proves is one token, in one header; the services
behind verify it again themselves.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from string import ascii_letters, digits
from typing import Final

from gateway.accounts.ports import SecurityEvents
from gateway.accounts.secrets.credentials import KEY_PREFIX
from gateway.accounts.tickets.ticket import QUERY_PARAMETER, Target
from gateway.accounts.tickets.tickets import OpenedStream
from gateway.admission.limits import Limits, RateStatus
from gateway.admission.tickets import BrowserCookie, PresentedTicket, take_ticket
from gateway.http import errors
from gateway.http.caller import Proxies, enter_address
from gateway.http.errors import HttpError
from gateway.http.exchange import Headers, HttpExchange
from services.plumbing.auth.tokens import TokenInvalid, TokenRefused, Verifier
from services.plumbing.errors import InvalidInput, ServiceError, Unavailable
from services.plumbing.identity import PUBLIC, Principal, TokenRequired, authorize

AUTHORIZATION: Final = b"authorization"

_BEARER_BYTES: Final = f"{ascii_letters}{digits}_.~+/=-".encode()
"""What tokens and keys are made of."""

_QUIET_REASONS = frozenset({"TOKEN_REQUIRED", "TOKEN_EXPIRED"})
"""What happens to everybody now and then."""


@dataclass(frozen=True)
class AccountChecks:
    """What admission asks of accounts, wherever they are kept."""

    is_revoked: Callable[[str], bool]
    """Whether tokens of this session, or of the key with this id, count no longer."""
    token_of_key: Callable[[str], Awaitable[str]]
    """An access token for an API key; raises ServiceError."""
    admit_call: Callable[[Principal, str], Awaitable[None]]
    """Counts a call to a route against the caller's plan; raises ServiceError."""
    give_back_call: Callable[[Principal, str], None]
    """Counts a call no longer that a service has refused."""
    security: SecurityEvents
    open_stream: Callable[[str, Target, Callable[[str], str]], Awaitable[OpenedStream]]
    """Opens a stream with a ticket, and what the browser has kept; raises ServiceError."""


@dataclass(frozen=True)
class Admitted:
    """Who a request comes from."""

    principal: Principal | None = None
    """None where nobody asks."""
    token: str = ""
    """What proves it."""


_ANYBODY = Admitted()
_REFUSALS = frozenset(
    {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
)
_OPERATORS_SCOPES = frozenset({"plans.write"})


class Admission:
    """Lets requests in."""

    def __init__(
        self,
        verifier: Verifier,
        accounts: AccountChecks,
        limits: Limits,
        proxies: Proxies,
        cookie: BrowserCookie,
    ) -> None:
        self._verifier = verifier
        self._accounts = accounts
        self._limits = limits
        self._proxies = proxies
        self._cookie = cookie

    def address_of(self, exchange: HttpExchange) -> str:
        """Where the client is; this is also what accounts are told."""
        peer = exchange.scope.get("client")
        address = self._proxies.address_of(peer[0] if peer else "", exchange.headers)
        enter_address(address)
        return address

    def is_revoked(self, principal: Principal) -> bool:
        return self._accounts.is_revoked(principal.session)

    async def check_address(self, exchange: HttpExchange) -> RateStatus:
        """Before it costs anything to find out who calls; raises HttpError."""
        try:
            return _with_headers(exchange, await self._limits.check_address(exchange.address))
        except ServiceError as error:
            # Not told as a matter of security: whoever floods the gateway would flood the log.
            raise errors.from_service_error(error) from None

    async def admit(
        self, exchange: HttpExchange, scope: str, status: RateStatus, *, takes_ticket: bool = False
    ) -> Admitted:
        """Raises HttpError for who may not call a route that asks for `scope`.

        `takes_ticket` says that who has no token may bring a ticket in the URL. On a public
        route nothing is asked, and what a client proves there is not looked at.
        """
        if scope == PUBLIC:
            return _ANYBODY
        try:
            token, headers = await self._proof(exchange, takes_ticket=takes_ticket)
            principal = self._authenticate(token, scope)
            exchange.tenant, exchange.subject = principal.tenant, principal.subject
            authorize(principal, scope)
            _with_headers(exchange, await self._limits.check_caller(principal, status))
            if headers:
                exchange.added_headers = (*exchange.added_headers, *headers)
            await self._accounts.admit_call(principal, exchange.route)
        except ServiceError as error:
            self._record_refusal(exchange, error)
            raise errors.from_service_error(error) from None
        return Admitted(principal, token)

    def refused_behind(self, exchange: HttpExchange, admitted: Admitted, error: HttpError) -> None:
        """A call that was let in has failed: it is not counted if it was refused."""
        if error.status not in _REFUSALS:
            return
        if admitted.principal is not None:
            self._accounts.give_back_call(admitted.principal, exchange.route)
        if error.status == HTTPStatus.FORBIDDEN:
            self._record(exchange, str(error.details.get("reason", "")))

    async def _proof(self, exchange: HttpExchange, *, takes_ticket: bool) -> tuple[str, Headers]:
        """The access token that a request brings, or that what it brings stands for; and what
        the answer carries for it, whichever it is."""
        if takes_ticket:
            ticket = take_ticket(exchange)
            if ticket is not None and AUTHORIZATION in exchange.headers:
                raise _two_proofs()
            if ticket is not None:
                return await self._open_stream(ticket)
        token = _token(exchange)
        if token.startswith(f"{KEY_PREFIX}_"):
            token = await self._accounts.token_of_key(token)
        return token, ()

    async def _open_stream(self, ticket: PresentedTicket) -> tuple[str, Headers]:
        def kept(session_id: str) -> str:
            return ticket.cookie(self._cookie.name(session_id))

        opened = await self._accounts.open_stream(ticket.text, ticket.target, kept)
        cookie = self._cookie.header(opened.session_id, opened.browser_secret)
        return opened.token, cookie

    def _authenticate(self, token: str, scope: str) -> Principal:
        principal = self._verifier.verify(token)
        if principal.service and scope not in _OPERATORS_SCOPES:
            # Services have no business here: what they prove is for one another. Operators
            # have: who holds the gateway's own key signs a token of the gateway's.
            raise TokenInvalid("the token is not valid", "it is a service's", principal)
        if self._accounts.is_revoked(principal.session):
            raise errors.session_ended()
        return principal

    def _record_refusal(self, exchange: HttpExchange, error: ServiceError) -> None:
        if error.reason in _QUIET_REASONS or isinstance(error, Unavailable):
            return  # nobody was refused: it cannot be told now whether they are
        if isinstance(error, TokenRefused) and error.principal is not None:
            exchange.tenant, exchange.subject = error.principal.tenant, error.principal.subject
        self._record(exchange, error.reason, why=getattr(error, "why", ""))

    def _record(self, exchange: HttpExchange, reason: str, why: str = "") -> None:
        self._accounts.security.record(
            exchange.tenant,
            "call-refused",
            subject=exchange.subject,
            reason=reason,
            why=why,
            method=exchange.method,
            route=exchange.route,
            address=exchange.address,
        )


def _two_proofs() -> HttpError:
    words = "must not stand beside the header Authorization"
    return errors.from_service_error(InvalidInput.of(QUERY_PARAMETER, words))


def _token(exchange: HttpExchange) -> str:
    """The token or key of a request, in the one place where it may be."""
    header = exchange.headers.get(AUTHORIZATION)
    if header is None:
        raise TokenRequired("the call needs a token")
    scheme, _, rest = header.partition(b" ")
    token = rest.lstrip(b" ")
    # A token is a KiB long: an expression takes several times as long to look at each byte.
    if scheme.lower() != b"bearer" or not token or token.translate(None, _BEARER_BYTES):
        raise TokenInvalid("the token is not valid", "the header is not: Bearer and one token")
    return token.decode("ascii")


def _with_headers(exchange: HttpExchange, status: RateStatus) -> RateStatus:
    """Every answer says how the caller stands, a refusal most of all."""
    exchange.added_headers = status.headers
    if status.refused is not None:
        raise status.refused
    return status
