"""Many clients of one log, live through the gateway: what a delivery costs, and how long it takes.

python -m bench.delivery [--clients 1000] [--rate 500] [--seconds 10] [--deliveries-per-s-min 0]

Clients are sockets in a process of their own. A delivery is one event sent to one client. CPU is
that of the gateway, the events process and PostgreSQL together. How long an event was under way,
from just before its append, is looked at by every 50th client.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import cast

import grpc
import grpc.aio
import numpy as np
import uvloop

from bench.followed import cpu_s, family
from bench.serving import run
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from tests.processes import System, own_postgres, running_system

P99_S_MAX = 0.1
STREAMS = {f"GATEWAY_{whose}STREAM_COUNT_MAX": "10000" for whose in ("", "TENANT_", "USER_")}
_LOOKED_AT = 50
_CONNECTS_AT_ONCE = 50
_APPENDS_PER_S = 50
_SENT = b'"sentNs":'
_PAD = "x" * 200
_CATCH_UP_S = 60.0


async def main(client_count: int, rate: int, duration_s: float, least: float) -> int:
    with (
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder, **STREAMS) as system,
    ):
        assert postgres.pid is not None
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        clients = multiprocessing.get_context("spawn").Process(
            target=_follow, args=(system.url, _token(system), client_count, theirs)
        )
        clients.start()
        try:
            await asyncio.to_thread(ours.recv)
            pids = [system.gateway.pid, system.events.pid, *family(postgres.pid)]
            before_s = [cpu_s(pid) for pid in pids]
            sent = await _append(system, rate, duration_s)
            ours.send(sent * client_count)
            delivered, taken_s, delays_s = await asyncio.to_thread(ours.recv)
            used_s = [cpu_s(pid) - before for pid, before in zip(pids, before_s, strict=True)]
        finally:
            clients.kill()
    per_s = delivered / sum(used_s)
    p99_s = float(np.percentile(delays_s, 99))
    print(f"{client_count:,} clients, {sent:,} events, {delivered:,} deliveries in {taken_s:.1f} s")
    print(
        f"CPU: gateway {used_s[0]:.2f} s, events {used_s[1]:.2f} s,"
        f" PostgreSQL {sum(used_s[2:]):.2f} s"
    )
    print(f"deliveries per second of CPU: {per_s:,.0f} (at least {least:,.0f})")
    print(
        f"under way: p50 {1e3 * float(np.median(delays_s)):.0f} ms,"
        f" p99 {1e3 * p99_s:.0f} ms (at most {1e3 * P99_S_MAX:.0f})"
    )
    if delivered != sent * client_count:
        print(f"{sent * client_count - delivered:,} are MISSING")
        return 1
    return 0 if p99_s <= P99_S_MAX and per_s >= least else 1


async def _append(system: System, rate: int, duration_s: float) -> int:
    """Append so many events a second, and answer how many those were together."""
    size = max(1, rate // _APPENDS_PER_S)
    began_s, sent = time.monotonic(), 0
    metadata = tuple(system.authority.metadata("acme"))
    async with grpc.aio.insecure_channel(system.events_address) as channel:
        stub = EventStoreServiceStub(channel)
        while (now_s := time.monotonic() - began_s) < duration_s:
            if sent > now_s * rate:
                await asyncio.sleep(sent / rate - now_s)
            payload = json.dumps({"sentNs": time.monotonic_ns(), "pad": _PAD})
            one = pb.Event(stream="live", type="tick", json=payload.replace(" ", ""))
            await stub.Append(pb.AppendRequest(events=[one] * size), metadata=metadata)
            sent += size
    return sent


def _token(system: System) -> str:
    subject = "user:00000000-0000-4000-8000-000000000001"
    return system.authority.token("acme", ["events.read", "events.append"], sub=subject)


# ---- the clients, in their own process


def _follow(url: str, token: str, count: int, parent: Connection) -> None:
    uvloop.run(_Clients(count).run(url, token, parent))


class _Clients:
    def __init__(self, count: int) -> None:
        self.delivered = 0
        self.delays_s: list[float] = []
        self._count = count
        self._changed = asyncio.Event()

    async def run(self, url: str, token: str, parent: Connection) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        turns = asyncio.Semaphore(_CONNECTS_AT_ONCE)
        loop = asyncio.get_running_loop()

        async def one(number: int) -> None:
            async with turns:
                client = _Client(self, token, is_looked_at=number % _LOOKED_AT == 0)
                await loop.create_connection(lambda: client, host, int(port))
                await asyncio.wait_for(client.is_open.wait(), 60)

        await asyncio.gather(*map(one, range(self._count)))
        # Until all are at the live end.
        await asyncio.sleep(3.0)
        parent.send("open")
        began_s = time.monotonic()
        expected = await asyncio.to_thread(parent.recv)
        until_s = time.monotonic() + _CATCH_UP_S
        while self.delivered < expected and time.monotonic() < until_s:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 1.0)
        parent.send((self.delivered, time.monotonic() - began_s, self.delays_s))

    def took(self, count: int) -> None:
        self.delivered += count
        self._changed.set()


class _Client(asyncio.Protocol):
    def __init__(self, clients: _Clients, token: str, *, is_looked_at: bool) -> None:
        self.is_open = asyncio.Event()
        self._clients = clients
        self._is_looked_at = is_looked_at
        self._request = (
            "GET /v1/events?follow=true HTTP/1.1\r\nhost: girih\r\n"
            f"accept: text/event-stream\r\nauthorization: Bearer {token}\r\n\r\n"
        ).encode()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self.is_open.set()
        data = self._rest + data
        *_, self._rest = data.rpartition(b"}\n\n")
        whole = data[: len(data) - len(self._rest)]
        self._clients.took(whole.count(_SENT))
        if self._is_looked_at:
            now_ns = time.monotonic_ns()
            for part in whole.split(_SENT)[1:]:
                sent_ns = int(part[: part.index(b",")])
                self._clients.delays_s.append((now_ns - sent_ns) / 1e9)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=500, help="events a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--deliveries-per-s-min", type=float, default=0.0, help="of CPU")
    arguments = parser.parse_args()
    sys.exit(
        run(
            main(
                arguments.clients,
                arguments.rate,
                arguments.seconds,
                arguments.deliveries_per_s_min,
            )
        )
    )
