"""Many who decide on the same at the same time, through two replicas: one of them wins.

A round is one decision that all racers have made on the same state of the log: on the revision of a
stream, on a name that nobody has, on events behind the position up to which they have read, or on
each other's events. Each appends through any of the replicas, all at once.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

import grpc
from grpc_status import rpc_status

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import events_pb2_grpc
from tests.chaos import unprotected
from tests.processes import Caller, authority_of, ending, events_process, own_postgres

CALL_S = 30.0

Outcome = int | pb.PreconditionFailure
"""The position of what was appended, or why it was not."""


@dataclass
class Decisions:
    """What came of all rounds."""

    figures: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Race:
    """The replicas that racers append through."""

    stubs: Sequence["events_pb2_grpc.EventStoreServiceAsyncStub"]
    caller: Caller
    dice: random.Random

    def any_stub(self) -> "events_pb2_grpc.EventStoreServiceAsyncStub":
        return self.dice.choice(self.stubs)

    async def append(self, request: pb.AppendRequest) -> Outcome:
        """Raises what is neither a success nor a lost race."""
        metadata = self.caller.metadata
        try:
            response = await self.any_stub().Append(request, timeout=CALL_S, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            status = rpc_status.from_call(error)
            failure = pb.PreconditionFailure()
            details = status.details if status else ()
            if not any(detail.Unpack(failure) for detail in details):
                raise
            return failure
        return int(response.placements[0].position)

    async def head(self) -> int:
        log = await self.any_stub().GetLog(pb.GetLogRequest(), metadata=self.caller.metadata)
        return int(log.head_position)


async def decide_together(*, rounds: int, racers: int, seed: int, is_protected: bool) -> Decisions:
    """So many rounds of each kind of decision. Without protection the database is that of
    `tests.chaos.unprotected`: nothing keeps what was decided on one head from being written on
    another.
    """
    result = Decisions()
    with own_postgres() as (postgres, folder):
        made = [events_process(postgres.url, folder) for _ in range(2)]
        with ending(*[process for process, _ in made]):
            for process, _ in made:
                process.start()
            for process, _ in made:
                await asyncio.to_thread(process.wait_ready)
            if not is_protected:
                await unprotected.remove_protection(postgres.url)
            async with AsyncExitStack() as stack:
                channels = [grpc.aio.insecure_channel(address) for _, address in made]
                for channel in channels:
                    stack.push_async_callback(channel.close)
                stubs = [events_pb2_grpc.EventStoreServiceStub(channel) for channel in channels]
                race = Race(stubs, Caller(authority_of(folder)), random.Random(seed))
                for kind, play in KINDS.items():
                    for number in range(rounds):
                        note = partial(_note, result, kind)
                        await play(race, f"{play.__name__}-{number}", racers, note)
    return result


Note = Callable[[Sequence[Outcome], Callable[[pb.PreconditionFailure], int]], None]


def _note(
    result: Decisions,
    kind: str,
    outcomes: Sequence[Outcome],
    cause_of: Callable[[pb.PreconditionFailure], int],
) -> None:
    """Count a round, of which one is to have won and all others are to be told so by `cause_of`."""
    won = [outcome for outcome in outcomes if isinstance(outcome, int)]
    lost = [outcome for outcome in outcomes if not isinstance(outcome, int)]
    result.figures[f"rounds of {kind}"] += 1
    result.figures[f"won of {kind}"] += len(won)
    result.figures[f"refused of {kind}"] += len(lost)
    if len(won) != 1:
        result.broken[f"{'more than one winner' if won else 'no winner'} of {kind}"] += 1
    elif any(cause_of(failure) not in (0, won[0]) for failure in lost):
        result.broken[f"refused for another event of {kind}"] += 1


async def on_a_revision(race: Race, name: str, racers: int, note: Note) -> None:
    """All expect the same revision of a stream."""
    request = _event(name)
    request.preconditions.add(stream=name, state=pb.Precondition.STATE_ABSENT)
    first = await race.append(request)
    assert isinstance(first, int)

    def expecting() -> pb.AppendRequest:
        request = _event(name)
        request.preconditions.add(stream=name, revision=0)
        return request

    outcomes = await _all(race.append(expecting()) for _ in range(racers))
    # The second event of the stream is the winner's, wherever it lies in the log.
    note(outcomes, lambda failure: 0 if failure.violations[0].actual_revision == 1 else -1)


async def on_a_free_name(race: Race, name: str, racers: int, note: Note) -> None:
    """All want the same name, and none has read anything."""
    tag = f"name:{name}"

    outcomes = await _all(
        race.append(_event(f"{name}-{number}", tag, unless=[tag])) for number in range(racers)
    )

    note(outcomes, _position)


async def on_what_was_read(race: Race, name: str, racers: int, note: Note) -> None:
    """All have read up to the same position, in a log that others append to."""
    tag = f"course:{name}"
    await race.append(_event(name, tag))
    after = await race.head()

    outcomes = await _all(
        _first(
            race.append(_event(f"{name}-{number}", tag, unless=[tag], after=after)),
            race.append(_event(f"{name}-beside-{number}")),
        )
        for number in range(racers)
    )

    note(outcomes, _position)


async def on_each_other(race: Race, name: str, racers: int, note: Note) -> None:
    """Each forbids what all the others append, and not what it appends itself."""
    tags = [f"{name}:{number}" for number in range(racers)]

    outcomes = await _all(
        race.append(_event(name, own, unless=[tag for tag in tags if tag != own])) for own in tags
    )

    note(outcomes, _position)


KINDS: dict[str, Callable[[Race, str, int, Note], Awaitable[None]]] = {
    "a revision": on_a_revision,
    "a free name": on_a_free_name,
    "what was read": on_what_was_read,
    "each other": on_each_other,
}


def _event(
    stream: str, tag: str = "", *, unless: Sequence[str] = (), after: int | None = None
) -> pb.AppendRequest:
    """An event, unless there is one with a tag of `unless` behind a position."""
    event = pb.Event(id=str(uuid4()), stream=stream, type="decided", tags=[tag] if tag else [])
    request = pb.AppendRequest(events=[event])
    if unless:
        queries = [pb.Query(tags=[one]) for one in unless]
        wanted = pb.NoMatch(filter=pb.Filter(queries=queries), after_position=after)
        request.preconditions.add(no_match=wanted)
    return request


def _position(failure: pb.PreconditionFailure) -> int:
    return failure.violations[0].position


async def _all(appends: Iterable[Awaitable[Outcome]]) -> list[Outcome]:
    return list(await asyncio.gather(*appends))


async def _first(wanted: Awaitable[Outcome], beside: Awaitable[Outcome]) -> Outcome:
    outcome, _ = await asyncio.gather(wanted, beside)
    return outcome
