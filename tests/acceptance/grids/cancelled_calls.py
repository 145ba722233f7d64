"""The largest calls leave health at hand, and end within a second once nobody waits for them.

    python -m tests.acceptance.grids.cancelled_calls

Starts a lattice service of its own. Each kind of long computation, as large as one call may be, is
begun and cancelled in the middle; from then on the service must be at rest within a second, by its
own metrics, and `lattice_stop_seconds` must have counted it. All the while health is asked for:
the slowest hundredth of its answers may take 50 ms; and a path on a small lattice, of which that
may take three times as long as while nothing else is computed.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio
import numpy as np

from girih.lattice.v1 import costs_pb2, lattice_pb2, paths_pb2, structure_pb2
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from girih.lattice.v1.paths_pb2_grpc import PathServiceStub
from girih.lattice.v1.structure_pb2_grpc import StructureServiceStub
from services.plumbing.grpc.channel import open_channel
from tests.acceptance.grids.measuring import Numbers, watched, watched_health
from tests.acceptance.measures import quantile
from tests.processes import (
    Caller,
    authority_of,
    ending,
    events_process,
    lattice_process,
    own_postgres,
)

HEALTH_P99_S_MAX = 0.05
PATH_P99_RATIO_MAX = 3.0
STOPPED_WITHIN_S = 1.0
_CALL_S = 60.0
_AT_REST_WITHIN_S = 30.0


@dataclass
class Service:
    """The running service, as one caller sees it."""

    channel: grpc.aio.Channel
    caller: Caller
    numbers: Numbers

    async def lattice(self, shape: tuple[int, ...], share: float = 0.3) -> str:
        """A lattice with that share of its sites blocked, but not its corners."""
        blocked = np.random.default_rng(1).random(shape) < share
        blocked.flat[0] = blocked.flat[-1] = False
        request = lattice_pb2.CreateLatticeRequest(
            shape=shape,
            blocked=np.packbits(blocked, bitorder="little").tobytes() if share else b"",
            bit_order="BIT_ORDER_LITTLE" if share else "BIT_ORDER_UNSPECIFIED",
        )
        stub = LatticeServiceStub(self.channel)
        answer = await stub.CreateLattice(request, metadata=self.caller.metadata)
        lattice_id: str = answer.lattice.lattice_id
        return lattice_id

    async def small_path(self) -> Callable[[], Awaitable[object]]:
        """Asks for a path on a lattice of a hundred sites."""
        start, goal = _corners((10, 10))
        request = lattice_pb2.FindPathRequest(
            lattice_id=await self.lattice((10, 10), share=0.1), start=start, goal=goal
        )
        stub = LatticeServiceStub(self.channel)
        return lambda: stub.FindPath(request, metadata=self.caller.metadata, timeout=_CALL_S)


Begin = Callable[[Service, str], Any]
"""Begins a call, and answers it."""


@dataclass(frozen=True)
class Heavy:
    """A computation that takes long, and the lattice that it does so on."""

    name: str
    shape: tuple[int, ...]
    begin: Begin
    share: float = 0.3


def _corners(shape: tuple[int, ...]) -> tuple[lattice_pb2.Site, lattice_pb2.Site]:
    last = [length - 1 for length in shape]
    return lattice_pb2.Site(coordinates=[0] * len(shape)), lattice_pb2.Site(coordinates=last)


def _betweenness(service: Service, lattice_id: str) -> Any:
    request = structure_pb2.CentralityRequest(
        lattice_id=lattice_id, measure=structure_pb2.MEASURE_BETWEENNESS, top_k=1
    )
    stub = StructureServiceStub(service.channel)
    return stub.Centrality(request, metadata=service.caller.metadata, timeout=_CALL_S)


def _spectrum(service: Service, lattice_id: str) -> Any:
    request = structure_pb2.SpectrumRequest(lattice_id=lattice_id, k=2)
    stub = StructureServiceStub(service.channel)
    return stub.Spectrum(request, metadata=service.caller.metadata, timeout=_CALL_S)


def _percolation(service: Service, lattice_id: str) -> Any:
    request = structure_pb2.PercolationRequest(lattice_id=lattice_id, runs=70, shares=[0.5])
    stub = StructureServiceStub(service.channel)
    return stub.Percolation(request, metadata=service.caller.metadata, timeout=_CALL_S)


def _nearest(service: Service, lattice_id: str) -> Any:
    start, goal = _corners((120, 120, 120))
    request = paths_pb2.NearestSourcesRequest(lattice_id=lattice_id, sources=[start, goal], k=2)
    stub = PathServiceStub(service.channel)
    return stub.NearestSources(request, metadata=service.caller.metadata, timeout=_CALL_S)


def _distances(service: Service, lattice_id: str) -> Any:
    """With real costs that differ by so much that a heap is needed."""
    shape = (100, 100, 100)
    values = np.random.default_rng(1).choice([1.0, 1e6], shape).astype(np.float32)
    costs = costs_pb2.SiteCosts(values=values.tobytes(), type=costs_pb2.COST_TYPE_FLOAT32)
    start, _ = _corners(shape)
    request = lattice_pb2.DistancesRequest(
        lattice_id=lattice_id, sources=[start], costs=costs, as_bytes=True
    )
    stub = LatticeServiceStub(service.channel)
    return stub.Distances(request, metadata=service.caller.metadata, timeout=_CALL_S)


KINDS = (
    Heavy("betweenness", (22, 22, 22), _betweenness),
    Heavy("spectrum", (18, 18, 18), _spectrum),
    Heavy("percolation", (100, 100, 100), _percolation, share=0.0),
    Heavy("nearest sources", (120, 120, 120), _nearest),
    Heavy("distances by costs", (100, 100, 100), _distances),
)


async def prove(service: Service, kinds: list[str], seconds: float) -> bool:
    """Print what became of each; whether all is well."""
    holds, find_path = True, await service.small_path()
    async with watched(find_path) as idle_s:
        await asyncio.sleep(2 * seconds)
    idle_p99_s = quantile(idle_s, 0.99)
    print(f"a small path at rest: p99 {idle_p99_s * 1e3:.1f} ms of {len(idle_s)}", flush=True)
    for heavy in KINDS:
        if kinds and heavy.name not in kinds:
            continue
        lattice_id = await service.lattice(heavy.shape, heavy.share)
        async with watched_health(service.channel) as took_s, watched(find_path) as paths_s:
            before = await service.numbers.of("lattice_stop_seconds", "lattice_stop_seconds_count")
            is_cut = await _begun_and_cancelled(heavy.begin(service, lattice_id), seconds)
            stopped_s = await _until_at_rest(service)
        after = await service.numbers.of("lattice_stop_seconds", "lattice_stop_seconds_count")
        p99_s = quantile(took_s, 0.99)
        is_counted = after > before or not is_cut
        ratio = quantile(paths_s, 0.99) / idle_p99_s
        is_quick = p99_s <= HEALTH_P99_S_MAX and ratio <= PATH_P99_RATIO_MAX
        is_well = is_quick and stopped_s <= STOPPED_WITHIN_S and is_counted
        print(
            f"{heavy.name:20} {'cancelled' if is_cut else 'had ended before'}, at rest within"
            f" {stopped_s * 1e3:6,.0f} ms, counted: {'yes' if is_counted else 'NO'}; health p99"
            f" {p99_s * 1e3:6.1f} ms of {len(took_s)}, of a small path {ratio:.2f} times that at"
            f" rest: {'holds' if is_well else 'MISSED'}",
            flush=True,
        )
        holds &= is_well
    return holds


async def _begun_and_cancelled(call: Any, seconds: float) -> bool:
    """Let a call go on for so long; whether it was still under way then."""

    async def answered() -> None:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call

    waiting = asyncio.create_task(answered())
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    if done:
        waiting.result()
        return False
    call.cancel()
    await asyncio.wait([waiting])
    return True


async def _until_at_rest(service: Service) -> float:
    """Seconds until nothing is computed any more."""
    began_s = time.perf_counter()
    async with asyncio.timeout(_AT_REST_WITHIN_S):
        while await service.numbers.of("lattice_compute_running") > 0:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    return time.perf_counter() - began_s


async def main(kinds: list[str], seconds: float) -> int:
    with own_postgres() as (postgres, folder):
        events, events_address = events_process(postgres.url, folder)
        lattice, address = lattice_process(events_address, folder)
        with ending(events, lattice):
            for process in (events, lattice):
                process.start()
                await asyncio.to_thread(process.wait_ready)
            caller = Caller(authority_of(folder))
            async with open_channel(address) as channel:
                service = Service(channel, caller, Numbers(channel, caller))
                return 0 if await prove(service, kinds, seconds) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="before each is cancelled")
    parser.add_argument("--kinds", nargs="*", default=[], help="of the computations; all")
    chosen = parser.parse_args()
    sys.exit(asyncio.run(main(chosen.kinds, chosen.seconds)))
