"""Half of what a girih can do, for as long as is asked for, with a fault every five minutes.

In the end nothing may have piled up: the memory of no process grew, descriptors and connections to
the database are as many as before, each event was stored and seen once and in order, and nobody was
told anything but while there was a fault, or just behind one.
"""

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.acceptance.resident import resident_mib
from tests.chaos.trouble.asking import DEADLINE_S, Answers, Asker
from tests.chaos.trouble.girih import POOL_SIZE, Girih, troubled_girih
from tests.chaos.trouble.ground import Ground
from tests.chaos.trouble.programs import new_key, running_programs
from tests.chaos.trouble.prove import RECOVERY_S_MAX, until_well
from tests.chaos.trouble.seeds import TROUBLES

FAULTS = (
    "cut-off",
    "stopped-events",
    "slow",
    "stopped-gateway",
    "pool",
    "stopped-postgres",
    "errors-io",
    "stopped-lattice",
    "connections",
    "names-moved",
    "stopped-projections",
)
FAULT_EVERY_S = 300.0
FAULTS_MIN = 4
"""Of a run too short for one every five minutes."""
CALLERS = 8
CALIBRATED_S = 10.0
LOAD = 0.5
SAMPLE_EVERY_S = 5.0
GROWTH_MIB_MAX = 48.0
"""Of a process, from the first quarter behind the warm-up to the last of the run."""
WARM_UP = 0.2
"""The part of the run in which pools and caches fill."""
DESCRIPTORS_MORE = 8
CONNECTIONS_MAX = 2 * POOL_SIZE + 8
"""The pools of two processes, and what listens, keeps and looks beside them."""
SETTLE_S = 60.0
FAULT_S = 10.0
_CONNECTIONS = """
SELECT count(*) AS count,
       count(*) FILTER (WHERE state LIKE 'idle in transaction%'
                        AND now() - state_change > interval '5 seconds') AS forgotten
FROM pg_stat_activity
WHERE application_name LIKE 'girih%'
"""
SCOPES = ("events.append", "events.read", "lattices.read")


@dataclass
class Outcome:
    """What happened, and which promises were broken."""

    figures: dict[str, int | float | str] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)


