"""The whole service over gRPC, on an event store of its own."""

import os
import signal
from collections.abc import Awaitable
from uuid import uuid4

import grpc
import grpc.aio
import numpy as np
import pytest

from girih.events.v1 import events_pb2 as events
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.lattice.v1 import lattice_pb2 as pb
from services.plumbing.grpc.errors import RemoteError
from tests.authority import Authority
from tests.lattice.serving import ABSENT, Client, refusal, replica, site, until
from tests.processes import Process, free_port


def fields(error: RemoteError) -> list[str]:
    return [violation.field for violation in error.violations]


async def test_a_lattice_of_a_quintillion_sites_is_created_and_path_found(client: Client) -> None:
    lattice = await client.create(dimensions=2, size=10**9)

    result = await client.find_path(lattice.lattice_id, [0, 0], [10**9 - 1, 10**9 - 1])

    assert lattice.vertices == 10**18
    assert lattice.edges == str(2 * 10**9 * (10**9 - 1))
    assert lattice.bytes_as_matrix == str(8 * 10**36)
    assert 0 < lattice.bytes_held < 10_000
    assert result.path.length == 2 * (10**9 - 1)
    assert [run.count for run in result.path.runs] == [10**9 - 1] * 2
    assert len(result.path.sites) == 1_000 * result.path.axis_count
    assert result.computation.method == pb.METHOD_CLOSED_FORM
    assert result.computation.exact


async def test_a_path_around_blocked_sites_is_told_whole(client: Client) -> None:
    bits = np.zeros((3, 3), bool)
    bits[1, :2] = True
    lattice = await client.create(
        shape=[3, 3], blocked=np.packbits(bits, bitorder="little").tobytes()
    )

    result = await client.find_path(lattice.lattice_id, [0, 0], [2, 0])

    sites = np.array(result.path.sites).reshape(-1, result.path.axis_count).tolist()
    assert sites == [[0, 0], [0, 1], [0, 2], [1, 2], [2, 2], [2, 1], [2, 0]]
    assert [(list(run.step), run.count) for run in result.path.runs] == [
        ([0, 1], 2),
        ([1, 0], 2),
        ([0, -1], 2),
    ]
    assert (result.path.length, result.path.steps) == (6, 6)
    assert result.computation.sites_expanded > 0


async def test_no_sites_are_listed_when_none_are_asked_for(client: Client) -> None:
    lattice = await client.create(shape=[10])

    result = await client.find_path(lattice.lattice_id, [0], [9], sites_max=0)

    assert (len(result.path.sites), result.path.steps) == (0, 9)


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({}, "shape"),
        ({"shape": [0]}, "shape[0]"),
        ({"shape": [1] * 11}, "shape"),
        ({"shape": [2**62, 2**62]}, "shape"),
        ({"dimensions": 2}, "size"),
        ({"shape": [3], "boundaries": [7]}, "boundaries[0]"),
        ({"shape": [3], "neighbourhood": 9}, "neighbourhood"),
        ({"shape": [3], "corner_rule": 9}, "corner_rule"),
        ({"shape": [3], "blocked": b"\0\0"}, "blocked"),
        ({"shape": [3], "blocked": b"\x08"}, "blocked"),
        ({"shape": [3], "blocked": b"\x07", "bit_order": pb.BIT_ORDER_BIG}, "blocked"),
        ({"shape": [8], "blocked": b"\x07", "bit_order": 0}, "bit_order"),
        ({"shape": [8], "blocked": b"\x07", "bit_order": 9}, "bit_order"),
        ({"shape": [3], "request_id": "no"}, "request_id"),
    ],
    ids=str,
)
async def test_a_bad_creation_is_refused_by_its_field(
    client: Client, request_fields: dict[str, object], field: str
) -> None:
    error = await refusal(client.create(**request_fields))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert fields(error) == [field]
    assert (await client.page()).lattices == []


async def test_a_bad_site_is_refused_by_its_field(client: Client) -> None:
    lattice_id = (await client.create(shape=[4, 4], blocked=b"\1\0")).lattice_id
    blocked, outside, good = [0, 0], [4, 0], [1, 1]

    assert fields(await refusal(client.find_path(lattice_id, blocked, good))) == ["start"]
    assert fields(await refusal(client.find_path(lattice_id, good, outside))) == [
        "goal.coordinates[0]"
    ]
    assert fields(await refusal(client.find_path(lattice_id, [], good))) == ["start.coordinates"]
    queries = [(good, good)] * 7 + [(good, blocked)]
    assert fields(await refusal(client.find_paths(lattice_id, queries))) == ["queries[7].goal"]
    assert fields(await refusal(client.distances(lattice_id, sources=[site(blocked)]))) == [
        "sources[0]"
    ]
    assert fields(await refusal(client.find_path("no", good, good))) == ["lattice_id"]
    assert fields(await refusal(client.find_path(lattice_id, good, good, sites_max=-1))) == [
        "sites_max"
    ]


