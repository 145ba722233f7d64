"""Between the messages of HistoryService and what happened. Decides nothing."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from girih.lattice.v1 import chains_pb2, transforms_pb2
from girih.lattice.v1 import history_pb2 as pb
from girih.rules.requests import check_time
from services.lattice.history.blocked import VerifiedBlocked
from services.lattice.history.comparing import Difference
from services.lattice.history.verifying import Outcome, Verified
from services.lattice.state.journal import (
    BlockedChanged,
    ChangeKind,
    FieldChange,
    FieldDeleted,
    FieldWritten,
    LatticeCreated,
    LatticeDeleted,
    LatticeEvent,
    LatticeRecord,
)
from services.lattice.transforms import convert as chains
from services.lattice.transforms.blocked.changing import blocked_digest
from services.plumbing.errors import Violations

_KINDS = {
    ChangeKind.WRITTEN: chains_pb2.CHANGE_KIND_WRITTEN,
    ChangeKind.TRANSFORMED: chains_pb2.CHANGE_KIND_TRANSFORMED,
    ChangeKind.UNDONE: chains_pb2.CHANGE_KIND_UNDONE,
    ChangeKind.REDONE: chains_pb2.CHANGE_KIND_REDONE,
}
NO_SITE_DIGEST = blocked_digest(b"")
_OUTCOMES = {
    Outcome.KEPT: pb.VERIFIED_OUTCOME_KEPT,
    Outcome.REPRODUCED: pb.VERIFIED_OUTCOME_REPRODUCED,
    Outcome.GONE: pb.VERIFIED_OUTCOME_GONE,
    Outcome.DIFFERENT: pb.VERIFIED_OUTCOME_DIFFERENT,
    Outcome.DAMAGED: pb.VERIFIED_OUTCOME_DAMAGED,
    Outcome.NOT_REPLAYED: pb.VERIFIED_OUTCOME_NOT_REPLAYED,
}


def change_to_proto(record: LatticeRecord) -> pb.Change:
    """Something that happened."""
    event = record.event
    change = pb.Change(
        revision=record.revision,
        kind=_kind(event),
        recorded_at=timestamp(record.recorded_at),
        actor=record.actor,
        correlation_id=record.correlation_id,
    )
    if isinstance(event, FieldDeleted):
        change.name = event.name
    elif isinstance(event, FieldWritten):
        _add_write(event, change)
    elif isinstance(event, BlockedChanged):
        _add_change(event.change, change)
        change.digest = event.blocked_digest.hex() or NO_SITE_DIGEST
    return change


def concerns(record: LatticeRecord, name: str) -> bool:
    """Whether something happened to a field, or to the lattice as a whole."""
    event = record.event
    if isinstance(event, FieldWritten):
        return name in [each.name for each in event.contents]
    if isinstance(event, FieldDeleted):
        return event.name == name
    return isinstance(event, LatticeCreated | LatticeDeleted | BlockedChanged)


def verified_to_proto(verified: Verified) -> pb.VerifyLatticeResponse:
    record = verified.record
    event = pb.VerifiedEvent(
        revision=record.revision,
        name=verified.name,
        kind=_kind(record.written),
        outcome=_OUTCOMES[verified.outcome],
        digest=record.content(verified.name).digest,
        found=verified.found,
        computed_with=verified.computed_with,
    )
    return pb.VerifyLatticeResponse(event=event)


def verified_blocked_to_proto(verified: VerifiedBlocked) -> pb.VerifyLatticeResponse:
    event = pb.VerifiedEvent(
        revision=verified.changed.revision,
        kind=_kind(verified.changed),
        outcome=_OUTCOMES[verified.outcome],
        digest=verified.digest,
        found=verified.found,
    )
    return pb.VerifyLatticeResponse(event=event)


def sums_to_proto(counts: dict[Outcome, int]) -> pb.VerifyLatticeResponse:
    sums = pb.VerifiedSums()
    for outcome, count in counts.items():
        setattr(sums, outcome.value, count)
    sums.verified = not (sums.different or sums.damaged)
    return pb.VerifyLatticeResponse(sums=sums)


def difference_to_proto(difference: Difference, digests: tuple[str, str]) -> pb.DiffFieldResponse:
    return pb.DiffFieldResponse(
        from_digest=digests[0],
        to_digest=digests[1],
        sites=difference.sites,
        differing=difference.differing,
        greatest=difference.greatest,
        regions=[
            pb.DifferingRegion(origin=region.origin, shape=region.shape, differing=region.differing)
            for region in difference.regions
        ],
    )


def blocked_at(record: LatticeRecord) -> transforms_pb2.BlockedState | None:
    """The blocked sites behind a creation, or behind a change of them."""
    event = record.event
    if not isinstance(event, LatticeCreated | BlockedChanged):
        return None
    return transforms_pb2.BlockedState(
        vertices=event.vertices,
        edges=str(event.edges),
        revision=record.revision,
        digest=event.blocked_digest.hex() or NO_SITE_DIGEST,
        recorded_at=timestamp(record.recorded_at),
    )


def moment(request: pb.GetStateRequest) -> datetime | None:
    """The time asked for. Raises InvalidInput."""
    if not request.HasField("time"):
        return None
    bad = Violations()
    check_time(request.time, "time", bad)
    bad.raise_if_any()
    return request.time.ToDatetime(UTC)


def timestamp(at: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(at)
    return message


def _add_write(event: FieldWritten, change: pb.Change) -> None:
    change.name, change.digest = event.name, event.content.digest
    if event.imaginary is not None:
        change.imaginary = event.imaginary.name
        change.imaginary_digest = event.imaginary.content.digest
    if event.region is not None:
        change.region.origin.extend(event.region.origin)
        change.region.shape.extend(event.region.shape)
        change.region.steps.extend(event.region.steps)
    change.request_id = event.request_id
    if event.change is not None:
        _add_change(event.change, change)


def _add_change(made: FieldChange, change: pb.Change) -> None:
    change.before_digest = made.before_digest
    change.request_id = made.request_id
    change.of_revision = max(0, made.of_revision)
    if made.applied:
        change.applied.CopyFrom(chains.applied_from(made.applied))


def _kind(event: LatticeEvent) -> chains_pb2.ChangeKind:
    if isinstance(event, FieldWritten):
        return _KINDS[event.change.kind] if event.change else chains_pb2.CHANGE_KIND_WRITTEN
    if isinstance(event, BlockedChanged):
        return _KINDS[event.change.kind]
    if isinstance(event, FieldDeleted | LatticeDeleted):
        return chains_pb2.CHANGE_KIND_DELETED
    if isinstance(event, LatticeCreated):
        return chains_pb2.CHANGE_KIND_CREATED
    return chains_pb2.CHANGE_KIND_OTHER
