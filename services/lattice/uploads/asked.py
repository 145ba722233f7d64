"""What lattice an upload is to create, known before its sites come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from girih.lattice.v1 import uploads_pb2 as pb
from services.lattice.arrays.content_digest import ContentDigest
from services.lattice.arrays.number_type import NumberType
from services.lattice.domain import (
    BitOrder,
    check_blockable,
    check_shape,
)
from services.lattice.enums import BIT_ORDERS, MOORE, NO_CUTTING, PERIODIC
from services.lattice.fields.incoming import Incoming
from services.lattice.operations import creation
from services.lattice.operations.creation import NewLattice
from services.plumbing import validation
from services.plumbing.errors import InvalidInput, Violations

_SERVICE = pb.DESCRIPTOR.services_by_name["LatticeUploadService"]
_METHOD = _SERVICE.methods_by_name["UploadLattice"]
_NPY = "application/x-npy"


@dataclass(frozen=True, kw_only=True)
class AskedLattice:
    """A lattice to create. `bit_order` is None where a byte stands for each site."""

    request: pb.UploadLatticeRequest
    shape: Sequence[int]
    bit_order: BitOrder | None

    @property
    def sites(self) -> int:
        return math.prod(self.shape)

    @property
    def bitmap_bytes(self) -> int:
        return (self.sites + 7) // 8


async def asked_lattice(
    request: pb.UploadLatticeRequest, incoming: Incoming, digest: ContentDigest
) -> AskedLattice:
    """What the first message says, and the header of a file, which comes first.

    Raises InvalidInput. Nothing of the lattice's size is taken.
    """
    bad = Violations()
    validation.add_violations(request, bad)
    validation.add_media_type_violation(request.body.content_type, _METHOD, bad)
    is_npy = request.body.content_type == _NPY
    if not is_npy and not request.shape:
        bad.add("shape", "must be given with a bitmap")
    if not is_npy and not request.bit_order:
        bad.add("bit_order", "must be given with a bitmap")
    if is_npy and request.bit_order:
        bad.add("bit_order", "must not be given with a .npy file")
    bad.raise_if_any()
    shape = await _npy_shape(request, incoming, digest) if is_npy else tuple(request.shape)
    check_shape(shape, "shape", bad)
    bad.raise_if_any()
    bit_order = None if is_npy else BIT_ORDERS[request.bit_order]
    return AskedLattice(request=request, shape=shape, bit_order=bit_order)


def check_sites(asked: AskedLattice, sites_max: int) -> None:
    """Raise WorkTooLarge when there are more sites than may be blocked."""
    moore = MOORE[asked.request.neighbourhood]
    check_blockable(asked.sites, moore=moore, sites_max=sites_max)


def new_lattice(asked: AskedLattice, bitmap: bytes) -> NewLattice:
    """What to create; takes some tenths of a second of a large bitmap."""
    request = asked.request
    return creation.new_lattice(
        shape=asked.shape,
        dimensions=0,
        size=0,
        periodic=[PERIODIC[boundary] for boundary in request.boundaries],
        moore=MOORE[request.neighbourhood],
        no_cutting=NO_CUTTING[request.corner_rule],
        blocked=bitmap,
        bit_order=None,
        request_id=request.request_id,
    )


async def _npy_shape(
    request: pb.UploadLatticeRequest, incoming: Incoming, digest: ContentDigest
) -> Sequence[int]:
    header, head = await incoming.npy_header()
    digest.update(head)
    incoming.taken = 0
    if header.number_type is not NumberType.UINT8:
        raise InvalidInput.of("body", "must be a .npy file of booleans or of |u1")
    if request.shape and tuple(request.shape) != header.shape:
        raise InvalidInput.of("shape", f"must be that of the file, {list(header.shape)}")
    return header.shape