async def test_what_is_not_there_is_not_found(client: Client) -> None:
    for call in (
        client.get(ABSENT),
        client.delete(ABSENT),
        client.find_path(ABSENT, [0], [0]),
        client.find_paths(ABSENT, [([0], [0])]),
        client.distances(ABSENT, sources=[site([0])]),
    ):
        error = await refusal(call)
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "LATTICE_NOT_FOUND")


async def test_a_list_is_paged_by_tokens(client: Client) -> None:
    ids = [(await client.create(shape=[n + 1])).lattice_id for n in range(5)]
    await client.delete(ids[1])

    first = await client.page(page_size=3)
    second = await client.page(page_size=3, page_token=first.next_page_token)

    assert [one.lattice_id for one in first.lattices] == [ids[0], ids[2], ids[3]]
    assert [one.lattice_id for one in second.lattices] == [ids[4]]
    assert first.next_page_token
    assert not second.next_page_token
    assert fields(await refusal(client.page(page_token="AAAA"))) == ["page_token"]
    assert fields(await refusal(client.page(page_size=-1))) == ["page_size"]


async def test_a_list_tells_what_get_tells(client: Client) -> None:
    created = await client.create(shape=[4, 4], blocked=b"\1\0", boundaries=[pb.BOUNDARY_PERIODIC])

    assert (await client.get(created.lattice_id)) == created
    assert list((await client.page()).lattices) == [created]


