"""API keys: made for machines, traded for access tokens, revoked at once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from cachetools import LRUCache

from gateway.accounts.account_log import Change, StreamChanged
from gateway.accounts.callers import UserCaller, key_subject, user_subject
from gateway.accounts.errors import KeyInvalid, KeyNotFound
from gateway.accounts.grants import Access, AccessTokens
from gateway.accounts.ports import Clock, SecurityEvents
from gateway.accounts.secrets.credentials import KEY_PREFIX, TenantSecret, is_same
from gateway.accounts.state import tenants
from gateway.accounts.state.events import DamagedRecord, KeyUsed
from gateway.accounts.state.tenants import Key, Tenant
from gateway.accounts.store import AccountsStore, retry_on_conflict, tenant_stream
from gateway.http.caller import caller_address
from gateway.own_calls import EventsRefused
from girih.client import ABSENT
from services.plumbing.errors import EventsUnavailable
from services.plumbing.logging import get_logger

FRESHNESS_S: Final = 5.0
"""How long a tenant that was looked up is believed while the log of accounts is not followed, as
when the event store is away. Else it is until something of it is recorded."""

_LIFETIME_DAYS_MAX = 3_650
_DAY_MS = 24 * 3_600 * 1_000
_ACCESS_MAX = 10_000

_log = get_logger("accounts")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key, and what calls are made with."""

    key: Key
    secret: str = field(repr=False)


class Keys:
    """Makes, lists and revokes keys, and gives access for them."""

    def __init__(
        self,
        store: AccountsStore,
        access_tokens: AccessTokens,
        uses: "KeyUses",
        is_revoked: Callable[[str], bool],
        security: SecurityEvents,
        clock: Clock,
    ) -> None:
        self._store = store
        self._access_tokens = access_tokens
        self._uses = uses
        self._is_revoked = is_revoked
        self._security = security
        self._clock = clock
        self._accesses: LRUCache[str, _IssuedAccess] = LRUCache(_ACCESS_MAX)

    async def create(
        self,
        caller: UserCaller,
        name: str,
        scopes: Sequence[str],
        expires_in_days: int,
        request_id: str,
    ) -> NewKey:
        """In place of what the same user made with the request id, unless that is empty.

        Raises ScopeMissing, RoleTooLow and TooManyKeys.
        """
        return await retry_on_conflict(
            lambda: self._create(caller, name, tuple(sorted(scopes)), expires_in_days, request_id)
        )

    async def all_of(self, tenant_id: str) -> Sequence[Key]:
        """Those not revoked, in the order of their creation."""
        tenant = await self._store.present_tenant(tenant_id)
        return list(tenant.keys.values())

    async def one_of(self, tenant_id: str, key_id: str) -> Key:
        """Raises KeyNotFound."""
        tenant = await self._store.present_tenant(tenant_id, FRESHNESS_S)
        key = tenant.keys.get(key_id)
        if key is None:
            raise KeyNotFound("the tenant has no such key")
        return key

    async def last_used(self, keys: Sequence[Key]) -> Mapping[str, int]:
        """When each was last used, by its id; those never used are missing."""
        times_ms = await asyncio.gather(*(self._uses.last_used(key.key_id) for key in keys))
        return {key.key_id: at_ms for key, at_ms in zip(keys, times_ms, strict=True) if at_ms}

    async def revoke(self, caller: UserCaller, key_id: str) -> None:
        """Raises KeyNotFound and RoleTooLow."""
        await retry_on_conflict(lambda: self._revoke(caller, key_id))

    async def exchange(self, text: str) -> Access:
        """An access token for a key; raises KeyInvalid, and tells of it."""
        try:
            return await self.access(text)
        except KeyInvalid as error:
            # Whose key it claims to be is not proved: no tenant is told.
            self._security.record("", "key-refused", reason=error.reason, address=caller_address())
            raise

    async def access(self, text: str) -> Access:
        """An access token for a key; raises KeyInvalid.

        The gateway asks this for every call made with a key, so the same token is given
        until two thirds of its life are over, and keys are looked up anew every few seconds.
        What was signed with a key that signs no more is not given: it may count no longer.
        """
        secret = TenantSecret.parse(KEY_PREFIX, text)
        if secret is None or self._is_revoked(secret.own_id):
            raise _invalid()
        tenant, key = await self._verified(secret)
        self._uses.note(tenant.tenant_id, key)
        return self._access(secret.hash, tenant, key)

    def _access(self, secret_hash: str, tenant: Tenant, key: Key) -> Access:
        now_ms = self._clock()
        issued = self._accesses.get(secret_hash)
        signing = self._access_tokens.key_id
        if issued and issued.is_good(now_ms, tenant.plan, signing):
            left_s = (issued.expires_at_ms - now_ms) // 1_000
            return Access(issued.access.token, left_s)
        access = self._access_tokens.for_key(key, tenant, now_ms)
        life_ms = access.expires_in_s * 1_000
        self._accesses[secret_hash] = _IssuedAccess(
            access, tenant.plan, signing, now_ms, now_ms + life_ms * 2 // 3, now_ms + life_ms
        )
        return access

    async def _verified(self, secret: TenantSecret) -> tuple[Tenant, Key]:
        tenant = await self._store.tenant(secret.tenant_id, FRESHNESS_S)
        if tenant is None or secret.own_id not in tenant.keys:
            # Perhaps made a moment ago, on another replica.
            tenant = await self._store.tenant(secret.tenant_id)
        key = tenant.keys.get(secret.own_id) if tenant else None
        if tenant is None or key is None or not is_same(secret.hash, key.secret_hash):
            raise _invalid()
        if key.has_expired(self._clock()):
            raise _invalid()
        return tenant, key

    async def _create(
        self,
        caller: UserCaller,
        name: str,
        scopes: tuple[str, ...],
        expires_in_days: int,
        request_id: str,
    ) -> NewKey:
        tenant = await self._store.present_tenant(caller.tenant_id)
        at_ms = self._clock()
        secret = TenantSecret.new(KEY_PREFIX, tenant.tenant_id, str(uuid4()))
        key = Key(
            key_id=secret.own_id,
            name=name,
            scopes=scopes,
            created_at_ms=at_ms,
            expires_at_ms=at_ms + expires_in_days * _DAY_MS if expires_in_days else 0,
            created_by=caller.user_id,
            secret_hash=secret.hash,
            request_id=request_id,
        )
        made = tenants.create_key(tenant, key, caller_scopes=caller.scopes, at_ms=at_ms)
        stream = tenant_stream(tenant.tenant_id)
        await self._store.record([Change(stream, one) for one in made], {stream: tenant.revision})
        for one in made:
            self._audit(caller, one.type.removeprefix("tenant."), one.key_id)
        return NewKey(key, secret.text)

    async def _revoke(self, caller: UserCaller, key_id: str) -> None:
        tenant = await self._store.present_tenant(caller.tenant_id)
        revoked = tenants.revoke_key(tenant, key_id, by=caller.user_id, at_ms=self._clock())
        stream = tenant_stream(tenant.tenant_id)
        await self._store.record([Change(stream, revoked)], {stream: tenant.revision})
        self._audit(caller, "key-revoked", key_id)

    def _audit(self, caller: UserCaller, kind: str, key_id: str) -> None:
        self._security.record(
            caller.tenant_id,
            kind,
            subject=user_subject(caller.user_id),
            address=caller_address(),
            key=key_id,
        )


