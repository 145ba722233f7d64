"""Between the recorded payloads of a lattice's stream and what they say happened.

Distrusts what it reads: others may have written into the stream.
"""

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from girih.lattice.v1 import chains_pb2 as chains_pb
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
from services.lattice.state.journal import (
    BlockedChanged,
    ChangeKind,
    DamagedRecord,
    FieldChange,
    LatticeCreated,
    LatticeDeleted,
)
from services.plumbing.errors import InvalidInput

_CHANGE_KINDS = {
    ChangeKind.WRITTEN: chains_pb.CHANGE_KIND_WRITTEN,
    ChangeKind.TRANSFORMED: chains_pb.CHANGE_KIND_TRANSFORMED,
    ChangeKind.UNDONE: chains_pb.CHANGE_KIND_UNDONE,
    ChangeKind.REDONE: chains_pb.CHANGE_KIND_REDONE,
}
_OF_CHANGE_KINDS = {number: kind for kind, number in _CHANGE_KINDS.items()}
_is_digest = re.compile(r"[0-9a-f]{64}").fullmatch

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
            blocked=_blocked_of(blocked_zlib, geometry),
            array_id=array_id(payload.blocked_array),
            array_digest=payload.blocked_array_digest,
        )
        LatticeSpec(geometry=geometry, blocked=created.blocked)
    _check_counts(created)
    return created


def blocked_to_proto(changed: BlockedChanged, blocked_zlib: bytes) -> chains_pb.BlockedChanged:
    """The payload that is recorded; the bitmap comes compressed, or empty to leave it out."""
    return chains_pb.BlockedChanged(
        lattice_id=changed.lattice_id,
        revision=changed.revision,
        sites=changed.sites,
        vertices=changed.vertices,
        edges=str(changed.edges),
        blocked_zlib=blocked_zlib,
        blocked_digest=changed.blocked_digest,
        blocked_array=changed.array_id,
        blocked_array_digest=changed.array_digest,
        change=change_to_proto(changed.change),
    )


def blocked_from_proto(payload: chains_pb.BlockedChanged) -> BlockedChanged:
    """What was recorded; raises DamagedRecord when it cannot have been written by us."""
    if not 0 < payload.sites <= UPLOADED_SITES_MAX or not 0 <= payload.vertices <= payload.sites:
        raise DamagedRecord("sites or vertices are more than there can be")
    if len(payload.blocked_digest) not in (0, _DIGEST_BYTES):
        raise DamagedRecord("blocked_digest is not a SHA-256")
    expected_bytes = (payload.sites + 7) // 8
    blocked_zlib = payload.blocked_zlib
    with _damage_named():
        return BlockedChanged(
            lattice_id=_recorded_id(payload.lattice_id),
            revision=payload.revision,
            sites=payload.sites,
            vertices=payload.vertices,
            edges=_recorded_edges(payload.edges),
            change=change_from_proto(payload.change),
            blocked_digest=payload.blocked_digest,
            blocked=_decompressed(blocked_zlib, expected_bytes) if blocked_zlib else b"",
            array_id=array_id(payload.blocked_array),
            array_digest=payload.blocked_array_digest,
        )


def change_to_proto(change: FieldChange) -> chains_pb.FieldChange:
    """Why something was changed, as it is recorded."""
    payload = chains_pb.FieldChange(
        kind=_CHANGE_KINDS[change.kind],
        before_digest=change.before_digest,
        request_id=change.request_id,
        of_revision=change.of_revision,
        written_digest=change.written_digest,
    )
    if change.applied:
        payload.applied.ParseFromString(change.applied)
    return payload


def change_from_proto(payload: chains_pb.FieldChange) -> FieldChange:
    """The same as it was recorded; raises DamagedRecord when it cannot have been by us."""
    kind = _OF_CHANGE_KINDS.get(payload.kind)
    if kind is None or not _is_digest(payload.before_digest):
        raise DamagedRecord("change is none that there is, or has no digest")
    return FieldChange(
        kind=kind,
        before_digest=payload.before_digest,
        request_id=payload.request_id,
        of_revision=payload.of_revision,
        applied=payload.applied.SerializeToString(deterministic=True)
        if payload.HasField("applied")
        else b"",
        written_digest=payload.written_digest,
    )


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


def _blocked_of(blocked_zlib: bytes, geometry: Geometry) -> bytes:
    if not blocked_zlib:
        return b""
    if geometry.sites > UPLOADED_SITES_MAX:
        raise DamagedRecord("a bitmap is recorded for too many sites")
    return _decompressed(blocked_zlib, bitmap_bytes(geometry))


def _decompressed(blocked_zlib: bytes, expected_bytes: int) -> bytes:
    # At most a byte more than the sites need, whatever the compressed bytes claim.
    decompressor = zlib.decompressobj()
    try:
        bitmap = decompressor.decompress(blocked_zlib, expected_bytes + 1)
    except zlib.error as error:
        raise DamagedRecord("a recorded bitmap cannot be decompressed") from error
    if len(bitmap) != expected_bytes or not decompressor.eof:
        raise DamagedRecord("a recorded bitmap has not the length of its lattice")
    return bitmap
