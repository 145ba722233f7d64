"""Programs that use the client, while everything that they call is killed and started again.

Two of them append, two follow the log, and two are the consumers of a group: one each with asyncio
and one without. They have an API key, and no code for what happens to them but to append the same
events again when the client gives up. One after the other the event store, PostgreSQL and the
gateway are killed. At the end each event must be stored once, in the order of its writer, have been
seen by each follower once, in the order of the log, and have been handled by a consumer, in the
order of its stream, and not again once that was acknowledged.
"""

import asyncio
import contextlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from typing import Any
from unittest.mock import patch

import httpx

from cli.local.postgres import EmbeddedPostgres
from girih.client import (
    AsyncClient,
    Client,
    GirihError,
    GroupSettings,
    NewEvent,
    RetryPolicy,
    Unavailable,
)
from girih.client.connecting import gateway as gateway_calls
from girih.client.cursors import ReadCursor
from tests.chaos.shared_work import GROUP, SharedWork
from tests.processes import (
    WITHOUT_LIMITS,
    Process,
    ending,
    events_process,
    gateway_process,
    own_postgres,
)

TOKEN_S = 30
"""How long a token is valid: as short as the gateway allows."""

SCOPES = ["events.append", "events.read", "groups.consume", "groups.read", "groups.write"]
APPENDED_AT_ONCE = 3
CATCH_UP_S = 60.0
"""So long may nothing come at the end."""
LEASE_S = 3.0
"""Of the group, unless told otherwise: an event store that is killed gives no lane back before."""
GIVEN_UP = "given up, and appended again"
_PAUSE_S = 0.01

Seen = list[tuple[int, str]]
"""Position and id of every event, as they came."""


@dataclass
class Answer:
    """What happened, and every promise that was broken, by name."""

    figures: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)


@dataclass
class Run:
    """What the programs share."""

    girih: AsyncClient
    girih_blocking: Client
    answer: Answer
    appended: dict[str, list[str]] = field(default_factory=lambda: {"a": [], "b": []})
    """The ids that were acknowledged, by stream, in the order of their writer."""
    seen: dict[str, Seen] = field(default_factory=lambda: {"asyncio": [], "threads": []})
    work: SharedWork = field(default_factory=SharedWork)
    is_over: threading.Event = field(default_factory=threading.Event)

    def next_events(self, stream: str) -> list[NewEvent]:
        first = len(self.appended[stream])
        numbers = range(first, first + APPENDED_AT_ONCE)
        return [NewEvent.with_data(stream, "counted", {"n": n}) for n in numbers]

    def acknowledged(self, stream: str, events: list[NewEvent]) -> None:
        self.appended[stream].extend(event.id for event in events)


@dataclass(frozen=True)
class Killable:
    """A girih without lattices whose parts may be killed."""

    postgres: EmbeddedPostgres
    events: Process
    events_address: str
    gateway: Process
    url: str


@contextlib.contextmanager
def killable() -> Iterator[Killable]:
    """One that serves."""
    with own_postgres() as (postgres, folder):
        events, address = events_process(postgres.url, folder)
        settings = {**WITHOUT_LIMITS, "GATEWAY_ACCESS_TOKEN_S": str(TOKEN_S)}
        gateway, url = gateway_process(address, "127.0.0.1:1", folder, **settings)
        # Nobody serves lattices here, so that the gateway is never ready for all of its routes.
        gateway = replace(gateway, is_ready=lambda: _is_alive(url))
        with ending(events, gateway):
            for process in (events, gateway):
                process.start()
                process.wait_ready()
            yield Killable(postgres, events, address, gateway, url)


async def follow_through_kills(
    girih: Killable,
    *,
    kills: int,
    kill_every_s: float,
    is_protected: bool,
    lease_s: float = LEASE_S,
) -> Answer:
    """Run the programs through so many kills, and answer what they saw.

    Without protection a follower goes on from where it began.
    """
    answer = Answer()
    key = await asyncio.to_thread(new_key, girih.url)
    retry = RetryPolicy(on_retry=Repeats(answer))
    common: dict[str, Any] = {"api_key": key, "events": girih.events_address, "retry": retry}
    with _protection(is_protected=is_protected), _counted_tokens(answer):
        async with AsyncClient(girih.url, **common) as client:
            with Client(girih.url, **common) as blocking:
                run = Run(client, blocking, answer)
                settings = GroupSettings(lane_count=4, attempt_count_max=0, lease_s=lease_s)
                await client.groups.create(GROUP, settings)
                await go_through(run, lambda: _kill_in_turn(run, girih, kills, kill_every_s))
    return answer


