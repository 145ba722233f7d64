"""Between the contract's messages of models and jobs and what they mean. Decides nothing."""

import math
from collections.abc import Iterable
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from girih.lattice.v1 import chains_pb2
from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1 import simulations_pb2 as simulations_pb
from services.lattice.geometry import Coordinates, Geometry
from services.lattice.jobs.domain import Checkpoint, Job, JobSpec, JobState, Progress
from services.lattice.simulations.models import (
    AnyModel,
    CellularAutomaton,
    Diffusion,
    Ising,
    PercolationGrowth,
    Potts,
    RandomWalks,
    Sandpile,
)
from services.lattice.simulations.rule import read_rule
from services.lattice.simulations.series import Summary
from services.plumbing.errors import Violations

STATES = {
    JobState.WAITING: pb.JOB_STATE_WAITING,
    JobState.RUNNING: pb.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    JobState.CANCELLED: pb.JOB_STATE_CANCELLED,
    JobState.FAILED: pb.JOB_STATE_FAILED,
}
OF_STATES = {number: state for state, number in STATES.items()}


def model_of(
    simulation: simulations_pb.Simulation, geometry: Geometry, bad: Violations
) -> AnyModel:
    """The model that a message says, for a lattice. What cannot be read is added to `bad`."""
    match simulation.WhichOneof("model"):
        case "ising":
            ising = simulation.ising
            return Ising(ising.temperature, _is_wolff(ising.dynamics), ising.ordered_start)
        case "potts":
            potts = simulation.potts
            wolff = _is_wolff(potts.dynamics)
            return Potts(potts.temperature, wolff, potts.ordered_start, potts.states)
        case "cellular_automaton":
            return _automaton(simulation.cellular_automaton, geometry, bad)
        case "diffusion":
            return Diffusion(simulation.diffusion.diffusivity, simulation.diffusion.time_step)
        case "random_walks":
            walks = simulation.random_walks
            start = _site(walks, "start") or _middle(geometry)
            return RandomWalks(walks.walkers, start, _site(walks, "target"))
        case "sandpile":
            return Sandpile(_site(simulation.sandpile, "drop"))
        case _:
            growth = simulation.percolation_growth
            chance = growth.probability if growth.HasField("probability") else None
            return PercolationGrowth(_site(growth, "origin") or _middle(geometry), chance)


def inputs_of(simulation: simulations_pb.Simulation) -> dict[str, str]:
    """The names of the fields that a simulation starts from, by what they are for."""
    names = {"initial": simulation.initial_field, "source": simulation.diffusion.source_field}
    return {purpose: name for purpose, name in names.items() if name}


def input_names(job: Job) -> dict[str, str]:
    """The names of the fields that a job started from, by what they are for."""
    return inputs_of(simulations_pb.Simulation.FromString(job.spec.simulation))


def transform_bytes(field: str, transforms: Iterable[chains_pb2.Transform]) -> bytes:
    """What a job keeps of a chain that it applies to a field; nothing of none."""
    message = pb.FieldTransform(field=field, transforms=transforms)
    return message.SerializeToString(deterministic=True) if message.transforms else b""


def transform_of(spec: JobSpec) -> pb.FieldTransform | None:
    """What a job applies to a field; None where it simulates."""
    if not spec.transform:
        return None
    message = pb.FieldTransform.FromString(spec.transform)
    message.field_revision = spec.field_revision
    return message


def job_to_proto(job: Job, progress: Progress | None = None) -> pb.Job:
    """A job, with how far it is now where that is newer than what is recorded."""
    spec = job.spec
    message = pb.Job(
        job_id=spec.job_id,
        lattice_id=spec.lattice_id,
        simulation=simulations_pb.Simulation.FromString(spec.simulation),
        steps=spec.steps,
        seed=spec.seed,
        record_every=spec.record_every,
        discard_steps=spec.discard_steps,
        result_field=spec.result_field,
        state=STATES[job.state],
        progress=progress_to_proto(progress or job.progress),
        is_cancelling=job.is_cancelling,
        failure=job.failure,
        result_digest=job.result_digest,
        updates=spec.updates,
        size_bytes=spec.size_bytes,
        token=job.token,
        started_by=spec.started_by,
        started_at=_timestamp(job.started_at),
        transform=transform_of(spec),
        labels_components=spec.is_labelling,
    )
    if job.ended_at is not None:
        message.ended_at.CopyFrom(_timestamp(job.ended_at))
    return message


def progress_to_proto(progress: Progress) -> pb.JobProgress:
    return pb.JobProgress(
        steps_done=progress.steps_done,
        elapsed_s=progress.elapsed_s,
        steps_per_s=progress.steps_per_s,
        left_s=progress.left_s,
        observables=[
            pb.Observable(
                name=each.name,
                records=each.records,
                last=_number(each.last),
                mean=_number(each.mean),
                error=_number(each.error),
            )
            for each in progress.observables
        ],
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def progress_from_proto(message: pb.JobProgress) -> Progress:
    return Progress(
        steps_done=message.steps_done,
        elapsed_s=message.elapsed_s,
        steps_per_s=message.steps_per_s,
        left_s=message.left_s,
        observables=tuple(
            Summary(
                each.name,
                each.records,
                each.last if each.HasField("last") else math.nan,
                each.mean if each.HasField("mean") else math.nan,
                each.error if each.HasField("error") else math.nan,
            )
            for each in message.observables
        ),
    )


def checkpoint_to_proto(checkpoint: Checkpoint | None) -> pb.JobCheckpoint | None:
    if checkpoint is None:
        return None
    return pb.JobCheckpoint(
        array=checkpoint.array_id,
        digest=checkpoint.digest,
        size_bytes=checkpoint.size_bytes,
        steps_done=checkpoint.steps_done,
    )


def _automaton(
    automaton: simulations_pb.CellularAutomaton, geometry: Geometry, bad: Violations
) -> CellularAutomaton:
    axes = len(geometry.shape)
    neighbours = int(3**axes - 1) if geometry.moore else 2 * axes
    rule = read_rule(automaton.rule, neighbours, "simulation.cellular_automaton.rule", bad)
    return CellularAutomaton(rule, automaton.density or 0.5)


def _is_wolff(dynamics: simulations_pb.SpinDynamics) -> bool:
    return dynamics == simulations_pb.SPIN_DYNAMICS_WOLFF


def _site(
    message: simulations_pb.RandomWalks
    | simulations_pb.Sandpile
    | simulations_pb.PercolationGrowth,
    name: str,
) -> Coordinates | None:
    return tuple(getattr(message, name).coordinates) if _is_set(message, name) else None


def _is_set(message: object, name: str) -> bool:
    return bool(message.HasField(name))  # type: ignore[attr-defined] # of any message


def _middle(geometry: Geometry) -> Coordinates:
    return tuple(length // 2 for length in geometry.shape)


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
