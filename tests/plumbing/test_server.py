"""A server's life: what it refuses to start with, and how it goes."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2

from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.grpc.server import (
    MissingRpc,
    MissingScope,
    PortTaken,
    Server,
    running,
    serve,
)
from services.plumbing.settings import ServerSettings
from services.plumbing.tasks import TaskDied
from services.policy import POLICY
from tests.authority import Authority
from tests.plumbing.conftest import Log, MakeSettings, Served, serving, until
from tests.plumbing.knots import DOMAIN, SERVICE, Context, KnotClient, Knots, Text, file


@pytest.mark.parametrize("scope", ["", "events.red", "Public"])
async def test_an_rpc_that_does_not_say_who_may_call_it_stops_the_start(
    server: Server, scope: str
) -> None:
    with pytest.raises(MissingScope, match=r"KnotService\.Unary") as caught:
        server.add_service(SERVICE, Knots(), scope_of=lambda _method: scope)

    assert caught.value.exit_code == 78


async def test_the_scope_is_what_the_contract_says(server: Server) -> None:
    pool = DescriptorPool()
    pool.Add(file(scope=""))
    silent = pool.FindServiceByName(SERVICE.full_name)

    server.add_service(SERVICE, Knots())
    with pytest.raises(MissingScope):
        server.add_service(silent, Knots())


@pytest.fixture
async def server(settings: ServerSettings, log: Log) -> Server:
    return Server("knots.girih", settings, policy=POLICY)


class Unfinished(Knots):
    ServerStream = None  # type: ignore[assignment]


class Blocking(Knots):
    def Unary(self, request: Any, context: Context) -> Any:
        return Text()


@pytest.mark.parametrize(
    "servicer",
    [object(), Unfinished(), Blocking()],
    ids=lambda servicer: type(servicer).__name__,
)
async def test_an_rpc_that_nobody_implements_stops_the_start(
    server: Server, servicer: object
) -> None:
    with pytest.raises(MissingRpc, match=r"does not implement girih\.test\.v1\.KnotService"):
        server.add_service(SERVICE, servicer)


async def test_raw_responses_are_sent_as_they_are(settings: ServerSettings, log: Log) -> None:
    class Raw(Knots):
        async def Unary(self, request: Any, context: Context) -> bytes:
            return bytes(Text(value="raw").SerializeToString())

        async def ServerStream(self, request: Any, context: Context) -> AsyncIterator[bytes]:
            yield Text(value="raw").SerializeToString()

    raw = {"Unary", "ServerStream"}
    async with serving(settings, Raw(), raw_responses=raw) as served:
        assert (await served.client.ask("Unary", "ok")).values == ["raw"]
        assert (await served.client.ask("ServerStream", "ok")).values == ["raw"]


async def test_a_port_that_is_taken_is_told_clearly(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(PortTaken, match=address):
            await serve(server, address)


async def test_two_servers_never_share_a_port(server: Server, settings: ServerSettings) -> None:
    async with running(server, "127.0.0.1:0") as port:
        second = Server("knots.girih", settings, policy=POLICY)

        with pytest.raises(PortTaken):
            await second.start(f"127.0.0.1:{port}")
        await second.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_in_order(
    server: Server, number: signal.Signals, log: Log
) -> None:
    server.add_service(SERVICE, Knots())
    serving = asyncio.create_task(serve(server, "127.0.0.1:0"))
    await until(lambda: bool(log.lines("serving")))

    os.kill(os.getpid(), number)
    await asyncio.wait_for(serving, 60)

    assert server.health.draining
    assert server.stopping.is_set()
    assert [line["event"] for line in log.lines()][-2:] == ["stopping", "stopped"]


async def test_running_calls_may_end_within_the_grace(
    make_settings: MakeSettings, log: Log
) -> None:
    settings = make_settings(shutdown_grace_s=10)
    released = asyncio.Event()

    class SlowKnots(Knots):
        async def Unary(self, request: Any, context: Context) -> Any:
            self.seen.cancelled.set()
            await released.wait()
            return request

    async with serving(settings, SlowKnots()) as served:
        answer = asyncio.create_task(served.client.ask("Unary", "ok"))
        await asyncio.wait_for(served.knots.seen.cancelled.wait(), 60)
        stopping = asyncio.create_task(served.server.stop())
        await until(served.server.stopping.is_set)

        released.set()

        assert (await answer).values == ["ok"]
        await asyncio.wait_for(stopping, 60)


async def test_what_calls_leave_behind_is_settled_before_the_tasks_stop(served: Served) -> None:
    seen: list[str] = []

    async def database() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("closed")

    async def settle() -> None:
        await asyncio.sleep(0)
        seen.append("settled")

    served.server.tasks.start("database", database())
    served.server.after_calls.append(settle)
    await asyncio.sleep(0)

    await served.server.stop()

    assert seen == ["settled", "closed"]


async def test_calls_that_outlast_the_grace_are_ended(served: Served) -> None:
    waiting = asyncio.create_task(served.client.ask("Unary", "wait"))
    await until(lambda: bool(served.knots.seen.calls))

    await asyncio.wait_for(served.server.stop(), 60)

    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await asyncio.wait_for(waiting, 60)
    assert served.knots.seen.cancelled.is_set()


async def test_streams_learn_that_the_server_drains(settings: ServerSettings, log: Log) -> None:
    class Tail(Knots):
        stopping: asyncio.Event

        async def ServerStream(self, request: Any, context: Context) -> AsyncIterator[Any]:
            yield request
            await self.stopping.wait()

    tail = Tail()
    async with serving(settings, tail) as served:
        tail.stopping = served.server.stopping
        call = served.client.start("ServerStream", "ok")
        await call.read()

        await served.server.drain()

        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_the_server_says_that_it_drains_before_it_stops_serving(
    make_settings: MakeSettings, log: Log
) -> None:
    async with serving(make_settings(drain_s=30), Knots()) as served:
        draining = asyncio.create_task(served.server.drain())
        await until(lambda: served.server.health.draining)

        assert (await served.client.ask("Unary", "ok")).values == ["ok"]
        assert not served.server.stopping.is_set()
        draining.cancel()


async def test_the_server_does_not_go_on_when_a_task_it_owns_dies(server: Server, log: Log) -> None:
    async def work() -> None:
        raise ZeroDivisionError("the sequencer fell over")

    server.tasks.start("sequencer", work())

    with pytest.raises(TaskDied, match="sequencer"):
        await asyncio.wait_for(serve(server, "127.0.0.1:0"), 60)

    (line,) = log.lines("a background task died")
    assert "the sequencer fell over" in line["exception"]


async def test_more_calls_than_allowed_at_once_are_refused(
    make_settings: MakeSettings, log: Log
) -> None:
    settings = make_settings(concurrent_rpc_count_max=1)
    async with serving(settings, Knots()) as served:
        waiting = served.client.start("Unary", "wait")
        await until(lambda: bool(served.knots.seen.calls))

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.client.ask("Unary", "ok")
        waiting.cancel()

    error = from_rpc_error(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_FULL")


async def test_the_calls_of_one_tenant_leave_places_for_others(
    make_settings: MakeSettings, authority: Authority, log: Log
) -> None:
    settings = make_settings(concurrent_rpc_count_max=4)
    async with serving(settings, Knots()) as served:
        waiting = [served.client.start("Unary", "wait") for _ in range(2)]
        await until(lambda: len(served.knots.seen.calls) == 2)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.client.ask("Unary", "ok")
        other = authority.metadata("another", aud=[DOMAIN])
        answer = await served.client.ask("Unary", "ok", metadata=other)
        for call in waiting:
            call.cancel()
        await until(served.knots.seen.cancelled.is_set)
        again = await served.client.ask("Unary", "ok")

    assert from_rpc_error(caught.value).reason == "SERVER_FULL"
    assert answer.values == again.values == ["ok"]


async def test_a_call_that_nobody_looked_at_is_given_up_when_no_call_takes_so_long(
    make_settings: MakeSettings, authority: Authority, log: Log
) -> None:
    """gRPC would do so after half a minute, and tell no reason."""

    class Busy(Knots):
        async def Unary(self, request: Any, context: Context) -> Any:
            if request.value == "busy":
                time.sleep(4)  # noqa: ASYNC251 - nothing else happens in this process meanwhile
            return request

    def ask(port: int) -> list[grpc.StatusCode]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            unary: Any = channel.unary_unary(f"/{SERVICE.full_name}/Unary")
            metadata = authority.metadata(aud=[DOMAIN])
            calls = [unary.future(Text(value="busy").SerializeToString(), metadata=metadata)]
            # The one that gRPC has asked for before is served, however late.
            for _ in range(3):
                time.sleep(0.5)
                calls.append(unary.future(b"", metadata=metadata))
            return [call.code() for call in calls]

    async with serving(make_settings(stream_timeout_s=1), Busy()) as served:
        codes = await asyncio.to_thread(ask, served.server.port)

    assert codes[0] is grpc.StatusCode.OK
    assert grpc.StatusCode.CANCELLED in codes


async def reflect(served: Served, version: str, **request: str) -> Any:
    """What the server answers to one question. The messages of both versions are alike."""
    call: Any = served.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(iter([reflection_pb2.ServerReflectionRequest(**request).SerializeToString()]))
    response = await call.read()
    if response is grpc.aio.EOF:
        raise await _failure(call)
    return response


async def _failure(call: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata()
    )


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a_development_server_tells_its_contract(served: Served, version: str) -> None:
    listed = await reflect(served, version, list_services="")

    names = {service.name for service in listed.list_services_response.service}
    assert {SERVICE.full_name, f"grpc.reflection.{version}.ServerReflection"} <= names


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize("symbol", ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"])
async def test_a_development_server_gives_the_file_of_a_service(
    served: Served, version: str, symbol: str
) -> None:
    response = await reflect(served, version, file_containing_symbol=symbol)

    assert response.file_descriptor_response.file_descriptor_proto
    assert not response.HasField("error_response")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize(
    "fields",
    [{"environment": "production"}, {"reflection": False}],
    ids=["production", "switched off"],
)
async def test_a_server_tells_its_contract_only_where_allowed(
    make_settings: MakeSettings, fields: dict[str, Any], version: str, log: Log
) -> None:
    async with serving(make_settings(**fields), Knots()) as served:
        call: Any = served.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        )()

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()

    assert from_rpc_error(caught.value).code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_server_outlives_those_who_only_hold_its_port(
    settings: ServerSettings, authority: Authority, log: Log
) -> None:
    """Garbage is collected while it serves, and calls go on."""
    import gc

    server = Server("knots.girih", settings, policy=POLICY)
    server.add_service(SERVICE, Knots())
    serving = asyncio.create_task(serve(server, "127.0.0.1:0"))
    await until(lambda: bool(log.lines("serving")))
    port = server.port
    del server
    gc.collect()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = KnotClient(channel, authority.token(aud=[DOMAIN]))
        assert (await client.ask("Unary", "ok")).values == ["ok"]
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 60)
