"""Members of a tenant and those invited, and who may change them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import uuid4

from gateway.accounts.account_log import Change
from gateway.accounts.callers import UserCaller, user_subject
from gateway.accounts.errors import AlreadyAMember
from gateway.accounts.policy.roles import Role
from gateway.accounts.ports import Clock, SecurityEvents
from gateway.accounts.secrets.credentials import INVITATION_PREFIX, TenantSecret
from gateway.accounts.state import tenants
from gateway.accounts.state.addresses import check_address, claim_keys
from gateway.accounts.state.events import PlanSet, TenantLeft
from gateway.accounts.state.tenants import Invitation, Member, Tenant
from gateway.accounts.store import AccountsStore, retry_on_conflict, tenant_stream, user_stream
from gateway.http.caller import caller_address
from services.plumbing.errors import InvalidInput, Violations
from services.policy import PlanLimits

INVITATION_LIFETIME_MS: Final = 7 * 24 * 3_600 * 1_000

_PAGE_SIZE_DEFAULT = 100
_PAGE_SIZE_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Page:
    """Some members, and what asks for those behind them."""

    members: Sequence[Member]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation, and what it is accepted with."""

    invitation: Invitation
    token: str = field(repr=False)


class Members:
    """Lists and changes who belongs to a tenant."""

    def __init__(self, store: AccountsStore, security: SecurityEvents, clock: Clock) -> None:
        self._store = store
        self._security = security
        self._clock = clock

    async def page(self, tenant_id: str, page_size: int, page_token: str) -> Page:
        """Members in the order in which they joined."""
        after = _after(page_token)
        size = min(page_size or _PAGE_SIZE_DEFAULT, _PAGE_SIZE_MAX)
        tenant = await self._store.present_tenant(tenant_id)
        behind = (one for one in tenant.members.values() if one.membership > after)
        page = list(islice(behind, size + 1))
        more = len(page) > size
        return Page(page[:size], str(page[size - 1].membership) if more else "")

    async def set_role(self, caller: UserCaller, user_id: str, role: Role) -> Member:
        """Raises MemberNotFound, RoleTooLow and LastOwner."""
        return await retry_on_conflict(lambda: self._set_role(caller, user_id, role))

    async def remove(self, caller: UserCaller, user_id: str) -> None:
        """Raises as `set_role`."""
        await retry_on_conflict(lambda: self._remove(caller, user_id))

    async def invite(self, caller: UserCaller, email: str, role: Role) -> Invited:
        """Raises AlreadyAMember, RoleTooLow and TooManyInvitations."""
        violations = Violations()
        check_address(email, violations)
        violations.raise_if_any()
        return await retry_on_conflict(lambda: self._invite(caller, email, role))

    async def invitations(self, tenant_id: str) -> Sequence[Invitation]:
        """The open ones, in the order of their creation."""
        tenant = await self._store.present_tenant(tenant_id)
        return tenant.open_invitations(self._clock())

    async def revoke_invitation(self, caller: UserCaller, invitation_id: str) -> None:
        """Raises InvitationNotFound and RoleTooLow."""
        await retry_on_conflict(lambda: self._revoke_invitation(caller, invitation_id))

    async def set_plan(self, tenant_id: str, plan: PlanLimits, *, by: str) -> Tenant:
        """Raises TenantNotFound."""
        return await retry_on_conflict(lambda: self._set_plan(tenant_id, plan, by))

    async def _set_role(self, caller: UserCaller, user_id: str, role: Role) -> Member:
        tenant = await self._store.present_tenant(caller.tenant_id)
        at_ms = self._clock()
        role_set = tenants.set_role(tenant, user_id, role, by=caller.user_id, at_ms=at_ms)
        if role_set is None:
            return tenant.members[user_id]
        changed = await self._record(tenant, [Change(tenant_stream(tenant.tenant_id), role_set)])
        self._audit(caller, "member-role-set", member=user_id, role=role.word)
        return changed.members[user_id]

    async def _remove(self, caller: UserCaller, user_id: str) -> None:
        tenant = await self._store.present_tenant(caller.tenant_id)
        at_ms = self._clock()
        removed = tenants.remove_member(tenant, user_id, by=caller.user_id, at_ms=at_ms)
        left = TenantLeft(tenant_id=tenant.tenant_id, at_ms=at_ms)
        await self._store.record(
            [
                Change(tenant_stream(tenant.tenant_id), removed),
                Change(user_stream(user_id), left),
            ],
            {tenant_stream(tenant.tenant_id): tenant.revision},
        )
        self._audit(caller, "member-removed", member=user_id)

    async def _invite(self, caller: UserCaller, email: str, role: Role) -> Invited:
        tenant = await self._store.present_tenant(caller.tenant_id)
        at_ms = self._clock()
        secret = TenantSecret.new(INVITATION_PREFIX, tenant.tenant_id, str(uuid4()))
        invitation = Invitation(
            invitation_id=secret.own_id,
            email=email,
            role=role,
            created_at_ms=at_ms,
            expires_at_ms=at_ms + INVITATION_LIFETIME_MS,
            created_by=caller.user_id,
            token_hash=secret.hash,
        )
        created = tenants.invite(tenant, invitation, at_ms=at_ms)
        user_id = await self._store.user_id_of(claim_keys(email))
        if user_id in tenant.members:
            raise AlreadyAMember("the user with this address is a member")
        await self._record(tenant, [Change(tenant_stream(tenant.tenant_id), created)])
        self._audit(
            caller, "invitation-created", invitation=secret.own_id, role=invitation.role.word
        )
        return Invited(invitation, secret.text)

    async def _revoke_invitation(self, caller: UserCaller, invitation_id: str) -> None:
        tenant = await self._store.present_tenant(caller.tenant_id)
        revoked = tenants.revoke_invitation(
            tenant, invitation_id, by=caller.user_id, at_ms=self._clock()
        )
        await self._record(tenant, [Change(tenant_stream(tenant.tenant_id), revoked)])
        self._audit(caller, "invitation-revoked", invitation=invitation_id)

    async def _set_plan(self, tenant_id: str, plan: PlanLimits, by: str) -> Tenant:
        tenant = await self._store.present_tenant(tenant_id)
        plan_set = PlanSet(
            name=plan.name,
            limits=plan.numbers(),
            by=by,
            at_ms=self._clock(),
        )
        changed = await self._record(tenant, [Change(tenant_stream(tenant_id), plan_set)])
        self._security.record(tenant_id, "plan-changed", subject=by, plan=plan.name)
        return changed

    async def _record(self, tenant: Tenant, changes: Sequence[Change]) -> Tenant:
        """Record what happened to a tenant as it is here, and answer how it is then."""
        expected = {tenant_stream(tenant.tenant_id): tenant.revision}
        changed = self._store.tenant_after(tenant, await self._store.record(changes, expected))
        assert changed is not None, "there was one before"
        return changed

    def _audit(self, caller: UserCaller, kind: str, **fields: str) -> None:
        self._security.record(
            caller.tenant_id,
            kind,
            subject=user_subject(caller.user_id),
            address=caller_address(),
            **fields,
        )


def _after(page_token: str) -> int:
    if not page_token:
        return -1
    if not page_token.isascii() or not page_token.isdigit() or len(page_token) > 18:
        raise InvalidInput.of("page_token", "must be the next_page_token of the page before")
    return int(page_token)
