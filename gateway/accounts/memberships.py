"""The tenants that a user is a member of, whichever of them the call is made in."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.accounts.errors import CredentialsInvalid
from gateway.accounts.keys import FRESHNESS_S
from gateway.accounts.state.tenants import Member, Tenant
from gateway.accounts.store import AccountsStore
from services.plumbing.errors import InvalidInput

_PAGE_SIZE_MAX = 100


@dataclass(frozen=True, slots=True)
class Membership:
    """A tenant, and what the user is there."""

    tenant: Tenant
    member: Member


@dataclass(frozen=True, slots=True)
class Page:
    """Some tenants, and what asks for those behind them."""

    memberships: Sequence[Membership]
    next_page_token: str


class Memberships:
    """Lists where a user may work."""

    def __init__(self, store: AccountsStore) -> None:
        self._store = store

    async def page(self, user_id: str, page_size: int, page_token: str) -> Page:
        """In the order in which the user joined. Takes a read for each tenant that is not kept."""
        user = await self._store.user(user_id)
        if user is None:
            raise CredentialsInvalid("the user of the token is not known here")
        size = min(page_size or _PAGE_SIZE_MAX, _PAGE_SIZE_MAX)
        first = _first(user.tenants, page_token)
        ids = user.tenants[first : first + size]
        tenants = await asyncio.gather(*(self._store.tenant(one, FRESHNESS_S) for one in ids))
        memberships = [
            Membership(tenant, tenant.members[user_id])
            for tenant in tenants
            if tenant is not None and user_id in tenant.members
        ]
        return Page(memberships, ids[-1] if first + size < len(user.tenants) else "")


def _first(ids: Sequence[str], page_token: str) -> int:
    """Where the page behind the tenant `page_token` begins; raises InvalidInput."""
    if not page_token:
        return 0
    if page_token not in ids:
        raise InvalidInput.of("page_token", "must be the next_page_token of the page before")
    return ids.index(page_token) + 1
