"""What every journal promises, on the one in memory and on the event store."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import grpc.aio
import pytest

from girih.events.v1 import events_pb2 as events
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.ids import TenantId, uuid7
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.arrays.region import Region
from services.lattice.domain import LatticeId, LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.state.events_journal import EventStoreJournal
from services.lattice.state.journal import (
    BlockedChanged,
    ChangeKind,
    DamagedRecord,
    FieldChange,
    FieldDeleted,
    FieldWritten,
    JournalReplaced,
    LatticeCreated,
    LatticeDeleted,
    LatticeJournal,
    LatticeRecord,
    StreamChanged,
    UnknownEvent,
    digest_of,
)
from services.lattice.state.streams import EventStreams
from services.plumbing import correlation
from tests.lattice.callers import call_of
from tests.lattice.memory_journal import MemoryJournal
from tests.lattice.worlds import blocked_spec, geometry, spec

ABSENT = str(uuid4())
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """A journal, and a way to write into it what only a newer version would."""

    journal: LatticeJournal
    append_something_else: Callable[[TenantId, LatticeId], Awaitable[None]]


@pytest.fixture(params=["memory", "events"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return _in_memory()
    return _on_events(request.getfixturevalue("events_channel"))


@pytest.fixture
def journal(world: World) -> LatticeJournal:
    return world.journal


def _in_memory() -> World:
    journal = MemoryJournal()

    async def append_something_else(tenant: TenantId, lattice_id: LatticeId) -> None:
        journal.append_something_else(tenant, lattice_id)

    return World(journal, append_something_else)


def _on_events(channel: grpc.aio.Channel) -> World:
    stub = EventStoreServiceStub(channel)

    async def append_something_else(tenant: TenantId, lattice_id: LatticeId) -> None:
        event = events.Event(
            id=str(uuid4()), stream=f"$lattice-{lattice_id}", type="lattice.painted", json="{}"
        )
        await stub.Append(events.AppendRequest(events=[event]))

    return World(EventStoreJournal(EventStreams(channel, lambda: 10)), append_something_else)


def creation(expected: LatticeSpec, lattice_id: UUID | None = None) -> LatticeCreated:
    free = expected.geometry
    return LatticeCreated.of(
        LatticeId(str(lattice_id or uuid4())), expected, vertices=free.sites, edges=free.edges
    )


async def create(
    journal: LatticeJournal, tenant: TenantId, expected: LatticeSpec | None = None
) -> LatticeId:
    created = creation(expected or spec(3))
    await journal.append_created(tenant, created, UUID(created.lattice_id))
    return created.lattice_id


async def whole_catalogue(
    journal: LatticeJournal, tenant: TenantId, after_revision: int = -1
) -> list[LatticeRecord]:
    batches = journal.catalogue(tenant, after_revision=after_revision)
    return [recorded async for batch in batches for recorded in batch]


@pytest.mark.parametrize(
    "expected",
    [
        spec(*(1 << 6,) * 10, moore=True),
        spec(1),
        LatticeSpec(geometry=Geometry((2, 3, 4), (True, False, True), True, False)),
        blocked_spec(geometry(31, 33, moore=True), 0.3, seed=5),
    ],
    ids=["huge", "one site", "mixed", "blocked"],
)
async def test_a_creation_is_read_as_it_was_written(
    journal: LatticeJournal, tenant: TenantId, expected: LatticeSpec
) -> None:
    created = creation(expected)

    appended = await journal.append_created(tenant, created, uuid4())
    reading = await journal.read(tenant, created.lattice_id)

    assert [recorded.event for recorded in reading.recorded] == [created]
    assert reading.recorded[0].recorded_at == appended.recorded_at
    assert reading.revision == appended.revision


def changed(lattice_id: LatticeId, expected: LatticeSpec, revision: int) -> BlockedChanged:
    lattice = creation(expected, UUID(lattice_id)).lattice(BEGAN)
    change = FieldChange(
        kind=ChangeKind.TRANSFORMED, before_digest="0" * 64, request_id=str(uuid4())
    )
    return BlockedChanged.of(lattice, expected, revision, change)


async def test_a_change_of_blocked_sites_is_in_both_streams(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    expected = blocked_spec(geometry(31, 33), 0.3, seed=5)
    lattice_id = await create(journal, tenant, expected)
    change = changed(lattice_id, expected, 1)
    command_id = uuid4()

    appended = await journal.append_blocked(tenant, change, command_id=command_id)
    again = await journal.append_blocked(tenant, change, command_id=command_id)

    assert appended.revision == again.revision == 1
    assert (await journal.read(tenant, lattice_id)).recorded[-1].event == change
    event = (await whole_catalogue(journal, tenant))[-1].event
    assert event == replace(change, blocked=b"")


async def test_blocked_sites_are_changed_of_the_revision_expected_alone(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    expected = blocked_spec(geometry(5, 6), 0.3, seed=5)
    lattice_id = await create(journal, tenant, expected)

    for revision in (0, 2):
        change = changed(lattice_id, expected, revision)
        with pytest.raises(StreamChanged):
            await journal.append_blocked(tenant, change, command_id=uuid4())

    assert (await journal.read(tenant, lattice_id)).revision == 0


async def test_a_history_is_told_from_where_it_is_asked_without_the_first_bitmap(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    expected = blocked_spec(geometry(31, 33), 0.3, seed=5)
    lattice_id = await create(journal, tenant, expected)
    change = changed(lattice_id, expected, 1)
    await journal.append_blocked(tenant, change, command_id=uuid4())

    async def history(**asked: int) -> list[LatticeRecord]:
        batches = journal.history(tenant, lattice_id, **asked)
        return [record async for batch in batches for record in batch]

    first, last = await history()
    assert isinstance(first.event, LatticeCreated)
    assert (first.event.blocked, first.event.blocked_digest) == (b"", digest_of(expected))
    assert last.event == change
    assert await history(after_revision=0) == [last]
    assert await history(limit=1) == [first]


async def test_the_largest_bitmap_is_read_as_it_was_written(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    # Chance cannot be compressed: this is the most that a creation can take.
    bitmap = os.urandom(4 << 20)
    created = creation(LatticeSpec(geometry=geometry(33_554_432), blocked=bitmap))

    appended = await journal.append_created(tenant, created, uuid4())
    reading = await journal.read(tenant, created.lattice_id)

    assert [recorded.event for recorded in reading.recorded] == [created]
    assert reading.revision == appended.revision


async def test_the_catalogue_has_every_creation_without_its_bitmap(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    created = creation(blocked_spec(geometry(9, 9), 0.3, seed=6))

    appended = await journal.append_created(tenant, created, uuid4())

    (recorded,) = await whole_catalogue(journal, tenant)
    assert recorded.event == replace(created, blocked=b"")
    assert (recorded.revision, recorded.recorded_at) == (0, appended.recorded_at)


async def test_a_lattice_is_created_once(journal: LatticeJournal, tenant: TenantId) -> None:
    created = creation(spec(3))
    await journal.append_created(tenant, created, uuid4())

    with pytest.raises(StreamChanged):
        await journal.append_created(tenant, created, uuid4())

    assert len(await whole_catalogue(journal, tenant)) == 1


async def test_the_same_command_is_recorded_once(journal: LatticeJournal, tenant: TenantId) -> None:
    created, command_id = creation(blocked_spec(geometry(9, 9), 0.3, seed=7)), uuid4()

    first = await journal.append_created(tenant, created, command_id)
    again = await journal.append_created(tenant, created, command_id)

    assert (first.is_new, again.is_new) == (True, False)
    assert (first.recorded_at, first.revision) == (again.recorded_at, again.revision)
    assert len(await whole_catalogue(journal, tenant)) == 1


async def test_a_command_with_other_content_is_refused(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    command_id = uuid4()
    await journal.append_created(tenant, creation(spec(3), command_id), command_id)

    with pytest.raises(StreamChanged):
        await journal.append_created(tenant, creation(spec(4), command_id), command_id)


async def test_a_deletion_is_read_in_both_streams(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    lattice_id = await create(journal, tenant)

    await journal.append_deleted(tenant, lattice_id, expected_revision=0, command_id=uuid4())

    deleted = LatticeDeleted(lattice_id=lattice_id)
    assert (await journal.read(tenant, lattice_id)).recorded[-1].event == deleted
    assert (await whole_catalogue(journal, tenant))[-1].event == deleted


@pytest.mark.parametrize("revision", [1, 7])
async def test_nothing_is_deleted_at_another_revision(
    journal: LatticeJournal, tenant: TenantId, revision: int
) -> None:
    lattice_id = await create(journal, tenant)

    with pytest.raises(StreamChanged):
        await journal.append_deleted(
            tenant, lattice_id, expected_revision=revision, command_id=uuid4()
        )

    assert len((await journal.read(tenant, lattice_id)).recorded) == 1
    assert len(await whole_catalogue(journal, tenant)) == 1


async def test_a_deletion_by_the_same_command_is_recorded_once(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    lattice_id, command_id = await create(journal, tenant), uuid4()

    for _ in range(3):
        await journal.append_deleted(tenant, lattice_id, expected_revision=0, command_id=command_id)

    assert len((await journal.read(tenant, lattice_id)).recorded) == 2


@pytest.mark.parametrize(
    ("content", "region"),
    [
        (FieldContent.inline(NumberType.INT32, (3,), bytes(12)), Region((1,), (1,), (2,))),
        (FieldContent.constant(NumberType.FLOAT64, (3,), b"\0" * 7 + b"\x40"), None),
        (
            FieldContent(
                number_type=NumberType.UINT8, digest="0f" * 32, fill=b"\x07", array_id=str(uuid7())
            ),
            None,
        ),
    ],
    ids=["few numbers", "one number", "an array"],
)
async def test_what_became_of_a_field_is_read_as_it_was_written(
    journal: LatticeJournal, tenant: TenantId, content: FieldContent, region: Region | None
) -> None:
    lattice_id = await create(journal, tenant)
    written = FieldWritten(lattice_id=lattice_id, name="a", content=content, region=region)
    deleted = FieldDeleted(lattice_id=lattice_id, name="a")

    first = await journal.append_field(tenant, written, expected_revision=0, command_id=uuid4())
    await journal.append_field(tenant, deleted, expected_revision=1, command_id=uuid4())
    reading = await journal.read(tenant, lattice_id, after_revision=0)

    assert [recorded.event for recorded in reading.recorded] == [written, deleted]
    assert (first.revision, reading.revision) == (1, 2)
    with pytest.raises(StreamChanged):
        await journal.append_field(tenant, written, expected_revision=1, command_id=uuid4())


async def test_only_what_came_after_a_revision_is_read(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    lattice_id = await create(journal, tenant)
    await journal.append_deleted(tenant, lattice_id, expected_revision=0, command_id=uuid4())

    (recorded,) = (await journal.read(tenant, lattice_id, after_revision=0)).recorded
    nothing = await journal.read(tenant, lattice_id, after_revision=1)

    assert isinstance(recorded.event, LatticeDeleted)
    assert (nothing.revision, len(nothing.recorded)) == (1, 0)


async def test_a_lattice_that_never_was_reads_as_nothing(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    reading = await journal.read(tenant, LatticeId(ABSENT))

    assert (reading.revision, len(reading.recorded)) == (-1, 0)


async def test_the_catalogue_is_read_on_from_where_it_was_left(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    ids = [await create(journal, tenant) for _ in range(5)]

    tail = await whole_catalogue(journal, tenant, after_revision=2)

    answer = [recorded.event for recorded in tail]
    assert [one.lattice_id for one in answer if isinstance(one, LatticeCreated)] == ids[3:]
    assert [recorded.revision for recorded in tail] == [3, 4]


async def test_what_a_newer_version_wrote_is_told_as_something_else(
    world: World, tenant: TenantId
) -> None:
    lattice_id = await create(world.journal, tenant)

    await world.append_something_else(tenant, lattice_id)

    reading = await world.journal.read(tenant, lattice_id)
    assert reading.recorded[-1].event == UnknownEvent(event_type="lattice.painted")
    assert reading.revision == 1


async def test_a_follower_folds_what_is_recorded_from_where_it_began(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    await create(journal, tenant)
    records: list[LatticeRecord] = []
    began = asyncio.Event()
    follower = journal.follower(tenant, records.extend, lambda _incarnation: began.set())
    task = asyncio.create_task(follower.run())
    await until(lambda: follower.is_current)

    lattice_id = await create(journal, tenant)
    revision = await journal.append_deleted(
        tenant, lattice_id, expected_revision=0, command_id=uuid4()
    )
    await until(lambda: follower.revision >= revision)

    assert began.is_set()
    assert [record.revision for record in records] == [1, 2]
    assert isinstance(records[0].event, LatticeCreated)
    assert records[1].event == LatticeDeleted(lattice_id=lattice_id)
    assert follower.is_current
    task.cancel()


async def test_who_reads_on_in_a_journal_that_is_another_one_is_told(
    journal: LatticeJournal, tenant: TenantId
) -> None:
    lattice_id = await create(journal, tenant)
    reading = await journal.read(tenant, lattice_id)
    lost = "0123456789abcdef"

    on = await journal.read(tenant, lattice_id, after_revision=0, incarnation=reading.incarnation)
    assert (on.recorded, on.incarnation) == ((), reading.incarnation)
    with pytest.raises(JournalReplaced):
        await journal.read(tenant, lattice_id, after_revision=0, incarnation=lost)
    with pytest.raises(JournalReplaced):
        await anext(journal.catalogue(tenant, after_revision=0, incarnation=lost))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - another process answers
            await asyncio.sleep(0.001)


async def test_tenants_see_only_their_own(journal: LatticeJournal, tenant: TenantId) -> None:
    lattice_id = await create(journal, tenant)

    other = f"{tenant}-other"
    with correlation.bind(call_of(other)):
        assert not (await journal.read(TenantId(other), lattice_id)).recorded
        assert not await whole_catalogue(journal, TenantId(other))


async def test_nothing_is_read_for_a_tenant_whose_user_does_not_ask(
    events_channel: grpc.aio.Channel, tenant: TenantId
) -> None:
    journal = EventStoreJournal(EventStreams(events_channel, lambda: 10))
    lattice_id = await create(journal, tenant)

    with correlation.bind(call_of(f"{tenant}-other")), pytest.raises(RuntimeError):
        await journal.read(tenant, lattice_id)


def test_a_bitmap_that_is_not_the_one_created_is_noticed() -> None:
    created = creation(blocked_spec(geometry(9, 9), 0.3, seed=8))
    damaged = bytes([created.blocked[0] ^ 1]) + created.blocked[1:]

    with pytest.raises(DamagedRecord):
        replace(created, blocked=damaged)
