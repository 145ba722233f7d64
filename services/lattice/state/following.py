"""Follows the catalogues of the tenants being served, so that memory learns of every change.

Knows neither what the changes mean nor who caches what.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from girih.ids import TenantId
from services.lattice.state.journal import CatalogueFollower, LatticeJournal, LatticeRecord
from services.plumbing import correlation
from services.plumbing.logging import get_logger
from services.plumbing.tasks import end_tasks

Fold = Callable[[TenantId, Sequence[LatticeRecord]], None]
"""Takes a tenant and what was recorded in its catalogue, in order."""

Began = Callable[[TenantId, str], None]
"""Takes a tenant and the incarnation of the journal that its catalogue is followed in."""

_IDLE_S = 300.0
"""A catalogue that nobody asked about for so long is not followed any more."""

_log = get_logger("lattice")


class Following:
    """One tenant's catalogue, followed from where it ended when following began."""

    def __init__(self) -> None:
        self.written_revision = -1
        """The revision of what this process wrote into the catalogue last."""
        self._follower: CatalogueFollower | None = None
        self._since_s = float("inf")
        self._used_s = 0.0
        self._idle: asyncio.Timeout | None = None

    @property
    def revision(self) -> int:
        """The revision up to which everything was folded."""
        return self._follower.revision if self._follower else -1

    @property
    def is_current(self) -> bool:
        """Everything is folded that was recorded up to a moment ago, and by this process."""
        follower = self._follower
        return (
            follower is not None
            and follower.is_current
            and follower.revision >= self.written_revision
        )

    def covers(self, read_s: float) -> bool:
        """Whether what was read since `read_s` (`time.monotonic()`) is known to be true still.

        It is while the catalogue is followed and was when the reading began: every later
        change was folded.
        """
        return self.is_current and read_s >= self._since_s

    def used(self) -> None:
        """Somebody asked: go on for a while."""
        if self._idle is None or self._idle.expired():
            return  # it is ending, and whoever asks next begins anew
        now_s = time.monotonic()
        if now_s - self._used_s > _IDLE_S / 10:
            self._used_s = now_s
            self._idle.reschedule(asyncio.get_running_loop().time() + _IDLE_S)

    def began(self, *, is_anew: bool) -> None:
        """Following began, or began anew in another journal, at where the catalogue ends now."""
        self._since_s = time.monotonic()
        if is_anew:
            # What was written before is not in this one.
            self.written_revision = -1

    async def run(self, follower: CatalogueFollower) -> None:
        """Follow until nobody asked for a while."""
        self._follower = follower
        try:
            async with asyncio.timeout(_IDLE_S) as self._idle:
                await follower.run()
        except TimeoutError:
            pass
        finally:
            self._follower = self._idle = None


class CatalogueFollowing:
    """Follows the catalogues of up to `tenant_count_max` tenants, those used last.

    What is not followed has to be asked about. Following acts for whoever's call began it.
    """

    def __init__(
        self, journal: LatticeJournal, fold: Fold, began: Began, *, tenant_count_max: int
    ) -> None:
        self._journal = journal
        self._fold = fold
        self._began = began
        self._tenant_count_max = tenant_count_max
        self._followings: OrderedDict[TenantId, Following] = OrderedDict()
        self._tasks: dict[TenantId, asyncio.Task[None]] = {}

    @property
    def tenant_count(self) -> int:
        return len(self._followings)

    def of(self, tenant: TenantId) -> Following | None:
        """The tenant's catalogue, which is followed from now on; None where none may be."""
        following = self._followings.get(tenant)
        if following is None:
            return self._begin(tenant)
        self._followings.move_to_end(tenant)
        following.used()
        return following

    def wrote(self, tenant: TenantId, revision: int) -> None:
        """This process wrote into a catalogue: what is older is not current here."""
        following = self._followings.get(tenant)
        if following is not None:
            following.written_revision = max(following.written_revision, revision)

    async def close(self) -> None:
        """Follow nothing any more."""
        await end_tasks(list(self._tasks.values()))

    def _begin(self, tenant: TenantId) -> Following | None:
        if not self._tenant_count_max:
            return None
        while len(self._followings) >= self._tenant_count_max:
            oldest, _ = self._followings.popitem(last=False)
            self._tasks[oldest].cancel()
        following = self._followings[tenant] = Following()
        task = asyncio.create_task(self._follow(tenant, following), name=f"follow {tenant}")
        self._tasks[tenant] = task
        task.add_done_callback(lambda task: self._ended(tenant, following, task))
        return following

    async def _follow(self, tenant: TenantId, following: Following) -> None:
        call = correlation.current()
        correlation.enter(replace(call, tenant=tenant, deadline_s=None))
        began_count = 0

        def began(incarnation: str) -> None:
            nonlocal began_count
            following.began(is_anew=began_count > 0)
            began_count += 1
            self._began(tenant, incarnation)

        follower = self._journal.follower(
            tenant, lambda records: self._fold(tenant, records), began
        )
        await following.run(follower)

    def _ended(self, tenant: TenantId, following: Following, task: asyncio.Task[None]) -> None:
        if self._tasks.get(tenant) is task:
            del self._tasks[tenant]
        if self._followings.get(tenant) is following:
            del self._followings[tenant]
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever asks next begins anew; until then memory is believed for a moment only.
            _log.error("a catalogue is not followed any more", tenant=tenant, exc_info=error)
