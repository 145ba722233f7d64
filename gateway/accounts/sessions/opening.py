"""Sessions: opened by a login, kept up by refreshing, ended by whoever may end them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from uuid import uuid4

from gateway.accounts.account_log import Change
from gateway.accounts.callers import user_subject
from gateway.accounts.errors import CredentialsInvalid, RefreshTokenInvalid, TenantNotFound
from gateway.accounts.grants import AccessTokens, Grant
from gateway.accounts.policy.roles import Role
from gateway.accounts.ports import Clock, SecurityEvents
from gateway.accounts.secrets.credentials import RefreshToken, RefreshTokens, is_same
from gateway.accounts.state import domain
from gateway.accounts.state.domain import Origin, Session, SessionLimits, TokenStatus, User
from gateway.accounts.state.events import SessionEnded, SessionsEnded
from gateway.accounts.state.tenants import Tenant
from gateway.accounts.store import (
    AccountsStore,
    retry_on_conflict,
    session_stream,
    sessions_tag,
    tenant_stream,
    user_stream,
)
from gateway.http.agent import caller_agent
from gateway.http.caller import caller_address
from girih.client import ABSENT


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that has not ended, and whose it is now."""

    session: Session
    user: User
    tenant: Tenant
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session that has begun, and whose it is."""

    grant: Grant
    user: User
    tenant: Tenant
    role: Role


@dataclass(frozen=True, slots=True)
class _ResolvedToken(OpenSession):
    """A refresh token that somebody holds, and what it stands for now."""

    token: RefreshToken
    status: TokenStatus


class Sessions:
    """Opens, refreshes and ends sessions."""

    def __init__(
        self,
        store: AccountsStore,
        refresh_tokens: RefreshTokens,
        access_tokens: AccessTokens,
        limits: SessionLimits,
        security: SecurityEvents,
        clock: Clock,
    ) -> None:
        self._store = store
        self._refresh_tokens = refresh_tokens
        self._access_tokens = access_tokens
        self._limits = limits
        self._security = security
        self._clock = clock

    async def open(
        self,
        user: User,
        tenant: Tenant,
        also: Sequence[Change] = (),
        expected: Mapping[str, int] = MappingProxyType({}),
    ) -> Opened:
        """A session of this user in this tenant, as both are now; `also` is recorded with it.

        Raises StreamChanged when they are no longer so, or a stream is not as `expected`.
        """
        role, membership = tenant.role_of(user.user_id), tenant.membership_of(user.user_id)
        if role is None or membership is None:
            raise CredentialsInvalid("the address or the password is wrong")
        token = self._refresh_tokens.first(str(uuid4()))
        opened = domain.opened(
            token.session_id,
            user,
            tenant.tenant_id,
            membership,
            token.hash,
            Origin(caller_address(), caller_agent()),
            self._clock(),
        )
        stream = session_stream(token.session_id)
        await self._store.record(
            [*also, Change(stream, opened, (sessions_tag(user.user_id),))],
            {
                **expected,
                stream: ABSENT,
                user_stream(user.user_id): user.revision,
                tenant_stream(tenant.tenant_id): tenant.revision,
            },
        )
        access = self._access_tokens.for_user(user.user_id, tenant, role, token.session_id)
        grant = Grant(access, token.text)
        return Opened(grant=grant, user=user, tenant=tenant, role=role)

    async def refresh(self, text: str) -> Grant:
        """The next pair of tokens; raises RefreshTokenInvalid."""
        try:
            return await retry_on_conflict(lambda: self._refresh(_parsed(text)))
        except RefreshTokenInvalid as error:
            self._security.record(
                "", "refresh-refused", reason=error.reason, address=caller_address()
            )
            raise

    async def switch(self, text: str, tenant_id: str) -> Opened:
        """A session of the same user in another tenant; that of the refresh token ends.

        Raises RefreshTokenInvalid, and TenantNotFound for where the user is no member.
        """
        opened = await retry_on_conflict(lambda: self._switch(_parsed(text), tenant_id))
        subject, address = user_subject(opened.user.user_id), caller_address()
        self._security.record(tenant_id, "login-succeeded", subject=subject, address=address)
        return opened

    async def logout(self, text: str, *, everywhere: bool) -> None:
        """End the session of a refresh token, or all of its user. Says nothing of bad tokens."""
        try:
            await retry_on_conflict(lambda: self._logout(_parsed(text), everywhere=everywhere))
        except RefreshTokenInvalid:
            return

    async def own(self, text: str, user_id: str) -> Session:
        """The open session of this user that the token is of; raises RefreshTokenInvalid."""
        resolved = await self._resolve(_parsed(text))
        if resolved.user.user_id != user_id:
            raise _invalid()
        return resolved.session

    async def present(self, session_id: str) -> OpenSession | None:
        """The session as it is now; None when it is over."""
        session = await self._unexpired(session_id)
        if session is None:
            return None
        user, tenant = await asyncio.gather(
            self._store.user(session.user_id), self._store.tenant(session.tenant_id)
        )
        return _open_for(session, user, tenant)

    async def present_of(self, user: User, session_id: str) -> OpenSession | None:
        """As `present`, for one of this user, as it is now."""
        session = await self._unexpired(session_id)
        if session is None:
            return None
        return _open_for(session, user, await self._store.tenant(session.tenant_id))

    def expires_at_ms(self, session: Session) -> int:
        """When it ends unless it is refreshed before."""
        return domain.expires_at_ms(session, self._limits)

    async def end(self, session: Session) -> None:
        """End it, as its user wants; raises StreamChanged when it is not as it was."""
        await self._end(session, [self._ending(session, "ended")])
        self._audit("session-ended", session)

    async def _unexpired(self, session_id: str) -> Session | None:
        session = await self._store.session(session_id)
        if session is None or session.has_ended:
            return None
        return None if domain.has_expired(session, self._clock(), self._limits) else session

    async def _refresh(self, token: RefreshToken) -> Grant:
        resolved = await self._resolve(token)
        generation = resolved.session.generation + (resolved.status is TokenStatus.CURRENT)
        successor = self._refresh_tokens.successor(token, generation)
        if resolved.status is TokenStatus.CURRENT:
            await self._rotate(resolved, successor)
        elif not is_same(successor.hash, resolved.session.token_hash):
            raise _invalid()  # made with another key: nobody can say what it was traded for
        access = self._access_tokens.for_user(
            resolved.user.user_id,
            resolved.tenant,
            resolved.role,
            token.session_id,
        )
        return Grant(access, successor.text)

    async def _rotate(self, resolved: _ResolvedToken, successor: RefreshToken) -> None:
        rotated = domain.rotated(resolved.session, resolved.user, successor.hash, self._clock())
        stream = session_stream(resolved.session.session_id)
        # One that an earlier version opened is found from now on.
        tags = () if resolved.session.is_listed else (sessions_tag(resolved.user.user_id),)
        await self._store.record(
            [Change(stream, rotated, tags)],
            {
                stream: resolved.session.revision,
                user_stream(resolved.user.user_id): resolved.user.revision,
                tenant_stream(resolved.tenant.tenant_id): resolved.tenant.revision,
            },
        )

    async def _switch(self, token: RefreshToken, tenant_id: str) -> Opened:
        resolved = await self._resolve(token)
        session, user = resolved.session, resolved.user
        tenant = await self._store.tenant(tenant_id)
        if tenant is None or tenant.role_of(user.user_id) is None:
            raise TenantNotFound("the user is a member of no such tenant")
        ending = self._ending(session, "switched")
        expected = {session_stream(session.session_id): session.revision}
        opened = await self.open(user, tenant, [ending], expected)
        self._audit("logged-out", session, everywhere="false")
        return opened

    async def _logout(self, token: RefreshToken, *, everywhere: bool) -> None:
        resolved = await self._resolve(token)
        user_id = resolved.user.user_id
        changes = [self._ending(resolved.session, "logged-out")]
        if everywhere:
            ended = SessionsEnded(user_id=user_id, at_ms=self._clock())
            changes.append(Change(user_stream(user_id), ended))
        await self._end(resolved.session, changes)
        self._audit("logged-out", resolved.session, everywhere=str(everywhere).lower())

    async def _resolve(self, token: RefreshToken) -> _ResolvedToken:
        """What the token stands for; raises RefreshTokenInvalid unless it is good for something.

        One that was used before ends its session here.
        """
        opened = await self.present(token.session_id)
        if opened is None:
            raise _invalid()
        session = opened.session
        status = self._status(session, token)
        if status is TokenStatus.REUSED:
            await self._end(session, [self._ending(session, "reused")])
            self._audit("refresh-reused", session)
        if status in (TokenStatus.REUSED, TokenStatus.INVALID):
            raise _invalid()
        return _ResolvedToken(
            session, opened.user, opened.tenant, opened.role, token=token, status=status
        )

    def _status(self, session: Session, token: RefreshToken) -> TokenStatus:
        return domain.token_status(
            session,
            token.hash,
            is_ours=self._refresh_tokens.made(token),
            now_ms=self._clock(),
            limits=self._limits,
        )

    def _ending(self, session: Session, why: str) -> Change:
        ended = SessionEnded(
            session_id=session.session_id,
            user_id=session.user_id,
            tenant_id=session.tenant_id,
            why=why,
            at_ms=self._clock(),
        )
        tags = (sessions_tag(session.user_id),)
        return Change(session_stream(session.session_id), ended, tags)

    async def _end(self, session: Session, changes: Sequence[Change]) -> None:
        expected = {session_stream(session.session_id): session.revision}
        await self._store.record(changes, expected)

    def _audit(self, kind: str, session: Session, **fields: str) -> None:
        self._security.record(
            session.tenant_id,
            kind,
            subject=user_subject(session.user_id),
            session=session.session_id,
            address=caller_address(),
            **fields,
        )


def _open_for(session: Session, user: User | None, tenant: Tenant | None) -> OpenSession | None:
    if user is None or tenant is None or session.user_id != user.user_id:
        return None
    role = tenant.role_of(user.user_id)
    membership = tenant.membership_of(user.user_id)
    if role is None or not domain.is_open_for(session, user, membership):
        return None
    return OpenSession(session, user, tenant, role)


def _parsed(text: str) -> RefreshToken:
    token = RefreshToken.parse(text)
    if token is None:
        raise _invalid()
    return token


def _invalid() -> RefreshTokenInvalid:
    return RefreshTokenInvalid("the refresh token is not valid, or no longer; log in again")
