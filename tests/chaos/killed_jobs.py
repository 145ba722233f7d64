"""Kills and pauses in the middle of simulations: what comes out is that of an undisturbed run.

Two replicas of the lattice service work on jobs of several models. One of them is killed -9 or
stopped for longer than a lease, again and again, at moments that chance chooses. In the end each
job's result must be that of the same simulation in this process, and its stream must tell of one
end, one write of its result, and of nobody who wrote under a lease that he had lost.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import grpc.aio
import numpy as np

from girih.client import EventStoreClient, RecordedEvent
from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1 import simulations_pb2 as models
from girih.lattice.v1.jobs_pb2_grpc import JobServiceStub
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from girih.ops.v1 import ops_pb2
from girih.ops.v1.ops_pb2_grpc import MetricsServiceStub
from services.lattice.arrays.content import FieldContent
from services.lattice.jobs.messages import model_of
from services.plumbing.errors import Violations
from services.plumbing.grpc.channel import open_channel
from tests.lattice.simulations.runs import box, run
from tests.processes import (
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    lattice_process,
    own_postgres,
)

if TYPE_CHECKING:
    from girih.lattice.v1.jobs_pb2_grpc import JobServiceAsyncStub
    from girih.ops.v1.ops_pb2_grpc import MetricsServiceAsyncStub

_OPEN_MAX = 3
_SETTINGS = {
    "LATTICE_JOB_LEASE_S": "1",
    "LATTICE_JOB_CHECKPOINT_S": "0.3",
    "LATTICE_JOBS_INTERVAL_S": "0.1",
    "LATTICE_JOBS_AT_ONCE": str(_OPEN_MAX),
    "LATTICE_JOB_THREADS": "1",
    "LATTICE_FRESHNESS_S": "0.1",
    # Each job has a field of its own.
    "LATTICE_FIELDS_MAX": "1000",
}
_PAUSE_S = 2.5
"""Longer than a lease, and what it takes to see that it has ended."""
_QUIET_S_MAX = 1.5
"""How long chance leaves everybody alone at most."""
_STEPS_MAX = 60_000
"""Of a job; at least a third of it."""
_ENDED_WITHIN_S = 300.0
_SHAPE = (48, 64)
_CALL_S = 10.0


@dataclass
class JobKills:
    """Figures, and every broken promise with how often it was."""

    figures: dict[str, int] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)

    def count(self, figure: str, by: int = 1) -> None:
        self.figures[figure] = self.figures.get(figure, 0) + by

    def breaks(self, promise: str) -> None:
        self.broken[promise] += 1


@dataclass
class _Run:
    caller: Caller
    lattice_id: str
    processes: list[Process]
    stubs: "list[JobServiceAsyncStub]"
    metrics: "list[MetricsServiceAsyncStub]"
    dice: random.Random
    outcome: JobKills
    steps_max: int
    started: list[pb.Job] = field(default_factory=list)

    async def call(self, rpc: str, request: Any) -> Any:
        """Ask whichever replica answers."""
        while True:
            for stub in self.dice.sample(self.stubs, len(self.stubs)):
                try:
                    return await getattr(stub, rpc)(
                        request, metadata=self.caller.metadata, timeout=_CALL_S
                    )
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _PASSING:
                        raise
            await asyncio.sleep(0.1)


_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
)


async def kill_during_jobs(
    kills: int, seed: int, *, is_protected: bool = True, steps_max: int = _STEPS_MAX
) -> JobKills:
    """Prove it with so many kills and pauses, and jobs of so many steps at most."""
    outcome = JobKills()
    with own_postgres() as (postgres, folder):
        events, events_address = events_process(postgres.url, folder)
        made = [lattice_process(events_address, folder, **_SETTINGS) for _ in range(2)]
        replicas = [process if is_protected else _unfenced(process) for process, _ in made]
        with ending(events, *replicas):
            for process in (events, *replicas):
                process.start()
            for process in (events, *replicas):
                await asyncio.to_thread(process.wait_ready)
            caller = Caller(authority_of(folder))
            async with AsyncExitStack() as stack:
                addresses = [address for _, address in made]
                channels = [await stack.enter_async_context(open_channel(a)) for a in addresses]
                log = await stack.enter_async_context(open_channel(events_address))
                lattice_id = await _lattice(channels[0], caller)
                stubs = [JobServiceStub(channel) for channel in channels]
                dice = random.Random(seed)
                metrics = [MetricsServiceStub(channel) for channel in channels]
                going = _Run(caller, lattice_id, replicas, stubs, metrics, dice, outcome, steps_max)
                for _ in range(kills):
                    await _top_up(going)
                    await _disturb(going)
                await _check(going, EventStoreClient(log, token=caller.token))
    return outcome


def _unfenced(process: Process) -> Process:
    """A replica that writes whatever revision a job's stream is at."""
    command = [
        "tests.chaos.unfenced_lattice" if word == "services.lattice" else word
        for word in process.command
    ]
    return replace(process, command=command)


async def _lattice(channel: grpc.aio.Channel, caller: Caller) -> str:
    request = lattice_pb2.CreateLatticeRequest(
        shape=_SHAPE, boundaries=[lattice_pb2.BOUNDARY_PERIODIC]
    )
    stub = LatticeServiceStub(channel)
    answer = await stub.CreateLattice(request, metadata=caller.metadata)
    lattice_id: str = answer.lattice.lattice_id
    return lattice_id


