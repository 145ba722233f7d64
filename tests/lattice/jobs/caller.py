"""A caller of jobs through gRPC."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1 import simulations_pb2 as simulations
from girih.lattice.v1.jobs_pb2_grpc import JobServiceStub
from tests.lattice.serving import Client

ENDED = (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_CANCELLED, pb.JOB_STATE_FAILED)


_TIMEOUT_S = 240
"""Less than such a test has: on a busy machine a worker alone takes half a minute to begin."""


class JobCaller:
    """Starts and watches the jobs of one tenant through one replica."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stub = JobServiceStub(client.channel)

    async def start(self, lattice_id: str, model: object, steps: int, **more: Any) -> pb.Job:
        """Start a job; `initial_field` belongs to the simulation."""
        simulation = simulations.Simulation(initial_field=more.pop("initial_field", ""))
        name = {
            simulations.Ising: "ising",
            simulations.Potts: "potts",
            simulations.CellularAutomaton: "cellular_automaton",
            simulations.Diffusion: "diffusion",
            simulations.RandomWalks: "random_walks",
            simulations.Sandpile: "sandpile",
            simulations.PercolationGrowth: "percolation_growth",
        }[type(model)]
        getattr(simulation, name).CopyFrom(model)
        request = pb.StartJobRequest(
            lattice_id=lattice_id, simulation=simulation, steps=steps, **more
        )
        answer = await self._stub.StartJob(request, metadata=self._client.metadata)
        job: pb.Job = answer.job
        return job

    async def transform(self, lattice_id: str, name: str, *steps: Any, **more: Any) -> pb.Job:
        """Start a chain on a field."""
        request = pb.StartTransformJobRequest(
            lattice_id=lattice_id, name=name, transforms=steps, **more
        )
        answer = await self._stub.StartTransformJob(request, metadata=self._client.metadata)
        job: pb.Job = answer.job
        return job

    async def label(self, lattice_id: str, result_field: str, **more: Any) -> pb.Job:
        """Start the labelling of components."""
        request = pb.StartComponentLabelsJobRequest(
            lattice_id=lattice_id, result_field=result_field, **more
        )
        answer = await self._stub.StartComponentLabelsJob(request, metadata=self._client.metadata)
        job: pb.Job = answer.job
        return job

    async def get(self, job_id: str) -> pb.Job:
        request = pb.GetJobRequest(job_id=job_id)
        answer = await self._stub.GetJob(request, metadata=self._client.metadata)
        job: pb.Job = answer.job
        return job

    async def watch(self, job_id: str) -> list[pb.Job]:
        """All that is told of a job up to its end."""
        request = pb.WatchJobRequest(job_id=job_id)
        watching = self._stub.WatchJob(request, metadata=self._client.metadata, timeout=_TIMEOUT_S)
        return [message.job async for message in watching]

    async def until(self, job_id: str, steps_done: int) -> pb.Job:
        """A job as soon as it has taken so many steps."""
        request = pb.WatchJobRequest(job_id=job_id)
        watching = self._stub.WatchJob(request, metadata=self._client.metadata, timeout=_TIMEOUT_S)
        async for message in watching:
            if message.job.progress.steps_done >= steps_done:
                watching.cancel()
                job: pb.Job = message.job
                return job
        raise AssertionError("the job has ended before")

    async def ended(self, job_id: str) -> pb.Job:
        return (await self.watch(job_id))[-1]

    async def cancel(self, job_id: str, **more: Any) -> pb.Job:
        request = pb.CancelJobRequest(job_id=job_id, **more)
        answer = await self._stub.CancelJob(request, metadata=self._client.metadata)
        job: pb.Job = answer.job
        return job

    async def go_on(self, job_id: str, **more: Any) -> pb.Job:
        request = pb.ContinueJobRequest(job_id=job_id, **more)
        answer = await self._stub.ContinueJob(request, metadata=self._client.metadata)
        job: pb.Job = answer.job
        return job

    async def list(self, **fields: Any) -> pb.ListJobsResponse:
        request = pb.ListJobsRequest(**fields)
        answer: pb.ListJobsResponse = await self._stub.ListJobs(
            request, metadata=self._client.metadata
        )
        return answer

    async def text(self, job_id: str) -> str:
        """The series of a job as CSV."""
        return (await self._series(job_id, pb.SERIES_FORMAT_CSV)).decode()

    async def array(self, job_id: str) -> NDArray[np.float64]:
        """The series of a job as numpy reads it."""
        data = await self._series(job_id, pb.SERIES_FORMAT_NPY)
        rows: NDArray[np.float64] = np.load(io.BytesIO(data), allow_pickle=False)
        return rows

    async def _series(self, job_id: str, form: pb.SeriesFormat) -> bytes:
        request = pb.ReadSeriesRequest(job_id=job_id, format=form)
        reading = self._stub.ReadSeries(request, metadata=self._client.metadata)
        return b"".join([piece.data async for piece in reading])
