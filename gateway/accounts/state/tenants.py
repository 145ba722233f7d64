"""Tenants: what their records add up to, who may change what, and what is recorded then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from gateway.accounts.errors import (
    InvitationInvalid,
    InvitationNotFound,
    KeyNotFound,
    LastOwner,
    MemberNotFound,
    RoleTooLow,
    TooManyInvitations,
    TooManyKeys,
)
from gateway.accounts.policy.plans import FREE, PLANS
from gateway.accounts.policy.roles import SCOPES, Role
from gateway.accounts.secrets.credentials import is_same
from gateway.accounts.state.addresses import same_address
from gateway.accounts.state.events import (
    AccountRecord,
    DamagedRecord,
    Event,
    InvitationAccepted,
    InvitationCreated,
    InvitationRevoked,
    KeyCreated,
    KeyRevoked,
    MemberJoined,
    MemberRemoved,
    MemberRoleSet,
    PlanSet,
    TenantCreated,
)
from services.plumbing.identity import ScopeMissing
from services.policy import PlanLimits

KEY_COUNT_MAX: Final = 100
INVITATION_COUNT_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A user in a tenant."""

    user_id: str
    email: str
    name: str
    registered_at_ms: int
    role: Role
    joined_at_ms: int
    membership: int
    """The revision of the tenant at which the member joined: another one after each joining."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Somebody who may join. Open until accepted or revoked, or until it expires."""

    invitation_id: str
    email: str
    role: Role
    created_at_ms: int
    expires_at_ms: int
    created_by: str
    """The member who invites. The invitation is worth no more than that member's role."""
    token_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of a machine that was not revoked."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    created_at_ms: int
    expires_at_ms: int
    """0 when it works until it is revoked."""
    created_by: str
    secret_hash: str = field(repr=False)
    request_id: str = ""
    """Of the call that made it; empty when it had none."""

    def has_expired(self, now_ms: int) -> bool:
        return 0 < self.expires_at_ms <= now_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Whom lattices and events belong to. Its mappings keep the order of what happened."""

    tenant_id: str
    name: str
    created_at_ms: int
    plan: PlanLimits
    members: Mapping[str, Member]
    invitations: Mapping[str, Invitation]
    keys: Mapping[str, Key]
    revision: int

    def role_of(self, user_id: str) -> Role | None:
        member = self.members.get(user_id)
        return member.role if member else None

    def membership_of(self, user_id: str) -> int | None:
        member = self.members.get(user_id)
        return member.membership if member else None

    def open_invitations(self, now_ms: int) -> list[Invitation]:
        return [one for one in self.invitations.values() if now_ms < one.expires_at_ms]


def tenant_after(
    tenant: Tenant | None, recorded: Sequence[AccountRecord], default_plan: PlanLimits = FREE
) -> Tenant | None:
    """The tenant, once more has happened; None before it was created.

    It is on `default_plan` until it is put on one. Costs a copy of the tenant for all records
    together.
    """
    if not recorded:
        return tenant
    draft = _Draft(tenant) if tenant else _created(recorded[0], default_plan)
    for one in recorded:
        draft.apply(one)
    return draft.tenant()


def _created(first: AccountRecord, plan: PlanLimits) -> "_Draft":
    event = first.event
    if not isinstance(event, TenantCreated):
        raise DamagedRecord("a tenant's first record is not of its creation")
    return _Draft(
        Tenant(
            tenant_id=event.tenant_id,
            name=event.name,
            created_at_ms=event.at_ms,
            plan=plan,
            members={},
            invitations={},
            keys={},
            revision=first.revision,
        )
    )


class _Draft:
    """A tenant while records are added to it."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._members = dict(tenant.members)
        self._invitations = dict(tenant.invitations)
        self._keys = dict(tenant.keys)
        self._plan = tenant.plan
        self._revision = tenant.revision

    def tenant(self) -> Tenant:
        return replace(
            self._tenant,
            plan=self._plan,
            members=MappingProxyType(self._members),
            invitations=MappingProxyType(self._invitations),
            keys=MappingProxyType(self._keys),
            revision=self._revision,
        )

    def apply(self, one: AccountRecord) -> None:
        self._revision = one.revision
        match one.event:
            case MemberJoined() as joined:
                self._join(joined, one.revision)
            case MemberRoleSet(user_id=user_id, role=role):
                self._members[user_id] = replace(self._members[user_id], role=Role.of(role))
                self._withdraw_invitations(user_id)
            case MemberRemoved(user_id=user_id):
                del self._members[user_id]
                self._withdraw_invitations(user_id)
            case InvitationCreated() as made:
                self._invite(made)
            case InvitationAccepted(invitation_id=gone) | InvitationRevoked(invitation_id=gone):
                self._invitations.pop(gone, None)
            case KeyCreated() as made:
                self._add_key(made)
            case KeyRevoked(key_id=key_id):
                self._keys.pop(key_id, None)
            case PlanSet() as plan_set:
                self._plan = _plan_of(plan_set)

    def _join(self, joined: MemberJoined, revision: int) -> None:
        self._members[joined.user_id] = Member(
            user_id=joined.user_id,
            email=joined.email,
            name=joined.name,
            registered_at_ms=joined.registered_at_ms,
            role=Role.of(joined.role),
            joined_at_ms=joined.at_ms,
            membership=revision,
        )
        # Whoever has joined needs no other invitation, and would get another role by it.
        address = same_address(joined.email)
        for one in list(self._invitations.values()):
            if same_address(one.email) == address:
                del self._invitations[one.invitation_id]

    def _invite(self, made: InvitationCreated) -> None:
        self._invitations[made.invitation_id] = Invitation(
            invitation_id=made.invitation_id,
            email=made.email,
            role=Role.of(made.role),
            created_at_ms=made.at_ms,
            expires_at_ms=made.expires_at_ms,
            created_by=made.by,
            token_hash=made.token_hash,
        )

    def _withdraw_invitations(self, user_id: str) -> None:
        """Those that the member could not make any longer.

        Else whoever is about to be removed would invite itself, and be back the day after.
        """
        member = self._members.get(user_id)
        for one in list(self._invitations.values()):
            if one.created_by == user_id and not _manages(member, touched=one.role):
                del self._invitations[one.invitation_id]

    def _add_key(self, made: KeyCreated) -> None:
        self._keys[made.key_id] = Key(
            key_id=made.key_id,
            name=made.name,
            scopes=tuple(made.scopes),
            created_at_ms=made.at_ms,
            expires_at_ms=made.expires_at_ms,
            created_by=made.by,
            secret_hash=made.secret_hash,
            request_id=made.request_id,
        )


