"""Who makes a call and what they may do. Knows no tokens, no keys and no transport."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from girih.ids import TenantId
from services.plumbing.errors import PermissionDenied, Unauthenticated

PUBLIC = "public"
"""What an rpc says in place of a scope when anybody may call it."""
SIGNED_IN = "signed-in"
"""What an rpc says in place of a scope when any valid token will do."""
OPS_READ = "ops.read"
"""The one scope whose rpcs belong to no tenant."""


class TokenRequired(Unauthenticated):
    """The call carries no token, and the rpc asks for one."""

    reason = "TOKEN_REQUIRED"


class ScopeMissing(PermissionDenied):
    """The caller's token does not allow this."""

    reason = "SCOPE_MISSING"


class TenantRequired(PermissionDenied):
    """The caller's token does not say whose data it is for."""

    reason = "TENANT_REQUIRED"


class Plan(Protocol):
    """What the tenant's plan allows, as the product defines it."""

    @property
    def name(self) -> str: ...

    def claim(self) -> Mapping[str, object]:
        """What tokens say of it: its name as `name`, and what else there is."""
        ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a verified token speaks for."""

    tenant: TenantId
    """Whose data it is for; empty for a service that asks for nobody's."""
    subject: str
    """`user:<uuid>` or `key:<id>`, or the service's own name when it acts for nobody."""
    scopes: frozenset[str]
    issuer: str
    service: str = ""
    """The service that makes the call itself; empty when a user or a key does."""
    role: str = ""
    session: str = ""
    """The session, or the API key, that the token came from."""
    plan: Plan | None = None
    expires_at: int = 0
    """Unix seconds; the token is worth nothing from then on."""

    def allows(self, scope: str) -> bool:
        return scope in self.scopes


def authorize(principal: Principal | None, scope: str) -> None:
    """Let the call go on, or raise `TokenRequired`, `ScopeMissing` or `TenantRequired`.

    `scope` is what the rpc's contract asks for: a scope, `public` or `signed-in`.
    """
    if scope == PUBLIC:
        return
    if principal is None:
        raise TokenRequired("the call needs a token")
    if scope != SIGNED_IN and not principal.allows(scope):
        raise ScopeMissing(f"the token does not allow {scope}", scope=scope)
    if not principal.tenant and scope != OPS_READ:
        raise TenantRequired("the token does not say whose data it is for")
