"""What is recorded of accounts: a class for each type of event. Knows no stream and no rule.

Fields are added with a default and never change their meaning; types that this version
does not know are passed over. Times are the gateway's, in milliseconds of the Unix epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

import orjson


class DamagedRecord(Exception):
    """A record does not hold what its type says. Nothing may be decided on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to an account."""

    type: ClassVar[str]
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailClaimed(Event):
    """The address belongs to a user from now on."""

    type: ClassVar[str] = "email.claimed"
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRegistered(Event):
    type: ClassVar[str] = "user.registered"
    user_id: str
    email: str
    name: str
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordChanged(Event):
    type: ClassVar[str] = "user.password-changed"
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordRehashed(Event):
    """The same password, hashed with newer parameters."""

    type: ClassVar[str] = "user.password-rehashed"
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsEnded(Event):
    """All sessions of the user have ended but `kept_session`, if any."""

    type: ClassVar[str] = "user.sessions-ended"
    user_id: str
    kept_session: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantJoined(Event):
    type: ClassVar[str] = "user.tenant-joined"
    tenant_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLeft(Event):
    type: ClassVar[str] = "user.tenant-left"
    tenant_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantCreated(Event):
    type: ClassVar[str] = "tenant.created"
    tenant_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberJoined(Event):
    type: ClassVar[str] = "tenant.member-joined"
    user_id: str
    email: str
    name: str
    registered_at_ms: int
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRoleSet(Event):
    type: ClassVar[str] = "tenant.member-role-set"
    user_id: str
    role: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRemoved(Event):
    type: ClassVar[str] = "tenant.member-removed"
    tenant_id: str
    user_id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationCreated(Event):
    type: ClassVar[str] = "tenant.invitation-created"
    invitation_id: str
    email: str
    role: str
    expires_at_ms: int
    token_hash: str = field(repr=False)
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationAccepted(Event):
    type: ClassVar[str] = "tenant.invitation-accepted"
    invitation_id: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationRevoked(Event):
    type: ClassVar[str] = "tenant.invitation-revoked"
    invitation_id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCreated(Event):
    type: ClassVar[str] = "tenant.key-created"
    key_id: str
    name: str
    scopes: list[str]
    expires_at_ms: int
    """0 when it works until it is revoked."""
    secret_hash: str = field(repr=False)
    by: str
    request_id: str = ""
    """Empty when the call had none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRevoked(Event):
    type: ClassVar[str] = "tenant.key-revoked"
    key_id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSet(Event):
    """The numbers count for a custom plan only: the others are looked up by name."""

    type: ClassVar[str] = "tenant.plan-set"
    name: str
    limits: Mapping[str, int] = field(default_factory=dict)
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMoved(Event):
    """What both kinds of record say that leave a session open.

    Each says everything that is to be known of its session, so its last record is enough.
    """

    session_id: str
    user_id: str
    tenant_id: str
    membership: int
    """The revision at which the user joined the tenant: who joins again needs a new session."""
    epoch: int
    """How often all sessions of the user had been ended by then."""
    generation: int
    token_hash: str = field(repr=False)
    previous_hash: str = field(repr=False, default="")
    opened_at_ms: int
    address: str = ""
    """Where the login came from; empty when an earlier version noted none."""
    agent: str = ""
    """What the program that logged in called itself."""
    is_listed: bool = False
    """A record of this session is tagged with its user, so that it is found by that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened(SessionMoved):
    type: ClassVar[str] = "session.opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRotated(SessionMoved):
    type: ClassVar[str] = "session.rotated"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Event):
    type: ClassVar[str] = "session.ended"
    session_id: str
    user_id: str
    tenant_id: str
    why: str
    """`logged-out`, `switched` to another tenant, `ended` by its user from another session, or
    `reused` when a token came back that had been used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsed(Event):
    """The key was used; recorded once an hour at most."""

    type: ClassVar[str] = "key.used"
    key_id: str
    tenant_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketUsed(Event):
    """A stream has begun with the ticket, which begins no other."""

    type: ClassVar[str] = "ticket.used"
    session_id: str
    user_id: str


_CLASSES: Final[Mapping[str, type[Event]]] = {
    kind.type: kind
    for kind in (
        EmailClaimed,
        UserRegistered,
        PasswordChanged,
        PasswordRehashed,
        SessionsEnded,
        TenantJoined,
        TenantLeft,
        TenantCreated,
        MemberJoined,
        MemberRoleSet,
        MemberRemoved,
        InvitationCreated,
        InvitationAccepted,
        InvitationRevoked,
        KeyCreated,
        KeyRevoked,
        PlanSet,
        SessionOpened,
        SessionRotated,
        SessionEnded,
        KeyUsed,
        TicketUsed,
    )
}


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An event, with its place in its stream and in the log."""

    position: int
    stream: str
    revision: int
    event: Event | None
    """None for a type that this version does not know."""


def to_json(event: Event) -> str:
    return orjson.dumps(event).decode()


def from_json(event_type: str, text: str) -> Event | None:
    """What a record says, None when its type is unknown; raises DamagedRecord."""
    kind = _CLASSES.get(event_type)
    if kind is None:
        return None
    try:
        return kind(**_fitting(kind, orjson.loads(text)))
    except (TypeError, ValueError, AttributeError) as error:
        raise DamagedRecord(f"a record is not what {event_type} says") from error


def _fitting(kind: type[Event], payload: Mapping[str, Any]) -> dict[str, Any]:
    known = {one.name for one in fields(kind)}
    return {name: value for name, value in payload.items() if name in known}
