"""Half of a log beyond its age: nothing of it is read again, and it leaves the disk.

The rule is set through one of two replicas while both are read. From its answer on, no read of
either, forwards or backwards, of the log, of streams or through filters, no follower, with a filter
or without, and no trace returns an event that is too old, none is in a decision's way, and what is
not stays where it was. Both replicas take the payloads away, and are
killed in turn in the middle of that: whatever is killed, each record is as it was or without its
payload, and its leaf digest is the same.

Then the file of events gets shorter by itself, by most of what the payloads took, while both are
killed in the middle of that as well.

The events' times cannot be waited for. So the first half is made a day older in the table, with its
triggers off, and the rule keeps half a day.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import grpc

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.events import record
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.errors import from_rpc_error
from tests.chaos.unprotected import change_function
from tests.processes import Process, authority_of, ending, events_process, own_postgres

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

_STREAMS = 12
_BATCH = 1_000
_PAYLOAD_BYTES = 400
_KEPT_S = 12 * 60 * 60
_KILLED_WITHIN_S = 0.3
_KILLS_WHILE_COMPACTING = 4
_COMPACTING_INTERVAL_S = 0.5
_CORRELATION_ID = "retention-proof"
_CHECKED_FILTERS = {
    "by type": pb.Query(types=["happened"]),
    "by tag": pb.Query(tags=["every"]),
    "by category": pb.Query(category="s"),
    "by prefix": pb.Query(stream_prefix="s-"),
    "by correlation id": pb.Query(correlation_id=_CORRELATION_ID),
}
_GIVEN_BACK_MIN = 0.8
"""Of what the payloads took."""
_COMPACTED_WITHIN_S = 600
_FILE = "SELECT pg_relation_size('events.records')"
_LEFT = "SELECT count(*) FROM events.records WHERE payload IS NOT NULL"
_MAKE_OLDER = """
    ALTER TABLE events.records DISABLE TRIGGER USER;
    UPDATE events.records SET recorded_at = recorded_at - interval '1 day' WHERE position <= {half};
    ALTER TABLE events.records ENABLE TRIGGER USER;
"""
_LAX = ("change_stream", "max_age_s = age_s", "max_age_s = 100 * age_s")
_LEFT_OF_STREAM = """
    SELECT count(*)
    FROM events.records
    WHERE payload IS NOT NULL AND stream = $1 AND position <= $2
"""
_HALF_DONE = """
    SELECT count(*)
    FROM events.records
    WHERE (payload IS NULL) <> (payload_digest IS NOT NULL)
"""
_RECORDS = """
    SELECT position, header, coalesce(payload, '') AS payload, digest, payload IS NULL AS is_taken
    FROM events.records
    WHERE position > $1
    ORDER BY position
    LIMIT 5000
