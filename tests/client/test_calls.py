"""A call that is written to while it ends tells what its server ended it with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from girih.client.calls import WrittenCall


class Refusing(grpc.GenericRpcHandler):
    """Refuses whatever it is asked as soon as something of it came, or ends it in order."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def refuse(messages: AsyncIterator[bytes], context: Any) -> None:
            async for _ in messages:
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing", (("a", "b"),))

        async def end(messages: AsyncIterator[bytes], _context: Any) -> None:
            async for _ in messages:
                return

        if handler_call_details.method == "/thing/ended":
            return grpc.stream_stream_rpc_method_handler(end)
        if handler_call_details.method == "/thing/many":
            return grpc.stream_stream_rpc_method_handler(refuse)
        return grpc.stream_unary_rpc_method_handler(refuse)


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Refusing()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


@pytest.mark.parametrize("byte_count", [100, 10_000, 1_000_000])
@pytest.mark.parametrize("kind", ["one", "many"])
async def test_a_call_that_is_written_to_tells_its_status(
    channel: grpc.aio.Channel, kind: str, byte_count: int
) -> None:
    start: Any = channel.stream_stream if kind == "many" else channel.stream_unary

    for _ in range(50):
        call = WrittenCall[bytes](start(f"/thing/{kind}")())
        writing = asyncio.create_task(write_on(call, bytes(byte_count)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (call.read() if kind == "many" else call)
        await asyncio.wait_for(writing, 60)

        error = caught.value
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
        assert tuple(error.trailing_metadata() or ()) == (("a", "b"),)


async def test_a_call_that_is_written_to_ends_in_order_where_its_server_does(
    channel: grpc.aio.Channel,
) -> None:
    start: Any = channel.stream_stream("/thing/ended")

    for _ in range(50):
        call = WrittenCall[bytes](start())
        writing = asyncio.create_task(write_on(call, bytes(100)))

        assert await call.read() is grpc.aio.EOF
        await asyncio.wait_for(writing, 60)


async def write_on(call: WrittenCall[bytes], message: bytes) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        while True:
            await call.write(message)
