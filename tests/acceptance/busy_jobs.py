"""Short calls beside simulations: what they take while four jobs run.

    python -m tests.acceptance.busy_jobs [--seconds 15] [--jobs 4]

Starts an event store and a lattice service, without limits. `FindPath` on a lattice with blocked
sites is asked for at random moments, alone and then beside four jobs of Ising on 2,048^2 sites that
all run. The slowest hundredth beside them must take less than three times what it takes alone,
and the service must say all the time that it serves.
"""

import argparse
import asyncio
import random
import sys
import time
from typing import Any

import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from girih.lattice.v1 import jobs_pb2 as jobs_pb
from girih.lattice.v1 import lattice_pb2 as pb
from girih.lattice.v1 import simulations_pb2 as models
from girih.lattice.v1.jobs_pb2_grpc import JobServiceStub
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from services.lattice.settings import Settings
from services.plumbing.grpc.channel import open_channel
from tests.acceptance.measures import quantile
from tests.processes import (
    Caller,
    authority_of,
    ending,
    events_process,
    lattice_process,
    own_postgres,
)

RATIO_MAX = 3.0
CALLS_PER_S = 40.0
_LENGTH = 100
_ENDLESS = 10**8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="alone, and beside jobs")
    parser.add_argument("--jobs", type=int, default=4)
    arguments = parser.parse_args()
    with own_postgres() as (postgres, folder):
        events, events_address = events_process(postgres.url, folder)
        # As by default: tests have jobs that do not stand back.
        niceness = Settings.model_fields["job_niceness"].default
        settings = {
            "LATTICE_JOB_NICENESS": str(niceness),
            "LATTICE_JOBS_AT_ONCE": str(arguments.jobs),
        }
        lattice, address = lattice_process(events_address, folder, **settings)
        with ending(events, lattice):
            for process in (events, lattice):
                process.start()
            for process in (events, lattice):
                process.wait_ready()
            caller = Caller(authority_of(folder))
            return asyncio.run(_prove(address, caller, arguments.seconds, arguments.jobs))


async def _prove(address: str, caller: Caller, seconds: float, job_count: int) -> int:
    async with open_channel(address) as channel:
        lattices, jobs = LatticeServiceStub(channel), JobServiceStub(channel)
        blocked = np.random.default_rng(1).random(_LENGTH**2) < 0.2
        blocked[[0, -1]] = False
        obstructed = pb.CreateLatticeRequest(
            shape=[_LENGTH, _LENGTH],
            blocked=np.packbits(blocked, bitorder="little").tobytes(),
            bit_order=pb.BIT_ORDER_LITTLE,
        )
        made = await lattices.CreateLattice(obstructed, metadata=caller.metadata)
        ask = pb.FindPathRequest(lattice_id=made.lattice.lattice_id)
        ask.goal.coordinates.extend([_LENGTH - 1, _LENGTH - 1])
        ask.start.coordinates.extend([0, 0])
        await _paths(channel, lattices, ask, caller, 1.0)
        alone = await _paths(channel, lattices, ask, caller, seconds)
        await _start_jobs(lattices, jobs, caller, job_count)
        beside = await _paths(channel, lattices, ask, caller, seconds)
    p99_alone, p99_beside = quantile(alone, 0.99), quantile(beside, 0.99)
    ratio = p99_beside / p99_alone
    print(
        f"FindPath p99: {1e3 * p99_alone:.2f} ms alone, {1e3 * p99_beside:.2f} ms beside", end=" "
    )
    print(f"{job_count} jobs: {ratio:.2f} times, at most {RATIO_MAX:g}")
    return 0 if ratio < RATIO_MAX else 1


async def _start_jobs(lattices: Any, jobs: Any, caller: Caller, count: int) -> None:
    """Return once so many jobs run and have taken steps."""
    ring = pb.CreateLatticeRequest(shape=[2_048, 2_048], boundaries=[pb.BOUNDARY_PERIODIC])
    lattice = (await lattices.CreateLattice(ring, metadata=caller.metadata)).lattice
    started = []
    for _ in range(count):
        request = jobs_pb.StartJobRequest(
            lattice_id=lattice.lattice_id,
            simulation=models.Simulation(ising=models.Ising(temperature=2.27)),
            steps=_ENDLESS,
        )
        started.append((await jobs.StartJob(request, metadata=caller.metadata)).job.job_id)
    for job_id in started:
        watching = jobs.WatchJob(
            jobs_pb.WatchJobRequest(job_id=job_id), metadata=caller.metadata, timeout=300
        )
        async for message in watching:
            if message.job.progress.steps_done:
                break
        watching.cancel()


async def _paths(
    channel: grpc.aio.Channel,
    lattices: Any,
    ask: pb.FindPathRequest,
    caller: Caller,
    seconds: float,
) -> list[float]:
    """How long each call took, in seconds; raises when the service does not say it serves."""
    health, dice, took = health_pb2_grpc.HealthStub(channel), random.Random(1), []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        await asyncio.sleep(dice.expovariate(CALLS_PER_S))
        began_s = time.perf_counter()
        await lattices.FindPath(ask, metadata=caller.metadata, timeout=30)
        took.append(time.perf_counter() - began_s)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    return took


if __name__ == "__main__":
    sys.exit(main())
