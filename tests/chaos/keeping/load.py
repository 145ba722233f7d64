"""Writers that note what was acknowledged, and whether the log holds it."""

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from girih.client import EventStoreClient, NewEvent, RetryPolicy
from tests.processes import Caller

_ATTEMPT_S = 5.0


@asynccontextmanager
async def log_of(address: str, caller: Caller) -> AsyncIterator[EventStoreClient]:
    """A log, called again and again as long as it takes."""

    async def token() -> str:
        return caller.token

    retry = RetryPolicy(timeout_s=math.inf, attempt_timeout_s=_ATTEMPT_S)
    async with EventStoreClient.connect(address, token=token, retry=retry) as log:
        yield log


@dataclass
class Load:
    """Appends by some writers at once, each repeated with the same id until it is acknowledged."""

    writer_count: int = 8
    pause_s: float = 0.02
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Positions by event id."""
    acknowledged_at_s: list[float] = field(default_factory=list)

    async def run(self, log: EventStoreClient, is_over: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.writer_count):
                tasks.create_task(self._write(log, f"writer-{number}", is_over))

    async def until(self, count: int) -> None:
        """Return once so many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - others work
            await asyncio.sleep(0.01)

    @property
    def longest_pause_s(self) -> float:
        """Between two acknowledgements, whoever's."""
        times = self.acknowledged_at_s
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    async def _write(self, log: EventStoreClient, stream: str, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            event = NewEvent.with_data(stream, "written", {"n": len(self.acknowledged)})
            (placement,) = await log.append([event])
            self.acknowledged[event.id] = placement.position
            self.acknowledged_at_s.append(time.monotonic())
            await asyncio.sleep(self.pause_s)


async def broken(log: EventStoreClient, load: Load) -> Counter[str]:
    """What the log does not hold of what was acknowledged, and where it is not dense."""
    faults: Counter[str] = Counter()
    positions: dict[str, int] = {}
    last = 0
    async for event in log.read():
        faults["positions that are not dense"] += event.position != last + 1
        faults["events stored twice"] += event.id in positions
        positions[event.id] = last = event.position
    for event_id, position in load.acknowledged.items():
        at = positions.get(event_id)
        faults["acknowledged events lost"] += at is None
        faults["acknowledged events elsewhere"] += at is not None and at != position
    return +faults
