"""However many bodies are on their way, a gateway holds no more of them than it is told to.

    python -m tests.acceptance.unfinished_bodies [--callers 80] [--mib 11]

Callers of four tenants send a body each that lacks its last byte. The resident memory of the
gateway must stay within `GATEWAY_BODIES_MIB` and a fixed rest, and be given back when they have
left; who has no room is told so with 503 and `Retry-After`; and somebody who asks meanwhile
whether the gateway lives is always answered.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import httpx

from tests.acceptance.resident import forget_peak, peak_mib, resident_mib, settled_mib
from tests.authority import Authority
from tests.gateway.edge.client import connected
from tests.gateway.edge.corpus import read_answer
from tests.processes import (
    authority_of,
    ending,
    events_process,
    gateway_process,
    lattice_process,
    own_postgres,
)

TENANTS = 4
BODIES_MIB = 256
BESIDE_MIB = 96
"""What is neither: what has come of a connection and is not read, answers, other calls."""
KEPT_MIB = 64
"""What the gateway may keep when they have left."""
SENDING_S = 30.0
RELEASE_S = 15.0
_MIB = 2**20


@dataclass
class Answers:
    """What callers and the one beside them were told."""

    statuses: list[int] = field(default_factory=list)
    without_retry_count: int = 0
    beside_count: int = 0
    beside_slowest_s: float = 0.0


def main(callers: int, mib: int) -> int:
    with _gateway() as (pid, url, authority):
        tokens = [authority.token(tenant=f"tenant-{number}") for number in range(TENANTS)]
        before_mib = resident_mib(pid)
        forget_peak(pid)
        answers = asyncio.run(_send_all(httpx.URL(url), tokens, callers, mib * _MIB))
        highest_mib = peak_mib(pid)
        after_mib = settled_mib(pid, before_mib + KEPT_MIB, RELEASE_S)
    refused_count = answers.statuses.count(503)
    print(
        f"{callers} bodies of {mib} MiB: {before_mib:.0f} MiB before, {highest_mib:.0f} at most,"
        f" {after_mib:.0f} after; {refused_count} refused with 503; beside them"
        f" {answers.beside_count} answers, the slowest after {answers.beside_slowest_s:.2f} s"
    )
    holds = (
        highest_mib - before_mib <= BODIES_MIB + BESIDE_MIB
        and after_mib - before_mib <= KEPT_MIB
        and len(answers.statuses) == refused_count
        and refused_count >= callers - BODIES_MIB // mib
        and answers.without_retry_count == 0
        and answers.beside_count > 0
    )
    allowed = f"{BODIES_MIB} + {BESIDE_MIB} MiB more at most, {KEPT_MIB} MiB afterwards"
    print(f"{'holds' if holds else 'falls short'}: {allowed}")
    return 0 if holds else 1


@contextmanager
def _gateway() -> Iterator[tuple[int, str, Authority]]:
    with own_postgres() as (postgres, folder):
        events, events_at = events_process(postgres.url, folder)
        lattice, lattice_at = lattice_process(events_at, folder)
        gateway, url = gateway_process(
            events_at, lattice_at, folder, GATEWAY_BODIES_MIB=str(BODIES_MIB)
        )
        with ending(events, lattice, gateway):
            for process in (events, lattice, gateway):
                process.start()
            for process in (events, lattice, gateway):
                process.wait_ready()
            yield gateway.pid, url, authority_of(folder)


async def _send_all(url: httpx.URL, tokens: list[str], callers: int, length: int) -> Answers:
    """All that callers are answered until nothing more comes of it, at most for `SENDING_S`."""
    answers = Answers()
    asking = asyncio.create_task(_ask(url, answers))
    async with AsyncExitStack() as stack:
        sending = [
            asyncio.create_task(_send(url, tokens[number % TENANTS], length, answers, stack))
            for number in range(callers)
        ]
        _, waiting = await asyncio.wait(sending, timeout=SENDING_S)
        for task in (*waiting, asking):
            task.cancel()
        for task in (*waiting, asking):
            with suppress(asyncio.CancelledError):
                await task
    return answers


async def _send(
    url: httpx.URL, token: str, length: int, answers: Answers, stack: AsyncExitStack
) -> None:
    client = await stack.enter_async_context(connected(url))
    head = (
        f"POST /v1/events:append HTTP/1.1\r\nhost: {url.host}\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
    client.writer.write(head.encode() + b" " * (length - 1))
    answer = await read_answer(client.reader)
    if answer is not None:
        answers.statuses.append(answer.status)
        answers.without_retry_count += not answer.header("retry-after")


async def _ask(url: httpx.URL, answers: Answers) -> None:
    """Ask one time after the other, over a connection of its own, whether the gateway lives."""
    one_call = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=url, trust_env=False, timeout=60, limits=one_call
    ) as client:
        while True:
            began_s = time.monotonic()
            (await client.get("/health/live")).raise_for_status()
            answers.beside_slowest_s = max(answers.beside_slowest_s, time.monotonic() - began_s)
            answers.beside_count += 1
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=80)
    parser.add_argument("--mib", type=int, default=11)
    arguments = parser.parse_args()
    sys.exit(main(arguments.callers, arguments.mib))
