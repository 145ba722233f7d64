"""Jobs as values: what happens to one, and what it is then. Knows no wire, no array, no process."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import NewType

from services.lattice.arrays.content import FieldContent
from services.lattice.domain import LatticeId
from services.lattice.errors import RequestIdReused
from services.lattice.simulations.series import Summary
from services.plumbing.errors import InvalidInput

JobId = NewType("JobId", str)
"""A UUID as text, in lower case: `job_id` makes it of what others send."""

PAGE_SIZE_DEFAULT = 20
PAGE_SIZE_MAX = 100
RECORDS_DEFAULT = 1_000
_REQUESTS_MAX = 100

_is_uuid = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch


class Wish(Enum):
    """What callers may want of a job that was started."""

    CANCEL = "cancel"
    CONTINUE = "continue"


class JobState(Enum):
    """Whether a job waits, runs or has ended."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """It waits or runs."""
        return self in (JobState.WAITING, JobState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What was asked for. `simulation` is the contract's message as it was sent, serialized; it is
    empty where `transform` is set."""

    job_id: JobId
    lattice_id: LatticeId
    simulation: bytes
    steps: int
    seed: int
    record_every: int
    discard_steps: int
    result_field: str
    updates: int
    size_bytes: int
    started_by: str
    lattice_revision: int | None = None
    """Which sites are blocked is what it was then; None is as they are now."""
    inputs: Mapping[str, FieldContent] = field(default_factory=dict, repr=False)
    """The fields that it starts from, as they were then, by what they are for."""
    transform: bytes = field(default=b"", repr=False)
    """The contract's `FieldTransform` without its revision, serialized: `result_field` is that
    field, or empty where it is which sites are blocked."""
    field_revision: int = -1
    """Of what is transformed: another change than the job's fails it."""

    is_labelling: bool = False
    """It writes the numbers of components into `result_field`."""

    @property
    def is_by_workers(self) -> bool:
        """It takes workers, and hardly anything of a replica."""
        return self.is_labelling or bool(self.transform)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is."""

    steps_done: int = 0
    elapsed_s: float = 0.0
    steps_per_s: float = 0.0
    left_s: float = 0.0
    observables: Sequence[Summary] = ()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where the state of a job is kept."""

    array_id: str
    digest: str
    size_bytes: int
    steps_done: int


@dataclass(frozen=True, kw_only=True)
class Started:
    """A job waits for its turn."""

    spec: JobSpec


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A replica begins to work on it."""

    token: int
    replica: str


@dataclass(frozen=True, kw_only=True)
class Progressed:
    """The replica goes on, and keeps its lease."""

    token: int
    progress: Progress
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, kw_only=True)
class Cancelling:
    """Somebody wants it to stop."""

    job_id: JobId
    request_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Released:
    """The replica lets go of it; it waits for its turn again."""

    token: int
    progress: Progress
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, kw_only=True)
class Continued:
    """It was cancelled, and waits for its turn again."""

    job_id: JobId
    request_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """It has ended."""

    job_id: JobId
    state: JobState
    progress: Progress
    checkpoint: Checkpoint | None = None
    failure: str = ""
    result_digest: str = ""
    request_id: str = ""
    """Of the call that cancelled it, where nobody worked on it."""


@dataclass(frozen=True, kw_only=True)
class UnknownJobEvent:
    """Something that this version of the service does not know yet, or cannot read."""

    event_type: str


JobEvent = (
    Started | Claimed | Progressed | Cancelling | Released | Continued | Ended | UnknownJobEvent
)


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """An event with its place in the stream it was read from."""

    revision: int
    recorded_at: datetime
    event: JobEvent
    incarnation: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as its events leave it."""

    spec: JobSpec
    started_at: datetime
    state: JobState = JobState.WAITING
    progress: Progress = field(default_factory=Progress)
    token: int = 0
    replica: str = ""
    is_cancelling: bool = False
    checkpoint: Checkpoint | None = None
    failure: str = ""
    result_digest: str = ""
    ended_at: datetime | None = None
    revision: int = 0
    worked_revision: int = 0
    """Of the last event that is no wish to cancel: who works on it has written that."""
    incarnation: str = ""
    requests: Mapping[str, Wish] = field(default_factory=dict, repr=False)
    """What was wanted by request ids: the last ones."""

    @property
    def job_id(self) -> JobId:
        return self.spec.job_id

    @property
    def simulated(self) -> Checkpoint | None:
        """Where the state of a simulation is kept; None where it has none, or is no simulation."""
        return None if self.spec.is_by_workers else self.checkpoint

    def is_done(self, request_id: str, wish: Wish) -> bool:
        """Whether the same request was heard before; raises RequestIdReused for another one."""
        before = self.requests.get(request_id)
        if before not in (None, wish):
            raise RequestIdReused(
                f"the request id was used to {before.value} the job", job_id=self.job_id
            )
        return before is wish


def folded(job: Job | None, records: Sequence[JobRecord]) -> Job | None:
    """A job with what happened to it since; None where none was started."""
    for record in records:
        if isinstance(record.event, Started):
            job = job or Job(spec=record.event.spec, started_at=record.recorded_at)
        if job is not None:
            is_wish = isinstance(record.event, Cancelling)
            job = replace(
                _after(job, record),
                revision=record.revision,
                worked_revision=job.worked_revision if is_wish else record.revision,
                incarnation=record.incarnation,
                requests=_requests_after(job, record),
            )
    return job


def cancelled(job: Job, request_id: str = "") -> Ended:
    """The end of a job that nobody works on and nobody shall."""
    return Ended(
        job_id=job.job_id,
        state=JobState.CANCELLED,
        progress=job.progress,
        checkpoint=job.checkpoint,
        request_id=request_id,
    )


def job_id(text: str) -> JobId:
    """The canonical form of an id, in lower case; raises InvalidInput unless it is a UUID."""
    if not _is_uuid(text):
        raise InvalidInput.of("job_id", "must be a UUID, as 36 hexadecimal digits and hyphens")
    return JobId(text.lower())


def _requests_after(job: Job, record: JobRecord) -> Mapping[str, Wish]:
    event = record.event
    if not (isinstance(event, Cancelling | Continued | Ended) and event.request_id):
        return job.requests
    wish = Wish.CONTINUE if isinstance(event, Continued) else Wish.CANCEL
    requests = {**job.requests, event.request_id: wish}
    while len(requests) > _REQUESTS_MAX:
        del requests[next(iter(requests))]
    return requests


def _after(job: Job, record: JobRecord) -> Job:
    match record.event:
        case Claimed(token=token, replica=replica):
            return replace(job, state=JobState.RUNNING, token=token, replica=replica)
        case Progressed(progress=progress, checkpoint=checkpoint):
            return replace(job, progress=progress, checkpoint=checkpoint or job.checkpoint)
        case Cancelling():
            return replace(job, is_cancelling=True)
        case Released(progress=progress, checkpoint=checkpoint):
            kept = checkpoint or job.checkpoint
            return replace(
                job, state=JobState.WAITING, replica="", progress=progress, checkpoint=kept
            )
        case Continued():
            return replace(job, state=JobState.WAITING, is_cancelling=False, ended_at=None)
        case Ended() as ended:
            return replace(
                job,
                state=ended.state,
                progress=ended.progress,
                checkpoint=ended.checkpoint or job.checkpoint,
                failure=ended.failure,
                result_digest=ended.result_digest,
                is_cancelling=False,
                replica="",
                ended_at=record.recorded_at,
            )
    return job
