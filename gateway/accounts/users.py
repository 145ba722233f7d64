"""Users: how they come, prove who they are, and change what they prove it with."""

from contextlib import suppress
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid4, uuid5

from gateway.accounts.account_log import Change, StreamChanged
from gateway.accounts.callers import UserCaller, user_subject
from gateway.accounts.errors import (
    CredentialsInvalid,
    EmailTaken,
    HashingBusy,
    InvitationInvalid,
)
from gateway.accounts.policy.roles import Role
from gateway.accounts.ports import Clock, Guess, SecurityEvents, Throttle
from gateway.accounts.secrets.credentials import INVITATION_PREFIX, TenantSecret
from gateway.accounts.secrets.passwords import PasswordHashing, check_password
from gateway.accounts.sessions.opening import Opened, Sessions
from gateway.accounts.state.addresses import address_key, check_address, claim_keys
from gateway.accounts.state.domain import User, user_after
from gateway.accounts.state.events import (
    EmailClaimed,
    MemberJoined,
    PasswordChanged,
    PasswordRehashed,
    SessionsEnded,
    TenantCreated,
    TenantJoined,
    UserRegistered,
)
from gateway.accounts.state.tenants import (
    Invitation,
    Tenant,
    accept,
    invitation_invalid,
    open_invitation,
)
from gateway.accounts.store import (
    AccountsStore,
    email_stream,
    retry_on_conflict,
    session_stream,
    tenant_stream,
    user_stream,
)
from gateway.http.caller import caller_address
from girih.client import ABSENT
from services.plumbing.errors import ResourceExhausted, Violations


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Who wants to register."""

    email: str
    password: str = field(repr=False)
    name: str
    tenant_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Who joined which tenant."""

    user: User
    tenant: Tenant
    role: Role


@dataclass(frozen=True, slots=True)
class _Proved:
    """A user whose password was right."""

    user: User
    hash_is_outdated: bool


