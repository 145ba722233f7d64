"""gRPC that only carries bytes, between two processes: what ours can be no faster than."""

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import grpc.aio

_Up = grpc.aio.StreamUnaryMultiCallable[bytes, bytes]
_Down = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]


class BareGrpc:
    """Pieces to and from a servicer that does nothing with them."""

    def __init__(self, channel: grpc.aio.Channel, piece_bytes: int) -> None:
        self._up: _Up = channel.stream_unary("/bare/Up")
        self._down: _Down = channel.unary_stream("/bare/Down")
        self._piece_bytes = piece_bytes

    async def up(self, data: bytes) -> float:
        """How long it takes to send this, in seconds."""

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(data), self._piece_bytes):
                yield data[at : at + self._piece_bytes]

        began_s = time.perf_counter()
        await self._up(pieces())
        return time.perf_counter() - began_s

    async def down(self, size_bytes: int) -> float:
        """How long it takes to be sent so much, in seconds."""
        began_s, count = time.perf_counter(), 0
        async for piece in self._down(asked(size_bytes, self._piece_bytes)):
            count += len(piece)
        assert count == size_bytes
        return time.perf_counter() - began_s


def asked(size_bytes: int, piece_bytes: int) -> bytes:
    """What `/bare/Down` is asked with."""
    return b"%d %d" % (size_bytes, piece_bytes)


@contextmanager
def bare_server() -> Iterator[str]:
    """The address of a process that takes `/bare/Up` and answers `/bare/Down`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    try:
        yield f"127.0.0.1:{ours.recv()}"
    finally:
        ours.send("stop")
        process.join()


def _serve(parent: Connection) -> None:
    async def up(requests: AsyncIterator[bytes], _context: object) -> bytes:
        async for _ in requests:
            pass
        return b"."

    async def down(request: bytes, _context: object) -> AsyncIterator[bytes]:
        size_bytes, piece_bytes = map(int, request.split())
        piece = bytes(piece_bytes)
        for at in range(0, size_bytes, piece_bytes):
            yield piece[: size_bytes - at]

    async def serve() -> None:
        server = grpc.aio.server()
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Up": grpc.stream_unary_rpc_method_handler(up),
            "Down": grpc.unary_stream_rpc_method_handler(down),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", handlers),))
        parent.send(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await asyncio.to_thread(parent.recv)
        await server.stop(0)

    asyncio.run(serve())
