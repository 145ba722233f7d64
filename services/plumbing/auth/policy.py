"""What a product decides about tokens, as a table that issuers and verifiers are handed.

Names no service, no scope and no plan: those stand in `services.policy`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.plumbing.identity import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerPolicy:
    """What the tokens of one issuer may say."""

    access_tokens: bool = False
    """May issue the tokens that users and keys call with."""
    service_scopes: frozenset[str]
    """What its own calls may do. It may name scopes that nobody knows: they grant nothing."""
    reserved_tenants: bool = False
    """Its own calls may be for tenants that belong to no user."""
    alone_for_tenants: bool = False
    """Its own calls may be for a tenant without acting for one of its users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPolicy:
    """What there is to be allowed, and who may allow it."""

    audiences: tuple[str, ...]
    """The services that an access token is good at."""
    scopes: frozenset[str]
    """Every scope there is. Others grant nothing: they may be of a later version."""
    issuers: Mapping[str, IssuerPolicy]
    """Who may sign tokens, by name. Nobody else's count, whatever the trust store holds."""
    reserved_tenants: str
    """The prefix of the names of tenants that belong to no user."""
    read_plan: Callable[[Mapping[str, object]], Plan]
    """The plan that an access token states. Passes over what it does not know, which may be
    of a later version; raises ValueError when what it knows is missing or wrong."""
