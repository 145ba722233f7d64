"""Whatever is asked of the service and of the server in memory, in whichever order: both answer the
same, but for times, incarnations and ids that nobody gave."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import grpc.aio
import pytest
from google.protobuf.message import Message

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.events.v1 import snapshots_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceStub
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.errors import from_rpc_error
from tests.contract.conftest import Served

STREAMS = ["a", "a-1", "a-2", "b-1"]
TYPES = ["x", "y"]
TAGS = ["p", "q"]
SEQUENCE_COUNT = 12
STEP_COUNT = 60

_STATES = [pb.Precondition.STATE_ABSENT, pb.Precondition.STATE_EXISTS]
_DIRECTIONS = [pb.DIRECTION_FORWARDS, pb.DIRECTION_BACKWARDS]
_OF_A_RUN = {"recorded_at", "incarnation", "created_at", "updated_at", "at", "saved_at"}
"""Fields whose values differ from one run to another."""


class Server:
    """One who is asked, and a log of its own for each sequence."""

    def __init__(self, served: Served, channel: grpc.aio.Channel) -> None:
        self._served = served
        self._stubs = (EventStoreServiceStub(channel), SnapshotServiceStub(channel))

    async def answer(self, tenant: str, rpc: str, request: Message, correlation_id: str) -> object:
        """What it answers, or why it refuses."""
        metadata = [*self._served.callers.metadata(tenant), ("x-correlation-id", correlation_id)]
        method: Any = next(getattr(stub, rpc) for stub in self._stubs if hasattr(stub, rpc))
        call = method(request, metadata=metadata)
        try:
            if rpc in ("Read", "LoadStream"):
                return _joined([_plain(part) async for part in call])
            return _plain(await call)
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error)
            known = {k: v for k, v in refusal.metadata.items() if k != "incarnation"}
            return refusal.code, refusal.reason, refusal.message, known, refusal.violations


@pytest.fixture
async def servers(memory: Served, service: Served) -> AsyncIterator[list[Server]]:
    async with AsyncExitStack() as stack:
        opened = []
        for served in (memory, service):
            channel = await stack.enter_async_context(open_channel(served.address))
            opened.append(Server(served, channel))
        yield opened


@pytest.mark.timeout(240)
async def test_both_answer_alike(servers: list[Server]) -> None:
    for seed in range(SEQUENCE_COUNT):
        dice = random.Random(seed)
        for step, (rpc, request, correlation_id) in enumerate(_asked(dice)):
            answers = [
                await server.answer(f"t-{seed}", rpc, request, correlation_id) for server in servers
            ]
            assert answers[0] == answers[1], f"seed {seed}, step {step}: {rpc} {request}"


def _asked(dice: random.Random) -> Iterator[tuple[str, Message, str]]:
    sent = [pb.AppendRequest(events=[pb.Event(id=str(UUID(int=0)), stream="a", type="x")])]
    yield "Append", sent[0], "c-1"
    for _ in range(STEP_COUNT):
        (kind,) = dice.choices(["append", "read", "rule", "look"], [5, 4, 2, 3])
        request: Message
        if kind == "append":
            request = _append(dice, sent)
            sent.append(request)
        else:
            request = {"read": _read, "rule": _rule, "look": _look}[kind](dice)
        rpc = type(request).__name__.removesuffix("Request")
        yield rpc, request, f"c-{dice.randint(1, 3)}"


def _append(dice: random.Random, sent: list[pb.AppendRequest]) -> pb.AppendRequest:
    if sent and dice.random() < 0.15:
        return dice.choice(sent)
    request = pb.AppendRequest(events=[_event(dice) for _ in range(dice.randint(1, 3))])
    for _ in range(dice.choice([0, 0, 1, 2])):
        request.preconditions.append(_precondition(dice))
    if sent and dice.random() < 0.1:
        request.events[0].id = dice.choice(sent).events[0].id
    return request


def _event(dice: random.Random) -> pb.Event:
    return pb.Event(
        id=str(UUID(int=dice.getrandbits(128))),
        stream=dice.choice([*STREAMS, *STREAMS, "$own", "bad name"][: dice.choice([8, 10])]),
        type=dice.choice(TYPES),
        json=f'{{"n":{dice.randint(1, 9)}}}',
        tags=dice.sample(TAGS, dice.randint(0, 2)),
    )


def _precondition(dice: random.Random) -> pb.Precondition:
    if dice.random() < 0.4:
        after = dice.choice([None, dice.randint(0, 40)])
        return pb.Precondition(
            no_match=pb.NoMatch(filter=pb.Filter(queries=[_query(dice)]), after_position=after)
        )
    if dice.random() < 0.5:
        return pb.Precondition(stream=dice.choice(STREAMS), revision=dice.randint(0, 6))
    return pb.Precondition(stream=dice.choice(STREAMS), state=dice.choice(_STATES))


def _query(dice: random.Random) -> pb.Query:
    parts: dict[str, Callable[[], Any]] = {
        "types": lambda: dice.sample(TYPES, dice.randint(1, 2)),
        "tags": lambda: dice.sample(TAGS, dice.randint(1, 2)),
        "stream_prefix": lambda: dice.choice(["a", "a-", "$", "z"]),
        "category": lambda: dice.choice(["a", "b", "$streams"]),
        "correlation_id": lambda: f"c-{dice.randint(1, 4)}",
    }
    chosen = dice.sample(sorted(parts), dice.choice([1, 1, 2]))
    return pb.Query(**{name: parts[name]() for name in chosen})


def _read(dice: random.Random) -> Message:
    if dice.random() < 0.2:
        return snapshots_pb2.LoadStreamRequest(
            stream=dice.choice(STREAMS), schema_version=dice.randint(0, 2)
        )
    request = pb.ReadRequest(
        direction=dice.choice(_DIRECTIONS),
        limit=dice.choice([0, 0, 1, 5]),
        include_gone=dice.random() < 0.3,
    )
    kind = dice.choice(["log", "stream", "filter"])
    if kind == "stream":
        request.stream = dice.choice([*STREAMS, "$streams", "none"])
    if kind == "filter":
        request.filter.queries.extend(_query(dice) for _ in range(dice.randint(1, 2)))
        request.progress = dice.random() < 0.5
    if dice.random() < 0.4:
        request.from_position = dice.randint(1, 50)
    elif kind == "stream" and dice.random() < 0.5:
        request.from_revision = dice.randint(0, 8)
    return request


def _rule(dice: random.Random) -> Message:
    stream = dice.choice([*STREAMS, *STREAMS, "none", "$streams"])
    id_ = str(UUID(int=dice.getrandbits(128)))
    expected = dice.choice([None, None, dice.randint(0, 5)])
    if (chance := dice.random()) < 0.3:
        parts = {"max_count": dice.randint(1, 3), "truncate_before": dice.randint(0, 5)}
        chosen = {name: parts[name] for name in dice.sample(sorted(parts), dice.randint(0, 2))}
        return keeping_pb.SetStreamRetentionRequest(
            stream=stream, retention=keeping_pb.Retention(**chosen), id=id_
        )
    if chance < 0.5:
        return keeping_pb.SetStreamMetadataRequest(
            stream=stream, metadata='{"n": 1}', expected_version=expected, id=id_
        )
    if chance < 0.7:
        return keeping_pb.RedactEventRequest(position=dice.randint(1, 50), reason="r", id=id_)
    if chance < 0.75:
        return keeping_pb.TombstoneStreamRequest(stream=stream, expected_revision=expected, id=id_)
    if chance < 0.85:
        return keeping_pb.DeleteStreamRequest(stream=stream, expected_revision=expected, id=id_)
    return snapshots_pb2.SaveSnapshotRequest(
        stream=stream,
        revision=dice.randint(0, 6),
        binary=bytes([dice.randint(0, 255)]),
        schema_version=dice.randint(0, 3),
    )


def _look(dice: random.Random) -> Message:
    return dice.choice(
        [
            pb.GetStreamRequest(stream=dice.choice([*STREAMS, "none", "$streams"])),
            pb.ListStreamsRequest(prefix=dice.choice(["", "a", "a-"]), page_size=2),
            pb.ListStreamsRequest(category="a", page_token=dice.choice(["", "a-1"])),
            pb.ReadTraceRequest(correlation_id=f"c-{dice.randint(1, 3)}"),
            pb.GetLogRequest(),
            keeping_pb.ListCategoriesRequest(),
            keeping_pb.ListEventTypesRequest(page_size=1),
        ]
    )


def _joined(parts: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """A streamed answer as one: where it is cut into messages is the server's own affair."""
    whole: dict[str, list[Any]] = {}
    for part in parts:
        for name, value in part.items():
            whole.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    return whole


def _plain(message: Message) -> dict[str, Any]:
    """Its fields, but for those that are of a run."""
    plain: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name in _OF_A_RUN:
            continue
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            plain[field.name] = list(value) if field.is_repeated else value
        elif field.is_repeated:
            plain[field.name] = [_plain(one) for one in value]
        else:
            plain[field.name] = _plain(value)
    return plain
