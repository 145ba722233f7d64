"""Consumers of a group on two replicas are killed and paused, and the group is changed meanwhile.

Each consumer is a process. It handles events, some of them slowly, has a few of them tried again
later, and writes down what it is given, what it says, and what it is told, with the time of
the clock that all processes of the machine share. Every moment one of them is killed -9; now and
then one is stopped for longer than its lease, or a replica is. At the end its filter and its lanes
have changed, and what they wrote down must be as the contract promises:

- every event that the group wants was handled and settled;
- what is settled before it is delivered of a key is settled for ever: nothing of a key is delivered
  from before an event that was settled, and nothing that was settled;
- nobody was told that an event is settled which was given to somebody else under a later token
  before it was said.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from girih.events.v1 import events_pb2, events_pb2_grpc, groups_pb2_grpc
from girih.events.v1 import groups_pb2 as pb
from girih.ids import new_event_id
from tests.chaos import unprotected
from tests.processes import (
    ROOT,
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    own_postgres,
)

GROUP = "workers"
CONSUMER_COUNT = 4
STREAM_COUNT = 60
LEASE_S = 6.0
PAUSED_LEASES = 1.5
"""For so many leases somebody is stopped."""
PAUSE_EVERY_LEASES = 2.0
SLOW_CHANCE = 0.01
SLOW_CHANCE_UNPROTECTED = 0.15
"""That an event takes longer than a lease: so many are settled late that some are seen."""
CATCH_UP_S = 180.0
LOOK_EVERY_S = 1.0
EXAMPLES_MAX = 3
"""Of each broken promise."""
WANTED, OTHER = "wanted", "other"


@dataclass
class Answer:
    """What happened, and every promise that was broken, by name."""

    figures: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def found(self, name: str, what: str) -> None:
        self.broken[name] += 1
        if self.broken[name] <= EXAMPLES_MAX:
            self.examples.append(f"{name}: {what}")


@dataclass
class Run:
    """What those who do something to it share."""

    replicas: Sequence[Process]
    addresses: Sequence[str]
    caller: Caller
    folder: Path
    dice: random.Random
    lease_s: float
    is_protected: bool
    answer: Answer = field(default_factory=Answer)
    consumers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    started_count: int = 0
    appended: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Stream and type by position."""
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    has_broken: bool = False
    """A promise was seen to be broken while it ran, and told in `answer`."""

    def start_consumer(self) -> "subprocess.Popen[bytes]":
        self.started_count += 1
        journal = self.folder / f"consumer-{self.started_count:04}.jsonl"
        said = {
            "addresses": list(self.addresses),
            "token": self.caller.token,
            "journal": str(journal),
            "seed": self.dice.randrange(2**31),
            "name": f"consumer-{self.started_count}",
            "lease_s": self.lease_s,
            "slow_chance": SLOW_CHANCE if self.is_protected else SLOW_CHANCE_UNPROTECTED,
        }
        with (self.folder / "consumers.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.group_consumer", json.dumps(said)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )


async def consume_through_kills(
    *,
    duration_s: float,
    kill_every_s: float,
    rate: float,
    seed: int,
    is_protected: bool,
    lease_s: float = LEASE_S,
) -> Answer:
    """Run it for `duration_s`, and until everything is settled or nothing goes on. Without
    protection, until a promise is seen to be broken."""
    with own_postgres() as (postgres, folder):
        module = "services.events" if is_protected else "tests.chaos.unfenced_events"
        made = [events_process(postgres.url, folder, module=module) for _ in range(2)]
        replicas = [process for process, _ in made]
        with ending(*replicas):
            for replica in replicas:
                replica.start()
                await asyncio.to_thread(replica.wait_ready)
            if not is_protected:
                await unprotected.settle_under_any_token(postgres.url)
            run = Run(
                replicas,
                [address for _, address in made],
                Caller(authority_of(folder)),
                folder,
                random.Random(seed),
                lease_s,
                is_protected,
            )
            try:
                await _run(run, duration_s, kill_every_s, rate)
            finally:
                for consumer in run.consumers:
                    consumer.send_signal(signal.SIGCONT)
                    consumer.kill()
                    consumer.wait()
            if not run.has_broken:
                check(run.answer, list(journals(folder)), run.appended)
            return run.answer