def _plan_of(plan_set: PlanSet) -> PlanLimits:
    """Plans with a name are looked up when used, so that all who have one get what it is now.

    Raises DamagedRecord when a custom plan lacks one of its numbers.
    """
    if plan_set.name in PLANS:
        return PLANS[plan_set.name]
    try:
        return PlanLimits.read({**plan_set.limits, "name": plan_set.name})
    except ValueError as error:
        raise DamagedRecord(f"a plan was set that is none: {error}") from error


def set_role(
    tenant: Tenant, user_id: str, role: Role, *, by: str, at_ms: int
) -> MemberRoleSet | None:
    """Give a member another role; None when it is the one it has.

    Raises MemberNotFound, RoleTooLow and LastOwner.
    """
    member = _member(tenant, user_id)
    _check_rank(tenant, by, touched=max(member.role, role))
    if role == member.role:
        return None
    _check_owner_left(tenant, member)
    return MemberRoleSet(user_id=user_id, role=role.word, by=by, at_ms=at_ms)


def remove_member(tenant: Tenant, user_id: str, *, by: str, at_ms: int) -> MemberRemoved:
    """Raises as `set_role`."""
    member = _member(tenant, user_id)
    _check_rank(tenant, by, touched=member.role)
    _check_owner_left(tenant, member)
    return MemberRemoved(tenant_id=tenant.tenant_id, user_id=user_id, by=by, at_ms=at_ms)


def invite(tenant: Tenant, invitation: Invitation, *, at_ms: int) -> InvitationCreated:
    """Raises RoleTooLow and TooManyInvitations."""
    _check_rank(tenant, invitation.created_by, touched=invitation.role)
    if len(tenant.open_invitations(at_ms)) >= INVITATION_COUNT_MAX:
        raise TooManyInvitations(
            f"the tenant has {INVITATION_COUNT_MAX} open invitations; revoke one first",
            retry_after_s=None,
            maximum=INVITATION_COUNT_MAX,
        )
    return InvitationCreated(
        invitation_id=invitation.invitation_id,
        email=invitation.email,
        role=invitation.role.word,
        expires_at_ms=invitation.expires_at_ms,
        token_hash=invitation.token_hash,
        by=invitation.created_by,
        at_ms=at_ms,
    )


