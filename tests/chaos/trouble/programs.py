"""Programs with the stock client that go on through any trouble: one appends, one follows.

They have no code of their own for what goes wrong. In the end the log holds each event that was
acknowledged, once, and the follower has seen what the log holds, once and in order.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from girih.client import AsyncClient, GirihError, NewEvent, RetryPolicy

STREAM = "programs"
PAUSE_S = 0.1
CATCH_UP_S = 60.0
_SCOPES = ["events.append", "events.read"]


@dataclass
class Programs:
    """What they did, and what they saw."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    """Positions by event id."""
    seen: list[tuple[int, str]] = field(default_factory=list)
    repeated: Counter[str] = field(default_factory=Counter)
    """What calls were made again for."""
    broken: Counter[str] = field(default_factory=Counter)

    async def until_more(self, count: int, within_s: float) -> bool:
        """Whether so many more events are acknowledged in time."""
        wanted = len(self.acknowledged) + count
        try:
            async with asyncio.timeout(within_s):
                while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - others work
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def running_programs(
    url: str, events: str, secret: str, ca_file: Path | None = None
) -> AsyncIterator[Programs]:
    """Run them with the block, and judge behind it what they have seen."""
    programs, is_over = Programs(), asyncio.Event()

    def repeats(error: GirihError) -> None:
        programs.repeated[error.reason or error.code.name] += 1

    # Patient for as long as trouble lasts: nobody gives up, so that nobody may see an error.
    retry = RetryPolicy(timeout_s=math.inf, on_retry=repeats)
    options: dict[str, Any] = {
        # No key is sent to a gateway without HTTPS by who else encrypts: a token does there.
        ("api_key" if ca_file is None else "token"): secret,
        "events": events,
        "retry": retry,
        "tls": ca_file is not None,
        "ca_file": ca_file,
    }
    async with AsyncClient(url, **options) as girih:
        appending = asyncio.create_task(_append(girih, programs, is_over))
        following = asyncio.create_task(_follow(girih, programs))
        try:
            yield programs
            is_over.set()
            await appending
            await _judge(girih, programs, following)
        finally:
            for task in (appending, following):
                task.cancel()
            await asyncio.gather(appending, following, return_exceptions=True)


def new_key(url: str, access_token: str, scopes: Sequence[str] = _SCOPES) -> str:
    """An API key for them, of whoever has the token."""
    headers = {"Authorization": f"Bearer {access_token}"}
    wanted = {"name": "programs", "scopes": [*scopes]}
    answer = httpx.post(f"{url}/v1/keys", json=wanted, headers=headers, timeout=30)
    secret: str = answer.raise_for_status().json()["secret"]
    return secret


async def _append(girih: AsyncClient, programs: Programs, is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        event = NewEvent.with_data(STREAM, "counted", {"n": len(programs.acknowledged)})
        try:
            (placement,) = await girih.append([event])
        except GirihError as error:
            programs.broken[f"an append failed: {error.reason or error}"] += 1
            await asyncio.sleep(1)
            continue
        programs.acknowledged[event.id] = placement.position
        await asyncio.sleep(PAUSE_S)


async def _follow(girih: AsyncClient, programs: Programs) -> None:
    async for event in girih.follow(STREAM):
        programs.seen.append((event.position, event.id))


async def _judge(girih: AsyncClient, programs: Programs, following: "asyncio.Task[None]") -> None:
    stored = [(event.position, event.id) async for event in girih.read(STREAM)]
    ends_s = time.monotonic() + CATCH_UP_S
    while len(programs.seen) < len(stored) and not following.done():
        if time.monotonic() > ends_s:
            break
        await asyncio.sleep(0.05)
    broken = programs.broken
    if following.done() and (error := following.exception()):
        broken[f"the follower ended: {error!r}"] += 1
    places = {event_id: position for position, event_id in stored}
    broken["events stored twice"] += len(stored) - len(places)
    for event_id, position in programs.acknowledged.items():
        broken["acknowledged events lost"] += places.get(event_id) != position
    broken["events skipped by the follower"] += len(set(stored) - set(programs.seen))
    broken["events seen twice"] += len(programs.seen) - len(set(programs.seen))
    broken["events seen out of order"] += programs.seen != sorted(programs.seen)
    programs.broken = +broken
