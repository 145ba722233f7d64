"""Users, tenants and sessions as they are now, from their streams in the log of accounts.

What is kept in memory only spares reading again what was read before. Decisions name the
revisions they were made on, and are made again when another replica was faster.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, Protocol, TypeVar

from cachetools import LRUCache

from gateway.accounts.account_log import AccountLog, Change, StreamChanged
from gateway.accounts.errors import AccountsBusy, TenantNotFound
from gateway.accounts.state import tenants
from gateway.accounts.state.domain import Session, User, session_from, user_after
from gateway.accounts.state.events import AccountRecord, DamagedRecord, EmailClaimed
from gateway.accounts.state.tenants import Tenant
from girih.client import ABSENT
from services.policy import PlanLimits

R = TypeVar("R")

USERS_MAX: Final = 10_000
TENANTS_MAX: Final = 2_000
"""How many are kept in memory."""

_TENANT = "tenant-"

_ATTEMPTS_MAX = 20
_PAUSE_S_MAX = 0.05


def email_stream(key: str) -> str:
    return f"email-{key}"


def user_stream(user_id: str) -> str:
    return f"user-{user_id}"


def tenant_stream(tenant_id: str) -> str:
    return f"{_TENANT}{tenant_id}"


def session_stream(session_id: str) -> str:
    return f"session-{session_id}"


def ticket_stream(ticket_id: str) -> str:
    return f"ticket-{ticket_id}"


def sessions_tag(user_id: str) -> str:
    """Of records that tell of a user's sessions: where each began, and that it ended."""
    return f"sessions-of:{user_id}"


class HasRevision(Protocol):
    """Something that its stream adds up to, up to a revision."""

    @property
    def revision(self) -> int: ...


S = TypeVar("S", bound=HasRevision)
Fold = Callable[[S | None, Sequence[AccountRecord]], S | None]


@dataclass(frozen=True, slots=True)
class _Read(Generic[S]):
    state: S
    read_at_s: float
    is_outdated: bool = False
    """Something is known to have been recorded since."""

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.read_at_s


@dataclass(eq=False, slots=True)
class _Load:
    """A stream that is being read."""

    stream: str
    last_revision: int = ABSENT
    """The last that was told of meanwhile, which the answer may be without."""


class _Folded(Generic[S]):
    """The states of streams of one kind, the least recently used forgotten first."""

    def __init__(self, log: AccountLog, fold: Fold[S], kept_max: int) -> None:
        self._log = log
        self._fold = fold
        self._kept: LRUCache[str, _Read[S]] = LRUCache(kept_max)
        self._loads: set[_Load] = set()
        self._forgotten_count = 0

    async def load(
        self, stream: str, max_age_s: float = 0.0, behind_s: float = math.inf
    ) -> S | None:
        """The state as it is, or was at most `max_age_s` ago.

        All that was recorded up to `behind_s` ago has been told to `expire`.
        """
        kept = self._kept.get(stream)
        if kept and not kept.is_outdated and min(kept.age_s, behind_s) < max_age_s:
            return kept.state
        started_s, forgotten_count = time.monotonic(), self._forgotten_count
        before = kept.state if kept else None
        load = _Load(stream)
        self._loads.add(load)
        try:
            records = await self._log.read(
                stream, after_revision=before.revision if before else ABSENT
            )
        finally:
            self._loads.discard(load)
        state = self._fold(before, records)
        if state is not None and forgotten_count == self._forgotten_count:
            self._keep(stream, _Read(state, started_s, state.revision < load.last_revision))
        return state

    def forget(self) -> None:
        """Keep nothing: it may have been read of a log that is no more."""
        self._kept.clear()
        self._forgotten_count += 1

    def expire(self, stream: str, revision: int) -> None:
        """The stream is at this revision: what was read before is not believed any longer."""
        for load in self._loads:
            if load.stream == stream:
                load.last_revision = max(load.last_revision, revision)
        kept = self._kept.get(stream)
        if kept and kept.state.revision < revision:
            self._kept[stream] = replace(kept, is_outdated=True)

    def _keep(self, stream: str, read: _Read[S]) -> None:
        kept = self._kept.get(stream)
        if kept is None or kept.state.revision <= read.state.revision:
            self._kept[stream] = read


