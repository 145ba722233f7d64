"""Streams that belong to a service are written by nobody else."""

from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from girih.events.v1 import events_pb2 as pb
from girih.ids import StreamName
from services.events import ownership
from services.events.errors import StreamOwned
from services.plumbing.grpc.errors import from_rpc_error
from services.policy import EVENTS, GATEWAY, LATTICE
from tests.authority import Authority
from tests.events.making import append_of

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

LONG = "$lattice-" + "x" * 200


@pytest.mark.parametrize(
    ("stream", "owner"),
    [
        ("$lattices", LATTICE),
        ("$lattice-7f", LATTICE),
        ("$lattice-a.b:c@d", LATTICE),
        ("$security", GATEWAY),
        ("$Security", "nobody"),
        ("$anything", "nobody"),
        ("lattices", ""),
        ("lattice-7f", ""),
        ("security", ""),
    ],
)
def test_streams_belong_to_whom_their_name_says(stream: str, owner: str) -> None:
    assert ownership.owner_of(StreamName(stream)) == owner


@pytest.mark.parametrize("service", ["", GATEWAY, LATTICE])
def test_a_service_writes_its_own_streams_and_those_of_nobody(service: str) -> None:
    ownership.check([StreamName("orders"), *_streams_of(service)], service)


@pytest.mark.parametrize("service", ["", GATEWAY, LATTICE])
def test_nobody_writes_the_streams_of_another_service(service: str) -> None:
    for other in {GATEWAY, LATTICE} - {service}:
        with pytest.raises(StreamOwned) as caught:
            ownership.check([StreamName("orders"), *_streams_of(other)], service)

        assert set(caught.value.streams) == set(_streams_of(other))


def test_as_many_names_are_told_as_fit_and_all_are_counted() -> None:
    with pytest.raises(StreamOwned) as caught:
        ownership.check([StreamName(f"{LONG}{number}") for number in range(5)], "")

    assert caught.value.metadata == {"stream_count": 5, "streams": f"{LONG}0"}
    assert f"{LONG}0" in caught.value.message


async def test_a_user_cannot_append_to_the_streams_of_services(
    events: "EventStoreServiceAsyncStub",
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events.Append(append_of("orders", "$lattices", "$security", "$mine"))

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    answer = from_rpc_error(caught.value)
    assert answer.reason == "STREAM_OWNED"
    assert answer.metadata["streams"] == "$lattices,$mine,$security"
    assert (await events.GetLog(pb.GetLogRequest())).head_position == 0


async def test_a_user_cannot_append_to_them_over_a_stream_of_appends_either(
    events: "EventStoreServiceAsyncStub",
) -> None:
    requests = [
        pb.AppendStreamRequest(events=append_of(stream).events)
        for stream in ("$security", "orders")
    ]

    refused, placed = [response async for response in events.AppendStream(iter(requests))]

    assert refused.refusal.code == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert [place.position for place in placed.placements] == [1]


async def test_a_service_that_acts_for_a_user_appends_to_its_own_streams_alone(
    events: "EventStoreServiceAsyncStub", authority: Authority
) -> None:
    lattice = [("authorization", f"Bearer {authority.service_token(EVENTS)}")]

    response = await events.Append(append_of("$lattices", "$lattice-7f"), metadata=lattice)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events.Append(append_of("$security"), metadata=lattice)

    assert len(response.placements) == 2
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_everybody_in_the_tenant_may_expect_something_of_them(
    events: "EventStoreServiceAsyncStub",
) -> None:
    request = append_of("orders")
    request.preconditions.add(stream="$lattices", state=pb.Precondition.STATE_ABSENT)

    assert len((await events.Append(request)).placements) == 1


def _streams_of(service: str) -> list[StreamName]:
    names = {GATEWAY: ["$security"], LATTICE: ["$lattices", "$lattice-7f"]}.get(service, [])
    return [StreamName(name) for name in names]