class Repeats:
    """Counts what the client repeats."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __call__(self, error: GirihError) -> None:
        self._answer.figures[f"repeated for {error.reason or error.code.name}"] += 1


async def go_through(run: Run, trouble: Callable[[], Awaitable[None]]) -> None:
    """Have the programs work while `trouble` lasts, and judge what they have seen behind it."""
    following = [
        asyncio.create_task(_follow(run)),
        asyncio.create_task(asyncio.to_thread(_follow_blocking, run)),
        asyncio.create_task(_consume(run)),
        asyncio.create_task(asyncio.to_thread(_consume_blocking, run)),
    ]
    writing = [
        asyncio.create_task(_append(run)),
        asyncio.create_task(asyncio.to_thread(_append_blocking, run)),
    ]
    # Whoever has seen nothing yet can neither repeat nor skip.
    async with asyncio.timeout(CATCH_UP_S):
        while not all(run.seen.values()):  # noqa: ASYNC110 - threads fill one of them
            await asyncio.sleep(_PAUSE_S)
    await trouble()
    run.is_over.set()
    await asyncio.gather(*writing)

    stored: Seen = [(event.position, event.id) async for event in run.girih.read()]
    progress = progressed_s = -1.0
    while not (
        all(_has_seen_all(seen, stored) for seen in run.seen.values())
        and run.work.has_handled(len(stored))
    ):
        if run.work.handled_count > progress:
            progress, progressed_s = run.work.handled_count, time.monotonic()
        is_late = time.monotonic() > progressed_s + CATCH_UP_S
        if is_late or all(one.done() for one in following):
            break
        await asyncio.sleep(_PAUSE_S)
    run.girih_blocking.close()
    following[0].cancel()
    following[2].cancel()
    for outcome in await asyncio.gather(*following, return_exceptions=True):
        if isinstance(outcome, Exception):
            run.answer.broken[f"a follower ended: {outcome}"] += 1
    await _judge(run, stored)


def _has_seen_all(seen: Seen, stored: Seen) -> bool:
    return bool(seen) and seen[-1][0] >= stored[-1][0]


async def _follow(run: Run) -> None:
    async for event in run.girih.follow():
        run.seen["asyncio"].append((event.position, event.id))


def _follow_blocking(run: Run) -> None:
    for event in run.girih_blocking.follow():
        run.seen["threads"].append((event.position, event.id))


async def _consume(run: Run) -> None:
    async with run.girih.consume(GROUP, name="asyncio") as consumer:
        async for message in consumer:
            run.work.handle(message)
            position = message.event.position
            message.ack().add_done_callback(partial(_settled, run, position))


def _consume_blocking(run: Run) -> None:
    with run.girih_blocking.consume(GROUP, name="threads") as consumer:
        for message in consumer:
            run.work.handle(message)
            position = message.event.position
            message.ack().add_done_callback(partial(_settled, run, position))


def _settled(run: Run, position: int, outcome: Any) -> None:
    run.work.settled(position, None if outcome.cancelled() else outcome.exception())


async def _append(run: Run) -> None:
    while not run.is_over.is_set():
        events = run.next_events("a")
        while True:
            try:
                await run.girih.append(events)
                break
            except Unavailable:
                run.answer.figures[GIVEN_UP] += 1
        run.acknowledged("a", events)
        await asyncio.sleep(_PAUSE_S)


def _append_blocking(run: Run) -> None:
    while not run.is_over.wait(_PAUSE_S):
        events = run.next_events("b")
        while True:
            try:
                run.girih_blocking.append(events)
                break
            except Unavailable:
                run.answer.figures[GIVEN_UP] += 1
        run.acknowledged("b", events)


async def _kill_in_turn(run: Run, girih: Killable, kills: int, kill_every_s: float) -> None:
    def kill_postgres() -> None:
        girih.postgres.kill()
        girih.postgres.start()

    killings: list[tuple[str, Callable[[], None]]] = [
        ("event store", lambda: _kill(girih.events)),
        ("PostgreSQL", kill_postgres),
        ("gateway", lambda: _kill(girih.gateway)),
    ]
    for name, kill in islice(cycle(killings), kills):
        await asyncio.sleep(kill_every_s)
        await asyncio.to_thread(kill)
        run.answer.figures[f"kills of the {name}"] += 1


def _kill(process: Process) -> None:
    process.kill()
    process.start()
    process.wait_ready()


async def _judge(run: Run, stored: Seen) -> None:
    figures, broken = run.answer.figures, run.answer.broken
    for stream, appended in run.appended.items():
        in_stream = [event.id async for event in run.girih.read(stream)]
        figures["events appended"] += len(appended)
        broken[f"events of {stream} lost"] += len(set(appended) - set(in_stream))
        broken[f"events of {stream} stored twice"] += len(in_stream) - len(set(in_stream))
        broken[f"{stream} out of order"] += in_stream != appended
    for name, seen in run.seen.items():
        figures[f"events seen with {name}"] = len(seen)
        broken[f"events skipped with {name}"] += len(set(stored) - set(seen))
        broken[f"events repeated with {name}"] += len(seen) - len(set(seen))
        broken[f"out of order with {name}"] += seen != sorted(seen)
    of_streams: dict[str, list[int]] = {}
    async for event in run.girih.read():
        of_streams.setdefault(event.stream, []).append(event.position)
    broken.update(run.work.judge(of_streams, figures))
    for name in [name for name, count in broken.items() if not count]:
        del broken[name]


@contextlib.contextmanager
def _counted_tokens(answer: Answer) -> Iterator[None]:
    post = gateway_calls.post

    def counted(*args: Any) -> Any:
        answer.figures["tokens asked for"] += 1
        return post(*args)

    with patch.object(gateway_calls, "post", counted):
        yield


def new_key(url: str, scopes: Sequence[str] = SCOPES) -> str:
    """An API key of somebody who has just registered."""
    login = {"email": f"{secrets.token_hex(8)}@example.com", "password": "six-chars-do"}
    with httpx.Client(base_url=url, timeout=30) as http:
        http.post("/auth/register", json=login | {"name": "Ada"}).raise_for_status()
        tokens = http.post("/auth/login", json=login).raise_for_status().json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        wanted = {"name": "programs", "scopes": [*scopes]}
        key: str = http.post("/v1/keys", json=wanted).raise_for_status().json()["secret"]
    return key


def _is_alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", timeout=2).is_success
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def _protection(*, is_protected: bool) -> Iterator[None]:
    """Without it a cursor stays where it is."""
    if is_protected:
        yield
        return

    def stay(self: ReadCursor, response: object) -> None:
        del self, response

    with patch.object(ReadCursor, "_pass_over", stay):
        yield
