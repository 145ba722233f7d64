"""Streams of appends that are silent hold up nobody, and notice nothing of it themselves."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from girih.client import EventStoreClient, GirihError, NewEvent, RetryPolicy
from girih.client.errors import CallEnded
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.events.app import built
from services.events.settings import Settings
from services.plumbing.grpc import requests
from services.plumbing.grpc.server import running
from tests.authority import Authority
from tests.events.making import message

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

STREAM_COUNT = 40
"""More than one tenant's share of the default memory has places for."""

PAUSE_S = 0.3


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> AsyncIterator["EventStoreServiceAsyncStub"]:
    """For one tenant, whose streams are silent from their beginning."""
    stub = EventStoreServiceStub(channel)
    calls = [stub.AppendStream() for _ in range(STREAM_COUNT)]
    await asyncio.gather(*(call.initial_metadata() for call in calls))
    yield stub
    for call in calls:
        call.cancel()


async def test_an_append_finds_a_place_among_silent_streams(
    stub: "EventStoreServiceAsyncStub",
) -> None:
    appended = await stub.Append(pb.AppendRequest(events=[message("a")]))

    assert appended.placements[0].position == 1


@pytest.mark.parametrize("idle_s", [0.05, requests.IDLE_S], ids=["for long", "for a moment"])
async def test_producers_who_pause_are_all_acknowledged_and_notice_nothing(
    settings: Settings, authority: Authority, monkeypatch: pytest.MonkeyPatch, idle_s: float
) -> None:
    monkeypatch.setattr(requests, "IDLE_S", idle_s)
    noticed: list[GirihError] = []
    policy = RetryPolicy(timeout_s=60.0, attempt_timeout_s=20.0, on_retry=noticed.append)
    token = authority.token("default")

    async def produce(events: EventStoreClient, number: int) -> None:
        async with events.append_stream() as appends:
            for _ in range(6):
                await (await appends.begin([NewEvent(stream=f"s-{number}", type="x")]))
                await asyncio.sleep(PAUSE_S)

    async with built(settings) as server, running(server, "127.0.0.1:0") as port:
        address = f"127.0.0.1:{port}"
        async with EventStoreClient.connect(address, token=token, retry=policy) as events:
            await events.head()
            noticed.clear()  # that the tables had to be made first
            async with asyncio.TaskGroup() as producers:
                for number in range(STREAM_COUNT):
                    producers.create_task(produce(events, number))
            position = await events.head()

    # On a slow machine a call may be ended for its silence while its next message is on the way.
    failures = [error for error in noticed if not isinstance(error, CallEnded)]
    assert (position, failures) == (6 * STREAM_COUNT, [])
