"""What sessions and keys are given to call with. Knows no streams."""

from dataclasses import dataclass, field
from typing import Final

from gateway.accounts.callers import key_subject, user_subject
from gateway.accounts.policy.roles import SCOPES, Role
from gateway.accounts.state.tenants import Key, Tenant
from girih.ids import TenantId
from services.plumbing.auth.tokens import Issuer
from services.policy import POLICY

KEY_ROLE: Final = "key"
"""What stands for the role in the tokens of keys, which have none."""


@dataclass(frozen=True, slots=True)
class Access:
    """An access token, and how long it is valid."""

    token: str = field(repr=False)
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What a session is used with."""

    access: Access
    refresh_token: str = field(repr=False)


class AccessTokens:
    """Issues access tokens that say what holds at this moment."""

    def __init__(self, issuer: Issuer, lifetime_s: int, *, owners_see_settings: bool) -> None:
        self._issuer = issuer
        self._lifetime_s = lifetime_s
        self._owners_extra = frozenset({"settings.read"} if owners_see_settings else ())

    @property
    def key_id(self) -> str:
        """The name of the key that signs them now."""
        return self._issuer.key_id

    def for_user(self, user_id: str, tenant: Tenant, role: Role, session_id: str) -> Access:
        token = self._issuer.access_token(
            tenant=TenantId(tenant.tenant_id),
            subject=user_subject(user_id),
            audiences=POLICY.audiences,
            scopes=SCOPES[role] | (self._owners_extra if role is Role.OWNER else frozenset()),
            role=role.word,
            session=session_id,
            plan=tenant.plan,
            lifetime_s=self._lifetime_s,
        )
        return Access(token, self._lifetime_s)

    def for_key(self, key: Key, tenant: Tenant, now_ms: int) -> Access:
        """Never outlives its key."""
        lifetime_s = self._lifetime_s
        if key.expires_at_ms:
            lifetime_s = min(lifetime_s, max(1, (key.expires_at_ms - now_ms) // 1_000))
        token = self._issuer.access_token(
            tenant=TenantId(tenant.tenant_id),
            subject=key_subject(key.key_id),
            audiences=POLICY.audiences,
            scopes=key.scopes,
            role=KEY_ROLE,
            session=key.key_id,
            plan=tenant.plan,
            lifetime_s=lifetime_s,
        )
        return Access(token, lifetime_s)