@dataclass
class Soak:
    """What the load, the faults and the samples share."""

    girih: Girih
    asker: Asker
    """Asks with a key, which does not expire."""
    outcome: Outcome = field(default_factory=Outcome)
    pause_s: float = 0.0
    """Of each caller between two calls."""
    asked_count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    trouble_ends_s: float = 0.0
    """Until then, by the monotonic clock, callers may be told of trouble."""
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    resident: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Seconds and MiB by process."""

    @property
    def pids(self) -> dict[str, int]:
        names = ("events", "lattice", "projections", "gateway")
        return dict(zip(names, self.girih.pids, strict=True))


async def soak(minutes: float, ground: Ground) -> Outcome:
    """Run for so long, and judge."""
    async with troubled_girih(ground) as girih:
        key = await asyncio.to_thread(new_key, girih.system.url, girih.asker.token, SCOPES)
        run = Soak(girih, girih.asker.with_token(key))
        pids = girih.pids
        async with running_programs(girih.system.url, girih.events_target, key) as programs:
            await _calibrate(run)
            before = await _at_rest(run)
            await _last(run, minutes * 60)
            if not await programs.until_more(5, RECOVERY_S_MAX):
                run.outcome.broken["the programs go on no more"] += 1
        run.outcome.broken += programs.broken
        run.outcome.broken["a process has ended"] += girih.pids != pids or not girih.are_running
        run.outcome.figures |= {
            "calls by REST": run.asked_count,
            "events of programs acknowledged": len(programs.acknowledged),
            "told meanwhile": ", ".join(f"{name} {n}" for name, n in run.reasons.most_common()),
        }
        _judge_memory(run)
        await _judge_descriptors(run, before)
        await _judge_connections(run)
        run.outcome.broken = +run.outcome.broken
        return run.outcome


async def _at_rest(run: Soak) -> dict[str, int]:
    """The descriptors of each process once the callers have gone."""
    await asyncio.sleep(SAMPLE_EVERY_S)
    return _descriptors(run)


async def _calibrate(run: Soak) -> None:
    """Find out how much is all, and have callers pause so that it is half."""
    await _called_for(run, CALIBRATED_S)
    per_s = run.asked_count / CALIBRATED_S
    run.pause_s = CALLERS / per_s * (1 / LOAD - 1)
    run.outcome.figures["calls a second, at most"] = round(per_s, 1)
    run.asked_count = 0
    run.is_over.clear()


async def _called_for(run: Soak, seconds: float) -> None:
    calling = [asyncio.create_task(_call(run, number)) for number in range(CALLERS)]
    await asyncio.sleep(seconds)
    run.is_over.set()
    await asyncio.gather(*calling)


async def _last(run: Soak, seconds: float) -> None:
    sampling = asyncio.create_task(_sample(run))
    breaking = asyncio.create_task(_break(run, seconds))
    try:
        await _called_for(run, seconds)
        await breaking
    finally:
        for task in (sampling, breaking):
            task.cancel()
        await asyncio.gather(sampling, breaking, return_exceptions=True)


async def _call(run: Soak, number: int) -> None:
    calls = run.asker.reads_and_appends(f"soak-{number}")
    async with run.asker.connected() as http:
        for call in itertools.cycle(calls):
            if run.is_over.is_set():
                return
            began_s = time.monotonic()
            answers = Answers([await run.asker.ask_once(http, call)])
            run.asker.judge(answers)
            run.asked_count += 1
            run.reasons += answers.reasons
            run.outcome.broken += answers.broken
            if answers.reasons and began_s > run.trouble_ends_s:
                run.outcome.broken[f"told {dict(answers.reasons)} without trouble"] += 1
            await asyncio.sleep(run.pause_s)


async def _break(run: Soak, seconds: float) -> None:
    """One fault after the other, the last of them long before the end."""
    every_s = min(FAULT_EVERY_S, seconds / (FAULTS_MIN + 1))
    names = [name for name in FAULTS if TROUBLES[name].needs not in run.girih.ground.problems]
    began_s, slowest_s = time.monotonic(), 0.0
    for number, name in zip(range(1, round(seconds / every_s)), itertools.cycle(names)):
        await asyncio.sleep(began_s + number * every_s - time.monotonic())
        run.trouble_ends_s = float("inf")
        async with TROUBLES[name].begin(run.girih):
            await asyncio.sleep(FAULT_S)
        over_s = time.monotonic()
        run.outcome.broken += await until_well(run.girih, renew=True)
        slowest_s = max(slowest_s, time.monotonic() - over_s)
        # What was begun in it may be told of it for as long as a call may take.
        run.trouble_ends_s = time.monotonic() + DEADLINE_S
        run.outcome.figures |= {
            "faults": number,
            "slowest to be well again, in seconds": round(slowest_s, 1),
        }


async def _sample(run: Soak) -> None:
    while True:
        for name, pid in run.pids.items():
            run.resident.setdefault(name, []).append((time.monotonic(), resident_mib(pid)))
        await asyncio.sleep(SAMPLE_EVERY_S)


def _judge_memory(run: Soak) -> None:
    for name, samples in run.resident.items():
        warm = samples[int(len(samples) * WARM_UP) :]
        growth_mib, per_hour_mib = growth_of(warm)
        run.outcome.figures[f"memory of {name}"] = (
            f"{warm[-1][1]:.0f} MiB, grew by {growth_mib:.1f}, {per_hour_mib:+.1f} an hour"
        )
        run.outcome.broken[f"{name} grew by {growth_mib:.0f} MiB"] += growth_mib > GROWTH_MIB_MAX


def growth_of(samples: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """From the first quarter to the last, by their medians, and the slope an hour of a straight
    line, in MiB."""
    quarter = max(1, len(samples) // 4)
    ends = samples[:quarter], samples[-quarter:]
    first, last = (statistics.median(mib for _, mib in end) for end in ends)
    if len(samples) < 2:
        return last - first, 0.0
    times_s, sizes_mib = zip(*samples, strict=True)
    return last - first, statistics.linear_regression(times_s, sizes_mib).slope * 3_600


def _descriptors(run: Soak) -> dict[str, int]:
    return {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in run.pids.items()}


async def _judge_descriptors(run: Soak, before: Mapping[str, int]) -> None:
    """Once the callers have gone, all that they opened must be given back."""
    ends_s = time.monotonic() + SETTLE_S
    while True:
        now = _descriptors(run)
        more = {name: now[name] - before[name] for name in now}
        if max(more.values()) <= DESCRIPTORS_MORE or time.monotonic() > ends_s:
            break
        await asyncio.sleep(1)
    run.outcome.figures["descriptors"] = ", ".join(
        f"{name} {before[name]} to {now[name]}" for name in now
    )
    for name, count in more.items():
        run.outcome.broken[f"{name} has {count} descriptors more"] += count > DESCRIPTORS_MORE


async def _judge_connections(run: Soak) -> None:
    connection = await asyncpg.connect(run.girih.postgres.url)
    try:
        row = await connection.fetchrow(_CONNECTIONS)
    finally:
        await connection.close()
    assert row is not None
    run.outcome.figures["connections to the database"] = row["count"]
    run.outcome.broken[f"{row['count']} connections to the database"] += (
        row["count"] > CONNECTIONS_MAX
    )
    run.outcome.broken["transactions that nobody ends"] += row["forgotten"]
