"""Wires accounts together, for the gateway that serves them in its own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.accounts.account_log import AccountLog
from gateway.accounts.grants import AccessTokens
from gateway.accounts.keys import Keys, KeyUses
from gateway.accounts.members import Members
from gateway.accounts.memberships import Memberships
from gateway.accounts.policy.plans import PLANS
from gateway.accounts.ports import Clock, SecurityEvents, Throttle, now_ms
from gateway.accounts.secrets.credentials import RefreshTokens
from gateway.accounts.secrets.passwords import (
    CHARS_MIN_DEVELOPMENT,
    CHARS_MIN_PRODUCTION,
    PasswordHashing,
)
from gateway.accounts.servicer import AccountsServicer
from gateway.accounts.sessions.listing import OwnSessions
from gateway.accounts.sessions.opening import Sessions
from gateway.accounts.sessions.revocations import RevocationFollower, Revocations
from gateway.accounts.settings import AccountSettings, read_refresh_secret
from gateway.accounts.state.domain import SessionLimits
from gateway.accounts.store import AccountsStore
from gateway.accounts.tickets.ticket import TicketCodes
from gateway.accounts.tickets.tickets import Tickets
from gateway.accounts.users import Users
from gateway.metering.resource_counts import ResourceCounts
from gateway.metering.usage import Usage
from gateway.own_calls import OwnLogs
from gateway.shown_processes import ShownProcesses
from services.plumbing.auth.tokens import Issuer
from services.plumbing.tasks import OwnedTasks
from services.plumbing.watched import Watched


@dataclass(frozen=True, slots=True)
class Accounts:
    """What the gateway needs of accounts."""

    servicer: AccountsServicer
    """The rpcs of girih.accounts.v1."""
    keys: Keys
    tickets: Tickets
    revocations: Revocations
    follower: RevocationFollower

    def is_revoked(self, session_id: str) -> bool:
        """Whether tokens of this session, or of the key with this id, count no longer."""
        return self.revocations.is_revoked(session_id)

    async def token_of_key(self, text: str) -> str:
        """The access token for a call that is made with a key; raises KeyInvalid."""
        return (await self.keys.access(text)).token


@asynccontextmanager
async def open_accounts(
    settings: AccountSettings,
    *,
    logs: OwnLogs,
    issuer: Issuer,
    security: SecurityEvents,
    throttle: Throttle,
    usage: Usage,
    resource_counts: ResourceCounts,
    processes: ShownProcesses,
    tasks: OwnedTasks,
    clock: Clock = now_ms,
) -> AsyncIterator[Accounts]:
    """Accounts that serve inside the block. Nothing is read before somebody calls.

    What runs in the background is started among `tasks`, which the caller stops before the
    block ends.
    """
    revocations = Revocations()
    log = AccountLog(logs)
    store = AccountsStore(log, revocations.apply, PLANS[settings.default_plan])
    secret = Watched(
        "refresh secret",
        [settings.refresh_secret],
        lambda: read_refresh_secret(settings.refresh_secret),
    )
    access_tokens = AccessTokens(
        issuer, settings.access_token_s, owners_see_settings=settings.owners_see_settings
    )
    uses = KeyUses(store, security, clock)
    keys = Keys(store, access_tokens, uses, revocations.is_revoked, security, clock)
    sessions = Sessions(
        store,
        RefreshTokens(lambda: secret.current),
        access_tokens,
        SessionLimits(settings.session_idle_s * 1_000, settings.session_s * 1_000),
        security,
        clock,
    )
    hashing = PasswordHashing(
        thread_count=settings.hashing_threads,
        queue_max=settings.hashing_queue_max,
        memory_kib=settings.hashing_memory_kib,
    )
    users = Users(store, sessions, hashing, throttle, security, clock, _chars_min(settings))
    members = Members(store, security, clock)
    codes = TicketCodes(lambda: secret.current)
    tickets = Tickets(store, sessions, codes, access_tokens, revocations.apply, clock)
    servicer = AccountsServicer(
        users,
        sessions,
        OwnSessions(store, sessions),
        Memberships(store),
        members,
        keys,
        tickets,
        store,
        usage,
        resource_counts,
        processes,
    )
    follower = RevocationFollower(log, revocations, clock, store.learn, store.forget)
    store.follow(lambda: follower.behind_s)
    tasks.start("revocations", follower.run())
    tasks.start("key uses", uses.keep_recording())
    tasks.start("refresh secret", secret.watch())
    try:
        yield Accounts(servicer, keys, tickets, revocations, follower)
    finally:
        await hashing.close()


def _chars_min(settings: AccountSettings) -> int:
    is_development = settings.environment == "development"
    return CHARS_MIN_DEVELOPMENT if is_development else CHARS_MIN_PRODUCTION