"""


@dataclass
class Retained:
    """Figures, and every broken promise with how often it was."""

    figures: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)

    def note(self, promise: str, count: int) -> None:
        """`count` times it was broken."""
        if count:
            self.broken[promise] = self.broken.get(promise, 0) + count


@dataclass(frozen=True)
class _Run:
    stubs: Sequence["EventStoreServiceAsyncStub"]
    replicas: Sequence[Process]
    owner: asyncpg.Connection
    """Sees all of the database."""


async def retain_half(event_count: int, kills: int, seed: int, *, is_protected: bool) -> Retained:
    """Prove it on so many events, with so many kills: one for each of some streams. Without
    protection rules keep a hundred times as long as they say."""
    outcome = Retained()
    outcome.figures["kills in the middle"] = 0
    with own_postgres() as (postgres, folder):
        settings = {
            "EVENTS_KEEPING_INTERVAL_S": "0.2",
            "EVENTS_COMPACTING_INTERVAL_S": str(_COMPACTING_INTERVAL_S),
        }
        made = [events_process(postgres.url, folder, **settings) for _ in range(2)]
        replicas = [process for process, _ in made]
        with ending(*replicas):
            for replica in replicas:
                replica.start()
            for replica in replicas:
                await asyncio.to_thread(replica.wait_ready)
            owner = await asyncpg.connect(postgres.url)
            if not is_protected:
                await change_function(owner, *_LAX)
            try:
                async with _stubs(folder, [address for _, address in made]) as stubs:
                    run = _Run(stubs, replicas, owner)
                    await _prove(run, event_count, kills, random.Random(seed), outcome)
            finally:
                await owner.close()
    return outcome


async def _prove(
    run: "_Run", event_count: int, kills: int, dice: random.Random, outcome: Retained
) -> None:
    half = event_count // 2
    await _fill(run.stubs[0], 0, event_count)
    await run.owner.execute(_MAKE_OLDER.format(half=half))
    before = await _leaves(run.owner)
    size = await run.owner.fetchval(_FILE)
    outcome.figures["bytes before"] = size
    for number in range(_STREAMS):
        await run.stubs[0].SetStreamRetention(
            keeping_pb.SetStreamRetentionRequest(
                stream=f"s-{number}", retention=keeping_pb.Retention(max_age_s=_KEPT_S)
            ),
            wait_for_ready=True,
        )
        await _look_at_stream(run.stubs[1], number, half, event_count, outcome)
        if number < kills:
            await asyncio.sleep(dice.uniform(0, _KILLED_WITHIN_S))
            await _kill(run, number, half, outcome)
    await _look(run.stubs, half, event_count, outcome)
    if outcome.broken:
        return
    await _until_taken(run.owner, half + _STREAMS)
    await _look(run.stubs, half, event_count, outcome)

    for _ in range(min(kills, _KILLS_WHILE_COMPACTING)):
        await asyncio.sleep(_COMPACTING_INTERVAL_S + dice.uniform(0, 1))
        await _restart(run)
    taken = half * _PAYLOAD_BYTES
    await _until_short(run.owner, size - int(_GIVEN_BACK_MIN * taken), outcome)
    await _look(run.stubs, half, event_count, outcome)

    after = await _leaves(run.owner)
    wrong = sum(1 for position, leaf in before.items() if after.get(position) != leaf)
    outcome.note("leaf digests that changed", wrong)
    outcome.note("records half done", await run.owner.fetchval(_HALF_DONE))


async def _fill(stub: "EventStoreServiceAsyncStub", start: int, end: int) -> None:
    for first in range(start, end, _BATCH):
        events = [
            pb.Event(
                id=str(UUID(int=number + 1)),
                stream=f"s-{number % _STREAMS}",
                type="happened",
                json=f'"{"x" * _PAYLOAD_BYTES}"',
                tags=["every"],
            )
            for number in range(first, min(end, first + _BATCH))
        ]
        await stub.Append(
            pb.AppendRequest(events=events), metadata=[("x-correlation-id", _CORRELATION_ID)]
        )


async def _look(
    stubs: Sequence["EventStoreServiceAsyncStub"], half: int, event_count: int, outcome: Retained
) -> None:
    """See that nothing of the first half is returned, and all of the second."""
    kept = set(range(half + 1, event_count + 1))
    for stub in stubs:
        for name, request in _requests(event_count - half).items():
            positions = await _positions(stub, request)
            outcome.note(f"too old, {name}", len([one for one in positions if one <= half]))
            outcome.note(f"missing, {name}", len(kept.difference(positions)))
            outcome.figures["looks"] = outcome.figures.get("looks", 0) + 1
        for number in range(_STREAMS):
            outcome.note("too old, in a decision's way", await _decided(stub, number, half))
        of_streams: list[int] = []
        for number in range(_STREAMS):
            of_streams += await _positions(stub, pb.ReadRequest(stream=f"s-{number}"))
        outcome.note("too old, read by streams", len([one for one in of_streams if one <= half]))
        outcome.note("missing, read by streams", len(kept.difference(of_streams)))
        traced = await _traced(stub)
        outcome.note("too old, in a trace", len([one for one in traced if one <= half]))
        outcome.note("missing in a trace", len(kept.difference(traced)))


def _requests(kept_count: int) -> dict[str, pb.ReadRequest]:
    """Every way to read the log, each with its name."""
    requests = {
        "read forwards": pb.ReadRequest(),
        "read backwards": pb.ReadRequest(direction=pb.DIRECTION_BACKWARDS),
        "followed": pb.ReadRequest(follow=True, limit=kept_count),
    }
    for name, query in _CHECKED_FILTERS.items():
        wanted = pb.Filter(queries=[query])
        requests[f"found {name}"] = pb.ReadRequest(filter=wanted)
        backwards = pb.ReadRequest(filter=wanted, direction=pb.DIRECTION_BACKWARDS)
        requests[f"found {name} backwards"] = backwards
        requests[f"followed {name}"] = pb.ReadRequest(filter=wanted, follow=True, limit=kept_count)
    return requests


async def _decided(stub: "EventStoreServiceAsyncStub", number: int, half: int) -> int:
    """Whether the first event of a stream that is kept is told to be in the way, and none before:
    0, or 1."""
    wanted = pb.Filter(queries=[pb.Query(types=["happened"], stream_prefix=f"s-{number}")])
    unless = pb.Precondition(no_match=pb.NoMatch(filter=wanted, after_position=0))
    event = pb.Event(id=str(uuid4()), stream="decided", type="decided")
    request = pb.AppendRequest(events=[event], preconditions=[unless])
    try:
        await stub.Append(request, wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        position = from_rpc_error(error).metadata.get("position", "0")
        return int(int(position) <= half)
    return 1


async def _look_at_stream(
    stub: "EventStoreServiceAsyncStub", number: int, half: int, event_count: int, outcome: Retained
) -> None:
    """The same for a stream alone, at once."""
    positions = await _positions(stub, pb.ReadRequest(stream=f"s-{number}"))
    outcome.note("too old, read at once", len([one for one in positions if one <= half]))
    kept = [one + 1 for one in range(half, event_count) if one % _STREAMS == number]
    outcome.note("missing, read at once", int(positions != kept))


async def _positions(stub: "EventStoreServiceAsyncStub", request: pb.ReadRequest) -> list[int]:
    call = stub.Read(request, wait_for_ready=True)
    return [
        recorded.position
        async for response in call
        for recorded in response.events
        if not recorded.event.stream.startswith("$")
    ]


async def _traced(stub: "EventStoreServiceAsyncStub") -> list[int]:
    positions: list[int] = []
    request = pb.ReadTraceRequest(correlation_id=_CORRELATION_ID, page_size=1_000)
    while True:
        page = await stub.ReadTrace(request, wait_for_ready=True)
        positions += [one.recorded.position for one in page.events]
        if not page.next_page_token:
            return positions
        request.page_token = page.next_page_token


async def _kill(run: "_Run", number: int, half: int, outcome: Retained) -> None:
    """Kill both while they take what a stream does not keep, and see what they leave."""
    for replica in run.replicas:
        replica.kill()
    left = await run.owner.fetchval(_LEFT_OF_STREAM, number + 1, half)
    is_in_the_middle = 0 < left < half // _STREAMS
    outcome.figures["kills in the middle"] = (
        outcome.figures["kills in the middle"] + is_in_the_middle
    )
    outcome.note("records half done after a kill", await run.owner.fetchval(_HALF_DONE))
    await _start(run)


async def _restart(run: "_Run") -> None:
    for replica in run.replicas:
        replica.kill()
    await _start(run)


async def _start(run: "_Run") -> None:
    for replica in run.replicas:
        replica.start()
    for replica in run.replicas:
        await asyncio.to_thread(replica.wait_ready)


async def _until_short(owner: asyncpg.Connection, size_max: int, outcome: Retained) -> None:
    """Wait until the file of events is no longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_COMPACTED_WITHIN_S):
            while await owner.fetchval(_FILE) > size_max:  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.2)
    outcome.figures["bytes after"] = await owner.fetchval(_FILE)
    outcome.note("the disk did not shrink", int(outcome.figures["bytes after"] > size_max))


async def _until_taken(owner: asyncpg.Connection, left: int) -> None:
    async with asyncio.timeout(600):
        while await owner.fetchval(_LEFT) > left:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.2)


async def _leaves(owner: asyncpg.Connection) -> dict[int, bytes]:
    """The leaf digest of each position."""
    leaves: dict[int, bytes] = {}
    while rows := await owner.fetch(_RECORDS, max(leaves, default=0)):
        for row in rows:
            leaves[row["position"]] = record.leaf_digest(
                row["header"] + row["payload"], row["digest"]
            )
    return leaves


@asynccontextmanager
async def _stubs(
    folder: Path, addresses: Sequence[str]
) -> AsyncIterator[list["EventStoreServiceAsyncStub"]]:
    bearer = authority_of(folder).bearer
    async with AsyncExitStack() as stack:
        yield [
            EventStoreServiceStub(
                await stack.enter_async_context(open_channel(address, bearer=bearer))
            )
            for address in addresses
        ]