async def _run(run: Run, duration_s: float, kill_every_s: float, rate: float) -> None:
    async with grpc.aio.insecure_channel(run.addresses[0]) as channel:
        groups = groups_pb2_grpc.GroupServiceStub(channel)
        events = events_pb2_grpc.EventStoreServiceStub(channel)
        await groups.CreateGroup(
            pb.CreateGroupRequest(group=GROUP, settings=_settings(run, 4, [WANTED])),
            metadata=run.caller.metadata,
        )
        run.consumers = [run.start_consumer() for _ in range(CONSUMER_COUNT)]
        doing = [
            asyncio.create_task(_append(run, events, rate)),
            asyncio.create_task(_kill(run, kill_every_s)),
            asyncio.create_task(_pause(run)),
            asyncio.create_task(_change(run, groups, duration_s)),
        ]
        await _last(run, duration_s)
        run.is_over.set()
        await asyncio.gather(*doing)
        if not run.has_broken:
            await _settle_down(run, groups)


async def _last(run: Run, duration_s: float) -> None:
    """Wait until it has lasted. Without protection, no longer than a promise is kept."""
    ends_s = time.monotonic() + duration_s
    while (left_s := ends_s - time.monotonic()) > 0 and not run.has_broken:
        await asyncio.sleep(min(left_s, LOOK_EVERY_S))
        if not run.is_protected:
            answer = Answer()
            check(answer, list(journals(run.folder)), run.appended, is_over=False)
            if answer.broken:
                run.answer, run.has_broken = answer, True


def _settings(run: Run, lane_count: int, types: Sequence[str]) -> pb.GroupSettings:
    wanted = events_pb2.Filter(queries=[events_pb2.Query(types=types)])
    settings = pb.GroupSettings(lane_count=lane_count, filter=wanted)
    settings.lease.FromMilliseconds(round(1e3 * run.lease_s))
    return settings


async def _append(
    run: Run, events: "events_pb2_grpc.EventStoreServiceAsyncStub", rate: float
) -> None:
    """Append at that rate, a few events at a time, as long as it lasts."""
    while not run.is_over.is_set():
        began_s = time.monotonic()
        request = events_pb2.AppendRequest()
        for _ in range(run.dice.randint(1, 8)):
            stream = f"stream-{run.dice.randrange(STREAM_COUNT)}"
            kind = WANTED if run.dice.random() < 0.7 else OTHER
            request.events.add(id=new_event_id(), stream=stream, type=kind)
        reply = await _repeated(run, events.Append, request)
        for placement, event in zip(reply.placements, request.events, strict=True):
            run.appended[placement.position] = (event.stream, event.type)
        await asyncio.sleep(max(0.0, began_s + len(request.events) / rate - time.monotonic()))


async def _repeated(run: Run, rpc: Any, request: Any) -> Any:
    while True:
        with suppress(grpc.aio.AioRpcError):
            return await rpc(request, timeout=10, metadata=run.caller.metadata, wait_for_ready=True)
        await asyncio.sleep(0.05)


async def _kill(run: Run, every_s: float) -> None:
    """Kill a consumer at every turn, and start another in its place."""
    while not await _over_within(run, every_s):
        place = run.dice.randrange(CONSUMER_COUNT)
        run.consumers[place].kill()
        await asyncio.to_thread(run.consumers[place].wait)
        run.answer.figures["consumers killed"] += 1
        run.consumers[place] = run.start_consumer()


async def _pause(run: Run) -> None:
    """Stop a consumer, or every second time the other replica, for longer than a lease.

    Without protection only replicas: a consumer that was stopped shows nothing of it.
    """
    is_replica = not run.is_protected
    while not await _over_within(run, PAUSE_EVERY_LEASES * run.lease_s):
        if is_replica:
            # That which nobody else is called through here.
            pid = run.replicas[1].pid
        else:
            pid = run.consumers[run.dice.randrange(CONSUMER_COUNT)].pid
        what = "replicas paused" if is_replica else "consumers paused"
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            run.answer.figures[what] += 1
            await asyncio.sleep(PAUSED_LEASES * run.lease_s)
            os.kill(pid, signal.SIGCONT)
        is_replica = not is_replica or not run.is_protected


async def _change(
    run: Run, groups: "groups_pb2_grpc.GroupServiceAsyncStub", duration_s: float
) -> None:
    """Change lanes, then the filter, then lanes again, while it runs."""
    for lane_count, types in ((7, [WANTED]), (7, [WANTED, OTHER]), (3, [WANTED])):
        if await _over_within(run, duration_s / 4):
            return
        settings = _settings(run, lane_count, types)
        request = pb.UpdateGroupRequest(group=GROUP, settings=settings)
        await _repeated(run, groups.UpdateGroup, request)
        run.answer.figures["changes of the group"] += 1


