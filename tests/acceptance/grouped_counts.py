"""What a group of consumers counts equals counts over the file that the events came from.

    python -m tests.acceptance.grouped_counts --file FILE [--consumers 3]

The file holds a JSON object a line, with `stream` and `type`. Several consumers of one group, each
with the Python client, count its events by type while they are still appended, and write down the
revisions of each stream as they come: all of them, once, and in order.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from girih.client import AsyncClient, GroupSettings, Message, NewEvent, Query
from tests.processes import Caller, authority_of, ending, events_process, own_postgres

GROUP = "counting"
_BATCH = 200
_QUIET_S = 60.0


@dataclass
class Counted:
    """What the consumers of a group have counted."""

    by_type: Counter[str] = field(default_factory=Counter)
    by_consumer: Counter[int] = field(default_factory=Counter)
    revisions: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    @property
    def count(self) -> int:
        return self.by_type.total()


async def main(lines: Sequence[str], consumer_count: int) -> int:
    events = [json.loads(line) for line in lines if line.strip()]
    with own_postgres() as (postgres, folder):
        process, address = events_process(postgres.url, folder)
        with ending(process):
            process.start()
            await asyncio.to_thread(process.wait_ready)
            caller = Caller(authority_of(folder))
            async with AsyncClient(events=address, token=lambda: caller.token) as girih:
                counted = await count(girih, events, consumer_count)
    expected = Counter(event["type"] for event in events)
    print(f"{counted.count:,} events of {len(counted.revisions):,} streams, by consumer:")
    print(f"    {sorted(counted.by_consumer.values())}")
    wrong = [
        f"{kind}: {counted.by_type[kind]}, and {number} in the file"
        for kind, number in expected.items()
        if counted.by_type[kind] != number
    ]
    wrong += [
        f"{stream}: revisions {revisions[:20]}"
        for stream, revisions in counted.revisions.items()
        if revisions != list(range(len(revisions)))
    ]
    for line in wrong[:20]:
        print(f"WRONG {line}")
    print(f"{len(expected)} types counted, {len(wrong)} wrong")
    return 1 if wrong else 0


async def count(
    girih: AsyncClient, events: Sequence[dict[str, str]], consumer_count: int
) -> Counted:
    """Append events, and have that many consumers count them meanwhile."""
    counted = Counted()
    types = sorted({event["type"] for event in events})
    wanted = Query(types=types)
    await girih.groups.create(GROUP, GroupSettings(lane_count=6, filter=wanted))
    consumers = [girih.consume(GROUP, name=f"counter {n}") for n in range(consumer_count)]

    def counter(number: int) -> "asyncio.Task[None]":
        async def handle(message: "Message[asyncio.Future[None]]") -> None:
            counted.by_type[message.event.type] += 1
            counted.by_consumer[number] += 1
            counted.revisions[message.event.stream].append(message.event.revision)
            if counted.count >= len(events):
                for consumer in consumers:
                    consumer.close()

        return asyncio.create_task(consumers[number].handle(handle))

    counting = [counter(number) for number in range(consumer_count)]
    for start in range(0, len(events), _BATCH):
        batch = events[start : start + _BATCH]
        await girih.append(
            [NewEvent.with_data(event["stream"], event["type"], event) for event in batch]
        )
    await asyncio.wait(counting, timeout=_QUIET_S + len(events) / 50)
    for task in counting:
        task.cancel()
    await asyncio.gather(*counting, return_exceptions=True)
    return counted


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True, help="JSON lines")
    parser.add_argument("--consumers", type=int, default=3)
    arguments = parser.parse_args()
    text = arguments.file.read_text(encoding="utf-8").splitlines()
    sys.exit(asyncio.run(main(text, arguments.consumers)))
