"""Appending events whose type has a schema, beside events of a type that has none, in turns.

Single events at 64 callers, and batches of 1,000 at 4: the schema has five members, one of them
with a pattern, and the events are the same.

    python -m bench.schemas [--rounds 7]
"""

import argparse
import json
import sys
from functools import partial

from bench.serving import Service, event, events_service, report, run, seconds
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import schemas_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.schemas_pb2_grpc import SchemaServiceStub

CHECKED, FREE = "checked", "free"
SCHEMA = {
    "type": "object",
    "properties": {
        "by": {"type": "string", "maxLength": 100},
        "level": {"type": "integer", "minimum": 0},
        "on": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string"},
    },
    "required": ["by", "level"],
    "additionalProperties": False,
}
VALUE = json.dumps(
    {"by": "Ada", "level": 3, "on": "2026-11-29", "tags": ["a", "b"], "note": "x" * 100}
)


async def main(rounds: int) -> int:
    async with events_service() as service:
        schemas = SchemaServiceStub(service.channel)
        request = schemas_pb2.RegisterSchemaRequest(
            type=CHECKED, version=1, schema=json.dumps(SCHEMA)
        )
        await schemas.RegisterSchema(request, metadata=service.caller.metadata)
        holds = [
            await compared(service, rounds, calls=4_000, events=1, callers=64, at_least=0.8),
            await compared(service, rounds, calls=20, events=1_000, callers=4, at_least=0.7),
        ]
    return 0 if all(holds) else 1


async def compared(
    service: Service, rounds: int, *, calls: int, events: int, callers: int, at_least: float
) -> bool:
    """Events of the type with a schema, of those of the type without."""
    append = partial(
        EventStoreServiceStub(service.channel).Append, metadata=service.caller.metadata
    )
    checked: list[float] = []
    free: list[float] = []
    for number in range(rounds + 1):
        for name, rates in ((FREE, free), (CHECKED, checked)):
            requests = [
                partial(append, _request(name, f"{name}-{number}-{index}", events))
                for index in range(calls)
            ]
            rates.append(calls * events / await seconds(requests, callers=callers))
    what = f"appends of {events:,} with a schema at {callers} callers, of such without"
    return report(what, checked[1:], free[1:], at_least=at_least)


def _request(name: str, stream: str, count: int) -> pb.AppendRequest:
    made = [event(stream) for _ in range(count)]
    for one in made:
        one.type, one.schema_version, one.json = name, 1, VALUE
    return pb.AppendRequest(events=made)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    sys.exit(run(main(parser.parse_args().rounds)))
