"""Reading gives every record once and in order, in pages that stay small."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from girih.events.v1 import events_pb2 as pb
from girih.ids import Position, Revision, StreamName, TenantId
from services.events import record
from services.events.domain import EVENT_BYTES_MAX, POSITION_MAX, RECORD_BYTES_MAX
from services.events.errors import ReadersBusy
from services.events.postgres.store import PostgresEventStore
from services.events.reading import send_budget
from services.events.reading.reader import (
    PAGE_BYTES_MAX,
    ROW_COUNT_MAX,
    PageCursor,
    Reader,
    ReadOptions,
)
from services.events.reading.send_budget import COPIES, SendBudget
from services.events.store import EventStore, LogPage, PageRequest
from tests.events.making import new_event, placed_event, record_batch, records_in

TENANT = TenantId("acme")


async def fill(store: PostgresEventStore, records: Sequence[bytes], *streams: str) -> None:
    """Append `records` to the streams in turn."""
    log = store.log(TENANT)
    await log.state([])
    names = streams or ("s",)
    placed = [
        placed_event(
            new_event(names[index % len(names)]),
            index + 1,
            index // len(names),
            index % len(names) + 1,
        )
        for index in range(len(records))
    ]
    for start in range(0, len(records), 1_000):
        part = slice(start, start + 1_000)
        await log.write(Position(start), record_batch(placed[part], records[part]))


def reader_of(store: EventStore) -> Reader:
    """One whose readers have all the room they want."""
    return Reader(store, SendBudget(2**26))


async def read(store: PostgresEventStore, options: ReadOptions) -> list[bytes]:
    return [
        one
        async for group in reader_of(store).read(TENANT, options)
        for one in records_in(group.fields)
    ]


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(1, count + 1)]


OPTIONS = {
    "everything": (ReadOptions(), range(1, 31)),
    "backwards": (ReadOptions(is_backwards=True), range(30, 0, -1)),
    "from a position": (ReadOptions(from_position=Position(28)), range(28, 31)),
    "backwards from a position": (
        ReadOptions(is_backwards=True, from_position=Position(3)),
        range(3, 0, -1),
    ),
    "from beyond the end": (ReadOptions(from_position=Position(31)), ()),
    "backwards from beyond the end": (
        ReadOptions(is_backwards=True, from_position=Position(2**63 - 1)),
        range(30, 0, -1),
    ),
    "some": (ReadOptions(limit=2), (1, 2)),
    "some backwards": (ReadOptions(is_backwards=True, limit=2), (30, 29)),
    "a stream": (ReadOptions(StreamName("b")), range(2, 31, 3)),
    "a stream backwards": (ReadOptions(StreamName("b"), is_backwards=True), range(29, 0, -3)),
    "a stream from a revision": (ReadOptions(StreamName("b"), from_revision=Revision(8)), (26, 29)),
    "a stream backwards from a revision": (
        ReadOptions(StreamName("b"), is_backwards=True, from_revision=Revision(1)),
        (5, 2),
    ),
    "a stream from beyond its end": (ReadOptions(StreamName("b"), from_revision=Revision(10)), ()),
    "a stream from a position of another": (
        ReadOptions(StreamName("b"), from_position=Position(24)),
        (26, 29),
    ),
    "a stream backwards from a position of its own": (
        ReadOptions(StreamName("b"), is_backwards=True, from_position=Position(5)),
        (5, 2),
    ),
    "a stream backwards from a position before it": (
        ReadOptions(StreamName("b"), is_backwards=True, from_position=Position(1)),
        (),
    ),
    "a stream backwards from beyond the end": (
        ReadOptions(StreamName("b"), is_backwards=True, from_position=Position(2**63 - 1)),
        range(29, 0, -3),
    ),
    "a stream that does not exist": (ReadOptions(StreamName("z")), ()),
    "one of a stream": (ReadOptions(StreamName("c"), limit=1), (3,)),
}


@pytest.mark.parametrize(("options", "expected"), OPTIONS.values(), ids=OPTIONS)
async def test_reads(
    store: PostgresEventStore, options: ReadOptions, expected: Sequence[int]
) -> None:
    await fill(store, numbered(30), "a", "b", "c")

    assert await read(store, options) == [b"%d" % number for number in expected]


async def test_reads_nothing_from_a_log_that_nobody_appended_to(
    store: PostgresEventStore,
) -> None:
    assert await read(store, ReadOptions()) == []
    assert await read(store, ReadOptions(StreamName("s"), from_position=Position(7))) == []


@pytest.mark.parametrize("count", [1_023, 1_024, 1_025, 2_500])
@pytest.mark.parametrize("is_backwards", [False, True])
async def test_pages_join_without_gap_or_repetition(
    store: PostgresEventStore, count: int, is_backwards: bool
) -> None:
    await fill(store, numbered(count))

    expected = numbered(count)[:: -1 if is_backwards else 1]
    assert await read(store, ReadOptions(is_backwards=is_backwards)) == expected
    assert await read(store, ReadOptions(StreamName("s"), is_backwards=is_backwards)) == expected


@pytest.mark.parametrize("is_backwards", [False, True])
async def test_records_of_any_size_come_whole_and_in_order(
    store: PostgresEventStore, is_backwards: bool
) -> None:
    sizes = [1, 512, 513, 2_000_000, 3, 60_000, 0, *[700] * 1_500, 1, 1, 300_000, 300_000, 9]
    records = [bytes(size) + b"%d" % index for index, size in enumerate(sizes)]
    await fill(store, records)

    assert (
        await read(store, ReadOptions(is_backwards=is_backwards))
        == (records[:: -1 if is_backwards else 1])
    )
    assert (
        await read(store, ReadOptions(limit=3, is_backwards=is_backwards))
        == (records[:: -1 if is_backwards else 1][:3])
    )


@pytest.mark.parametrize("is_backwards", [False, True])
@pytest.mark.parametrize("stream", [None, StreamName("s")])
async def test_a_page_is_what_protobuf_makes_of_its_records(
    store: PostgresEventStore, stream: StreamName | None, is_backwards: bool
) -> None:
    sizes = [0, 1, 127, 128, 129, 16_383, 16_384, 16_385, 2**21 - 1, 2**21, 2**21 + 1]
    records = [bytes(size) for size in sizes]
    await fill(store, records)

    groups = reader_of(store).read(TENANT, ReadOptions(stream, is_backwards=is_backwards))

    assert b"".join([b"".join(group.fields) async for group in groups]) == record.read_response(
        records[:: -1 if is_backwards else 1]
    )


async def test_a_few_records_of_some_kilobytes_cost_one_page(store: PostgresEventStore) -> None:
    await fill(store, [bytes(20_000)] * 3)
    counting = CountingStore(store)

    last = [one async for one in reader_of(counting).read(TENANT, ReadOptions(limit=3))]

    assert sum(one.record_count for one in last) == 3
    assert counting.page_count == 1


async def test_large_records_among_small_ones_cost_no_pages_of_their_own(
    store: PostgresEventStore,
) -> None:
    await fill(store, [bytes(8_000 if number % 100 == 99 else 200) for number in range(2_000)])
    counting = CountingStore(store)

    groups = [one async for one in reader_of(counting).read(TENANT, ReadOptions())]

    assert [one.record_count for one in groups] == [1_024, 976]
    assert counting.page_count == 2


async def test_no_group_exceeds_a_page_unless_it_is_a_single_record(
    store: PostgresEventStore,
) -> None:
    await fill(
        store, [bytes(size) for size in [10] * 100 + [200_000] * 20 + [900_000] + [5_000] * 300]
    )

    groups = [
        records_in(group.fields) async for group in reader_of(store).read(TENANT, ReadOptions())
    ]

    assert all(len(group) == 1 or sum(map(len, group)) <= PAGE_BYTES_MAX for group in groups)
    assert sum(map(len, groups)) == 421


async def test_goes_on_to_what_is_appended_while_it_reads(store: PostgresEventStore) -> None:
    await fill(store, numbered(1_024))
    log = store.log(TENANT)
    late = placed_event(new_event(), 1_025, 1_024, 1)

    seen: list[bytes] = []
    async with aclosing(
        reader_of(store).read(TENANT, ReadOptions(from_position=Position(1)))
    ) as groups:
        async for group in groups:
            seen += records_in(group.fields)
            if len(seen) == 1_024:
                await log.write(Position(1_024), record_batch([late], [b"late"]))

    assert seen[:1_024] == numbered(1_024)
    assert seen[1_024:] in ([], [b"late"])


class CountingStore(PostgresEventStore):
    """Counts the pages asked for."""

    def __init__(self, store: PostgresEventStore) -> None:
        super().__init__(store._connections)
        self.page_count = 0

    async def page(self, tenant: TenantId, request: PageRequest) -> LogPage:
        self.page_count += 1
        return await super().page(tenant, request)


async def test_fetches_one_page_ahead_of_a_slow_reader_and_no_more(
    store: PostgresEventStore,
) -> None:
    await fill(store, numbered(5_000))
    counting = CountingStore(store)

    async with aclosing(reader_of(counting).read(TENANT, ReadOptions())) as groups:
        await anext(groups)
        async with asyncio.timeout(60):
            while counting.page_count < 2:  # noqa: ASYNC110 - nothing tells of a page
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)

        assert counting.page_count == 2


class LateStore(PostgresEventStore):
    """Another process appends to the stream right after its revision was looked up."""

    async def revision_at(
        self, tenant: TenantId, stream: StreamName, position: Position
    ) -> Revision:
        revision = await super().revision_at(tenant, stream, position)
        head = (await self.end(tenant)).head
        late = [placed_event(new_event(stream), head + n, revision + n - 1, 1) for n in (1, 2)]
        records = [b"%d" % place.position for place in late]
        await self.log(tenant).write(head, record_batch(late, records))
        return revision


async def test_nothing_below_the_position_is_read_though_it_is_appended_meanwhile(
    store: PostgresEventStore,
) -> None:
    await fill(store, numbered(3))

    assert await read(
        LateStore(store._connections), ReadOptions(StreamName("s"), from_position=Position(5))
    ) == [b"5"]


async def test_a_limit_within_a_page_costs_one_page(store: PostgresEventStore) -> None:
    await fill(store, numbered(50))
    counting = CountingStore(store)

    assert (
        len([group async for group in reader_of(counting).read(TENANT, ReadOptions(limit=50))]) == 1
    )
    assert counting.page_count == 1


def test_the_widest_page_holds_what_a_page_may_hold_and_the_narrowest_one_record_of_any_size() -> (
    None
):
    widest = PageCursor(1)
    narrowest = widest._replace(narrowing=ROW_COUNT_MAX.bit_length() - 1)

    assert widest.byte_count_max == PAGE_BYTES_MAX
    assert (narrowest.row_count, narrowest.record_bytes_max) == (1, 2**31 - 1)
    assert narrowest.byte_count_max == RECORD_BYTES_MAX


def test_the_largest_event_and_all_around_it_fit_into_what_every_client_takes() -> None:
    text = "x" * 64
    around = pb.RecordedEvent(
        position=POSITION_MAX,
        revision=POSITION_MAX,
        recorded_at=datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        context=pb.Context(correlation_id=text, causation_id=text, actor=2 * text),
    )
    # Twice an event, and a record: their tags and lengths.
    framing_bytes = 3 * 5

    assert around.ByteSize() + framing_bytes + EVENT_BYTES_MAX <= RECORD_BYTES_MAX


async def test_a_reader_that_takes_nothing_leaves_no_room_to_the_next_until_it_leaves(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_budget, "WAIT_S", 0.05)
    await fill(store, [bytes(2**20)] * 3)
    budget = SendBudget(COPIES * RECORD_BYTES_MAX)
    reader = Reader(store, budget)

    async with aclosing(reader.read(TENANT, ReadOptions())) as idle:
        await anext(idle)
        with pytest.raises(ReadersBusy):
            async for _ in reader.read(TENANT, ReadOptions()):
                pass
    groups = [group async for group in reader.read(TENANT, ReadOptions())]

    assert [len(one) for group in groups for one in records_in(group.fields)] == [2**20] * 3
    assert budget.bytes_held == 0
