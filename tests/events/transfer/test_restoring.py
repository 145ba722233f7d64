"""Events are put down as they were or not at all, and only where nothing else is."""

from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from girih.events.v1 import events_pb2, transfer_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.transfer_pb2_grpc import TransferServiceStub
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from tests.authority import Authority
from tests.events.making import append_of

if TYPE_CHECKING:
    from girih.events.v1.transfer_pb2_grpc import TransferServiceAsyncStub


@pytest.fixture
async def carried(
    channel: grpc.aio.Channel, authority: Authority
) -> list[transfer_pb2.RestoredEvent]:
    """Four events of three streams of another tenant."""
    metadata = authority.metadata("source")
    events, transfers = EventStoreServiceStub(channel), TransferServiceStub(channel)
    await events.Append(append_of("a", "b"), metadata=metadata)
    await events.Append(append_of("a", "c"), metadata=metadata)
    call = events.Read(events_pb2.ReadRequest(), metadata=metadata)
    records = [event async for response in call for event in response.events]
    page = await transfers.ReadDigests(transfer_pb2.ReadDigestsRequest(), metadata=metadata)
    return [
        transfer_pb2.RestoredEvent(recorded=recorded, digest=one.digest)
        for recorded, one in zip(records, page.events, strict=True)
    ]


@pytest.fixture
def transfers(channel: grpc.aio.Channel) -> "TransferServiceAsyncStub":
    return TransferServiceStub(channel)


async def refusal(
    transfers: "TransferServiceAsyncStub", after: int, carried: list[transfer_pb2.RestoredEvent]
) -> RemoteError:
    request = transfer_pb2.RestoreEventsRequest(after_position=after, events=carried)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await transfers.RestoreEvents(request)
    return from_rpc_error(caught.value)


async def test_an_event_that_was_changed_is_named_and_none_is_restored(
    transfers: "TransferServiceAsyncStub", carried: list[transfer_pb2.RestoredEvent]
) -> None:
    carried[2].recorded.event.type = "another"

    refused = await refusal(transfers, 0, carried)

    assert (refused.reason, refused.metadata["position"]) == ("RECORD_DAMAGED", "3")
    digests = await transfers.ReadDigests(transfer_pb2.ReadDigestsRequest())
    assert not digests.events


async def test_events_that_do_not_follow_each_other_are_refused(
    transfers: "TransferServiceAsyncStub", carried: list[transfer_pb2.RestoredEvent]
) -> None:
    carried[2].recorded.revision = 2
    in_revision = await refusal(transfers, 0, carried)
    carried[2].recorded.revision = 1
    carried[3].recorded.recorded_at.seconds -= 60
    in_time = await refusal(transfers, 0, carried)
    in_position = await refusal(transfers, 0, carried[1:])

    assert "events[2].recorded" in str(in_revision)
    assert "events[3].recorded" in str(in_time)
    assert "events[0].recorded.position" in str(in_position)


async def test_what_was_restored_is_not_restored_again(
    transfers: "TransferServiceAsyncStub", carried: list[transfer_pb2.RestoredEvent]
) -> None:
    request = transfer_pb2.RestoreEventsRequest(events=carried[:2])
    await transfers.RestoreEvents(request)

    refused = await refusal(transfers, 0, carried[:2])

    assert (refused.reason, refused.metadata["head_position"]) == ("RESTORE_MISPLACED", "2")


async def test_a_log_that_somebody_has_appended_to_takes_no_more(
    channel: grpc.aio.Channel,
    transfers: "TransferServiceAsyncStub",
    carried: list[transfer_pb2.RestoredEvent],
) -> None:
    request = transfer_pb2.RestoreEventsRequest(events=carried[:2])
    await transfers.RestoreEvents(request)
    await EventStoreServiceStub(channel).Append(append_of("own"))

    refused = await refusal(transfers, 2, carried[2:])

    assert refused.reason == "LOG_NOT_EMPTY"


async def test_members_of_a_tenant_cannot_say_what_happened_when(
    channel: grpc.aio.Channel, authority: Authority, carried: list[transfer_pb2.RestoredEvent]
) -> None:
    request = transfer_pb2.RestoreEventsRequest(events=carried)
    token = authority.metadata("acme", scopes=["events.append", "events.read"])

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await TransferServiceStub(channel).RestoreEvents(request, metadata=token)

    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
