"""Between the recorded payloads of a lattice's stream and what they say happened.

Distrusts what it reads: others may have written into the stream.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice import domain
from services.lattice.domain import UPLOADED_SITES_MAX, LatticeId, LatticeSpec, bitmap_bytes
from services.lattice.enums import (
    MOORE,
    NO_CUTTING,
    PERIODIC,
    boundaries,
    corner_rule,
    neighbourhood,
)
from services.lattice.geometry import Geometry
from services.lattice.state.journal import DamagedRecord, LatticeCreated, LatticeDeleted
from services.plumbing.errors import InvalidInput

_DIGEST_BYTES = 32
_EDGES_DIGITS_MAX = 30
"""More than the edges of any lattice have."""


def created_to_proto(created: LatticeCreated, blocked_zlib: bytes) -> pb.LatticeCreated:
    """The payload that is recorded; the bitmap comes compressed, or empty to leave it out."""
    return pb.LatticeCreated(
        lattice_id=created.lattice_id,
        shape=created.geometry.shape,
        boundaries=boundaries(created.geometry),
        neighbourhood=neighbourhood(created.geometry),
        corner_rule=corner_rule(created.geometry),
        blocked_zlib=blocked_zlib,
        blocked_digest=created.blocked_digest,
        vertices=created.vertices,
        edges=str(created.edges),
        blocked_array=created.array_id,
        blocked_array_digest=created.array_digest,
    )


def created_from_proto(payload: pb.LatticeCreated, blocked_zlib: bytes) -> LatticeCreated:
    """What was recorded; raises DamagedRecord when it cannot have been written by us.

    The bitmap comes compressed, or empty where it is left out.
    """
    with _damage_named():
        geometry = _recorded_geometry(payload)
        created = LatticeCreated(
            lattice_id=_recorded_id(payload.lattice_id),
            geometry=geometry,
            vertices=payload.vertices,
            edges=_recorded_edges(payload.edges),
            blocked_digest=payload.blocked_digest,
            blocked=_decompressed(blocked_zlib, geometry) if blocked_zlib else b"",
            array_id=array_id(payload.blocked_array),
            array_digest=payload.blocked_array_digest,
        )
        LatticeSpec(geometry=geometry, blocked=created.blocked)
    _check_counts(created)
    return created


def deleted_from_proto(payload: pb.LatticeDeleted) -> LatticeDeleted:
    """What was recorded; raises DamagedRecord when it cannot have been written by us."""
    with _damage_named():
        return LatticeDeleted(lattice_id=_recorded_id(payload.lattice_id))


@contextmanager
def _damage_named() -> Iterator[None]:
    """What is bad in a record is no input of whoever asks now."""
    try:
        yield
    except InvalidInput as error:
        problems = "; ".join(f"{bad.field} {bad.description}" for bad in error.violations)
        raise DamagedRecord(problems) from error


def array_id(text: str) -> str:
    """It becomes a part of a path: nothing but a UUID of ours will do."""
    try:
        is_ours = not text or (str(UUID(text)) == text and UUID(text).version == 7)
    except ValueError:
        is_ours = False
    if not is_ours:
        raise DamagedRecord("array is not the id of one")
    return text


def _recorded_id(text: str) -> LatticeId:
    lattice_id = domain.lattice_id(text)
    if lattice_id != text:
        raise DamagedRecord("lattice_id is not written in lower case")
    return lattice_id


def _recorded_geometry(payload: pb.LatticeCreated) -> Geometry:
    try:
        geometry = Geometry(
            shape=tuple(payload.shape),
            periodic=tuple(PERIODIC[boundary] for boundary in payload.boundaries),
            moore=MOORE[payload.neighbourhood],
            no_cutting=NO_CUTTING[payload.corner_rule],
        )
    except KeyError as error:
        raise DamagedRecord("boundaries, neighbourhood or corner_rule is unknown") from error
    # Before anything of the lattice's size is computed or allocated.
    LatticeSpec(geometry=geometry)
    if len(payload.blocked_digest) not in (0, _DIGEST_BYTES):
        raise DamagedRecord("blocked_digest is not a SHA-256")
    if payload.blocked_digest and geometry.sites > UPLOADED_SITES_MAX:
        raise DamagedRecord("has blocked sites, and too many sites for that")
    return geometry


def _recorded_edges(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _EDGES_DIGITS_MAX):
        raise DamagedRecord("edges is not a decimal number")
    return int(text)


def _check_counts(created: LatticeCreated) -> None:
    """A lattice has what its free one has, and no more where sites are blocked."""
    sites, edges = created.geometry.sites, created.geometry.edges
    if created.blocked_digest:
        fits = 0 <= created.vertices <= sites and created.edges <= edges
    else:
        fits = (created.vertices, created.edges) == (sites, edges)
    if not fits:
        raise DamagedRecord("vertices or edges do not fit the shape")


def _decompressed(blocked_zlib: bytes, geometry: Geometry) -> bytes:
    if geometry.sites > UPLOADED_SITES_MAX:
        raise DamagedRecord("a bitmap is recorded for too many sites")
    # At most a byte more than the sites need, whatever the compressed bytes claim.
    expected_bytes = bitmap_bytes(geometry)
    decompressor = zlib.decompressobj()
    try:
        bitmap = decompressor.decompress(blocked_zlib, expected_bytes + 1)
    except zlib.error as error:
        raise DamagedRecord("a recorded bitmap cannot be decompressed") from error
    if len(bitmap) != expected_bytes or not decompressor.eof:
        raise DamagedRecord("a recorded bitmap has not the length of its lattice")
    return bitmap