async def _over_within(run: Run, timeout_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await run.is_over.wait()
    return run.is_over.is_set()


async def _settle_down(run: Run, groups: "groups_pb2_grpc.GroupServiceAsyncStub") -> None:
    """Return when everything is settled, or nothing goes on any more."""
    for replica in run.replicas:
        os.kill(replica.pid, signal.SIGCONT)
    deadline_s = time.monotonic() + CATCH_UP_S
    while time.monotonic() < deadline_s:
        state = await _repeated(run, groups.GetGroup, pb.GetGroupRequest(group=GROUP))
        if all(not lane.lag_count and not lane.held_count for lane in state.lanes):
            return
        await asyncio.sleep(0.2)
    run.answer.found("does not come to an end", str(state.lanes)[:2000])


# What they wrote down


def journals(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """The lines of each consumer; the last may have been cut off."""
    for file in sorted(folder.glob("consumer-*.jsonl")):
        lines = []
        for line in file.read_text().splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
        yield lines


def check(
    answer: Answer,
    written: Sequence[Sequence[dict[str, Any]]],
    log: dict[int, tuple[str, str]],
    *,
    is_over: bool = True,
) -> None:
    """Look for promises that were broken in what was written down, which is not all of it yet
    unless it `is_over`.

    A line has `what`: `begin` (an event is given to the handler), `say` (it is acknowledged), and
    `settled` (that is durable), with `at`, `lane`, `token` and `position`.
    """
    lines = sorted((line for one in written for line in one), key=lambda line: line["at"])
    settled_at: dict[int, float] = {}
    began: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        if line["what"] == "settled":
            settled_at.setdefault(line["position"], line["at"])
        elif line["what"] == "begin":
            began[line["position"]].append(line)
            answer.figures["times that handlers began"] += 1
    answer.figures["events appended"] = len(log)
    answer.figures["events settled"] = len(settled_at)
    answer.figures["refused under a lost lease"] = sum(
        line["what"] == "refused" and line["reason"] == "LEASE_LOST" for line in lines
    )
    answer.figures["begun more than once"] = sum(len(times) > 1 for times in began.values())
    if is_over:
        _check_all_handled(answer, settled_at, began, log)
    _check_settled_stays(answer, settled_at, began)
    _check_order(answer, settled_at, lines, log)
    _check_tokens(answer, lines)


def _check_all_handled(
    answer: Answer,
    settled_at: dict[int, float],
    began: dict[int, list[dict[str, Any]]],
    log: dict[int, tuple[str, str]],
) -> None:
    for position, (_, kind) in log.items():
        # Those of the other type are wanted for a while only; of one that was killed before it
        # was told, nobody knows that it is settled.
        if kind == WANTED and position not in began:
            answer.found("never handled", str(position))
    answer.figures["settled for all who know"] = len(settled_at)


def _check_settled_stays(
    answer: Answer, settled_at: dict[int, float], began: dict[int, list[dict[str, Any]]]
) -> None:
    for position, at in settled_at.items():
        for line in began[position]:
            if line["at"] > at:
                answer.found("handled again after it was settled", f"{position}: {line}")


def _check_order(
    answer: Answer,
    settled_at: dict[int, float],
    lines: Sequence[dict[str, Any]],
    log: dict[int, tuple[str, str]],
) -> None:
    """Of a stream nothing is begun before all that is wanted before it was begun, nor anything from
    before an event that was begun.
    """
    highest: dict[str, int] = defaultdict(int)
    for line in lines:
        if line["what"] != "begin" or line["position"] not in log:
            continue
        stream, position = log[line["position"]][0], line["position"]
        if position < highest[stream]:
            answer.found("out of order", f"{stream}: {position} after {highest[stream]}")
        highest[stream] = max(highest[stream], position)


def _check_tokens(answer: Answer, lines: Sequence[dict[str, Any]]) -> None:
    """Nobody is told that an event is settled which it said of under a token, when it was given to
    another under a later one before.
    """
    given: dict[int, list[tuple[float, int]]] = defaultdict(list)
    said: dict[tuple[int, int], float] = {}
    for line in lines:
        place = (line.get("position", 0), line.get("token", 0))
        if line["what"] == "begin":
            given[line["position"]].append((line["at"], line["token"]))
        elif line["what"] == "say":
            said[place] = line["at"]
        elif line["what"] == "settled" and place in said:
            later = [
                token
                for at, token in given[line["position"]]
                if token > line["token"] and at < said[place]
            ]
            if later:
                answer.found("settled under a lost lease", f"{line} after token {later}")
