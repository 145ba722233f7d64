"""How much is read of a body at once."""

import asyncio
import socket
import threading
import time

import uvloop

from gateway.http.exchange import Receive, Scope, Send
from gateway.http.lifecycle import Lifecycle
from gateway.serving.connection import READ_BYTES
from gateway.serving.server import listen, running
from gateway.settings import Settings
from tests.authority import Authority

_BODY_BYTES = 6 * 2**20


def test_of_a_fast_client_no_more_is_read_than_is_asked_for(authority: Authority) -> None:
    settings = Settings.from_environ({**authority.environ, "GIRIH_ENVIRONMENT": "development"})

    # libuv, which a gateway runs on, reads again and again before anybody else has a turn.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        parts = runner.run(_parts_of_a_fast_body(settings))

    assert sum(parts) == _BODY_BYTES
    assert max(parts) < 2 * READ_BYTES


async def _parts_of_a_fast_body(settings: Settings) -> list[int]:
    """How much came at once of a body that had come as far as the system takes it."""
    parts: list[int] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        has_more = True
        while has_more:
            if len(parts) < 5:
                time.sleep(0.05)  # noqa: ASYNC251 - nobody has a turn, but the client
            event = await receive()
            parts.append(len(event["body"]))
            has_more = event["more_body"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with listen("127.0.0.1:0") as listener:
        client = threading.Thread(target=_send, args=listener.getsockname())
        async with running(app, settings, Lifecycle(), listener):
            client.start()
            await asyncio.to_thread(client.join)
    return parts


def _send(host: str, port: int) -> None:
    head = f"POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {_BODY_BYTES}\r\n\r\n"
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(head.encode() + bytes(_BODY_BYTES))
        assert connection.recv(2**12).startswith(b"HTTP/1.1 204 ")