class Users:
    """Registers users, and lets in those who are who they say."""

    def __init__(
        self,
        store: AccountsStore,
        sessions: Sessions,
        hashing: PasswordHashing,
        throttle: Throttle,
        security: SecurityEvents,
        clock: Clock,
        password_chars_min: int,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._hashing = hashing
        self._throttle = throttle
        self._security = security
        self._clock = clock
        self._password_chars_min = password_chars_min

    async def register(self, registration: Registration, violations: Violations) -> Joined:
        """A new user with a tenant of its own; raises EmailTaken.

        `violations` are what the contract does not allow; what else is wrong is added.
        """
        self._check(registration, violations)
        self._hashing.check_capacity()
        if await self._store.user_id_of(claim_keys(registration.email)):
            raise _email_taken()
        await self._throttle.registering(caller_address())
        password_hash = await self._hashing.hash(registration.password)
        tenant_id, at_ms = str(uuid4()), self._clock()
        registered = UserRegistered(
            user_id=str(uuid4()),
            email=registration.email,
            name=registration.name,
            password_hash=password_hash,
            at_ms=at_ms,
        )
        created = TenantCreated(
            tenant_id=tenant_id, name=registration.tenant_name or registration.name, at_ms=at_ms
        )
        joined = await self._record_registration(registered, created)
        self._audit(tenant_id, "registered", registered.user_id)
        return joined

    async def _record_registration(
        self, registered: UserRegistered, created: TenantCreated
    ) -> Joined:
        stream = tenant_stream(created.tenant_id)
        user_changes, unclaimed = _new_user(registered, created.tenant_id)
        joining = _joining(registered, Role.OWNER, registered.at_ms)
        tenant_changes = [Change(stream, created), Change(stream, joining)]
        try:
            recorded = await self._store.record(
                [*user_changes, *tenant_changes], {**unclaimed, stream: ABSENT}
            )
        except StreamChanged:
            raise _email_taken() from None
        # What was recorded is told from what was recorded: reading it again could fail.
        user = user_after(None, recorded[1 : len(user_changes)])
        tenant = self._store.tenant_after(None, recorded[len(user_changes) :])
        assert user is not None, "it was registered"
        assert tenant is not None, "it was created"
        return Joined(user=user, tenant=tenant, role=Role.OWNER)

    async def login(self, email: str, password: str, tenant_id: str) -> Opened:
        """A session in the tenant named, or in the user's first; raises CredentialsInvalid."""
        proved = await self._proved(email, password)
        rehashed = await self._hash_anew(password) if proved.hash_is_outdated else ""
        return await retry_on_conflict(lambda: self._open(proved.user, tenant_id, rehashed))

    async def change_password(
        self, caller: UserCaller, password: str, new_password: str, refresh_token: str
    ) -> None:
        """End all sessions but that of `refresh_token`, if any, and take the new password.

        Raises CredentialsInvalid and RefreshTokenInvalid.
        """
        user = await self._present(caller.user_id)
        violations = Violations()
        self._check_new(new_password, violations, "new_password", (user.email, user.name))
        violations.raise_if_any()
        if refresh_token:
            await self._sessions.own(refresh_token, user.user_id)
        proved = await self._proved(user.email, password)
        new_hash = await self._hashing.hash(new_password)
        await retry_on_conflict(lambda: self._change(proved.user, new_hash, refresh_token))
        self._audit(caller.tenant_id, "password-changed", user.user_id)

    async def accept_invitation(self, text: str, password: str, name: str) -> Joined:
        """Make whoever was invited a member; raises InvitationInvalid, CredentialsInvalid."""
        try:
            return await self._accept(text, password, name)
        except InvitationInvalid as error:
            # Whose it claims to be is not proved: no tenant is told.
            address = caller_address()
            self._security.record("", "invitation-refused", reason=error.reason, address=address)
            raise

    async def _accept(self, text: str, password: str, name: str) -> Joined:
        secret = TenantSecret.parse(INVITATION_PREFIX, text)
        if secret is None:
            raise invitation_invalid()
        tenant = await self._store.tenant(secret.tenant_id)
        invitation = open_invitation(tenant, secret.own_id, secret.hash, self._clock())
        if await self._store.user_id_of(claim_keys(invitation.email)):
            proved = await self._proved(invitation.email, password)
            await retry_on_conflict(lambda: self._join(secret, proved.user))
            user_id = proved.user.user_id
        else:
            newcomer = await self._newcomer(invitation, password, name)
            await retry_on_conflict(lambda: self._join_as_newcomer(secret, newcomer))
            user_id = newcomer.user_id
        role = invitation.role.word
        self._audit(secret.tenant_id, "invitation-accepted", user_id, role=role)
        return await self._joined(user_id, secret.tenant_id)

    def _check(self, registration: Registration, violations: Violations) -> None:
        check_address(registration.email, violations)
        taken = (registration.email, registration.name, registration.tenant_name)
        self._check_new(registration.password, violations, "password", taken)
        violations.raise_if_any()

    def _check_new(
        self, password: str, violations: Violations, field_name: str, taken: tuple[str, ...]
    ) -> None:
        check_password(
            password, violations, field_name, chars_min=self._password_chars_min, taken=taken
        )

    async def _proved(self, email: str, password: str) -> _Proved:
        """The user with this address and password; raises CredentialsInvalid, LoginThrottled.

        Whether there is one takes the same steps to find out, and the same time.
        """
        self._hashing.check_capacity()
        key, address = address_key(email), caller_address()
        guess = await self._take_turn(key, address)
        try:
            user_id = await self._store.user_id_of(claim_keys(email))
            user = await self._store.user(user_id or _nobody(key))
            verdict = await self._hashing.verify(password, user.password_hash if user else None)
        except BaseException:
            await guess.released()
            raise
        if user and verdict.is_right:
            await guess.succeeded()
            return _Proved(user, verdict.is_outdated)
        await guess.failed()
        self._record_failure(user)
        raise _credentials_invalid()

    async def _take_turn(self, key: str, address: str) -> Guess:
        try:
            return await self._throttle.check(key, address)
        except ResourceExhausted as error:
            self._security.record("", "login-throttled", reason=error.reason, address=address)
            raise

    def _record_failure(self, user: User | None) -> None:
        """In the log of the user's first tenant. Of addresses that nobody has, in ours alone."""
        if user and user.tenants:
            self._audit(user.tenants[0], "login-failed", user.user_id)
        else:
            self._security.record("", "login-failed", address=caller_address())

    async def _hash_anew(self, password: str) -> str:
        """A hash as they are made now; empty when there is no time: the next login tries again."""
        with suppress(HashingBusy):
            return await self._hashing.hash(password)
        return ""

    async def _open(self, proved: User, tenant_id: str, rehashed: str) -> Opened:
        user = await self._still(proved)
        chosen_id = tenant_id or next(iter(user.tenants), "")
        tenant = await self._store.tenant(chosen_id) if chosen_id else None
        role = tenant.role_of(user.user_id) if tenant else None
        if tenant is None or role is None:
            raise _credentials_invalid()
        also = [self._rehashing(user, rehashed)] if rehashed else []
        opened = await self._sessions.open(user, tenant, also)
        self._audit(tenant.tenant_id, "login-succeeded", user.user_id)
        return opened

    def _rehashing(self, user: User, password_hash: str) -> Change:
        rehashed = PasswordRehashed(password_hash=password_hash, at_ms=self._clock())
        return Change(user_stream(user.user_id), rehashed)

    async def _change(self, proved: User, new_hash: str, refresh_token: str) -> None:
        user = await self._still(proved)
        stream, at_ms = user_stream(user.user_id), self._clock()
        expected = {stream: user.revision}
        kept = ""
        if refresh_token:
            session = await self._sessions.own(refresh_token, user.user_id)
            kept = session.session_id
            expected[session_stream(kept)] = session.revision
        changed = PasswordChanged(password_hash=new_hash, at_ms=at_ms)
        ended = SessionsEnded(user_id=user.user_id, kept_session=kept, at_ms=at_ms)
        await self._store.record([Change(stream, changed), Change(stream, ended)], expected)

    async def _still(self, proved: User) -> User:
        """The user as it is now, if the password that was proved is still the password."""
        user = await self._present(proved.user_id)
        if user.password_hash != proved.password_hash:
            raise _credentials_invalid()
        return user

    async def _present(self, user_id: str) -> User:
        user = await self._store.user(user_id)
        if user is None:
            raise _credentials_invalid()
        return user

    async def _newcomer(self, invitation: Invitation, password: str, name: str) -> UserRegistered:
        violations = Violations()
        if not name:
            violations.add("name", "must be given for a new user")
        self._check_new(password, violations, "password", (invitation.email, name))
        violations.raise_if_any()
        return UserRegistered(
            user_id=str(uuid4()),
            email=invitation.email,
            name=name,
            password_hash=await self._hashing.hash(password),
            at_ms=self._clock(),
        )

    async def _join(self, secret: TenantSecret, proved: User) -> None:
        tenant, invitation = await self._invited(secret)
        user = await self._still(proved)
        if user.user_id in tenant.members:
            raise invitation_invalid()
        stream, at_ms = tenant_stream(tenant.tenant_id), self._clock()
        joined = TenantJoined(tenant_id=tenant.tenant_id, at_ms=at_ms)
        await self._store.record(
            [
                *(
                    Change(stream, one)
                    for one in accept(invitation, _rejoining(user, invitation.role, at_ms))
                ),
                Change(user_stream(user.user_id), joined),
            ],
            {stream: tenant.revision, user_stream(user.user_id): user.revision},
        )

    async def _join_as_newcomer(self, secret: TenantSecret, newcomer: UserRegistered) -> None:
        tenant, invitation = await self._invited(secret)
        if await self._store.user_id_of(claim_keys(newcomer.email)):
            raise _credentials_invalid()  # registered meanwhile, with a password of its own
        stream = tenant_stream(tenant.tenant_id)
        user_changes, unclaimed = _new_user(newcomer, tenant.tenant_id)
        joining = _joining(newcomer, invitation.role, self._clock())
        await self._store.record(
            [*user_changes, *(Change(stream, one) for one in accept(invitation, joining))],
            {**unclaimed, stream: tenant.revision},
        )

    async def _invited(self, secret: TenantSecret) -> tuple[Tenant, Invitation]:
        tenant = await self._store.tenant(secret.tenant_id)
        invitation = open_invitation(tenant, secret.own_id, secret.hash, self._clock())
        assert tenant is not None, "it has an invitation"
        return tenant, invitation

    async def _joined(self, user_id: str, tenant_id: str) -> Joined:
        user = await self._store.user(user_id)
        tenant = await self._store.present_tenant(tenant_id)
        role = tenant.role_of(user_id)
        if user is None or role is None:
            raise invitation_invalid()  # removed again in this very moment
        return Joined(user=user, tenant=tenant, role=role)

    def _audit(self, tenant_id: str, kind: str, user_id: str, **fields: str) -> None:
        subject = user_subject(user_id)
        self._security.record(tenant_id, kind, subject=subject, address=caller_address(), **fields)


def _new_user(registered: UserRegistered, tenant_id: str) -> tuple[list[Change], dict[str, int]]:
    """What makes a user who is in a tenant from the first moment, and what that demands."""
    claimed = EmailClaimed(user_id=registered.user_id, at_ms=registered.at_ms)
    joined = TenantJoined(tenant_id=tenant_id, at_ms=registered.at_ms)
    email = email_stream(address_key(registered.email))
    user = user_stream(registered.user_id)
    changes = [Change(email, claimed), Change(user, registered), Change(user, joined)]
    unclaimed = map(email_stream, claim_keys(registered.email))
    return changes, dict.fromkeys([*unclaimed, user], ABSENT)


def _joining(registered: UserRegistered, role: Role, at_ms: int) -> MemberJoined:
    return MemberJoined(
        user_id=registered.user_id,
        email=registered.email,
        name=registered.name,
        registered_at_ms=registered.at_ms,
        role=role.word,
        at_ms=at_ms,
    )


def _rejoining(user: User, role: Role, at_ms: int) -> MemberJoined:
    return MemberJoined(
        user_id=user.user_id,
        email=user.email,
        name=user.name,
        registered_at_ms=user.registered_at_ms,
        role=role.word,
        at_ms=at_ms,
    )


def _nobody(key: str) -> str:
    """A user id that no user has, to look for when an address has none."""
    return str(uuid5(NAMESPACE_URL, key))


def _credentials_invalid() -> CredentialsInvalid:
    return CredentialsInvalid("the address or the password is wrong")


def _email_taken() -> EmailTaken:
    return EmailTaken("a user has this address already; log in, or accept an invitation")
