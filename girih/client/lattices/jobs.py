"""Jobs on lattices: values, and what is asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format

from girih.client.lattices import arrays
from girih.client.lattices.messages import id_of
from girih.client.lattices.questions import Asked
from girih.client.lattices.transforms import Chain, chain_of, steps_of
from girih.client.lattices.values import Lattice
from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1 import simulations_pb2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PAGE_SIZE = 100


class JobState(StrEnum):
    """Whether a job waits, runs or has ended."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observable:
    """What a simulation observes, over all records so far."""

    name: str
    records: int
    last: float | None
    mean: float | None
    error: float | None
    """The standard error of the mean. All three are None where they are no numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A simulation, or a chain of transforms, that waits, runs or has ended."""

    id: str
    lattice_id: str
    state: JobState
    model: str
    """What is simulated, by the contract's name; empty where nothing is."""
    simulation: dict[str, Any]
    """As in the contract's JSON."""
    chain: tuple[dict[str, Any], ...]
    """What is applied to `result_field`, or to blocked sites where that is empty, as in the
    contract's JSON; empty of a simulation."""
    steps: int
    """In all: of the model, or boxes of sites."""
    steps_done: int
    steps_per_s: float
    left_s: float
    """About how many seconds the rest takes; 0 before it is known."""
    elapsed_s: float
    observables: tuple[Observable, ...]
    seed: int
    record_every: int
    result_field: str
    """The field that the result is written into; empty for none."""
    result_digest: str
    """Its digest; empty before there is a result."""
    is_cancelling: bool
    failure: str
    """Why it failed; empty unless it did."""
    started_by: str
    started_at: datetime
    ended_at: datetime | None
    """By the server's clock, in UTC."""

    @property
    def has_ended(self) -> bool:
        return self.state not in (JobState.WAITING, JobState.RUNNING)


def start(
    lattice: Lattice | str,
    simulation: Mapping[str, object],
    steps: int,
    *,
    seed: int | None,
    record_every: int,
    discard_steps: int,
    initial_field: str,
    result_field: str,
) -> Asked[Job]:
    """With an id of its own, so that it may be repeated. Raises ValueError for what is no
    simulation of the contract."""
    try:
        message = json_format.ParseDict(dict(simulation), simulations_pb2.Simulation())
    except json_format.ParseError as error:
        raise ValueError(f"no simulation: {error}") from error
    message.initial_field = initial_field or message.initial_field
    request = pb.StartJobRequest(
        lattice_id=id_of(lattice),
        simulation=message,
        steps=steps,
        seed=seed,
        record_every=record_every,
        discard_steps=discard_steps,
        result_field=result_field,
        request_id=str(uuid4()),
    )
    return Asked("StartJob", request, _of_response)


def transform(
    lattice: Lattice | str, name: str, chain: Chain, *, expected_revision: int | None
) -> Asked[Job]:
    """With an id of its own, so that it may be repeated. Raises ValueError for steps that are none
    of the contract's."""
    request = pb.StartTransformJobRequest(
        lattice_id=id_of(lattice),
        name=name,
        transforms=steps_of(chain),
        request_id=str(uuid4()),
        expected_revision=expected_revision,
    )
    return Asked("StartTransformJob", request, _of_response)


def transform_blocked(
    lattice: Lattice | str, chain: Chain, *, expected_revision: int | None
) -> Asked[Job]:
    """As `transform`, of which sites are blocked."""
    return transform(lattice, "", chain, expected_revision=expected_revision)


def label_components(lattice: Lattice | str, result_field: str) -> Asked[Job]:
    """With an id of its own, so that it may be repeated."""
    request = pb.StartComponentLabelsJobRequest(
        lattice_id=id_of(lattice), result_field=result_field, request_id=str(uuid4())
    )
    return Asked("StartComponentLabelsJob", request, _of_response)


def get(job: Job | str) -> Asked[Job]:
    return Asked("GetJob", pb.GetJobRequest(job_id=_id(job)), _of_response)


def cancel(job: Job | str) -> Asked[Job]:
    """With an id of its own, so that it may be repeated."""
    request = pb.CancelJobRequest(job_id=_id(job), request_id=str(uuid4()))
    return Asked("CancelJob", request, _of_response)


def continue_(job: Job | str) -> Asked[Job]:
    """With an id of its own, so that it may be repeated."""
    request = pb.ContinueJobRequest(job_id=_id(job), request_id=str(uuid4()))
    return Asked("ContinueJob", request, _of_response)


class Jobs:
    """The jobs of a tenant, page after page."""

    def __init__(self, *, open_only: bool) -> None:
        self._request = pb.ListJobsRequest(page_size=_PAGE_SIZE, open_only=open_only)

    def page(self) -> Asked[tuple[Job, ...]]:
        """The next page."""
        return Asked("ListJobs", self._request, self._read)

    @property
    def is_done(self) -> bool:
        """The last page was read."""
        return not self._request.page_token

    def _read(self, response: pb.ListJobsResponse) -> tuple[Job, ...]:
        self._request.page_token = response.next_page_token
        return tuple(map(_job, response.jobs))


class Watching:
    """A job as it goes on, up to its end: each call begins with how it is then."""

    def __init__(self, job: Job | str) -> None:
        self._request = pb.WatchJobRequest(job_id=_id(job))
        self.is_done = False

    def begin(self) -> pb.WatchJobRequest:
        return self._request

    def take(self, response: pb.WatchJobResponse) -> Job:
        job = _job(response.job)
        self.is_done = job.has_ended
        return job


class Series:
    """What was recorded of a job, from the beginning in each call."""

    is_done = False

    def __init__(self, job: Job | str) -> None:
        self._request = pb.ReadSeriesRequest(job_id=_id(job), format=pb.SERIES_FORMAT_NPY)
        self._reader = arrays.NpyReader()

    def begin(self) -> pb.ReadSeriesRequest:
        self._reader = arrays.NpyReader()
        return self._request

    def take(self, response: HttpBody) -> None:
        self._reader.take(response.data)

    def result(self) -> "NDArray[np.generic]":
        return self._reader.result()


def _id(job: Job | str) -> str:
    return job.id if isinstance(job, Job) else job


def _of_response(response: Any) -> Job:  # noqa: ANN401 - one of those that have a job
    return _job(response.job)


def _job(message: pb.Job) -> Job:
    progress = message.progress
    return Job(
        id=message.job_id,
        lattice_id=message.lattice_id,
        state=JobState(pb.JobState.Name(message.state).removeprefix("JOB_STATE_").lower()),
        model=message.simulation.WhichOneof("model") or "",
        simulation=json_format.MessageToDict(message.simulation),
        chain=chain_of(message.transform.transforms),
        steps=message.steps,
        steps_done=progress.steps_done,
        steps_per_s=progress.steps_per_s,
        left_s=progress.left_s,
        elapsed_s=progress.elapsed_s,
        observables=tuple(map(_observable, progress.observables)),
        seed=message.seed,
        record_every=message.record_every,
        result_field=message.result_field,
        result_digest=message.result_digest,
        is_cancelling=message.is_cancelling,
        failure=message.failure,
        started_by=message.started_by,
        started_at=message.started_at.ToDatetime(tzinfo=UTC),
        ended_at=message.ended_at.ToDatetime(tzinfo=UTC) if message.HasField("ended_at") else None,
    )


def _observable(message: pb.Observable) -> Observable:
    return Observable(
        name=message.name,
        records=message.records,
        last=message.last if message.HasField("last") else None,
        mean=message.mean if message.HasField("mean") else None,
        error=message.error if message.HasField("error") else None,
    )
