"""Every replica is replaced, one after the other, while programs go on that must not notice.

They have the stock client, with asyncio and without: they append, follow, consume and find paths.
Others use REST, through a balancer and with no patience at all: one answer that is no success is
an error that a caller saw. A browser's stream may end, and goes on from where it was.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from girih.client import AsyncClient, Client, GirihError, GroupSettings, RetryPolicy
from tests.chaos.clients import GIVEN_UP, LEASE_S, SCOPES, Answer, Repeats, Run, go_through, new_key
from tests.chaos.lasting.replicated import Replica, Replicated, replicated_girih
from tests.chaos.shared_work import GROUP
from tests.chaos.trouble.asking import reason_of
from tests.chaos.trouble.names import Names
from tests.processes import own_postgres

REST_CALLERS = 2
CALM_S = 3.0
"""Between one replica and the next."""
ANSWER_S = 20.0
STREAM_AGAIN_S = 10.0
"""So soon must a stream that has ended go on."""
_PAUSE_S = 0.05
_SIDE = 8


@dataclass
class Rest:
    """What callers of REST do and see."""

    url: str
    key: str
    answer: Answer
    lattice_id: str
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    streamed: list[int] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


async def replace_everything(rounds: int, names: Names) -> Answer:
    """Replace each replica so often, and answer what was seen."""
    answer = Answer()
    with own_postgres() as (postgres, folder):
        async with replicated_girih(postgres, folder, names) as girih:
            scopes = [*SCOPES, "lattices.read", "lattices.write"]
            key = await asyncio.to_thread(new_key, girih.url, scopes)
            retry = RetryPolicy(on_retry=Repeats(answer))
            common: dict[str, Any] = {
                "api_key": key,
                "retry": retry,
                "tls": False,
                **girih.addresses,
            }
            del common["projections"]
            async with AsyncClient(girih.url, **common) as client:
                with Client(girih.url, **common) as blocking:
                    await client.groups.create(GROUP, GroupSettings(lane_count=4, lease_s=LEASE_S))
                    await _run(Run(client, blocking, answer), girih, rounds, key)
    answer.broken[GIVEN_UP] += answer.figures[GIVEN_UP]
    answer.broken = +answer.broken
    return answer


async def _run(run: Run, girih: Replicated, rounds: int, key: str) -> None:
    lattice = await run.girih.lattices.create([_SIDE, _SIDE])
    rest = Rest(girih.url, key, run.answer, lattice.id)

    async def roll() -> None:
        # All of them end before it is judged what became of what they appended.
        async with asyncio.TaskGroup() as callers:
            streaming = callers.create_task(_stream(rest))
            callers.create_task(_find_paths(run, rest))
            for _ in range(REST_CALLERS):
                callers.create_task(_call_rest(rest))
            for replica in [*girih.replicas] * rounds:
                await asyncio.sleep(CALM_S)
                await _replace(replica, run.answer)
            await asyncio.sleep(CALM_S)
            rest.is_over.set()
            streaming.cancel()

    await go_through(run, roll)
    await _judge_stream(run, rest)


async def _replace(replica: Replica, answer: Answer) -> None:
    """As a deployment does: ask it to end, and start the next one, which must become ready."""
    began_s = time.monotonic()
    code = await asyncio.to_thread(replica.process.stop)
    answer.broken[f"{replica.part} ended with {code}"] += code != 0
    await asyncio.to_thread(replica.process.start)
    await asyncio.to_thread(replica.process.wait_ready)
    answer.figures[f"replaced: {replica.part}"] += 1
    took_s = round(time.monotonic() - began_s)
    answer.figures["seconds of the slowest"] = max(answer.figures["seconds of the slowest"], took_s)


async def _call_rest(rest: Rest) -> None:
    """Ask one thing after the other, each once."""
    async with httpx.AsyncClient(base_url=rest.url, headers=rest.headers) as http:
        while not rest.is_over.is_set():
            for method, path, body in _asked(rest):
                rest.answer.figures["answers by REST"] += 1
                try:
                    async with asyncio.timeout(ANSWER_S):
                        reply = await http.request(method, path, json=body, timeout=None)
                except (httpx.HTTPError, TimeoutError) as error:
                    rest.answer.broken[f"{method} {path}: {error!r}"] += 1
                    continue
                if not reply.is_success:
                    fault = f"{method} {path}: {reply.status_code} {reason_of(reply)}"
                    rest.answer.broken[fault] += 1
                await asyncio.sleep(_PAUSE_S)


def _asked(rest: Rest) -> Sequence[tuple[str, str, dict[str, Any] | None]]:
    event = {"stream": "by-rest", "type": "counted"}
    sites = {"start": {"coordinates": [0, 0]}, "goal": {"coordinates": [_SIDE - 1, _SIDE - 1]}}
    return [
        ("GET", "/v1/log", None),
        ("POST", "/v1/events:append", {"events": [event]}),
        ("GET", "/v1/streams/by-rest/events?limit=10", None),
        ("POST", f"/v1/lattices/{rest.lattice_id}:findPath", sites),
        ("GET", "/v1/lattices", None),
    ]


async def _find_paths(run: Run, rest: Rest) -> None:
    """With the client, which may repeat what it likes."""
    while not rest.is_over.is_set():
        try:
            path = await run.girih.lattices.find_path(rest.lattice_id, [0, 0], [_SIDE - 1] * 2)
        except GirihError as error:
            run.answer.broken[f"a path was not found: {error!r}"] += 1
            continue
        run.answer.figures["paths found"] += 1
        run.answer.broken["wrong paths"] += path.length != 2 * (_SIDE - 1)
        await asyncio.sleep(_PAUSE_S)


async def _stream(rest: Rest) -> None:
    """Read the log as a browser does: a stream that ends is opened again behind the last event."""
    headers = {**rest.headers, "Accept": "text/event-stream"}
    last, seen_s = "", time.monotonic()
    async with httpx.AsyncClient(base_url=rest.url, timeout=None) as http:
        while True:
            if last:
                headers["Last-Event-ID"] = last
            try:
                async with http.stream("GET", "/v1/events?follow=true", headers=headers) as reply:
                    rest.answer.figures["streams opened"] += 1
                    if not reply.is_success:
                        rest.answer.figures[f"streams refused with {reply.status_code}"] += 1
                    async for line in reply.aiter_lines():
                        if line.startswith("id:"):
                            last = line.removeprefix("id:").strip()
                        elif line.startswith("data:") and '"position"' in line:
                            position = _position(line.removeprefix("data:"))
                            if position:
                                rest.streamed.append(position)
                                late_s, seen_s = time.monotonic() - seen_s, time.monotonic()
                                slow = late_s > STREAM_AGAIN_S
                                rest.answer.broken["a stream stood still"] += slow
            except httpx.HTTPError as error:
                rest.answer.figures[f"streams broken off by {type(error).__name__}"] += 1
            await asyncio.sleep(_PAUSE_S)


def _position(data: str) -> int:
    message = json.loads(data)
    return int(message.get("position", 0)) if "event" in message else 0


async def _judge_stream(run: Run, rest: Rest) -> None:
    stored = {event.position async for event in run.girih.read()}
    seen = Counter(rest.streamed)
    last = max(seen, default=0)
    run.answer.figures["events seen by the stream"] = len(seen)
    run.answer.broken["events seen twice by the stream"] += sum(n - 1 for n in seen.values())
    run.answer.broken["events skipped by the stream"] += len(
        {position for position in stored if position <= last} - seen.keys()
    )
    run.answer.broken["the stream saw nothing"] += not seen
