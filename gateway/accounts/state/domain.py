"""Users and sessions: what their records add up to, and what may be done. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from gateway.accounts.secrets.credentials import is_same
from gateway.accounts.state.events import (
    AccountRecord,
    DamagedRecord,
    PasswordChanged,
    PasswordRehashed,
    SessionEnded,
    SessionMoved,
    SessionOpened,
    SessionRotated,
    SessionsEnded,
    TenantJoined,
    TenantLeft,
    UserRegistered,
)

OVERLAP_MS: Final = 10_000
"""How long a used refresh token still gives the successor that it was traded for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who logs in."""

    user_id: str
    email: str
    name: str
    registered_at_ms: int
    password_hash: str = field(repr=False)
    tenants: tuple[str, ...] = ()
    """Where the user is a member, in the order of joining."""
    epoch: int = 0
    """How often all sessions were ended."""
    kept_session: str = ""
    """The session that the last such end spared."""
    revision: int


def user_after(user: User | None, recorded: Sequence[AccountRecord]) -> User | None:
    """The user, once more has happened; None before the user registered."""
    for one in recorded:
        user = _user_after(user, one)
    return user


def _user_after(user: User | None, one: AccountRecord) -> User | None:
    event = one.event
    if isinstance(event, UserRegistered):
        return User(
            user_id=event.user_id,
            email=event.email,
            name=event.name,
            registered_at_ms=event.at_ms,
            password_hash=event.password_hash,
            revision=one.revision,
        )
    if user is None:
        raise DamagedRecord("a user's first record is not of a registration")
    return replace(_user_changed(user, one), revision=one.revision)


def _user_changed(user: User, one: AccountRecord) -> User:
    match one.event:
        case PasswordChanged(password_hash=new_hash) | PasswordRehashed(password_hash=new_hash):
            return replace(user, password_hash=new_hash)
        case SessionsEnded(kept_session=kept):
            return replace(user, epoch=user.epoch + 1, kept_session=kept)
        case TenantJoined(tenant_id=joined):
            return replace(user, tenants=(*user.tenants, joined))
        case TenantLeft(tenant_id=left):
            return replace(user, tenants=tuple(one for one in user.tenants if one != left))
        case _:
            return user


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a user opened by logging in, until it ends."""

    session_id: str
    user_id: str
    tenant_id: str
    membership: int
    epoch: int
    generation: int
    token_hash: str = field(repr=False)
    previous_hash: str = field(repr=False)
    opened_at_ms: int
    moved_at_ms: int
    came_from: "Origin"
    is_listed: bool
    has_ended: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a login came from, as far as that can be told."""

    address: str = ""
    agent: str = ""
    """What the program called itself: it may say what it likes."""


def session_from(last: AccountRecord) -> Session:
    """The session that this is the last record of."""
    event = last.event
    if isinstance(event, SessionEnded):
        return _ended(event, last.revision)
    if not isinstance(event, SessionMoved):
        raise DamagedRecord("a session's last record does not tell its state")
    return Session(
        session_id=event.session_id,
        user_id=event.user_id,
        tenant_id=event.tenant_id,
        membership=event.membership,
        epoch=event.epoch,
        generation=event.generation,
        token_hash=event.token_hash,
        previous_hash=event.previous_hash,
        opened_at_ms=event.opened_at_ms,
        moved_at_ms=event.at_ms,
        came_from=Origin(event.address, event.agent),
        is_listed=event.is_listed,
        has_ended=False,
        revision=last.revision,
    )


def _ended(event: SessionEnded, revision: int) -> Session:
    return Session(
        session_id=event.session_id,
        user_id=event.user_id,
        tenant_id=event.tenant_id,
        membership=-1,
        epoch=-1,
        generation=0,
        token_hash="",
        previous_hash="",
        opened_at_ms=0,
        moved_at_ms=event.at_ms,
        came_from=Origin(),
        is_listed=False,
        has_ended=True,
        revision=revision,
    )


class TokenStatus(Enum):
    """What a refresh token is good for."""

    CURRENT = "current"
    """It is the last one given out: it gets a successor."""
    ROTATED = "rotated"
    """It was rotated a moment ago: whoever asks did not get the answer."""
    REUSED = "reused"
    """It is one of ours and was traded before: somebody else has it too."""
    INVALID = "invalid"
    """It is none of ours, or its session is over."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long sessions last."""

    idle_ms: int
    """Since the last refresh."""
    absolute_ms: int
    """Since the login."""


def token_status(
    session: Session, token_hash: str, *, is_ours: bool, now_ms: int, limits: SessionLimits
) -> TokenStatus:
    """What the token with this hash is good for. `is_ours` says that we made it, ever."""
    if session.has_ended or has_expired(session, now_ms, limits):
        return TokenStatus.INVALID
    if is_same(token_hash, session.token_hash):
        return TokenStatus.CURRENT
    is_previous = is_same(token_hash, session.previous_hash)
    if is_previous and now_ms - session.moved_at_ms <= OVERLAP_MS:
        return TokenStatus.ROTATED
    return TokenStatus.REUSED if is_ours or is_previous else TokenStatus.INVALID


def has_expired(session: Session, now_ms: int, limits: SessionLimits) -> bool:
    return now_ms > expires_at_ms(session, limits)


def expires_at_ms(session: Session, limits: SessionLimits) -> int:
    """When the session ends unless it moves on before."""
    return min(session.moved_at_ms + limits.idle_ms, session.opened_at_ms + limits.absolute_ms)


def is_open_for(session: Session, user: User, membership: int | None) -> bool:
    """Whether neither all sessions of the user were ended since, nor the membership."""
    outlived = session.epoch == user.epoch or session.session_id == user.kept_session
    return outlived and session.membership == membership


def opened(
    session_id: str,
    user: User,
    tenant_id: str,
    membership: int,
    token_hash: str,
    came_from: Origin,
    at_ms: int,
) -> SessionOpened:
    return SessionOpened(
        session_id=session_id,
        user_id=user.user_id,
        tenant_id=tenant_id,
        membership=membership,
        epoch=user.epoch,
        generation=0,
        token_hash=token_hash,
        opened_at_ms=at_ms,
        address=came_from.address,
        agent=came_from.agent,
        is_listed=True,
        at_ms=at_ms,
    )


def rotated(session: Session, user: User, token_hash: str, at_ms: int) -> SessionRotated:
    return SessionRotated(
        session_id=session.session_id,
        user_id=session.user_id,
        tenant_id=session.tenant_id,
        membership=session.membership,
        epoch=user.epoch,
        generation=session.generation + 1,
        token_hash=token_hash,
        previous_hash=session.token_hash,
        opened_at_ms=session.opened_at_ms,
        address=session.came_from.address,
        agent=session.came_from.agent,
        is_listed=True,
        at_ms=at_ms,
    )