def revoke_invitation(
    tenant: Tenant, invitation_id: str, *, by: str, at_ms: int
) -> InvitationRevoked:
    """Raises InvitationNotFound and RoleTooLow."""
    invitation = tenant.invitations.get(invitation_id)
    if invitation is None or at_ms >= invitation.expires_at_ms:
        raise InvitationNotFound("there is no such invitation that is open")
    _check_rank(tenant, by, touched=invitation.role)
    return InvitationRevoked(invitation_id=invitation_id, by=by, at_ms=at_ms)


def open_invitation(
    tenant: Tenant | None, invitation_id: str, token_hash: str, now_ms: int
) -> Invitation:
    """The invitation that this token is for; raises InvitationInvalid."""
    invitation = tenant.invitations.get(invitation_id) if tenant else None
    if (
        invitation is None
        or now_ms >= invitation.expires_at_ms
        or not is_same(token_hash, invitation.token_hash)
    ):
        raise invitation_invalid()
    return invitation


def invitation_invalid() -> InvitationInvalid:
    return InvitationInvalid("the invitation is not valid, or no longer")


def accept(invitation: Invitation, joining: MemberJoined) -> list[Event]:
    """What a tenant records when the invited join it."""
    accepted = InvitationAccepted(
        invitation_id=invitation.invitation_id, user_id=joining.user_id, at_ms=joining.at_ms
    )
    return [accepted, joining]


def create_key(
    tenant: Tenant, key: Key, *, caller_scopes: frozenset[str], at_ms: int
) -> list[KeyRevoked | KeyCreated]:
    """What a tenant records when a key takes the place of those of the same request.

    Raises RoleTooLow, ScopeMissing and TooManyKeys.
    """
    _check_rank(tenant, key.created_by, touched=Role.ADMIN)
    role = tenant.members[key.created_by].role
    for scope in key.scopes:
        if scope not in caller_scopes & SCOPES[role]:
            raise ScopeMissing(f"the caller itself may not do {scope}", scope=scope)
    replaced = [
        KeyRevoked(key_id=one.key_id, by=key.created_by, at_ms=at_ms)
        for one in tenant.keys.values()
        if key.request_id and (one.created_by, one.request_id) == (key.created_by, key.request_id)
    ]
    if len(tenant.keys) - len(replaced) >= KEY_COUNT_MAX:
        raise TooManyKeys(
            f"the tenant has {KEY_COUNT_MAX} keys; revoke one first",
            retry_after_s=None,
            maximum=KEY_COUNT_MAX,
        )
    created = KeyCreated(
        key_id=key.key_id,
        name=key.name,
        scopes=list(key.scopes),
        expires_at_ms=key.expires_at_ms,
        secret_hash=key.secret_hash,
        by=key.created_by,
        request_id=key.request_id,
        at_ms=at_ms,
    )
    return [*replaced, created]


def revoke_key(tenant: Tenant, key_id: str, *, by: str, at_ms: int) -> KeyRevoked:
    """Raises RoleTooLow and KeyNotFound."""
    _check_rank(tenant, by, touched=Role.ADMIN)
    if key_id not in tenant.keys:
        raise KeyNotFound("the tenant has no such key")
    return KeyRevoked(key_id=key_id, by=by, at_ms=at_ms)


def _member(tenant: Tenant, user_id: str) -> Member:
    member = tenant.members.get(user_id)
    if member is None:
        raise MemberNotFound("the tenant has no such member")
    return member


def _check_rank(tenant: Tenant, by: str, *, touched: Role) -> None:
    """Managing takes an admin; whatever has to do with owners takes an owner.

    What counts is the role the caller has now, not the one in a token of minutes ago.
    """
    if not _manages(tenant.members.get(by), touched=touched):
        needed = _manager_of(touched)
        raise RoleTooLow(f"this takes the role {needed.word}", needed=needed.word)


def _manages(member: Member | None, *, touched: Role) -> bool:
    return member is not None and member.role >= _manager_of(touched)


def _manager_of(touched: Role) -> Role:
    return Role.OWNER if touched == Role.OWNER else Role.ADMIN


def _check_owner_left(tenant: Tenant, without: Member) -> None:
    if without.role != Role.OWNER:
        return
    if not any(one.role == Role.OWNER for one in tenant.members.values() if one is not without):
        raise LastOwner("the tenant would be left without an owner")
