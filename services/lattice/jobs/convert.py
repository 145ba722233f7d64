"""Between the messages of JobService and the values of jobs. Decides nothing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from girih.lattice.v1 import jobs_pb2 as pb
from girih.lattice.v1 import simulations_pb2 as simulations_pb
from services.lattice.arrays.npy import make_header
from services.lattice.arrays.number_type import NumberType
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.geometry import Geometry
from services.lattice.jobs.commands import NewJob, NewTransform
from services.lattice.jobs.domain import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Job
from services.lattice.jobs.messages import inputs_of, job_to_proto, model_of, transform_bytes
from services.lattice.jobs.states import JobPage
from services.lattice.simulations.models import AnyModel
from services.lattice.simulations.series import csv_of
from services.lattice.transforms.convert import steps
from services.plumbing.errors import Violations

_CSV, _NPY = "text/csv; charset=utf-8", "application/x-npy"


def new_job(request: pb.StartJobRequest, geometry: Geometry) -> NewJob:
    """What to start. Raises InvalidInput for what cannot be read."""
    bad = Violations()
    model = model_of(request.simulation, geometry, bad)
    bad.raise_if_any()
    return NewJob(
        model=model,
        simulation=request.simulation.SerializeToString(deterministic=True),
        steps=request.steps,
        seed=request.seed if request.HasField("seed") else None,
        record_every=request.record_every,
        discard_steps=request.discard_steps,
        result_field=request.result_field,
        request_id=request.request_id,
        inputs=inputs_of(request.simulation),
    )


def new_transform(request: pb.StartTransformJobRequest) -> NewTransform:
    """What to do to a field."""
    return NewTransform(
        field=request.name,
        steps=steps(request.transforms),
        transform=transform_bytes(request.name, request.transforms),
        request_id=request.request_id,
        expected_revision=request.expected_revision
        if request.HasField("expected_revision")
        else None,
    )


def recorded_model(job: Job, held: HeldLattice) -> AnyModel:
    """The model of a job that was started, on its lattice."""
    simulation = simulations_pb.Simulation.FromString(job.spec.simulation)
    return model_of(simulation, held.spec.geometry, Violations())


def page_size(request: pb.ListJobsRequest) -> int:
    return min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def page_to_proto(page: JobPage) -> pb.ListJobsResponse:
    return pb.ListJobsResponse(
        jobs=[job_to_proto(job) for job in page.jobs], next_page_token=page.next_page_token
    )


def media_type(request: pb.ReadSeriesRequest) -> str:
    return _NPY if request.format == pb.SERIES_FORMAT_NPY else _CSV


def series_bytes(
    request: pb.ReadSeriesRequest, columns: Sequence[str], rows: NDArray[np.float64]
) -> bytes:
    """What was recorded, as it was asked for."""
    if request.format != pb.SERIES_FORMAT_NPY:
        return csv_of(columns, rows)
    return make_header(NumberType.FLOAT64, rows.shape) + rows.astype("<f8").tobytes()
