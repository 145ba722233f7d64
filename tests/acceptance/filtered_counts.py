"""Counts through filters equal counts over the file that the events came from.

    python -m tests.acceptance.filtered_counts --file FILE

The file holds a JSON object a line, with `stream` and `type`. Every other text of an object is a
tag of its event (`group=Group 1`). Events are counted by type, category, tag, tag and type, and
the beginning of their stream's name, forwards and backwards, once when they are labelled and once
with labels of the newest third alone, as in a log from before there were labels.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from bench.serving import Service, events_service
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.ids import new_event_id
from services.events.matching.queries import category_of

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

_BATCH = 1_000
_EVERY = 20
"""One count of so many is made without labels, where each looks at all records."""
_PREFIXES_CHARS = (1, 6, 13, 15)
_UNLABELLED = """
    DELETE FROM events.labels WHERE 64 * (block + 1) <= $1;
"""

Key: TypeAlias = tuple[str, ...]


async def main(lines: Sequence[str]) -> int:
    events = [_event(json.loads(line)) for line in lines if line.strip()]
    expected = Counter(key for event in events for key in _keys(event))
    async with events_service() as service:
        stub = EventStoreServiceStub(service.channel)
        for start in range(0, len(events), _BATCH):
            request = pb.AppendRequest(events=events[start : start + _BATCH])
            await stub.Append(request, metadata=service.caller.metadata)
        wrong = await _count(stub, service, expected, "labelled")
        await _forget_labels(service.database_url, 2 * len(events) // 3)
        some = Counter(dict(islice(expected.items(), 0, None, _EVERY)))
        wrong += await _count(stub, service, some, "from before labels")
    return 1 if wrong else 0


async def _count(
    stub: "EventStoreServiceAsyncStub", service: Service, expected: "Counter[Key]", name: str
) -> int:
    """How many counts are wrong."""
    wrong = 0
    for key, count in expected.items():
        for direction in (pb.DIRECTION_FORWARDS, pb.DIRECTION_BACKWARDS):
            request = pb.ReadRequest(filter=pb.Filter(queries=[_query(key)]), direction=direction)
            call = stub.Read(request, metadata=service.caller.metadata)
            event_count = sum([len(response.events) async for response in call])
            if event_count != count:
                wrong += 1
                print(f"WRONG {key}: {event_count}, and {count} in the file")
    print(f"{name}: {len(expected):,} counts of {expected.total():,} events both ways", flush=True)
    return wrong


async def _forget_labels(database_url: str, through: int) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(_UNLABELLED, through)
    await connection.execute(
        "INSERT INTO events.unlabelled SELECT log, $1 FROM events.logs", through
    )
    await connection.close()


def _event(line: dict[str, object]) -> pb.Event:
    stream, event_type = str(line.pop("stream")), str(line.pop("type"))
    tags = [f"{key}={value}" for key, value in line.items() if isinstance(value, str)]
    tags = [tag for tag in tags if not tag.startswith("occurred_at=")]
    text = json.dumps(line)
    return pb.Event(id=new_event_id(), stream=stream, type=event_type, tags=tags, json=text)


def _keys(event: pb.Event) -> Iterator[Key]:
    yield "type", event.type
    yield "category", category_of(event.stream)
    for tag in event.tags:
        yield "tag", tag
        yield "tag and type", tag, event.type
    for count in _PREFIXES_CHARS:
        if len(event.stream) >= count:
            yield "prefix", event.stream[:count]


def _query(key: Key) -> pb.Query:
    match key:
        case ("type", event_type):
            return pb.Query(types=[event_type])
        case ("category", category):
            return pb.Query(category=category)
        case ("tag", tag):
            return pb.Query(tags=[tag])
        case ("tag and type", tag, event_type):
            return pb.Query(tags=[tag], types=[event_type])
        case (_, prefix):
            return pb.Query(stream_prefix=prefix)
        case _:
            raise ValueError(key)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, required=True)
    file: Path = parser.parse_args().file
    sys.exit(asyncio.run(main(file.read_text().splitlines())))
