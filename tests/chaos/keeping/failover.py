"""The primary is killed under load with all that looks after it, and girih is not restarted.

What was acknowledged must be on the standby, which takes over, and writes must be answered again
within half a minute.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.keeping.load import Load, broken, log_of
from tests.chaos.keeping.patroni import TTL_S, Cluster, folder_for_servers, running_cluster
from tests.processes import Caller, authority_of, ending, events_process

WRITABLE_S_MAX = 30.0
_BEFORE_COUNT = 300
_AFTER_COUNT = 100


@dataclass
class Outcome:
    """What happened, and which promises were broken."""

    figures: dict[str, int | float] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)


async def fail_over(rounds: int) -> Outcome:
    """Kill the primary so many times, each time once a standby is synchronous again."""
    with folder_for_servers() as folder, running_cluster(folder) as cluster:
        events, address = events_process(cluster.url, folder)
        with ending(events):
            events.start()
            await asyncio.to_thread(events.wait_ready)
            outcome = await _observe(cluster, address, folder, rounds)
            outcome.broken["girih has ended"] += not events.is_running
            outcome.broken = +outcome.broken
            return outcome


async def _observe(cluster: Cluster, address: str, folder: Path, rounds: int) -> Outcome:
    outcome, load, is_over = Outcome(), Load(), asyncio.Event()
    caller = Caller(authority_of(folder))
    async with log_of(address, caller) as log:
        writing = asyncio.create_task(load.run(log, is_over))
        times = []
        for _ in range(rounds):
            await load.until(_BEFORE_COUNT)
            times.append(await _kill_primary(cluster, load))
        is_over.set()
        await writing
        outcome.broken = await broken(log, load)
    slowest_s = max(times)
    outcome.broken[f"writes were away for {slowest_s:.1f} s"] += slowest_s > WRITABLE_S_MAX
    outcome.figures = {
        "failovers": rounds,
        "events acknowledged": len(load.acknowledged),
        "of them lost": outcome.broken["acknowledged events lost"],
        "seconds until writes are back, at most": round(slowest_s, 1),
        "of them until Patroni gives the leader up": TTL_S,
    }
    return outcome


async def _kill_primary(cluster: Cluster, load: Load) -> float:
    """How long no append was acknowledged; the old primary is a standby again then."""
    primary = await asyncio.to_thread(cluster.until_synchronous)
    await asyncio.to_thread(primary.kill)
    killed_s = time.monotonic()
    before = len(load.acknowledged)
    await load.until(_AFTER_COUNT)
    # Answers that were on their way when it died come first.
    back_s = next(
        (at for at in load.acknowledged_at_s[before:] if at > killed_s + 1.0), time.monotonic()
    )
    cluster.start(cluster.nodes.index(primary))
    return back_s - killed_s
