"""Between the recorded payloads of a job's stream and what they say happened.

Distrusts what it reads: others may have written into the stream.
"""

import re
import zlib
from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf.message import Message

from girih.client import RecordedEvent
from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1 import simulations_pb2 as simulations_pb
from services.lattice import domain as lattice_domain
from services.lattice.arrays.content import INLINE_BYTES_MAX, FieldContent
from services.lattice.enums import NUMBER_TYPES, number_type
from services.lattice.jobs import domain
from services.lattice.jobs.domain import (
    Cancelling,
    Checkpoint,
    Claimed,
    Continued,
    Ended,
    JobEvent,
    JobRecord,
    JobSpec,
    Progressed,
    Released,
    Started,
    UnknownJobEvent,
)
from services.lattice.jobs.messages import (
    OF_STATES,
    STATES,
    checkpoint_to_proto,
    progress_from_proto,
    progress_to_proto,
    transform_bytes,
    transform_of,
)
from services.lattice.state.journal import DamagedRecord
from services.lattice.state.records import array_id
from services.lattice.state.streams import payload_of
from services.plumbing.errors import InvalidInput
from services.plumbing.logging import get_logger

STARTED = "lattice.job-started"
CLAIMED = "lattice.job-claimed"
PROGRESSED = "lattice.job-progressed"
CANCELLING = "lattice.job-cancelling"
RELEASED = "lattice.job-released"
CONTINUED = "lattice.job-continued"
ENDED = "lattice.job-ended"

_is_digest = re.compile(r"[0-9a-f]{64}").fullmatch

_log = get_logger("jobs")


def to_proto(event: JobEvent) -> tuple[str, Message]:
    """The type of an event, and the payload that is recorded."""
    match event:
        case Started(spec=spec):
            return STARTED, _started_to_proto(spec)
        case Claimed(token=token, replica=replica):
            return CLAIMED, pb.JobClaimed(token=token, replica=replica)
        case Progressed(token=token, progress=progress, checkpoint=checkpoint):
            return PROGRESSED, pb.JobProgressed(
                token=token,
                progress=progress_to_proto(progress),
                checkpoint=checkpoint_to_proto(checkpoint),
            )
        case Cancelling(job_id=job_id, request_id=request_id):
            return CANCELLING, pb.JobCancelling(job_id=job_id, request_id=request_id)
        case Released(token=token, progress=progress, checkpoint=checkpoint):
            return RELEASED, pb.JobReleased(
                token=token,
                progress=progress_to_proto(progress),
                checkpoint=checkpoint_to_proto(checkpoint),
            )
        case Continued(job_id=job_id, request_id=request_id):
            return CONTINUED, pb.JobContinued(job_id=job_id, request_id=request_id)
        case Ended() as ended:
            return ENDED, pb.JobEnded(
                job_id=ended.job_id,
                state=STATES[ended.state],
                progress=progress_to_proto(ended.progress),
                checkpoint=checkpoint_to_proto(ended.checkpoint),
                failure=ended.failure,
                result_digest=ended.result_digest,
                request_id=ended.request_id,
            )
        case UnknownJobEvent():
            raise AssertionError("nobody records what is not known")


def record_of(event: RecordedEvent) -> JobRecord:
    """What an event records; one that cannot be read is an unknown event."""
    job_event: JobEvent
    try:
        job_event = _event_of(event)
    except DamagedRecord as error:
        _log.warning(
            "a record of a job cannot be read and is passed over",
            stream=event.stream,
            position=event.position,
            problem=str(error),
        )
        job_event = UnknownJobEvent(event_type=event.type)
    return JobRecord(
        revision=event.revision,
        recorded_at=event.recorded_at,
        event=job_event,
        incarnation=event.incarnation,
    )


def _event_of(event: RecordedEvent) -> JobEvent:
    match event.type:
        case "lattice.job-started":
            return Started(spec=_spec_of(payload_of(event, pb.JobStarted())))
        case "lattice.job-claimed":
            claimed = payload_of(event, pb.JobClaimed())
            return Claimed(token=claimed.token, replica=claimed.replica)
        case "lattice.job-progressed":
            progressed = payload_of(event, pb.JobProgressed())
            progress, checkpoint = (
                progress_from_proto(progressed.progress),
                _checkpoint_of(progressed),
            )
            return Progressed(token=progressed.token, progress=progress, checkpoint=checkpoint)
        case "lattice.job-cancelling":
            wish = payload_of(event, pb.JobCancelling())
            return Cancelling(job_id=_job_id(wish.job_id), request_id=wish.request_id)
        case "lattice.job-released":
            let_go = payload_of(event, pb.JobReleased())
            progress, checkpoint = progress_from_proto(let_go.progress), _checkpoint_of(let_go)
            return Released(token=let_go.token, progress=progress, checkpoint=checkpoint)
        case "lattice.job-continued":
            again = payload_of(event, pb.JobContinued())
            return Continued(job_id=_job_id(again.job_id), request_id=again.request_id)
        case "lattice.job-ended":
            return _ended_of(payload_of(event, pb.JobEnded()))
    return UnknownJobEvent(event_type=event.type)