class KeyUses:
    """Remembers when keys were last used: recorded in the background, once an hour each.

    Nothing waits for it. What does not fit is left out: the next use comes soon enough.
    """

    INTERVAL_MS: Final = 3_600 * 1_000
    PENDING_MAX: Final = 1_000
    NOTED_MAX: Final = 20_000

    def __init__(self, store: AccountsStore, security: SecurityEvents, clock: Clock) -> None:
        self._store = store
        self._security = security
        self._clock = clock
        self._noted: LRUCache[str, int] = LRUCache(self.NOTED_MAX)
        self._pending: asyncio.Queue[KeyUsed] = asyncio.Queue(self.PENDING_MAX)

    def note(self, tenant_id: str, key: Key) -> None:
        """The key is used now."""
        now_ms = self._clock()
        if now_ms - self._noted.get(key.key_id, -self.INTERVAL_MS) < self.INTERVAL_MS:
            return
        if self._pending.full():
            return
        self._noted[key.key_id] = now_ms
        used = KeyUsed(key_id=key.key_id, tenant_id=tenant_id, at_ms=now_ms)
        self._pending.put_nowait(used)

    async def last_used(self, key_id: str) -> int | None:
        last = await self._store.last_record(_stream(key_id))
        return last.event.at_ms if last and last.event else None

    async def keep_recording(self) -> None:
        """Record what is noted, for ever: the work of a task."""
        while True:
            used = await self._pending.get()
            try:
                await self._record(used)
            except (EventsUnavailable, StreamChanged):
                # Another replica was faster, or the store is away: the next use will do.
                _log.debug("the use of a key was not recorded", key=used.key_id)
            except (EventsRefused, DamagedRecord) as error:
                _log.error("the use of a key cannot be recorded", problem=str(error))

    async def _record(self, used: KeyUsed) -> None:
        stream = _stream(used.key_id)
        last = await self._store.last_record(stream)
        if last and last.event and used.at_ms - last.event.at_ms < self.INTERVAL_MS:
            return
        expected = {stream: last.revision if last else ABSENT}
        await self._store.record([Change(stream, used)], expected)
        self._security.record(
            used.tenant_id, "key-used", subject=key_subject(used.key_id), key=used.key_id
        )


@dataclass(frozen=True, slots=True)
class _IssuedAccess:
    """An access token that a key was issued."""

    access: Access
    plan: object
    signed_by: str
    issued_at_ms: int
    good_until_ms: int
    expires_at_ms: int

    def is_good(self, now_ms: int, plan: object, signing: str) -> bool:
        """Also by a clock that was set back: nobody believes what was issued later than now."""
        is_of_now = self.issued_at_ms <= now_ms < self.good_until_ms
        return is_of_now and self.plan == plan and self.signed_by == signing


def _stream(key_id: str) -> str:
    return f"key-{key_id}"


def _invalid() -> KeyInvalid:
    return KeyInvalid("the key is not valid, or no longer")
