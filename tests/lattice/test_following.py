"""What is deleted elsewhere is gone here at once, while a tenant's catalogue is followed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

import pytest

from girih.ids import TenantId
from services.lattice.computing.compute import Compute
from services.lattice.domain import LatticeId
from services.lattice.errors import LatticeNotFound
from services.lattice.state import following
from services.lattice.state.journal import LatticeRecord, StreamSlice
from services.lattice.state.lattices import Lattices
from services.plumbing.errors import EventsUnavailable
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.worlds import TENANT, UNBOUNDED, lattices_on, new, operations_on, spec

Replica = Callable[..., Lattices]


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
async def replica(journal: MemoryJournal) -> AsyncIterator[Replica]:
    """Makes replicas that believe what they have read for an hour."""
    compute = Compute(threads=1, bytes_max=1 << 30, waiting_max=10)
    replicas: list[Lattices] = []

    def make(
        journal: MemoryJournal = journal, tenant_count_max: int = 10, freshness_s: float = 3_600
    ) -> Lattices:
        replicas.append(
            lattices_on(
                journal,
                operations_on(compute),
                freshness_s=freshness_s,
                followed_tenants_max=tenant_count_max,
            )
        )
        return replicas[-1]

    yield make
    for one in replicas:
        await one.close()
    await compute.close()


async def create(lattices: Lattices, tenant: TenantId = TENANT) -> LatticeId:
    held = await lattices.create(tenant, new(spec(3)), UNBOUNDED)
    return held.lattice.lattice_id


async def open_and_follow(
    lattices: Lattices, lattice_id: LatticeId, tenant: TenantId = TENANT
) -> None:
    """Open a lattice twice: the second time it is cached, and known to be followed."""
    await lattices.open(tenant, lattice_id)
    await asyncio.sleep(0)
    await lattices.open(tenant, lattice_id)


async def listed(lattices: Lattices, tenant: TenantId = TENANT) -> list[str]:
    page = await lattices.page(tenant, 10, "")
    return [one.lattice.lattice_id for one in page.listed]


async def test_a_lattice_deleted_elsewhere_is_gone(replica: Replica) -> None:
    here, elsewhere = replica(), replica()
    lattice_id = await create(elsewhere)
    await open_and_follow(here, lattice_id)

    await elsewhere.delete(TENANT, lattice_id)

    with pytest.raises(LatticeNotFound):
        await here.open(TENANT, lattice_id)


async def test_a_lattice_deleted_elsewhere_stays_gone_while_the_journal_is_away(
    replica: Replica, journal: MemoryJournal
) -> None:
    here, elsewhere = replica(), replica()
    lattice_id = await create(elsewhere)
    await open_and_follow(here, lattice_id)
    await elsewhere.delete(TENANT, lattice_id)
    journal.is_away = True

    with pytest.raises(LatticeNotFound):
        await here.open(TENANT, lattice_id)


async def test_what_is_followed_is_not_asked_about(
    replica: Replica, journal: MemoryJournal
) -> None:
    here = replica()
    here._freshness_s = 0
    lattice_id = await create(here)
    await open_and_follow(here, lattice_id)
    await listed(here)
    reads, catalogue_reads = journal.reads, journal.catalogue_reads

    for _ in range(5):
        await here.open(TENANT, lattice_id)
        assert await listed(here) == [lattice_id]

    assert (journal.reads, journal.catalogue_reads) == (reads, catalogue_reads)


async def test_what_was_read_before_following_began_is_asked_about(
    replica: Replica, journal: MemoryJournal
) -> None:
    here, elsewhere = replica(), replica(tenant_count_max=0)
    here._freshness_s = 0
    lattice_id = await create(here)
    await elsewhere.delete(TENANT, lattice_id)
    journal.is_away = True
    await open_and_follow(here, lattice_id)

    journal.is_away = False

    with pytest.raises(LatticeNotFound):
        await here.open(TENANT, lattice_id)


async def test_a_list_follows_what_happens_elsewhere(
    replica: Replica, journal: MemoryJournal
) -> None:
    here, elsewhere = replica(), replica()
    kept, deleted = [await create(elsewhere) for _ in range(2)]
    await listed(here)
    await asyncio.sleep(0)
    catalogue_reads = journal.catalogue_reads

    await elsewhere.delete(TENANT, deleted)
    added = await create(elsewhere)

    assert await listed(here) == [kept, added]
    assert journal.catalogue_reads == catalogue_reads


async def test_a_list_has_what_was_created_here_before_it_is_followed(
    replica: Replica, journal: MemoryJournal
) -> None:
    here = replica()
    first = await create(here)
    await listed(here)
    await asyncio.sleep(0)
    journal.keeps_back = True

    second = await create(here)

    assert await listed(here) == [first, second]
    await here.delete(TENANT, first)
    assert await listed(here) == [second]


async def test_a_list_that_misses_a_record_is_read_anew(
    replica: Replica, journal: MemoryJournal
) -> None:
    here, elsewhere = replica(), replica()
    first = await create(elsewhere)
    await listed(here)
    await asyncio.sleep(0)
    journal.keeps_back = True
    second = await create(elsewhere)
    journal.keeps_back = False

    third = await create(elsewhere)

    assert await listed(here) == [first, second, third]


UNFOLLOWED = {"tenant_count_max": 0, "freshness_s": 0}


@pytest.mark.parametrize("how", [{}, UNFOLLOWED])
async def test_nothing_is_remembered_of_a_journal_that_was_restored(
    replica: Replica, journal: MemoryJournal, how: dict[str, int]
) -> None:
    here, elsewhere = replica(**how), replica()
    kept = await create(here)
    deleted = await create(elsewhere)
    saved = journal.saved()
    lost = await create(here)
    for lattice_id in (kept, deleted, lost):
        await open_and_follow(here, lattice_id)
    assert await listed(here) == [kept, deleted, lost]
    await elsewhere.delete(TENANT, deleted)
    with pytest.raises(LatticeNotFound):
        await here.open(TENANT, deleted)

    journal.restore(saved)

    assert (await here.open(TENANT, deleted)).lattice.lattice_id == deleted
    assert (await here.open(TENANT, kept)).lattice.lattice_id == kept
    with pytest.raises(LatticeNotFound):
        await here.open(TENANT, lost)
    assert await listed(here) == [kept, deleted]
    after = await create(here)
    assert await listed(here) == [kept, deleted, after]


class RestoredJournal(MemoryJournal):
    """Is replaced when all of a catalogue was read, and its reader does not know that yet."""

    def __init__(self) -> None:
        super().__init__()
        self.replacement: MemoryJournal | None = None

    async def catalogue(
        self, tenant: TenantId, *, after_revision: int, incarnation: str = ""
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        reading = super().catalogue(tenant, after_revision=after_revision, incarnation=incarnation)
        async for batch in reading:
            yield batch
        replacement, self.replacement = self.replacement, None
        if replacement is not None:
            self.restore(replacement)


async def test_a_list_that_was_read_while_its_journal_was_replaced_is_not_kept(
    replica: Replica,
) -> None:
    journal = RestoredJournal()
    here, elsewhere = replica(journal), replica(journal)
    kept = await create(elsewhere)
    await open_and_follow(here, kept)
    saved = journal.saved()
    lost = await create(elsewhere)
    journal.replacement = saved

    assert await listed(here) == [kept, lost]
    assert await listed(here) == [kept]


class DeletingJournal(MemoryJournal):
    """Has a lattice deleted after it was read and before the reader knows."""

    def __init__(self) -> None:
        super().__init__()
        self.deleter: Lattices | None = None

    async def read(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        incarnation: str = "",
    ) -> StreamSlice:
        result = await super().read(
            tenant, lattice_id, after_revision=after_revision, incarnation=incarnation
        )
        deleter, self.deleter = self.deleter, None
        if deleter is not None:
            await deleter.delete(tenant, lattice_id)
        return result


async def test_a_lattice_deleted_while_it_is_read_is_not_cached(replica: Replica) -> None:
    journal = DeletingJournal()
    here, elsewhere = replica(journal), replica(journal)
    lattice_id, other = [await create(elsewhere) for _ in range(2)]
    await open_and_follow(here, other)
    for _ in range(3):
        journal.append_something_else(TENANT, lattice_id)
    journal.deleter = elsewhere

    for _ in range(2):
        with pytest.raises(LatticeNotFound):
            await here.open(TENANT, lattice_id)


async def test_no_more_tenants_are_followed_than_may_be(
    replica: Replica, journal: MemoryJournal
) -> None:
    here = replica(tenant_count_max=2)
    tenants = [f"tenant-{n}" for n in range(5)]
    for tenant in tenants:
        await listed(here, TenantId(tenant))
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert [tenant for tenant in tenants if journal.followers[tenant]] == tenants[-2:]
    assert here.following.tenant_count == 2


async def test_a_tenant_that_nobody_asks_about_is_not_followed_any_more(
    replica: Replica, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_IDLE_S", 0.02)
    here = replica()
    lattice_id = await create(here)
    await open_and_follow(here, lattice_id)

    async with asyncio.timeout(60):
        while here.following.tenant_count:  # noqa: ASYNC110 - a timer ends it
            await asyncio.sleep(0.005)

    assert not journal.followers[TENANT]
    await here.open(TENANT, lattice_id)


async def test_while_the_journal_is_away_reading_goes_on_and_writing_does_not(
    replica: Replica, journal: MemoryJournal
) -> None:
    here = replica()
    lattice_id = await create(here)
    await open_and_follow(here, lattice_id)
    await listed(here)
    journal.is_away = True

    await here.open(TENANT, lattice_id)
    assert await listed(here) == [lattice_id]
    with pytest.raises(EventsUnavailable):
        await here.delete(TENANT, lattice_id)


async def test_who_asks_in_the_moment_that_following_ends_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "_IDLE_S", 0.01)
    ending, may_end = asyncio.Event(), asyncio.Event()

    class Slow:
        """A follower that takes its time to end."""

        revision = 0
        is_current = True

        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ending.set()
                await may_end.wait()

    one = following.Following()
    running = asyncio.create_task(one.run(Slow()))
    await ending.wait()

    one.used()

    may_end.set()
    await running
    one.used()
