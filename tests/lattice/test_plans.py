"""What a plan allows, and that no race gets more."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from uuid import uuid4

import grpc.aio
import pytest

from girih.ids import TenantId
from services.lattice.computing.compute import Compute
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.errors import (
    LatticesChanged,
    PlanLimit,
    RequestIdReused,
)
from services.lattice.operations.context import OperationContext
from services.lattice.operations.creation import NewLattice
from services.lattice.state.events_journal import EventStoreJournal
from services.lattice.state.journal import CatalogueChanged, LatticeJournal
from services.lattice.state.lattices import Lattices
from services.lattice.state.streams import EventStreams
from services.plumbing.errors import EventsUnavailable
from services.policy import PlanLimits
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.worlds import TENANT, UNBOUNDED, lattices_on, new, operations_on, plan, spec


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


async def refused(lattices: Lattices, expected: NewLattice, allowed: PlanLimits) -> PlanLimit:
    with pytest.raises(PlanLimit) as refusal:
        await lattices.create(TENANT, expected, allowed)
    return refusal.value


@pytest.mark.parametrize(
    ("allowed", "limit", "maximum", "asked"),
    [
        (plan(axes=2), "axes", 2, 3),
        (plan(extent=10), "extent", 10, 11),
        (plan(axes=2, extent=10), "axes", 2, 3),
    ],
)
async def test_a_lattice_beyond_the_plan_is_refused_by_the_limit(
    lattices: Lattices, allowed: PlanLimits, limit: str, maximum: int, asked: int
) -> None:
    refusal = await refused(lattices, new(spec(2, 11, 3)), allowed)

    answer = {"limit": limit, "maximum": maximum, "asked": asked, "plan": "small"}
    assert refusal.metadata == answer
    assert (await lattices.page(TENANT, 10, "")).total_count == 0


async def test_a_lattice_as_large_as_the_plan_allows_is_created(lattices: Lattices) -> None:
    await lattices.create(TENANT, new(spec(10, 10, 10)), plan(lattices=1, axes=3, extent=10))


async def test_a_plan_without_bounds_allows_any_lattice(lattices: Lattices) -> None:
    await lattices.create(TENANT, new(spec(*[2**6] * 10)), UNBOUNDED)


async def test_no_more_lattices_are_created_than_the_plan_allows(lattices: Lattices) -> None:
    for _ in range(5):
        await lattices.create(TENANT, new(spec(3)), plan(lattices=5))

    refusal = await refused(lattices, new(spec(3)), plan(lattices=5))

    assert refusal.metadata == {"limit": "lattices", "maximum": 5, "asked": 6, "plan": "small"}
    assert (await lattices.page(TENANT, 10, "")).total_count == 5


async def test_another_tenants_lattices_do_not_count(lattices: Lattices) -> None:
    await lattices.create(TenantId("tenant-b"), new(spec(3)), plan(lattices=1))

    await lattices.create(TENANT, new(spec(3)), plan(lattices=1))


async def test_deleting_a_lattice_makes_room_for_one(lattices: Lattices) -> None:
    allowed = plan(lattices=2)
    first = await lattices.create(TENANT, new(spec(3)), allowed)
    await lattices.create(TENANT, new(spec(3)), allowed)

    await lattices.delete(TENANT, first.lattice.lattice_id)

    await lattices.create(TENANT, new(spec(3)), allowed)
    await refused(lattices, new(spec(3)), allowed)


@pytest.mark.parametrize("allowed", [plan(lattices=1), plan(axes=1), plan(extent=1)])
async def test_a_repeated_request_answers_its_lattice_whatever_the_plan_allows_by_now(
    lattices: Lattices, allowed: PlanLimits
) -> None:
    expected = NewLattice(spec=spec(3, 4), request_id=uuid4())
    first = await lattices.create(TENANT, expected, UNBOUNDED)
    await lattices.create(TENANT, new(spec(3)), UNBOUNDED)

    assert (await lattices.create(TENANT, expected, allowed)).lattice == first.lattice
    await refused(lattices, NewLattice(spec=spec(3, 4), request_id=uuid4()), allowed)
    other = NewLattice(spec=spec(4, 3), request_id=expected.request_id)
    with pytest.raises(RequestIdReused):
        await lattices.create(TENANT, other, allowed)


async def test_nothing_is_counted_from_memory_alone(
    lattices: Lattices, journal: MemoryJournal, operations: OperationContext
) -> None:
    await lattices.create(TENANT, new(spec(3)), plan(lattices=2))
    await lattices_on(journal, operations).create(TENANT, new(spec(3)), UNBOUNDED)

    await refused(lattices, new(spec(3)), plan(lattices=2))
    journal.is_away = True
    # Others may have made room since, so that the plan is no reason to refuse.
    with pytest.raises(EventsUnavailable):
        await lattices.create(TENANT, new(spec(3)), plan(lattices=2))


# A catalogue that is kept, and one of which only the count is.
@pytest.mark.parametrize("catalogue_bytes", [1 << 20, 1_000])
async def test_lattices_are_counted_on_all_pages(
    journal: MemoryJournal, operations: OperationContext, catalogue_bytes: int
) -> None:
    lattices = lattices_on(journal, operations, catalogue_bytes=catalogue_bytes)
    ids = [
        (await lattices.create(TENANT, new(spec(3)), UNBOUNDED)).lattice.lattice_id
        for _ in range(10)
    ]
    before = (await lattices.page(TENANT, 3, "")).total_count
    for lattice_id in ids[2:5]:
        await lattices.delete(TENANT, lattice_id)
    first = await lattices.page(TENANT, 3, "")
    second = await lattices.page(TENANT, 3, first.next_page_token)

    assert (before, first.total_count, second.total_count) == (10, 7, 7)
    await refused(lattices, new(spec(3)), plan(lattices=7))
    await lattices.create(TENANT, new(spec(3)), plan(lattices=8))


async def test_a_count_that_never_holds_is_given_up(
    lattices: Lattices, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def always_late(*args: object, **kwargs: object) -> None:
        raise CatalogueChanged

    monkeypatch.setattr(journal, "append_created", always_late)

    with pytest.raises(LatticesChanged):
        await lattices.create(TENANT, new(spec(3)), plan(lattices=5))


async def test_without_a_limit_nothing_is_counted(
    lattices: Lattices, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "catalogue", None)

    await lattices.create(TENANT, new(spec(3)), UNBOUNDED)


@pytest.fixture(params=["memory", "events"])
def any_journal(request: pytest.FixtureRequest) -> LatticeJournal:
    if request.param == "memory":
        return MemoryJournal()
    channel: grpc.aio.Channel = request.getfixturevalue("events_channel")
    return EventStoreJournal(EventStreams(channel, lambda: 10))


async def test_a_hundred_creations_at_once_leave_as_many_as_the_plan_allows(
    any_journal: LatticeJournal, operations: OperationContext, tenant: TenantId
) -> None:
    replicas = [lattices_on(any_journal, operations) for _ in range(2)]

    outcomes = await asyncio.gather(
        *(
            replicas[n % 2].create(tenant, new(spec(3, n + 1)), plan(lattices=5))
            for n in range(100)
        ),
        return_exceptions=True,
    )

    kinds = Counter(type(outcome).__name__ for outcome in outcomes)
    assert kinds == {"HeldLattice": 5, "PlanLimit": 95}
    for replica in replicas:
        assert (await replica.page(tenant, 100, "")).total_count == 5


async def test_a_place_that_many_want_is_taken_by_one(
    any_journal: LatticeJournal, operations: OperationContext, tenant: TenantId
) -> None:
    replicas = [lattices_on(any_journal, operations) for _ in range(2)]
    for _ in range(10):
        creations = (one.create(tenant, new(spec(2)), plan(lattices=1)) for one in replicas * 5)
        outcomes = await asyncio.gather(*creations, return_exceptions=True)

        (held,) = [one for one in outcomes if isinstance(one, HeldLattice)]
        assert sum(isinstance(one, PlanLimit) for one in outcomes) == 9
        await replicas[1].delete(tenant, held.lattice.lattice_id)


async def test_one_request_repeated_at_once_takes_one_place(
    any_journal: LatticeJournal, operations: OperationContext, tenant: TenantId
) -> None:
    replicas = [lattices_on(any_journal, operations) for _ in range(2)]
    expected = NewLattice(spec=spec(3), request_id=uuid4())

    created = await asyncio.gather(
        *(replicas[n % 2].create(tenant, expected, plan(lattices=1)) for n in range(20))
    )

    assert len({one.lattice.lattice_id for one in created}) == 1
    assert (await replicas[0].page(tenant, 100, "")).total_count == 1
