"""One read serves all lanes of a group that a process leads, and nobody waits for another."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Final

import pytest

from girih.events.v1 import events_pb2 as pb
from girih.ids import Position, TenantId
from services.events.groups import convert
from services.events.groups.reading import (
    NEAR,
    WAITING_COUNT_MAX,
    GroupReading,
    LaneReader,
    Wanted,
)
from services.events.lanes.group import ClaimedLane, GroupSettings
from services.events.lanes.lane import Lane
from services.events.reading.reader import ReadOptions
from services.events.reading.send_budget import COPIES, SendBudget

LANE_COUNT: Final = 4
PAGE: Final = 100
WITHIN_S: Final = 60.0


class Log:
    """A log whose events are appended by the test, each to a stream of its own or all to one."""

    def __init__(self) -> None:
        self.head = 0
        self.sent_count = 0
        self.incarnation = ""
        self.is_one_stream = False
        self.event_bytes = 0
        self._moved = asyncio.Event()

    def append(self, count: int) -> None:
        self.head += count
        self._moved.set()

    async def follow(self, _tenant: TenantId, options: ReadOptions) -> AsyncGenerator[bytes, None]:
        at = options.from_position or 1
        while True:
            while at <= self.head:
                page = range(at, min(self.head, at + PAGE - 1) + 1)
                self.sent_count += len(page)
                yield pb.ReadResponse(
                    incarnation=self.incarnation, events=map(self._record, page)
                ).SerializeToString()
                at = page[-1] + 1
                await asyncio.sleep(0)
            yield pb.ReadResponse(
                incarnation=self.incarnation, caught_up=pb.CaughtUp(position=at - 1)
            ).SerializeToString()
            self._moved.clear()
            await self._moved.wait()

    def _record(self, position: int) -> pb.RecordedEvent:
        event = pb.Event(
            stream="s" if self.is_one_stream else f"s-{position}",
            type="happened",
            binary=bytes(self.event_bytes),
        )
        return pb.RecordedEvent(position=position, event=event)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def budget() -> SendBudget:
    return SendBudget(2**26)


@pytest.fixture
def group(log: Log, budget: SendBudget) -> GroupReading:
    wanted = Wanted(None, LANE_COUNT, "")
    return GroupReading(TenantId("t"), wanted, log, convert.decode, budget)


Consumer = Callable[..., LaneReader]


@pytest.fixture
async def consumer(group: GroupReading) -> AsyncIterator[Consumer]:
    """Makes consumers of lanes, with the token and the checkpoint of each."""
    made: list[LaneReader] = []

    def consumer(*numbers: int, token: int = 1, checkpoint: int = 0, **settings: Any) -> LaneReader:
        reader = LaneReader(group, lambda: None, made_to_fail)
        made.append(reader)
        claimed = [ClaimedLane(number, token, Position(checkpoint)) for number in numbers]
        reader.add([Lane(one, GroupSettings(LANE_COUNT, **settings)) for one in claimed])
        return reader

    yield consumer
    for reader in made:
        reader.close()


def made_to_fail(error: BaseException) -> None:
    raise AssertionError("a read ended") from error


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - reads tell nobody
            await asyncio.sleep(0.001)


def read_through(reader: LaneReader) -> int:
    return min(lane.read_through for lane in reader.lanes.values())


def settle(reader: LaneReader) -> None:
    """Acknowledge all that waits, and have it written."""
    for lane in reader.lanes.values():
        while (entry := lane.deliver()) is not None:
            lane.acknowledge(entry.position)
        lane.written(lane.take_change(0.0))
    reader.moved()


async def test_the_log_is_read_once_for_all_consumers(log: Log, consumer: Consumer) -> None:
    readers = [consumer(number) for number in range(LANE_COUNT)]
    await asyncio.sleep(0)

    log.append(WAITING_COUNT_MAX)
    await until(lambda: all(read_through(one) == log.head for one in readers))

    assert log.sent_count < log.head + LANE_COUNT * PAGE
    waiting = [lane.waiting_count for one in readers for lane in one.lanes.values()]
    assert sum(waiting) == log.head


async def test_a_consumer_without_room_does_not_hold_up_others(
    log: Log, consumer: Consumer
) -> None:
    slow, quick = consumer(0, 1), consumer(2, 3)

    log.append(5 * WAITING_COUNT_MAX)
    while read_through(quick) < log.head:
        await until(lambda: not quick.has_room() or read_through(quick) == log.head)
        settle(quick)

    assert sum(lane.waiting_count for lane in slow.lanes.values()) < 2 * WAITING_COUNT_MAX
    while read_through(slow) < log.head:
        settle(slow)
        await asyncio.sleep(0)


async def test_lanes_that_are_far_behind_do_not_take_others_back(
    log: Log, group: GroupReading, consumer: Consumer
) -> None:
    log.append(10 * NEAR)
    first = consumer(0, checkpoint=log.head)
    await until(lambda: read_through(first) == log.head)
    behind = consumer(1)
    await until(lambda: read_through(behind) > 0)

    log.append(1)
    await until(lambda: read_through(first) == log.head)

    assert read_through(behind) < log.head
    assert group.read_count == 2


async def test_lanes_that_have_caught_up_are_read_with_the_others(
    log: Log, group: GroupReading, consumer: Consumer
) -> None:
    log.append(NEAR + PAGE)
    first, behind = consumer(0, checkpoint=log.head), consumer(1)

    await until(lambda: read_through(behind) == log.head and group.read_count == 1)

    log.append(10)
    await until(lambda: read_through(first) == read_through(behind) == log.head)


async def test_who_leads_a_lane_under_a_larger_token_is_read_for_and_the_other_is_not(
    log: Log, consumer: Consumer
) -> None:
    lost, led = consumer(0, token=1), consumer(0, token=2)
    late = consumer(0, token=1)

    log.append(PAGE)
    await until(lambda: read_through(led) == log.head)

    assert read_through(lost) == read_through(late) == 0
    lost.close()
    log.append(PAGE)
    await until(lambda: read_through(led) == log.head)


async def test_a_lane_that_may_not_read_on_knows_what_it_was_read_in(
    log: Log, consumer: Consumer
) -> None:
    log.is_one_stream = True
    log.incarnation = "first"
    log.append(1)
    reader = consumer(*range(LANE_COUNT), held_count_max=3)
    await until(lambda: read_through(reader) == log.head)
    (lane,) = [one for one in reader.lanes.values() if one.waiting_count]
    lane.deliver()
    lane.park(Position(1), "poison")

    log.incarnation = "second"
    log.append(PAGE)
    await until(lambda: lane.is_full and read_through(reader) < log.head)
    others = [one for one in reader.lanes.values() if one is not lane]
    await until(lambda: all(one.read_through == log.head for one in others))

    # Whoever leads it next goes on behind what it holds, in the incarnation that that is from.
    assert lane.read_through == 3
    assert lane.incarnation == "second"


async def test_what_waits_for_a_consumer_that_others_do_not_wait_for_is_reserved(
    log: Log, budget: SendBudget, consumer: Consumer
) -> None:
    slow, quick = consumer(0, 1), consumer(2, 3)
    log.event_bytes = 2**20

    log.append(20)
    while read_through(quick) < log.head:
        await until(lambda: not quick.has_room() or read_through(quick) == log.head)
        settle(quick)
    waiting_bytes = sum(lane.waiting_bytes for lane in slow.lanes.values())
    await until(lambda: budget.bytes_held == COPIES * waiting_bytes)

    assert waiting_bytes >= log.event_bytes
    while read_through(slow) < log.head:
        settle(slow)
        await asyncio.sleep(0)
    await until(lambda: not budget.bytes_held)
