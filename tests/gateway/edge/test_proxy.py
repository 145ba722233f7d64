"""The raw requests through a real HAProxy, which reads them before the gateway does.

Two readers of one connection must agree where a request ends: else one client's bytes become
another's request, or its answer.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from gateway.application import Application
from gateway.http.exchange import Receive, Scope, Send
from gateway.serving.server import listen, running
from tests.gateway.edge.client import Client, connected
from tests.gateway.edge.corpus import Case, cases, read_answer
from tests.gateway.sample import Gateway, SampleService, gateway_before
from tests.processes import free_port

_HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(_HAPROXY is None, reason="there is no haproxy on this machine")

# One connection to the gateway for all clients: what one leaves on it, the next one would get.
_CONFIG = """
global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 2s
    timeout server 5s
    http-reuse always
frontend all
    bind 127.0.0.1:{port}
    default_backend gateway
backend gateway
    server one 127.0.0.1:{gateway_port} maxconn 1
"""


@dataclass
class Watched:
    """The application, and which requests reached it."""

    application: Application
    reached: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(f"{scope['method']} {scope['raw_path'].decode()}")
        await self.application(scope, receive, send)


@asynccontextmanager
async def proxied(gateway: Gateway, folder: Path) -> AsyncIterator[tuple[httpx.URL, Watched]]:
    """Where the proxy listens, and what comes through it."""
    watched = Watched(gateway.application)
    with listen("127.0.0.1:0") as listener:
        port, gateway_port = free_port(), listener.getsockname()[1]
        config = folder / "haproxy.cfg"
        config.write_text(_CONFIG.format(port=port, gateway_port=gateway_port))
        async with running(watched, gateway.settings, gateway.lifecycle, listener):
            process = await asyncio.create_subprocess_exec(
                str(_HAPROXY), "-db", "-q", "-f", str(config)
            )
            try:
                await _until_listening(port)
                yield httpx.URL(f"http://127.0.0.1:{port}"), watched
            finally:
                process.kill()
                await process.wait()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(15):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


async def test_no_request_reaches_the_gateway_that_was_not_sent_nor_gets_anothers_answer(
    service: SampleService, tmp_path: Path
) -> None:
    wrong: list[str] = []
    async with (
        gateway_before(service) as gateway,
        proxied(gateway, tmp_path) as (url, watched),
    ):
        for number, case in enumerate(case for case in cases() if not case.is_direct):
            watched.reached.clear()
            wrong += [f"{case.name}: {what}" for what in await _wrong(case, number, url, service)]
            sent = sum(status >= 200 for status in case.statuses)
            if len(_others(watched.reached)) > max(sent, 1):
                wrong.append(f"{case.name}: {watched.reached} were served")

    assert wrong == []


def _others(reached: list[str]) -> list[str]:
    return [request for request in reached if "/canary" not in request]


async def _wrong(case: Case, number: int, url: httpx.URL, service: SampleService) -> list[str]:
    """What went wrong with one case, and with those who come by the same way after it."""
    wrong = []
    async with asyncio.timeout(20), connected(url) as client:
        await client.send(case, service.authority.token())
        async with connected(url) as bystander:
            own = [await _own_answer(bystander, f"bystander-{number}-{n}") for n in range(2)]
        if not all(own):
            wrong.append("a bystander had no answer of its own")
        if case.kept and not await _own_answer(client, f"client-{number}", may_close=True):
            wrong.append("the next request had another's answer")
    return wrong


async def _own_answer(client: Client, name: str, *, may_close: bool = False) -> bool:
    """Whether a request is answered, and the answer is its own."""
    with suppress(ConnectionError):
        client.writer.write(
            b"GET /canary HTTP/1.1\r\nhost: x\r\nx-correlation-id: %b\r\n\r\n" % name.encode()
        )
    answer = await read_answer(client.reader)
    if answer is None:
        return may_close
    return answer.status == 404 and answer.header("x-correlation-id") == name
