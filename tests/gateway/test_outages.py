"""What is behind the gateway when it is not as it should be."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.gateway.sample import SampleService, gateway_before, until


@asynccontextmanager
async def impostor(answer: bytes) -> AsyncIterator[str]:
    """The address of something that is no gRPC server."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b"SSH-2.0-x\r\n"])
async def test_an_answer_that_is_no_grpc_is_502(answer: bytes, service: SampleService) -> None:
    async with (
        impostor(answer) as address,
        gateway_before(service, {"GATEWAY_EVENTS_ADDRESS": address}) as gateway,
    ):
        call = await gateway.client.post("/v1/echo")
        stream = await gateway.client.get("/v1/count?to=1")

    for one in (call, stream):
        assert one.status_code == 502
        error: dict[str, Any] = one.json()["error"]
        assert error["details"]["reason"] == "SERVICE_NOT_UNDERSTOOD"
        assert address not in one.text


async def test_a_call_that_is_lost_is_made_once_more_when_it_only_reads(
    service: SampleService, client: httpx.AsyncClient
) -> None:
    """Fail reads, by its scope; Echo appends."""
    service.lost_count = 1
    reads = await client.post("/v1/fail", json={"kind": "missing"})
    service.lost_count = 2
    lost_twice = await client.post("/v1/fail", json={"kind": "missing"})
    service.lost_count = 1
    appends = await client.post("/v1/echo", json={"text": "once"})

    assert reads.status_code == 404
    assert lost_twice.status_code == 503
    assert appends.status_code == 503
    assert service.texts == ["once"]


_FROZEN = """
import asyncio, sys
from pathlib import Path
from services.plumbing.grpc import server
from services.policy import POLICY
from tests.authority import Authority
from tests.gateway.sample import SampleServerSettings, SampleService, sample_contract

async def main():
    authority = Authority.load(Path(sys.argv[1]))
    settings = SampleServerSettings.from_environ(
        {"GIRIH_ENVIRONMENT": "development", **authority.environ}
    )
    built = server.Server("events.girih", settings, policy=POLICY)
    service = SampleService(authority, cancelled=asyncio.Event(), calls=[])
    built.add_service(sample_contract().services[0], service)
    async with server.running(built, "127.0.0.1:0") as port:
        print(port, file=sys.stderr, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def process(service: SampleService) -> AsyncIterator[tuple[int, str]]:
    """The sample service in a process of its own: its id and address."""
    command = [sys.executable, "-c", _FROZEN, str(service.authority.directory)]
    started = await asyncio.create_subprocess_exec(
        *command, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert started.stderr is not None
    try:
        port = int(await started.stderr.readline())
        yield started.pid, f"127.0.0.1:{port}"
    finally:
        os.kill(started.pid, signal.SIGCONT)
        started.kill()
        await started.wait()


async def test_a_frozen_service_is_not_waited_for(service: SampleService) -> None:
    async with process(service) as (pid, address):
        environ = {
            "GATEWAY_EVENTS_ADDRESS": address,
            "GATEWAY_HEALTH_TIMEOUT_S": "0.2",
            "GATEWAY_DOWN_TIMEOUT_S": "0.5",
        }
        async with gateway_before(service, environ) as gateway:
            client = gateway.client
            assert (await client.post("/v1/echo")).status_code == 201
            assert (await client.get("/v1/count?to=1")).status_code == 200
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: not _answers(gateway))
            late = [
                await _late(client, "POST", "/v1/echo"),
                await _late(client, "GET", "/v1/count?to=1"),
                await _late(client, "GET", "/v1/download?chunkCount=1"),
            ]
            os.kill(pid, signal.SIGCONT)
            await until(lambda: _answers(gateway))
            after = await client.get("/v1/count?to=1")

    assert late == [504, 504, 504]
    assert after.status_code == 200


async def test_calls_under_way_when_a_service_freezes_are_given_up(service: SampleService) -> None:
    async with process(service) as (pid, address):
        environ = {"GATEWAY_EVENTS_ADDRESS": address, "GATEWAY_HEALTH_TIMEOUT_S": "0.2"}
        async with gateway_before(service, environ) as gateway:
            client = gateway.client
            assert (await client.post("/v1/echo")).status_code == 201
            assert (await client.get("/v1/count?to=1")).status_code == 200
            os.kill(pid, signal.SIGSTOP)
            late = await asyncio.gather(
                *(
                    _late(client, *one)
                    for one in [
                        ("POST", "/v1/echo"),
                        ("GET", "/v1/count?to=1"),
                        ("GET", "/v1/download?chunkCount=1"),
                    ]
                )
            )

    assert late == [504, 504, 504]


async def _late(client: httpx.AsyncClient, method: str, path: str) -> int:
    # Later than the client of the tests waits.
    headers = {"x-request-timeout": "100"}
    return (await client.request(method, path, headers=headers)).status_code


def _answers(gateway: Any) -> bool:
    match = gateway.application.routes.find("/v1/echo")
    return bool(match.targets["POST"]._backend.answers)
