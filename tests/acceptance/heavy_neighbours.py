"""A tenant that asks for as much as it may holds up nobody else.

    python -m tests.acceptance.heavy_neighbours --seconds 15

Starts a girih of its own, without limits on calls. One tenant asks for the most that one call
may, again and again, by REST or by gRPC, from a process of its own. Meanwhile `/health` and
short paths of another tenant are asked for at random moments: alone, then beside 1, 8 and 16
such callers. None of these may fail, and the slowest hundredth of them must be answered within
a quarter of a second.
"""

import argparse
import asyncio
import math
import multiprocessing
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import httpx

from girih.lattice.v1 import lattice_pb2 as pb
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from tests.acceptance.http_load import Connections, Sample, request
from tests.acceptance.measures import quantile
from tests.processes import WITHOUT_LIMITS, System, own_postgres, running_system

P99_S_MAX = 0.25
CALLS_PER_S = 40.0
_LATTICES_LISTED = 1_000
_OK = range(200, 300)


@dataclass(frozen=True)
class HeavyCall:
    """The most that one call may ask for, of one kind."""

    method: str
    path: str
    body: Any = None


@dataclass(frozen=True)
class Callers:
    """Who asks for it, how, and how many at once."""

    url: str
    grpc_address: str
    token: str
    call: HeavyCall
    lattice_id: str
    count: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each stretch")
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 8, 16])
    parser.add_argument("--kinds", nargs="*", default=[*_KINDS, "grpc"])
    arguments = parser.parse_args()
    with (
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder, **WITHOUT_LIMITS) as system,
    ):
        is_well = asyncio.run(prove(system, arguments.kinds, arguments.callers, arguments.seconds))
    return 0 if is_well else 1


async def prove(
    system: System, kinds: Sequence[str], callers: Sequence[int], seconds: float
) -> bool:
    """Print what others see beside heavy callers; answers whether it is good enough."""
    lattices = await _Lattices.made(system)
    is_well = True
    async with Connections(system.url, count_max=200) as connections:
        others = _others(system, lattices)
        await _seen(connections, others, 2.0)
        for kind in kinds:
            print(f"{kind}:")
            idle = await _seen(connections, others, seconds)
            _print("idle", idle, "")
            for count in callers:
                heavy = _heavy(system, lattices, kind, count)
                beside, served = await _beside(heavy, kind, connections, others, seconds)
                _print(f"{count} callers", beside, f"; theirs: {served}")
                is_well = is_well and all(map(_is_well, beside.values()))
    return is_well


def _is_well(samples: Sequence[Sample]) -> bool:
    p99_s = quantile([sample.duration_s for sample in samples], 0.99)
    return p99_s <= P99_S_MAX and all(sample.status in _OK for sample in samples)


def _print(name: str, seen: Mapping[str, Sequence[Sample]], served: str) -> None:
    parts = []
    for kind, samples in seen.items():
        durations = [sample.duration_s * 1e3 for sample in samples]
        failed = Counter(sample.status for sample in samples if sample.status not in _OK)
        p50, p99 = (quantile(durations, share) for share in (0.5, 0.99))
        parts.append(
            f"{kind} p50 {p50:.0f} p99 {p99:.0f} max {max(durations):.0f} ms"
            + (f" FAILED {dict(failed)}" if failed else "")
        )
    print(f"  {name:>10}: {', '.join(parts)}{served}", flush=True)


# ---- what others ask for


def _others(system: System, lattices: "_Lattices") -> Mapping[str, bytes]:
    headers = {"authorization": f"Bearer {system.authority.token('other')}"}
    short = {"start": {"coordinates": ["0", "0"]}, "goal": {"coordinates": ["9", "9"]}}
    path = f"/v1/lattices/{lattices.small}:findPath"
    return {
        "health": request("GET", "/health", {}),
        "short path": request("POST", path, headers, short),
    }


async def _seen(
    connections: Connections, others: Mapping[str, bytes], seconds: float
) -> Mapping[str, Sequence[Sample]]:
    dice = random.Random(7)
    count = math.ceil(seconds * CALLS_PER_S)
    samples = await asyncio.gather(
        *(connections.offer([one] * count, CALLS_PER_S, dice) for one in others.values())
    )
    return dict(zip(others, samples, strict=True))