async def test_a_repeated_request_answers_the_same_lattice(client: Client) -> None:
    request_id = str(uuid4())

    created = [
        await client.create(shape=[4, 4], blocked=b"\1\0", request_id=request_id) for _ in range(3)
    ]
    other = await refusal(client.create(shape=[4, 4], request_id=request_id))

    assert created[0] == created[1] == created[2]
    assert (other.code, other.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_a_batch_and_its_single_queries_have_the_same_answers(client: Client) -> None:
    bits = np.random.default_rng(4).random((30, 30)) < 0.3
    bits[0] = False
    lattice = await client.create(
        shape=[30, 30],
        neighbourhood=pb.NEIGHBOURHOOD_MOORE,
        blocked=np.packbits(bits, bitorder="little").tobytes(),
    )
    queries = [([0, n], [0, 29 - n]) for n in range(30)]

    parts = await client.find_paths(lattice.lattice_id, queries)

    paths = [path for part in parts for path in part.paths]
    singles = [
        (await client.find_path(lattice.lattice_id, *query, sites_max=0)).path for query in queries
    ]
    assert [path.length for path in paths] == [path.length for path in singles]
    assert parts[0].first_query == 0
    assert parts[0].computation.sites_expanded > 0


async def test_distances_are_streamed_in_parts(client: Client) -> None:
    lattice = await client.create(shape=[300, 300])

    parts = await client.distances(lattice.lattice_id, sources=[site([0, 0])])

    assert [part.first_index for part in parts] == [0, 65_536]
    reply = [distance for part in parts for distance in part.distances]
    assert reply == [r + c for r in range(300) for c in range(300)]


async def test_distances_come_as_bytes_when_asked_for_so(client: Client) -> None:
    plain = await client.create(shape=[300, 300])
    obstructed = await client.create(
        shape=[300, 300], blocked=bytes([2]) + bytes(11_249), bit_order=pb.BIT_ORDER_LITTLE
    )

    for lattice in (plain, obstructed):
        asked = {"sources": [site([0, 0])]}
        listed = await client.distances(lattice.lattice_id, **asked)
        packed = await client.distances(lattice.lattice_id, as_bytes=True, **asked)

        assert [part.number_type for part in packed] == [pb.NUMBER_TYPE_INT16]
        values = np.frombuffer(b"".join(part.values for part in packed), "<i2")
        assert values.tolist() == [number for part in listed for number in part.distances]


async def test_too_much_work_is_refused_with_its_estimate_and_the_limit(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    async with replica(event_store[1], authority, tenant, LATTICE_LOOKS_MAX="1000000") as client:
        await until(client.is_serving)
        lattice = await client.create(
            shape=[8] * 5,
            neighbourhood=pb.NEIGHBOURHOOD_MOORE,
            blocked=bytes([2]) + bytes(4_095),
            bit_order=pb.BIT_ORDER_LITTLE,
        )

        error = await refusal(client.distances(lattice.lattice_id, sources=[site([0] * 5)]))

    assert error.reason == "WORK_TOO_LARGE"
    assert error.metadata["limit"] == "1000000"
    assert int(error.metadata["estimate"]) == 5 * (8**5 + 2 * int(lattice.edges))


async def test_a_stream_that_its_caller_does_not_read_ends_and_says_so(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    async with replica(event_store[1], authority, tenant, LATTICE_PART_TIMEOUT_S="5") as client:
        await until(client.is_serving)
        # More than the windows of HTTP/2 take, which is what a caller holds that does not read.
        lattice = await client.create(shape=[6_000, 5_000], blocked=bytes([2]) + bytes(3_749_999))
        request = pb.DistancesRequest(lattice_id=lattice.lattice_id, sources=[site([0, 0])])
        stream = client.lattices.Distances(request, metadata=client.metadata)
        await stream.read()
        assert not await client.computes_nothing()

        await until(client.computes_nothing, within_s=60)

        async def read_on() -> None:
            while await stream.read() is not grpc.aio.EOF:
                pass

        error = await refusal(read_on())
        assert (error.code, error.reason) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "CONSUMER_TOO_SLOW",
        )


async def test_a_restarted_service_knows_its_lattices(
    event_store: tuple[Process, str], authority: Authority, client: Client, tenant: str
) -> None:
    created = await client.create(shape=[4, 4], blocked=b"\1\0")
    free = await client.create(dimensions=3, size=10**6)

    async with replica(event_store[1], authority, tenant) as restarted:
        await until(restarted.is_serving)

        assert await restarted.get(created.lattice_id) == created
        assert await restarted.get(free.lattice_id) == free
        path = (await restarted.find_path(created.lattice_id, [0, 1], [3, 3])).path
        assert path.length == 5


async def test_a_deletion_through_another_replica_is_noticed(
    event_store: tuple[Process, str], authority: Authority, client: Client, tenant: str
) -> None:
    lattice_id = (await client.create(shape=[4])).lattice_id
    async with replica(event_store[1], authority, tenant) as other:
        await other.get(lattice_id)
        await client.delete(lattice_id)

        async def is_gone() -> bool:
            try:
                await other.get(lattice_id)
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.NOT_FOUND
            return False

        await until(is_gone)
        assert (await refusal(client.get(lattice_id))).reason == "LATTICE_NOT_FOUND"
        assert not (await other.page()).lattices


async def test_every_event_tells_the_request_that_caused_it(
    client: Client, tenant: str, events_channel: grpc.aio.Channel
) -> None:
    await client.delete((await client.create(shape=[4])).lattice_id)

    stub = EventStoreServiceStub(events_channel)
    call = stub.Read(events.ReadRequest())
    result = [event async for response in call for event in response.events]

    assert [event.event.type for event in result] == ["lattice.created"] * 2 + [
        "lattice.deleted"
    ] * 2
    assert {event.context.correlation_id for event in result} == {f"corr-{tenant}"}
    assert all(event.context.causation_id for event in result)


async def test_a_call_that_its_caller_cancels_stops_computing(client: Client) -> None:
    bits = np.zeros((200, 200, 200), bool)
    bits[-3:, -3:, -3:] = True
    bits[-1, -1, -1] = False
    lattice = await client.create(
        shape=[200] * 3,
        neighbourhood=pb.NEIGHBOURHOOD_MOORE,
        blocked=np.packbits(bits, bitorder="little").tobytes(),
    )
    request = pb.FindPathRequest(
        lattice_id=lattice.lattice_id, start=site([0] * 3), goal=site([199] * 3)
    )
    call = client.lattices.FindPath(request, metadata=client.metadata)

    async def computes() -> bool:
        return not await client.computes_nothing()

    await until(computes)
    call.cancel()

    await until(client.computes_nothing)


async def test_reading_goes_on_while_the_event_store_is_down_and_writing_comes_back(
    event_store: tuple[Process, str], client: Client
) -> None:
    process, _ = event_store
    lattice = await client.create(shape=[4, 4])
    await client.page()
    process.kill()

    assert await client.get(lattice.lattice_id) == lattice
    assert (await client.find_path(lattice.lattice_id, [0, 0], [3, 3])).path.length == 6
    assert list((await client.page()).lattices) == [lattice]
    for call in (client.create(shape=[2]), client.delete(lattice.lattice_id), client.get(ABSENT)):
        error = await refusal(call)
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "EVENTS_UNAVAILABLE")
        assert error.retry_after_s
    await until(lambda: _not(client.is_serving()), within_s=60)

    process.start()
    process.wait_ready()

    await until(client.is_serving, within_s=60)
    await client.create(shape=[2])
    assert len((await client.page()).lattices) == 2


async def test_an_event_store_that_hangs_holds_nobody_up(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    process, address = event_store
    impatient = {"LATTICE_EVENTS_DOWN_TIMEOUT_S": "0.5"}
    async with replica(address, authority, tenant, **impatient) as client:
        await until(client.is_serving)
        lattice = await client.create(shape=[4, 4])
        os.kill(process.pid, signal.SIGSTOP)
        try:
            await until(lambda: _not(client.is_serving()), within_s=60)

            assert await client.get(lattice.lattice_id) == lattice
            error = await refusal(client.create(shape=[2]))

            assert error.reason == "EVENTS_UNAVAILABLE"
        finally:
            os.kill(process.pid, signal.SIGCONT)
        await until(client.is_serving, within_s=60)


async def _not(answer: Awaitable[bool]) -> bool:
    return not await answer


async def test_a_service_whose_event_store_never_was_serves_nothing_and_says_so(
    authority: Authority,
    tenant: str,
) -> None:
    async with replica(f"127.0.0.1:{free_port()}", authority, tenant) as client:
        error = await refusal(client.create(shape=[2]))

        assert error.reason == "EVENTS_UNAVAILABLE"
        assert not await client.is_serving()
        assert not await client.is_serving("")