class AccountsStore:
    """Reads accounts and records what is decided about them."""

    def __init__(
        self,
        log: AccountLog,
        on_recorded: Callable[[Iterable[AccountRecord]], None],
        default_plan: PlanLimits,
    ) -> None:
        """`on_recorded` gets at once what this process has recorded. Tenants are on
        `default_plan` until they are put on one.
        """
        self._default_plan = default_plan
        self._log = log
        self._on_recorded = on_recorded
        self._behind_s: Callable[[], float] = lambda: math.inf
        self._users = _Folded(log, user_after, USERS_MAX)
        self._tenants = _Folded(log, self.tenant_after, TENANTS_MAX)

    def forget(self) -> None:
        """Read everything anew: the log may be another one than it was."""
        self._users.forget()
        self._tenants.forget()

    def follow(self, behind_s: Callable[[], float]) -> None:
        """`learn` gets all that was recorded up to `behind_s()` seconds ago: what was read is
        believed from now on until something is."""
        self._behind_s = behind_s

    def learn(self, recorded: Iterable[AccountRecord]) -> None:
        """These are there, by whichever process they were recorded."""
        for one in recorded:
            # Nothing else is believed without reading it again.
            if one.stream.startswith(_TENANT):
                self._tenants.expire(one.stream, one.revision)

    async def user_id_of(self, claim_keys: Sequence[str]) -> str | None:
        """Whose the address is: of whoever claimed it by the first of these keys that anybody did.

        All are asked for at once, so that it takes as long whichever it was.
        """
        claims = await asyncio.gather(*map(self._claimed_by, claim_keys))
        return next((user_id for user_id in claims if user_id is not None), None)

    async def _claimed_by(self, key: str) -> str | None:
        last = await self._log.last(email_stream(key))
        if last is None:
            return None
        if not isinstance(last.event, EmailClaimed):
            raise DamagedRecord("an address was not claimed by its last record")
        return last.event.user_id

    async def user(self, user_id: str) -> User | None:
        return await self._users.load(user_stream(user_id))

    async def tenant(self, tenant_id: str, max_age_s: float = 0.0) -> Tenant | None:
        """As it is, or was at most `max_age_s` ago."""
        return await self._tenants.load(tenant_stream(tenant_id), max_age_s, self._behind_s())

    async def present_tenant(self, tenant_id: str, max_age_s: float = 0.0) -> Tenant:
        """Raises TenantNotFound."""
        tenant = await self.tenant(tenant_id, max_age_s)
        if tenant is None:
            raise TenantNotFound("there is no such tenant")
        return tenant

    def tenant_after(
        self, tenant: Tenant | None, recorded: Sequence[AccountRecord]
    ) -> Tenant | None:
        """The tenant, once more has happened; None before it was created."""
        return tenants.tenant_after(tenant, recorded, self._default_plan)

    async def session(self, session_id: str) -> Session | None:
        last = await self._log.last(session_stream(session_id))
        return session_from(last) if last else None

    async def session_records(self, user_id: str, limit: int) -> list[AccountRecord]:
        """The last of a user's sessions that began or ended, the last first: see `sessions_tag`."""
        return await self._log.tagged(sessions_tag(user_id), limit)

    async def last_record(self, stream: str) -> AccountRecord | None:
        return await self._log.last(stream)

    async def record(
        self, changes: Sequence[Change], expected: Mapping[str, int]
    ) -> list[AccountRecord]:
        """Record all or none; raises StreamChanged and EventsUnavailable."""
        recorded = await self._log.append(changes, expected)
        self.learn(recorded)
        self._on_recorded(recorded)
        return recorded


async def retry_on_conflict(decide: Callable[[], Awaitable[R]]) -> R:
    """Read, decide and record, again while others are faster; raises AccountsBusy."""
    for attempt in range(_ATTEMPTS_MAX):
        try:
            return await decide()
        except StreamChanged:
            # Losers of one race that came back all at once would lose the next one too.
            await asyncio.sleep(random.uniform(0, _PAUSE_S_MAX) * attempt)  # noqa: S311
    raise AccountsBusy("the account changes all the time; retry the same call")
