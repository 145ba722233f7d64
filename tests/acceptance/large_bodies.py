"""Whatever a body of 12 MiB holds, others are served meanwhile.

    python -m tests.acceptance.large_bodies [--rounds 3]

Bodies of small values, which take a parser longest, are sent to a gateway one after the other,
while somebody asks it again and again whether it lives. Each shape is printed with the longest
such answer, beside the longest in the same time while nothing was sent: at most `MORE_S` less.
"""

import argparse
import asyncio
import itertools
import socket
import statistics
import sys
import time
from collections.abc import Awaitable

import httpx

from tests.processes import (
    Caller,
    authority_of,
    ending,
    events_process,
    gateway_process,
    lattice_process,
    own_postgres,
)

MORE_S = 0.25
_BODY_BYTES = 12 * 2**20


def shapes() -> dict[str, bytes]:
    """Bodies of the largest size, by what they hold."""

    def events(unit: bytes) -> bytes:
        begin, end = b'{"events":[', b"0]}"
        return begin + unit * ((_BODY_BYTES - len(begin) - len(end)) // len(unit)) + end

    return {
        "integers": events(b"1,"),
        "empty lists": events(b"[],"),
        "nested lists": events(b"[[],[]],"),
        "strings": events(b'"",'),
        "objects": events(b"{},"),
        "surrogate pairs": events(b'"\\ud83d\\ude00",'),
    }


async def main(rounds: int) -> int:
    with own_postgres() as (postgres, folder):
        events, events_at = events_process(postgres.url, folder)
        lattice, lattice_at = lattice_process(events_at, folder)
        gateway, url = gateway_process(events_at, lattice_at, folder)
        headers = Caller(authority_of(folder)).headers
        with ending(events, lattice, gateway):
            for process in (events, lattice, gateway):
                process.start()
            for process in (events, lattice, gateway):
                await asyncio.to_thread(process.wait_ready)
            async with httpx.AsyncClient(
                base_url=url, headers=headers, trust_env=False, timeout=120
            ) as client:
                return await _measured(client, rounds)


async def _measured(client: httpx.AsyncClient, rounds: int) -> int:
    worst_s = 0.0
    token = client.headers["authorization"]
    for name, body in shapes().items():
        pairs = []
        for _ in range(rounds):
            began_s = time.perf_counter()
            posting = asyncio.to_thread(_post, client.base_url, token, body)
            busy_s = await _longest_s(client, posting)
            # As long: the longest of more answers is longer.
            idle = asyncio.sleep(time.perf_counter() - began_s)
            pairs.append((await _longest_s(client, idle), busy_s))
        idle_s, busy_s = (statistics.median(each) for each in zip(*pairs, strict=True))
        worst_s = max(worst_s, busy_s - idle_s)
        print(f"{name}: {busy_s * 1e3:.0f} ms, without {idle_s * 1e3:.0f} ms", flush=True)
    holds = worst_s <= MORE_S
    print(f"{'holds' if holds else 'falls short'}: at most {MORE_S * 1e3:.0f} ms more")
    return 0 if holds else 1


def _post(url: httpx.URL, token: str, body: bytes) -> None:
    """By hand, in a thread that only waits: a client in this loop would hold up who measures."""
    head = (
        f"POST /v1/events:append HTTP/1.1\r\nhost: {url.host}\r\nauthorization: {token}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(head.encode())
        connection.sendall(body)
        answer = connection.recv(2**16)
    assert answer.startswith(b"HTTP/1.1 400 "), answer


async def _longest_s(client: httpx.AsyncClient, work: Awaitable[object]) -> float:
    """The longest that somebody else waits for an answer until the work is done."""
    working = asyncio.ensure_future(work)
    longest_s = 0.0
    for _ in itertools.takewhile(lambda _: not working.done(), itertools.count()):
        began_s = time.perf_counter()
        (await client.get("/health/live")).raise_for_status()
        longest_s = max(longest_s, time.perf_counter() - began_s)
        await asyncio.sleep(0.002)
    await working
    return longest_s


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    sys.exit(asyncio.run(main(parser.parse_args().rounds)))