async def _beside(
    heavy: Callers,
    kind: str,
    connections: Connections,
    others: Mapping[str, bytes],
    seconds: float,
) -> tuple[Mapping[str, Sequence[Sample]], Mapping[str, int]]:
    """What others see beside heavy callers, and how these fared."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    target: Callable[[Callers, Connection], None] = _call_by_grpc if kind == "grpc" else _call
    process = spawn.Process(target=target, args=(heavy, theirs))
    process.start()
    try:
        await asyncio.to_thread(ours.recv)
        seen = await _seen(connections, others, seconds)
        ours.send("enough")
        served: Mapping[str, int] = await asyncio.to_thread(ours.recv)
    finally:
        process.kill()
        process.join()
    return seen, served


# ---- the lattices


@dataclass(frozen=True)
class _Lattices:
    """What is asked about: all but `small` are the heavy tenant's."""

    small: str
    wide: str
    plane: str
    blocked: str

    @classmethod
    async def made(cls, system: System) -> "_Lattices":
        bitmap = bytes([2]) + bytes(2**22 - 1)
        async with grpc.aio.insecure_channel(system.lattice_address) as channel:
            create = LatticeServiceStub(channel).CreateLattice

            async def made(tenant: str, **fields: Any) -> str:
                asked = pb.CreateLatticeRequest(request_id=str(uuid4()), **fields)
                response = await create(asked, metadata=system.authority.metadata(tenant))
                return str(response.lattice.lattice_id)

            small = await made("other", shape=[10, 10])
            wide = await made("heavy", shape=[10**6, 10**6])
            plane = await made("heavy", shape=[2_000, 2_000])
            blocked = await made(
                "heavy", shape=[4_096, 8_192], blocked=bitmap, bit_order=pb.BIT_ORDER_LITTLE
            )
            for _ in range(_LATTICES_LISTED // 20):
                await asyncio.gather(*(made("heavy", shape=[5, 5, 5]) for _ in range(20)))
            return cls(small, wide, plane, blocked)


def _site(at: int) -> Mapping[str, Sequence[str]]:
    return {"coordinates": [str(at), str(at)]}


def _path(lattices: _Lattices) -> HeavyCall:
    ends = {"start": _site(0), "goal": _site(10**6 - 1)}
    path = f"/v1/lattices/{lattices.wide}:findPath"
    return HeavyCall("POST", path, {**ends, "sitesMax": 100_000})


def _paths(lattices: _Lattices) -> HeavyCall:
    queries = [{"start": _site(n), "goal": _site(2 * n)} for n in range(10_000)]
    return HeavyCall("POST", f"/v1/lattices/{lattices.wide}:findPaths", {"queries": queries})


def _distances(lattices: _Lattices) -> HeavyCall:
    path = f"/v1/lattices/{lattices.plane}:distances"
    return HeavyCall("POST", path, {"sources": [_site(0)]})


def _searched_distances(lattices: _Lattices) -> HeavyCall:
    path = f"/v1/lattices/{lattices.blocked}:distances"
    targets = [_site(4_095)]
    return HeavyCall("POST", path, {"sources": [_site(0)], "targets": targets})


_KINDS: Mapping[str, Callable[[_Lattices], HeavyCall]] = {
    "path": _path,
    "paths": _paths,
    "distances": _distances,
    "search": _searched_distances,
    "list": lambda _: HeavyCall("GET", "/v1/lattices?pageSize=1000"),
    "blocked": lambda all_: HeavyCall("GET", f"/v1/lattices/{all_.blocked}/blocked"),
}


def _heavy(system: System, lattices: _Lattices, kind: str, count: int) -> Callers:
    return Callers(
        url=system.url,
        grpc_address=system.lattice_address,
        token=system.authority.token("heavy"),
        call=_KINDS.get(kind, _path)(lattices),
        lattice_id=lattices.wide,
        count=count,
    )


# ---- the heavy callers, in their own process


def _call(callers: Callers, parent: Connection) -> None:
    asyncio.run(_keep_calling(callers, parent, _by_rest))


def _call_by_grpc(callers: Callers, parent: Connection) -> None:
    asyncio.run(_keep_calling(callers, parent, _by_grpc))


async def _keep_calling(callers: Callers, parent: Connection, ask_once: Any) -> None:
    answers: Counter[str] = Counter()
    async with (
        httpx.AsyncClient(base_url=callers.url, timeout=60) as client,
        grpc.aio.insecure_channel(
            callers.grpc_address, options=[("grpc.max_receive_message_length", 2**24)]
        ) as channel,
    ):

        async def keep_calling() -> None:
            while True:
                answers[await ask_once(callers, client, channel)] += 1

        tasks = [asyncio.create_task(keep_calling()) for _ in range(callers.count)]
        await asyncio.sleep(0.5)
        parent.send("begun")
        await asyncio.to_thread(parent.recv)
        parent.send(dict(answers))
        await asyncio.gather(*tasks)


async def _by_rest(callers: Callers, client: httpx.AsyncClient, _channel: Any) -> str:
    headers = {"authorization": f"Bearer {callers.token}"}
    call = callers.call
    try:
        async with client.stream(
            call.method, call.path, json=call.body, headers=headers
        ) as response:
            async for _ in response.aiter_raw():
                pass
            return str(response.status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


async def _by_grpc(callers: Callers, _client: Any, channel: grpc.aio.Channel) -> str:
    find: Any = channel.unary_unary(
        "/girih.lattice.v1.LatticeService/FindPath",
        request_serializer=pb.FindPathRequest.SerializeToString,
        response_deserializer=None,
    )
    asked = pb.FindPathRequest(
        lattice_id=callers.lattice_id,
        start=pb.Site(coordinates=[0, 0]),
        goal=pb.Site(coordinates=[10**6 - 1] * 2),
        sites_max=100_000,
    )
    try:
        await find(asked, metadata=(("authorization", f"Bearer {callers.token}"),))
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


if __name__ == "__main__":
    sys.exit(main())
