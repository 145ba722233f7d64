"""Indicators over a file of events equal counts over its lines.

    python -m tests.acceptance.indicated_counts --file FILE

The file holds a JSON object a line, with `stream`, `type` and `occurred_at`; the first of a stream
has a `case`. Indicators are declared of it: events by type, cases that were opened by month, and
cases that are open by month: those whose `Confirmation of receipt` has come and whose
`T10 Determine necessity to stop indication` has not. Compared are the history over the API and the
totals in Prometheus with counts over the lines of the file, in UTC.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc.aio

from girih.client import EventStoreClient, NewEvent
from girih.projections.v1 import indicators_pb2 as pb
from girih.projections.v1 import projections_pb2
from girih.projections.v1.indicators_pb2_grpc import IndicatorServiceStub
from girih.projections.v1.projections_pb2_grpc import ProjectionServiceStub
from tests.processes import (
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    own_postgres,
    projections_process,
)

OPENS = "Confirmation of receipt"
CLOSES = "T10 Determine necessity to stop indication"
_BATCH = 1_000

Points = Mapping[tuple[str, str], int]
"""A number by month and type, either of which may be empty."""


def main(path: Path) -> int:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    with own_postgres() as (postgres, folder), tempfile.TemporaryDirectory() as name:
        declared = Path(name) / "indicators.toml"
        declared.write_text(_declarations(sorted({line["type"] for line in lines})))
        events, events_address = events_process(postgres.url, folder)
        projections, address = projections_process(
            postgres.url, events_address, folder, PROJECTIONS_INDICATORS_FILE=str(declared)
        )
        with ending(events, projections):
            for process in (events, projections):
                process.start()
                process.wait_ready()
            wrong = asyncio.run(
                _compare(lines, Caller(authority_of(folder)), events_address, address)
            )
            wrong += _compare_metrics(lines, projections)
    for problem in wrong:
        print(f"WRONG {problem}")
    print(f"{len(lines):,} events: {'all figures are equal' if not wrong else 'NOT EQUAL'}")
    return 1 if wrong else 0


async def _compare(
    lines: Sequence[dict[str, Any]], caller: Caller, events_address: str, address: str
) -> list[str]:
    async with EventStoreClient.connect(events_address, token=lambda: caller.token) as log:
        made = [_event(line) for line in lines]
        for start in range(0, len(made), _BATCH):
            await log.append(made[start : start + _BATCH])
        head = await log.head()
    async with grpc.aio.insecure_channel(address) as channel:
        await _projected(channel, caller, head)
        answered = {
            name: await _history(channel, caller, name)
            for name in ("events_by_type", "opened_cases", "open_cases")
        }
    expected = {
        "events_by_type": dict(Counter(("", line["type"]) for line in lines)),
        "opened_cases": dict(Counter((_month(line), "") for line in lines if "case" in line)),
        "open_cases": _levels(lines),
    }
    return [
        f"{name}: {answered[name]} over the API, {expected[name]} in the file"
        for name in expected
        if answered[name] != expected[name]
    ]


def _compare_metrics(lines: Sequence[dict[str, Any]], process: Process) -> list[str]:
    expected = Counter(line["type"] for line in lines)
    port = process.environ["PROJECTIONS_METRICS_PORT"]
    for _ in range(100):
        exported = Counter(dict(_samples(port)))
        if exported == expected:
            return []
        asyncio.run(asyncio.sleep(0.2))
    return [f"Prometheus is shown {exported}, and the file has {expected}"]


def _samples(port: str) -> Iterator[tuple[str, int]]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    for line in text.splitlines():
        if line.startswith("indicator_events_by_type{"):
            name, _, value = line.rpartition(" ")
            yield name.partition('type="')[2].partition('"')[0], int(float(value))


def _event(line: Mapping[str, Any]) -> NewEvent:
    payload = {name: value for name, value in line.items() if name not in ("stream", "type")}
    return NewEvent.with_data(line["stream"], line["type"], payload)


async def _projected(channel: grpc.aio.Channel, caller: Caller, head: int) -> None:
    stub: Any = ProjectionServiceStub(channel)
    request = projections_pb2.WaitForProjectionRequest(
        projection="indicators", position=head, timeout_s=60
    )
    answer = await stub.WaitForProjection(request, metadata=caller.metadata)
    assert answer.reached, f"at position {answer.position} of {head}"


async def _history(channel: grpc.aio.Channel, caller: Caller, name: str) -> Points:
    stub: Any = IndicatorServiceStub(channel)
    request = pb.GetIndicatorHistoryRequest(indicator=name)
    answer = await stub.GetIndicatorHistory(request, metadata=caller.metadata)
    number: Callable[[Any], str] = lambda one: one.level if name == "open_cases" else one.value  # noqa: E731
    return {
        (
            one.window_start.ToDatetime().strftime("%Y-%m") if one.HasField("window_start") else "",
            one.labels.get("type", ""),
        ): int(number(one))
        for one in answer.points
    }


def _levels(lines: Sequence[dict[str, Any]]) -> Points:
    """Open cases at the end of each month in which one was opened or closed."""
    signs = {OPENS: 1, CLOSES: -1}
    changes = Counter[str]()
    for line in lines:
        if line["type"] in signs:
            changes[_month(line)] += signs[line["type"]]
    level, levels = 0, {}
    for month in sorted({_month(line) for line in lines if line["type"] in signs}):
        level += changes[month]
        levels[month, ""] = level
    return levels


def _month(line: Mapping[str, Any]) -> str:
    return datetime.fromisoformat(line["occurred_at"]).astimezone(UTC).strftime("%Y-%m")


def _declarations(types: Sequence[str]) -> str:
    listed = json.dumps(types)
    by_month = 'operation = "count"\nwindow = "month"\ntime = "/occurred_at"\n'
    return (
        f'[[indicator]]\nname = "events_by_type"\ntypes = {listed}\noperation = "count"\n'
        f'[indicator.labels.type]\nfrom = "type"\nvalues = {listed}\n'
        f'[[indicator]]\nname = "opened_cases"\ntypes = ["{OPENS}"]\n{by_month}'
        f'[[indicator]]\nname = "open_cases"\ntypes = ["{OPENS}"]\n'
        f'subtract_types = ["{CLOSES}"]\n{by_month}'
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, required=True, help="JSON lines")
    sys.exit(main(parser.parse_args().file))
