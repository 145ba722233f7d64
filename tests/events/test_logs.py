"""The logs that there are, told to those who operate girih and to nobody else."""

import asyncpg
import grpc
import grpc.aio
import pytest

from girih.events.v1 import events_pb2, logs_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.logs_pb2_grpc import LogServiceStub
from girih.ids import new_event_id
from tests.authority import Authority


async def append(channel: grpc.aio.Channel, authority: Authority, tenant: str, count: int) -> None:
    events = [
        events_pb2.Event(id=new_event_id(), stream="s", type="t", json="{}") for _ in range(count)
    ]
    request = events_pb2.AppendRequest(events=events)
    await EventStoreServiceStub(channel).Append(request, metadata=authority.metadata(tenant))


async def test_all_logs_are_listed_page_by_page_with_where_they_end(
    channel: grpc.aio.Channel, authority: Authority
) -> None:
    tenants = {f"tenant-{number}": number + 1 for number in range(5)}
    for tenant, count in tenants.items():
        await append(channel, authority, tenant, count)

    listed: dict[str, int] = {}
    request = logs_pb2.ListLogsRequest(page_size=2)
    while True:
        page = await LogServiceStub(channel).ListLogs(request)
        assert len(page.logs) <= 2
        listed |= {log.tenant: log.head for log in page.logs}
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert listed == tenants


async def test_a_token_without_the_scope_of_operators_lists_none(
    channel: grpc.aio.Channel, authority: Authority
) -> None:
    token = authority.metadata("acme", scopes=["events.read"])

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await LogServiceStub(channel).ListLogs(logs_pb2.ListLogsRequest(), metadata=token)

    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT payload FROM events.records",
        "SELECT stream FROM events.records",
        "SELECT * FROM events.streams",
        "DELETE FROM events.logs",
    ],
)
async def test_whoever_lists_logs_sees_nothing_that_is_in_them(
    statement: str, channel: grpc.aio.Channel, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET ROLE girih_events_lister")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()