def _started_to_proto(spec: JobSpec) -> pb.JobStarted:
    return pb.JobStarted(
        job_id=spec.job_id,
        lattice_id=spec.lattice_id,
        simulation=simulations_pb.Simulation.FromString(spec.simulation),
        steps=spec.steps,
        seed=spec.seed,
        record_every=spec.record_every,
        discard_steps=spec.discard_steps,
        result_field=spec.result_field,
        updates=spec.updates,
        size_bytes=spec.size_bytes,
        started_by=spec.started_by,
        lattice_revision=spec.lattice_revision,
        transform=transform_of(spec),
        labels_components=spec.is_labelling,
        inputs=[
            pb.JobInput(
                purpose=purpose,
                number_type=NUMBER_TYPES[content.number_type],
                digest=content.digest,
                array=content.array_id,
                values_zlib=zlib.compress(content.values) if content.values else b"",
                fill=content.fill,
            )
            for purpose, content in spec.inputs.items()
        ],
    )


def _spec_of(payload: pb.JobStarted) -> JobSpec:
    transform = payload.transform
    is_simulation = payload.simulation.WhichOneof("model") is not None
    if not (is_simulation or transform.transforms or payload.labels_components):
        raise DamagedRecord("nothing is simulated, transformed or labelled")
    if payload.steps < 1:
        raise DamagedRecord("the job has no steps")
    try:
        lattice_id = lattice_domain.lattice_id(payload.lattice_id)
    except InvalidInput:
        raise DamagedRecord("lattice_id is not a UUID") from None
    return JobSpec(
        job_id=_job_id(payload.job_id),
        lattice_id=lattice_id,
        simulation=payload.simulation.SerializeToString(deterministic=True),
        steps=payload.steps,
        seed=payload.seed,
        record_every=max(1, payload.record_every),
        discard_steps=payload.discard_steps,
        result_field=payload.result_field,
        updates=payload.updates,
        size_bytes=payload.size_bytes,
        started_by=payload.started_by,
        lattice_revision=payload.lattice_revision if payload.HasField("lattice_revision") else None,
        inputs=_inputs_of(payload),
        transform=transform_bytes(transform.field, transform.transforms),
        field_revision=transform.field_revision if transform.transforms else -1,
        is_labelling=payload.labels_components,
    )


def _inputs_of(payload: pb.JobStarted) -> Mapping[str, FieldContent]:
    inputs = {}
    for content in payload.inputs:
        kind = number_type(content.number_type)
        if kind is None or len(content.fill) != kind.size_bytes or not _is_digest(content.digest):
            raise DamagedRecord("an input is no field")
        inputs[content.purpose] = FieldContent(
            number_type=kind,
            digest=content.digest,
            fill=content.fill,
            array_id=array_id(content.array),
            values=_decompressed(content.values_zlib),
        )
    return MappingProxyType(inputs)


def _decompressed(values_zlib: bytes) -> bytes:
    if not values_zlib:
        return b""
    decompressor = zlib.decompressobj()
    try:
        values = decompressor.decompress(values_zlib, INLINE_BYTES_MAX + 1)
    except zlib.error as error:
        raise DamagedRecord("recorded numbers cannot be decompressed") from error
    if len(values) > INLINE_BYTES_MAX or not decompressor.eof:
        raise DamagedRecord("there are more recorded numbers than lie in an event")
    return values


def _ended_of(payload: pb.JobEnded) -> Ended:
    state = OF_STATES.get(payload.state)
    if state is None or state.is_open:
        raise DamagedRecord("a job ends in no such state")
    return Ended(
        job_id=_job_id(payload.job_id),
        state=state,
        progress=progress_from_proto(payload.progress),
        checkpoint=_checkpoint_of(payload),
        failure=payload.failure,
        result_digest=payload.result_digest,
        request_id=payload.request_id,
    )


def _checkpoint_of(payload: pb.JobProgressed | pb.JobReleased | pb.JobEnded) -> Checkpoint | None:
    if not payload.HasField("checkpoint"):
        return None
    checkpoint = payload.checkpoint
    if not (checkpoint.array and _is_digest(checkpoint.digest) and checkpoint.size_bytes > 0):
        raise DamagedRecord("a checkpoint is nowhere")
    return Checkpoint(
        array_id=array_id(checkpoint.array),
        digest=checkpoint.digest,
        size_bytes=checkpoint.size_bytes,
        steps_done=checkpoint.steps_done,
    )


def _job_id(text: str) -> domain.JobId:
    try:
        return domain.job_id(text)
    except InvalidInput:
        raise DamagedRecord("job_id is not a UUID") from None