async def _top_up(going: _Run) -> None:
    """Start jobs until some are open."""
    listed = await going.call("ListJobs", pb.ListJobsRequest(open_only=True, page_size=100))
    for _ in range(_OPEN_MAX - len(listed.jobs)):
        number = len(going.started)
        request = pb.StartJobRequest(
            lattice_id=going.lattice_id,
            simulation=_SIMULATIONS[number % len(_SIMULATIONS)],
            steps=going.dice.randrange(going.steps_max // 3, going.steps_max),
            seed=going.dice.randrange(2**40),
            result_field=f"result-{number}",
            request_id=str(_uuid(going.dice)),
        )
        going.started.append((await going.call("StartJob", request)).job)
        going.outcome.count("jobs")


async def _disturb(going: _Run) -> None:
    """Kill a replica that works on a job, or stop it for longer than its lease."""
    await asyncio.sleep(going.dice.uniform(0.1, _QUIET_S_MAX))
    process = await _at_work(going)
    if going.dice.random() < 0.5:
        process.kill()
        process.start()
        await asyncio.to_thread(process.wait_ready)
        going.outcome.count("kills")
        return
    os.kill(process.pid, signal.SIGSTOP)
    await asyncio.sleep(_PAUSE_S)
    os.kill(process.pid, signal.SIGCONT)
    going.outcome.count("pauses")


async def _at_work(going: _Run) -> Process:
    """A replica that works on a job, once one does."""
    while True:
        for number in going.dice.sample(range(len(going.processes)), len(going.processes)):
            with suppress(grpc.aio.AioRpcError):
                answer = await going.metrics[number].GetMetrics(
                    ops_pb2.GetMetricsRequest(name_prefix="lattice_jobs_running"),
                    metadata=going.caller.metadata,
                    timeout=_CALL_S,
                )
                if answer.families[0].samples[0].value:
                    return going.processes[number]
        # All may have ended meanwhile.
        await _top_up(going)


async def _check(going: _Run, events: EventStoreClient) -> None:
    """Wait for all jobs, and compare what is left of each with an undisturbed run."""
    async with asyncio.timeout(_ENDED_WITHIN_S):
        for job in going.started:
            while True:
                answer = await going.call("GetJob", pb.GetJobRequest(job_id=job.job_id))
                if answer.job.HasField("ended_at"):
                    break
                await asyncio.sleep(0.2)
            _check_result(going, answer.job)
    lattice = [event async for event in events.read(f"$lattice-{going.lattice_id}")]
    for job in going.started:
        stream = [event async for event in events.read(f"$job-{job.job_id}")]
        _check_stream(going, job, stream, lattice)


def _check_result(going: _Run, job: pb.Job) -> None:
    if job.state != pb.JOB_STATE_SUCCEEDED:
        state = pb.JobState.Name(job.state)
        going.outcome.breaks(f"a job has {state}: {job.failure}")
        return
    digest, records = _expected(job)
    if job.result_digest != digest:
        going.outcome.breaks("a result is another than that of an undisturbed run")
    observables = job.progress.observables
    if [(each.records, repr(each.last)) for each in observables] != records:
        going.outcome.breaks("observables are others than those of an undisturbed run")
    going.outcome.count("claims", job.token)


def _check_stream(
    going: _Run,
    job: pb.Job,
    stream: Sequence[RecordedEvent],
    lattice: Sequence[RecordedEvent],
) -> None:
    """One end and one write, and nothing under a token that was lost."""
    if sum(event.type == "lattice.job-ended" for event in stream) != 1:
        going.outcome.breaks("a job has ended more than once")
    written = [event for event in lattice if (event.data or {}).get("jobId") == job.job_id]
    if len(written) != 1:
        going.outcome.breaks("a result was not written once")
    token = 0
    for event in stream:
        stated = int((event.data or {}).get("token", 0))
        if event.type == "lattice.job-claimed":
            if stated != token + 1:
                going.outcome.breaks("a claim does not follow the one before")
            token = stated
        elif stated not in (0, token):
            going.outcome.breaks("somebody wrote under a lease that was lost")


def _expected(job: pb.Job) -> tuple[str, list[tuple[int, str]]]:
    """The digest of the field which the same simulation leaves in this process; and of each
    observable how many records there are, and the last."""
    spec = box(*_SHAPE, ring=True)
    model = model_of(job.simulation, spec.geometry, Violations())
    done = run(spec, model, job.steps, seed=job.seed, every=job.record_every)
    array = np.ascontiguousarray(done.result)
    digest = FieldContent.inline(model.result_type, _SHAPE, array.tobytes()).digest
    return digest, [(len(done.rows), repr(value)) for value in done.last.values()]


def _uuid(dice: random.Random) -> UUID:
    return UUID(int=dice.getrandbits(128), version=4)


_SIMULATIONS = (
    models.Simulation(ising=models.Ising(temperature=2.3)),
    models.Simulation(ising=models.Ising(temperature=2.3, dynamics=models.SPIN_DYNAMICS_WOLFF)),
    models.Simulation(potts=models.Potts(temperature=1.0, states=3)),
    models.Simulation(cellular_automaton=models.CellularAutomaton(rule="B2/S12")),
    models.Simulation(random_walks=models.RandomWalks(walkers=500)),
    models.Simulation(percolation_growth=models.PercolationGrowth()),
)
