"""Many appends over one call: each with its own outcome, in order, and never too many at once."""

import asyncio
import json
import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from girih import DESCRIPTOR_SET
from girih.events.v1 import events_pb2 as pb
from services.events.appending import pipeline
from services.events.appending.pipeline import REQUEST_COUNT_MAX, Pipeline
from services.plumbing.errors import ShuttingDown
from tests.authority import Authority
from tests.events.making import message

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

T = TypeVar("T")


def request(*streams: str) -> pb.AppendStreamRequest:
    return pb.AppendStreamRequest(events=[message(stream) for stream in streams])


async def answered(
    events: "EventStoreServiceAsyncStub", requests: Iterable[pb.AppendStreamRequest]
) -> list[pb.AppendStreamResponse]:
    return [response async for response in events.AppendStream(iter(requests))]


async def collect(answers: AsyncIterable[T], into: list[T]) -> None:
    """Keeps what came before an iteration raises."""
    async for one in answers:
        into.append(one)  # noqa: PERF401


@pytest.mark.parametrize(
    "options", [(), ("--schema", str(DESCRIPTOR_SET))], ids=["reflection", "descriptor set"]
)
async def test_tools_that_know_the_contract_from_descriptors_show_a_refusal(
    address: str,
    events: "EventStoreServiceAsyncStub",
    authority: Authority,
    options: tuple[str, ...],
) -> None:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("buf"),
        *("curl", "--protocol", "grpc", "--http2-prior-knowledge", *options),
        *("--header", f"authorization: Bearer {authority.token()}"),
        *("--data", json.dumps({"events": [{"stream": "bad stream"}]})),
        f"http://{address}/girih.events.v1.EventStoreService/AppendStream",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()

    info, bad_request = json.loads(output)["refusal"]["details"]
    assert info["reason"] == "INVALID_INPUT"
    assert "events[0].stream" in {bad["field"] for bad in bad_request["fieldViolations"]}


async def test_a_caller_who_leaves_leaves_no_task_behind(
    events: "EventStoreServiceAsyncStub",
) -> None:
    call = events.AppendStream()
    await call.write(request("s"))
    await call.read()

    call.cancel()

    async with asyncio.timeout(60):
        while _tasks("read requests", "end requests", "append one"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _tasks(*names: str) -> list["asyncio.Task[object]"]:
    return [task for task in asyncio.all_tasks() if task.get_name() in names]


class Work:
    """Requests that are worked on until the test settles them."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self._sizes = sizes
        self.begun: list[asyncio.Future[int]] = []
        self.stopping = asyncio.Event()
        self.pipeline = Pipeline(self._begin, lambda size: size, self.stopping)

    async def requests(self) -> AsyncIterator[int]:
        for size in self._sizes:
            yield size

    async def _begin(self, _size: int) -> "asyncio.Future[int]":
        self.begun.append(asyncio.get_running_loop().create_future())
        return self.begun[-1]

    async def let_begin(self) -> int:
        for _ in range(500):
            await asyncio.sleep(0)
        return len(self.begun)


async def test_no_more_requests_are_read_than_may_be_worked_on() -> None:
    work = Work([1] * 200)
    answers = work.pipeline.answers(work.requests())
    answering = asyncio.ensure_future(anext(answers))
    assert await work.let_begin() == REQUEST_COUNT_MAX

    work.begun[0].set_result(0)
    assert await answering == 0
    assert await work.let_begin() == REQUEST_COUNT_MAX, "the answer has not been taken yet"

    answering = asyncio.ensure_future(anext(answers))
    assert await work.let_begin() == REQUEST_COUNT_MAX + 1
    answering.cancel()
    await asyncio.wait([answering])


async def test_no_more_bytes_are_read_than_may_be_worked_on() -> None:
    half = pipeline.REQUEST_BYTES_MAX // 2
    work = Work([half] * 9)
    answering = asyncio.ensure_future(anext(work.pipeline.answers(work.requests())))

    assert await work.let_begin() == 2

    answering.cancel()
    await asyncio.wait([answering])


async def test_what_was_begun_is_answered_before_a_process_that_stops_says_so() -> None:
    work = Work([1] * 200)
    answers = work.pipeline.answers(work.requests())
    first = asyncio.ensure_future(anext(answers))
    begun_count = await work.let_begin()

    work.stopping.set()
    await work.let_begin()
    for number, outcome in enumerate(work.begun):
        outcome.set_result(number)

    assert await first == 0
    received = [0]
    with pytest.raises(ShuttingDown):
        await collect(answers, received)
    assert received == list(range(begun_count))


async def test_what_was_begun_is_given_up_together_and_no_later_one_is_stored() -> None:
    work = Work([1] * 3)
    answering = asyncio.ensure_future(anext(work.pipeline.answers(work.requests())))
    await work.let_begin()

    answering.cancel()
    turns = [[outcome.cancelled() for outcome in work.begun]]
    while not answering.done():
        await asyncio.sleep(0)
        turns.append([outcome.cancelled() for outcome in work.begun])

    assert all(len(set(turn)) == 1 for turn in turns), "not one before another"
    assert turns[-1] == [True] * 3
