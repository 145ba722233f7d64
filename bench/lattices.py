"""The lattice service as a process of its own, and the lattices that it is measured on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from girih.lattice.v1 import lattice_pb2 as pb
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from services.lattice.kernels.grid import Grid, prepare
from tests.processes import (
    Caller,
    authority_of,
    ending,
    events_process,
    lattice_process,
    own_postgres,
)

Site = tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """A lattice with open edges, and between which sites to find paths."""

    name: str
    blocked: NDArray[np.bool_]
    moore: bool
    queries: Sequence[tuple[Site, Site]]
    cuts: bool = False
    """Steps may cut corners."""

    @property
    def bitmap(self) -> bytes:
        return np.packbits(self.blocked, axis=None, bitorder="little").tobytes()

    def grid(self) -> Grid:
        open_edges = (False,) * self.blocked.ndim
        return prepare(
            self.blocked.shape,
            open_edges,
            moore=self.moore,
            no_cutting=not self.cuts,
            blocked=self.bitmap,
        )


@dataclass(frozen=True)
class LatticeProcess:
    """The running service, and who calls it."""

    address: str
    caller: Caller


def created(lattice: LatticeProcess, job: Job) -> tuple[LatticeServiceStub, str]:
    """The job's lattice, created: who is asked about it, and its id."""
    # One channel for all calls: that a connection is made is not part of any.
    service = LatticeServiceStub(grpc.insecure_channel(lattice.address))
    request = pb.CreateLatticeRequest(
        shape=job.blocked.shape, blocked=job.bitmap, bit_order=pb.BIT_ORDER_LITTLE
    )
    if job.moore:
        request.neighbourhood = pb.NEIGHBOURHOOD_MOORE
        if job.cuts:
            request.corner_rule = pb.CORNER_RULE_CUTTING
    made = service.CreateLattice(request, metadata=lattice.caller.metadata)
    return service, made.lattice.lattice_id


@contextmanager
def lattice_service() -> Iterator[LatticeProcess]:
    """The lattice service and what it needs, as processes of their own."""
    with own_postgres() as (postgres, folder):
        events, events_address = events_process(postgres.url, folder)
        lattice, address = lattice_process(events_address, folder)
        with ending(events, lattice):
            for process in (events, lattice):
                process.start()
                process.wait_ready()
            yield LatticeProcess(address, Caller(authority_of(folder)))
