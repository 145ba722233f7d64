"""Large events on their way to consumers take room of those to all readers, and no more."""

from datetime import timedelta

import pytest

from girih.events.v1 import events_pb2
from girih.events.v1 import groups_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.groups_pb2_grpc import GroupServiceStub
from services.events.app import built
from services.events.settings import Settings
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.server import running
from tests.authority import Authority
from tests.events.groups.consuming import consuming
from tests.events.serving import until_serving

LARGE_BYTES = 4_000_000
STREAMS = ("a", "b", "c")
LOOKS = 200
"""So often a consumer asks, and is answered, before nothing else is taken to be coming."""


@pytest.fixture
def narrow(settings: Settings) -> Settings:
    """Of a process with room for one large event, which counts twice."""
    return settings.model_copy(update={"responses_mib": 16})


async def test_no_more_events_are_here_to_be_tried_again_than_there_is_room_for(
    narrow: Settings, authority: Authority
) -> None:
    async with (
        built(narrow) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        await until_serving(channel)
        groups, events = GroupServiceStub(channel), EventStoreServiceStub(channel)
        for stream in STREAMS:
            event = events_pb2.Event(stream=stream, type="t", binary=bytes(LARGE_BYTES))
            await events.Append(events_pb2.AppendRequest(events=[event]))
        one_lane = pb.GroupSettings(lane_count=1)
        await groups.CreateGroup(pb.CreateGroupRequest(group="g", settings=one_lane))
        async with consuming(groups) as consumer:
            put_off, tried_again = set[str](), list[str]()
            while len(tried_again) < len(STREAMS):
                [one] = await consumer.events(1)
                if one.attempt == 1:
                    later = pb.RetryLater(
                        lane=one.lane,
                        token=one.token,
                        position=one.event.position,
                        delay=timedelta(seconds=1),
                    )
                    await consumer.say(retry_later=later)
                    put_off.add(one.event.event.stream)
                    continue
                for _ in range(LOOKS):
                    await consumer.quiet()
                assert [each.attempt for each in consumer.deliveries if each.attempt > 1] == []
                tried_again.append(one.event.event.stream)
                await consumer.acknowledge(one)

    assert put_off == set(tried_again) == set(STREAMS)
