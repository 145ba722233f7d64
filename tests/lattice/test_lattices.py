"""Creating, finding, listing and deleting, on a journal in memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from uuid import UUID, uuid4

import pytest

from girih.ids import TenantId
from services.lattice.computing.compute import Compute
from services.lattice.domain import LatticeId, LatticeSpec
from services.lattice.errors import (
    LatticeChanged,
    LatticeNotFound,
    RequestIdReused,
)
from services.lattice.operations.context import OperationContext
from services.lattice.operations.creation import NewLattice
from services.lattice.state.journal import LatticeRecord
from services.lattice.state.lattices import Lattices
from services.plumbing.errors import EventsUnavailable, InvalidInput
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.worlds import (
    TENANT,
    UNBOUNDED,
    blocked_spec,
    geometry,
    lattices_on,
    new,
    operations_on,
    spec,
)


@pytest.fixture
async def operations() -> AsyncIterator[OperationContext]:
    compute = Compute(threads=2, bytes_max=1 << 30, waiting_max=100)
    yield operations_on(compute)
    await compute.close()


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def lattices(journal: MemoryJournal, operations: OperationContext) -> Lattices:
    return lattices_on(journal, operations)


async def every_id(lattices: Lattices, page_size: int) -> list[str]:
    """All ids that a list tells, page after page."""
    result: list[str] = []
    token = ""
    while True:
        page = await lattices.page(TENANT, page_size, token)
        assert len(page.listed) <= page_size
        result += [listed.lattice.lattice_id for listed in page.listed]
        token = page.next_page_token
        if not token:
            return result


async def create_many(lattices: Lattices, count: int) -> list[str]:
    held = [await lattices.create(TENANT, new(spec(2, 2)), UNBOUNDED) for _ in range(count)]
    return [one.lattice.lattice_id for one in held]


async def test_a_lattice_of_a_quintillion_sites_is_created_and_counted(lattices: Lattices) -> None:
    held = await lattices.create(TENANT, new(spec(10**9, 10**9)), UNBOUNDED)

    assert held.lattice.vertices == 10**18
    assert held.lattice.edges == 2 * 10**9 * (10**9 - 1)
    assert lattices.bytes_held(TENANT, held.lattice.lattice_id) < 10_000


async def test_what_a_sparse_graph_and_a_matrix_would_take_is_told(lattices: Lattices) -> None:
    held = await lattices.create(TENANT, new(spec(3, 4)), UNBOUNDED)

    assert held.lattice.edges == 17
    assert held.lattice.bytes_as_graph == 24 * 17 + 4 * 13
    assert held.lattice.bytes_as_matrix == 8 * 12**2


async def test_blocked_sites_are_neither_vertices_nor_joined(lattices: Lattices) -> None:
    expected = blocked_spec(geometry(20, 30), share=0.3, seed=1)

    held = await lattices.create(TENANT, new(expected), UNBOUNDED)

    free = {(r, c) for r in range(20) for c in range(30) if not expected.blocks((r, c))}
    joined = sum(((r + 1, c) in free) + ((r, c + 1) in free) for r, c in free)
    assert (held.lattice.vertices, held.lattice.edges) == (len(free), joined)
    assert held.lattice.blocked_sites == 600 - len(free)


async def test_another_process_answers_the_same_lattice(
    lattices: Lattices, journal: MemoryJournal, operations: OperationContext
) -> None:
    expected = blocked_spec(geometry(17, 9), share=0.4, seed=2)
    created = await lattices.create(TENANT, new(expected), UNBOUNDED)

    result = await lattices_on(journal, operations).open(TENANT, created.lattice.lattice_id)

    assert (result.lattice, result.spec) == (created.lattice, created.spec)


async def test_a_lattice_belongs_to_its_tenant_alone(lattices: Lattices) -> None:
    created = await lattices.create(TENANT, new(spec(3)), UNBOUNDED)

    with pytest.raises(LatticeNotFound):
        await lattices.open(TenantId("tenant-b"), created.lattice.lattice_id)
    assert (await lattices.page(TenantId("tenant-b"), 10, "")).listed == []


async def test_a_deleted_lattice_is_gone_for_good(lattices: Lattices) -> None:
    lattice_id = (await lattices.create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id

    await lattices.delete(TENANT, lattice_id)

    with pytest.raises(LatticeNotFound):
        await lattices.open(TENANT, lattice_id)
    with pytest.raises(LatticeNotFound):
        await lattices.delete(TENANT, lattice_id)
    assert lattices.bytes_held(TENANT, lattice_id) == 0


async def test_a_deletion_by_another_process_is_noticed(
    lattices: Lattices, journal: MemoryJournal, operations: OperationContext
) -> None:
    lattice_id = (await lattices.create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id
    await lattices.open(TENANT, lattice_id)

    await lattices_on(journal, operations).delete(TENANT, lattice_id)

    with pytest.raises(LatticeNotFound):
        await lattices.open(TENANT, lattice_id)


async def test_one_of_many_deletions_at_once_succeeds(
    journal: MemoryJournal, operations: OperationContext
) -> None:
    replicas = [lattices_on(journal, operations) for _ in range(5)]
    for _ in range(20):
        lattice_id = (await replicas[0].create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id

        outcomes = await asyncio.gather(
            *(replica.delete(TENANT, lattice_id) for replica in replicas), return_exceptions=True
        )

        assert outcomes.count(None) == 1
        assert sum(isinstance(outcome, LatticeNotFound) for outcome in outcomes) == 4


async def test_a_lattice_that_never_rests_is_not_deleted(
    lattices: Lattices, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    lattice_id = (await lattices.create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id
    append_deleted = journal.append_deleted

    async def after_another_change(
        tenant: TenantId, deleted: LatticeId, *, expected_revision: int, command_id: UUID
    ) -> None:
        journal.append_something_else(TENANT, lattice_id)
        await append_deleted(
            tenant, deleted, expected_revision=expected_revision, command_id=command_id
        )

    monkeypatch.setattr(journal, "append_deleted", after_another_change)

    with pytest.raises(LatticeChanged):
        await lattices.delete(TENANT, lattice_id)
    await lattices.open(TENANT, lattice_id)


async def test_what_a_newer_version_wrote_does_not_hide_a_lattice(
    lattices: Lattices, journal: MemoryJournal, operations: OperationContext
) -> None:
    lattice_id = (await lattices.create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id
    journal.append_something_else(TENANT, lattice_id)
    other = lattices_on(journal, operations)

    await other.open(TENANT, lattice_id)
    await other.delete(TENANT, lattice_id)

    with pytest.raises(LatticeNotFound):
        await lattices.open(TENANT, lattice_id)


async def test_the_same_request_creates_one_lattice(
    journal: MemoryJournal, operations: OperationContext
) -> None:
    replicas = [lattices_on(journal, operations) for _ in range(4)]
    expected = NewLattice(spec=blocked_spec(geometry(9, 9), 0.3, seed=3), request_id=uuid4())

    created = await asyncio.gather(
        *(replica.create(TENANT, expected, UNBOUNDED) for replica in replicas for _ in range(5))
    )

    assert len({one.lattice.lattice_id for one in created}) == 1
    assert len({one.lattice.created_at for one in created}) == 1
    assert len(await every_id(replicas[0], 10)) == 1


@pytest.mark.parametrize(
    "other",
    [spec(3, 4), spec(4, 3, periodic=True), blocked_spec(geometry(4, 3), 0.5, seed=4)],
    ids=["shape", "boundaries", "blocked"],
)
async def test_a_request_id_is_refused_for_another_lattice(
    lattices: Lattices, other: LatticeSpec
) -> None:
    request_id = uuid4()
    await lattices.create(TENANT, NewLattice(spec=spec(4, 3), request_id=request_id), UNBOUNDED)

    with pytest.raises(RequestIdReused):
        await lattices.create(TENANT, NewLattice(spec=other, request_id=request_id), UNBOUNDED)


async def test_a_repeated_request_does_not_bring_a_deleted_lattice_back(
    lattices: Lattices,
) -> None:
    expected = NewLattice(spec=spec(4, 3), request_id=uuid4())
    first = await lattices.create(TENANT, expected, UNBOUNDED)
    await lattices.delete(TENANT, first.lattice.lattice_id)

    again = await lattices.create(TENANT, expected, UNBOUNDED)

    assert again.lattice == first.lattice
    with pytest.raises(LatticeNotFound):
        await lattices.open(TENANT, first.lattice.lattice_id)


async def test_two_tenants_may_use_the_same_request_id(lattices: Lattices) -> None:
    expected = NewLattice(spec=spec(4, 3), request_id=uuid4())

    ids = {
        (await lattices.create(TenantId(t), expected, UNBOUNDED)).lattice.lattice_id
        for t in ("a", "b")
    }

    assert len(ids) == 2


async def test_reading_goes_on_from_memory_while_the_journal_is_away(
    lattices: Lattices, journal: MemoryJournal
) -> None:
    held = await lattices.create(TENANT, new(spec(3)), UNBOUNDED)
    await lattices.page(TENANT, 10, "")
    journal.is_away = True

    assert (await lattices.open(TENANT, held.lattice.lattice_id)).lattice == held.lattice
    assert len((await lattices.page(TENANT, 10, "")).listed) == 1


async def test_nothing_is_changed_while_the_journal_is_away(
    lattices: Lattices, journal: MemoryJournal
) -> None:
    held = await lattices.create(TENANT, new(spec(3)), UNBOUNDED)
    journal.is_away = True

    with pytest.raises(EventsUnavailable):
        await lattices.create(TENANT, new(spec(3)), UNBOUNDED)
    with pytest.raises(EventsUnavailable):
        await lattices.delete(TENANT, held.lattice.lattice_id)
    with pytest.raises(EventsUnavailable):
        await lattices.open(TENANT, LatticeId(str(uuid4())))

    journal.is_away = False
    assert await every_id(lattices, 10) == [held.lattice.lattice_id]


async def test_a_lattice_believed_for_a_moment_is_not_asked_for(
    journal: MemoryJournal, operations: OperationContext
) -> None:
    lattices = lattices_on(journal, operations, freshness_s=60)
    lattice_id = (await lattices.create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id

    for _ in range(10):
        await lattices.open(TENANT, lattice_id)

    assert journal.reads == 0


async def test_many_who_ask_for_the_same_lattice_wait_for_one_reading(
    lattices: Lattices, journal: MemoryJournal, operations: OperationContext
) -> None:
    lattice_id = (await lattices.create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id
    other = lattices_on(journal, operations, freshness_s=60)

    await asyncio.gather(*(other.open(TENANT, lattice_id) for _ in range(50)))

    assert journal.reads == 1


async def test_a_caller_that_leaves_takes_nothing_from_those_who_wait_with_it(
    lattices: Lattices, journal: MemoryJournal, operations: OperationContext
) -> None:
    lattice_id = (await lattices.create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id
    other = lattices_on(journal, operations)
    first = asyncio.create_task(other.open(TENANT, lattice_id))
    second = asyncio.create_task(other.open(TENANT, lattice_id))
    await asyncio.sleep(0)

    first.cancel()

    assert (await second).lattice.lattice_id == lattice_id


async def test_lattices_that_do_not_fit_into_memory_are_read_again(
    journal: MemoryJournal, operations: OperationContext
) -> None:
    lattices = lattices_on(journal, operations, cache_bytes=20_000)
    ids = [
        (
            await lattices.create(TENANT, new(blocked_spec(geometry(64, 64), 0.3, n)), UNBOUNDED)
        ).lattice
        for n in range(10)
    ]

    for lattice in ids:
        assert (await lattices.open(TENANT, lattice.lattice_id)).lattice == lattice
        assert lattices.cache.bytes_held <= 20_000


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 100])
async def test_a_list_tells_every_lattice_once_in_the_order_of_creation(
    lattices: Lattices, page_size: int
) -> None:
    ids = await create_many(lattices, 7)

    assert await every_id(lattices, page_size) == ids


# A catalogue that is kept, and one that is read through for each page.
@pytest.mark.parametrize("catalogue_bytes", [1 << 20, 1_000])
@pytest.mark.parametrize("page_size", [1, 3, 10])
async def test_a_list_leaves_out_what_was_deleted(
    journal: MemoryJournal, operations: OperationContext, catalogue_bytes: int, page_size: int
) -> None:
    lattices = lattices_on(journal, operations, catalogue_bytes=catalogue_bytes)
    ids = await create_many(lattices, 10)
    for n in (0, 3, 4, 5, 9):
        await lattices.delete(TENANT, LatticeId(ids[n]))

    assert await every_id(lattices, page_size) == [ids[n] for n in (1, 2, 6, 7, 8)]


@pytest.mark.parametrize("catalogue_bytes", [1 << 20, 1_000])
async def test_paging_misses_and_repeats_nothing_while_lattices_come_and_go(
    journal: MemoryJournal, operations: OperationContext, catalogue_bytes: int
) -> None:
    lattices = lattices_on(journal, operations, catalogue_bytes=catalogue_bytes)
    ids = await create_many(lattices, 20)
    result: list[str] = []
    token = ""
    for n in range(20):
        page = await lattices.page(TENANT, 2, token)
        result += [listed.lattice.lattice_id for listed in page.listed]
        token = page.next_page_token
        if not token:
            break
        await lattices.delete(TENANT, LatticeId(ids[n]))
        await create_many(lattices, 1)

    gone = set(ids[: n + 1])
    assert len(result) == len(set(result))
    assert [one for one in result if one in ids and one not in gone] == [
        one for one in ids if one not in gone
    ]


async def test_a_list_is_kept_and_only_its_tail_is_read_again(
    journal: MemoryJournal, operations: OperationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    lattices = lattices_on(journal, operations)
    await create_many(lattices, 5)
    await lattices.page(TENANT, 100, "")
    asked: list[int] = []
    catalogue = journal.catalogue

    def noting(
        tenant: str, *, after_revision: int, incarnation: str
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        asked.append(after_revision)
        return catalogue(TenantId(tenant), after_revision=after_revision, incarnation=incarnation)

    monkeypatch.setattr(journal, "catalogue", noting)

    await create_many(lattices, 1)
    page = await lattices.page(TENANT, 100, "")

    assert (len(page.listed), asked) == (6, [4])


async def test_a_token_that_was_tampered_with_is_refused(lattices: Lattices) -> None:
    await create_many(lattices, 3)
    token = (await lattices.page(TENANT, 1, "")).next_page_token
    tampered = [
        token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(len(token))
    ]

    for wrong in [*tampered, "x", token + "A", token[:-1], " " + token, "é", "A" * 10_000]:
        with pytest.raises(InvalidInput) as refused:
            await lattices.page(TENANT, 1, wrong)
        assert refused.value.violations[0].field == "page_token"


async def test_the_token_of_another_tenant_is_refused(lattices: Lattices) -> None:
    await create_many(lattices, 3)
    token = (await lattices.page(TENANT, 1, "")).next_page_token

    with pytest.raises(InvalidInput):
        await lattices.page(TenantId("tenant-b"), 1, token)


async def test_a_list_tells_what_this_process_holds(
    lattices: Lattices, journal: MemoryJournal, operations: OperationContext
) -> None:
    lattice_id = (await lattices.create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id
    other = lattices_on(journal, operations)

    before = (await other.page(TENANT, 10, "")).listed[0].bytes_held
    await other.open(TENANT, lattice_id)
    after = (await other.page(TENANT, 10, "")).listed[0].bytes_held

    assert before == 0
    assert after == other.bytes_held(TENANT, lattice_id) > 0
