"""Asks girih, through REST, for paths whose optimal lengths are published, and compares.

    python -m tests.acceptance.published_paths --maps FOLDER [--url URL] [--per-map 200]

Each map's bitmap is streamed. Without `--url` it starts a girih of its own; with it, it asks as who
is logged in there, in a tenant whose plan allows lattices as large as the maps (`girih tenants
set-plan`). Every answered path is also walked, step by step, on the map. Exits 1 when any length
differs by more than 1e-5, relative.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cli.client.session import chosen
from girih.servers import Server
from tests.acceptance.benchmark_maps import BenchmarkMap, Query, load_all, walked_length
from tests.processes import WITHOUT_LIMITS, Caller, own_postgres, running_system

TOLERANCE = 1e-5
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Verdict:
    """What came of the queries of one map."""

    asked: int
    wrong: list[str]
    seconds: float
    methods: frozenset[str]


@dataclass(frozen=True)
class Gateway:
    """Where to ask, and as whom: a tenant whose plan does not limit the extent of lattices."""

    url: str
    token: Callable[[], str]

    def sign(self, request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {self.token()}"
        return request


def main() -> int:
    arguments = _arguments()
    maps = load_all(arguments.maps)
    if not maps:
        print(f"no maps with scenarios in {arguments.maps}", file=sys.stderr)
        return 2
    if arguments.url:
        gateway = Gateway(arguments.url, chosen(Server(url=arguments.url), os.environ).for_gateway)
        return compare_all(gateway, maps, arguments.per_map)
    with (
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder, **WITHOUT_LIMITS) as system,
    ):
        caller = Caller(system.authority)
        return compare_all(Gateway(system.url, lambda: caller.token), maps, arguments.per_map)


def compare_all(gateway: Gateway, maps: Sequence[BenchmarkMap], per_map: int) -> int:
    """Compare map by map, say what came of each, and answer the exit code."""
    wrong = 0
    for benchmark in maps:
        verdict = compare(gateway, benchmark, per_map)
        wrong += len(verdict.wrong)
        print(
            f"{benchmark.name:20} {verdict.asked:5} of {len(benchmark.queries):5} queries, "
            f"{len(verdict.wrong)} wrong, {verdict.seconds:.1f} s, "
            f"{', '.join(sorted(verdict.methods))}"
        )
        for line in verdict.wrong[:5]:
            print(f"    {line}")
    return 1 if wrong else 0


def compare(gateway: Gateway, benchmark: BenchmarkMap, per_map: int) -> Verdict:
    """Create the map's lattice, ask evenly chosen queries, and compare every answer."""
    begun = time.monotonic()
    stride = max(1, len(benchmark.queries) // per_map) if per_map else 1
    queries = benchmark.queries[::stride]
    with httpx.Client(base_url=gateway.url, auth=gateway.sign, timeout=60) as client:
        lattice_id = _create(client, benchmark)

        def ask(query: Query) -> tuple[str, str]:
            reply = client.post(
                f"/v1/lattices/{lattice_id}:findPath",
                json={
                    "start": {"coordinates": query.start},
                    "goal": {"coordinates": query.goal},
                    "sitesMax": 0,
                },
            )
            reply.raise_for_status()
            return reply.json()["computation"]["method"], _fault(benchmark, query, reply.json())

        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(ask, queries))
        client.delete(f"/v1/lattices/{lattice_id}").raise_for_status()
    return Verdict(
        len(queries),
        [fault for _, fault in answers if fault],
        time.monotonic() - begun,
        frozenset(method for method, _ in answers),
    )


def _create(client: httpx.Client, benchmark: BenchmarkMap) -> str:
    """A lattice whose blocked sites come in a stream, as those of maps of any size do."""
    reply = client.post(
        "/v1/lattices:upload",
        params={
            "shape": benchmark.blocked.shape,
            "neighbourhood": "NEIGHBOURHOOD_MOORE",
            "cornerRule": "CORNER_RULE_NO_CUTTING",
            "bitOrder": "BIT_ORDER_LITTLE",
        },
        headers={"Content-Type": "application/octet-stream"},
        content=_pieces(benchmark.bitmap),
    )
    reply.raise_for_status()
    return str(reply.json()["lattice"]["latticeId"])


def _pieces(data: bytes) -> Iterator[bytes]:
    for begin in range(0, len(data), _PIECE_BYTES):
        yield data[begin : begin + _PIECE_BYTES]


def _fault(benchmark: BenchmarkMap, query: Query, answer: dict[str, Any]) -> str:
    """What is wrong with an answer; empty when nothing is."""
    path = answer["path"]
    if not path["found"]:
        return f"{query}: no path found"
    runs = [(run["step"], int(run["count"])) for run in path["runs"]]
    try:
        walked = walked_length(benchmark.blocked, query, runs)
    except AssertionError as fault:
        return f"{query}: {fault}"
    for response in (path["length"], walked):
        if not math.isclose(response, query.length, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            return f"{query}: found {response}"
    return ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=Path, required=True, help="folder of maps and scenarios")
    parser.add_argument("--url", help="a gateway that runs already")
    parser.add_argument("--per-map", type=int, default=200, help="0 asks every query")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
