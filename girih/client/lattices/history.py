"""What happened to lattices: values, and what is asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp

from girih.client.lattices.fields import Field, field_of
from girih.client.lattices.messages import blocked_state, id_of
from girih.client.lattices.questions import Asked
from girih.client.lattices.transforms import StepReport, chain_of, reports_of
from girih.client.lattices.values import BlockedState, Lattice
from girih.lattice.v1 import chains_pb2
from girih.lattice.v1 import history_pb2 as pb

_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that happened to a lattice."""

    revision: int
    """Its place in the lattice's stream."""
    kind: str
    """What it was, by the contract's name without its prefix: `TRANSFORMED`, `UNDONE`, ..."""
    name: str
    """The field; empty where it was the lattice."""
    recorded_at: datetime
    """By the event store's clock, in UTC."""
    actor: str
    correlation_id: str
    digest: str
    """Of the field behind it; empty where it was deleted."""
    before_digest: str
    """Of the field before it; empty where nobody had read that."""
    of_revision: int
    """Of the change that was undone or done again; 0 for others."""
    chain: tuple[dict[str, Any], ...]
    """The steps that were applied, as in the contract's JSON."""
    reports: tuple[StepReport, ...]
    """Of each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredField:
    """A field behind the undoing of its last change, or behind its being done again."""

    field: Field
    imaginary: Field | None
    of_revision: int
    """Of the change that was undone or done again."""
    by_inverse: bool
    """The inverse brought it back; else it was kept, or computed anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredBlocked:
    """The same of which sites are blocked."""

    state: BlockedState
    of_revision: int
    by_inverse: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LatticeState:
    """A lattice at a revision."""

    revision: int
    recorded_at: datetime
    fields: tuple[Field, ...]
    """Those that there were, by name. One whose numbers are not kept any more cannot be read."""
    blocked: BlockedState


@dataclass(frozen=True, slots=True)
class DifferingRegion:
    """A box with numbers that differ."""

    origin: tuple[int, ...]
    shape: tuple[int, ...]
    differing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a field at one revision differs from it at another. False where nothing does."""

    from_digest: str
    to_digest: str
    sites: int
    differing: int
    greatest: float | None
    """The greatest absolute difference; None where none differs, or only where NaN is."""
    regions: tuple[DifferingRegion, ...]
    """Boxes that have all that differ."""

    def __bool__(self) -> bool:
        return self.differing > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedEvent:
    """How an event compares with what comes out of it."""

    revision: int
    name: str
    kind: str
    """As `Change.kind`."""
    outcome: str
    """`KEPT`, `REPRODUCED`, `GONE`, `DIFFERENT`, `DAMAGED` or `NOT_REPLAYED`."""
    digest: str
    computed_digest: str
    """What a replay comes to; empty where there was none."""
    computed_with: str
    """What it was computed with where that is another version than now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a replay of a lattice's events came to. False where one is different or damaged."""

    events: tuple[VerifiedEvent, ...]
    kept: int
    reproduced: int
    gone: int
    different: int
    damaged: int
    not_replayed: int
    verified: bool

    def __bool__(self) -> bool:
        return self.verified


class Changes:
    """What happened to a lattice, or to one of its fields, page after page."""

    def __init__(self, lattice: Lattice | str, name: str) -> None:
        self.request = pb.GetHistoryRequest(
            lattice_id=id_of(lattice), name=name, page_size=_PAGE_SIZE
        )

    def page(self) -> Asked[tuple[Change, ...]]:
        """The next page; `request.page_token` is empty behind the last."""
        return Asked("GetHistory", self.request, self._read)

    @property
    def is_done(self) -> bool:
        """The last page was read."""
        return not self.request.page_token

    def _read(self, response: pb.GetHistoryResponse) -> tuple[Change, ...]:
        self.request.page_token = response.next_page_token
        return tuple(map(_change, response.changes))


def undo(lattice: Lattice | str, name: str, expected_revision: int | None) -> Asked[RestoredField]:
    """With an id of its own, so that it may be repeated."""
    request = pb.UndoChangeRequest(**_turning(lattice, expected_revision), name=name)
    return Asked("UndoChange", request, _undone)


def redo(lattice: Lattice | str, name: str, expected_revision: int | None) -> Asked[RestoredField]:
    """With an id of its own, so that it may be repeated."""
    request = pb.RedoChangeRequest(**_turning(lattice, expected_revision), name=name)
    return Asked("RedoChange", request, _redone)


def undo_blocked(lattice: Lattice | str, expected_revision: int | None) -> Asked[RestoredBlocked]:
    """With an id of its own, so that it may be repeated."""
    request = pb.UndoBlockedRequest(**_turning(lattice, expected_revision))
    return Asked("UndoBlocked", request, _restored_blocked)


def redo_blocked(lattice: Lattice | str, expected_revision: int | None) -> Asked[RestoredBlocked]:
    """With an id of its own, so that it may be repeated."""
    request = pb.RedoBlockedRequest(**_turning(lattice, expected_revision))
    return Asked("RedoBlocked", request, _restored_blocked)


def state(lattice: Lattice | str, at: int | datetime | None) -> Asked[LatticeState]:
    """At a revision, or by a time. Raises ValueError for a time without a time zone."""
    request = pb.GetStateRequest(lattice_id=id_of(lattice))
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError("a time needs a time zone")
        moment = Timestamp()
        moment.FromDatetime(at)
        request.time.CopyFrom(moment)
    elif at is not None:
        request.revision = at
    return Asked("GetState", request, _state)


def diff(
    lattice: Lattice | str,
    name: str,
    from_revision: int,
    to_revision: int | None,
    regions_max: int,
) -> Asked[Difference]:
    request = pb.DiffFieldRequest(
        lattice_id=id_of(lattice),
        name=name,
        from_revision=from_revision,
        to_revision=to_revision,
        regions_max=regions_max,
    )
    return Asked("DiffField", request, _difference)


class Verifying:
    """What becomes of each event, from the beginning in each call."""

    is_done = False

    def __init__(self, lattice: Lattice | str) -> None:
        self._request = pb.VerifyLatticeRequest(lattice_id=id_of(lattice))
        self._events: list[VerifiedEvent] = []
        self._sums = pb.VerifiedSums()

    def begin(self) -> pb.VerifyLatticeRequest:
        self._events = []
        return self._request

    def take(self, response: pb.VerifyLatticeResponse) -> None:
        if response.HasField("event"):
            self._events.append(_verified(response.event))
        if response.HasField("sums"):
            self._sums = response.sums

    def result(self) -> Verification:
        sums = self._sums
        return Verification(
            events=tuple(self._events),
            kept=sums.kept,
            reproduced=sums.reproduced,
            gone=sums.gone,
            different=sums.different,
            damaged=sums.damaged,
            not_replayed=sums.not_replayed,
            verified=sums.verified,
        )


def _turning(lattice: Lattice | str, expected_revision: int | None) -> dict[str, Any]:
    return {
        "lattice_id": id_of(lattice),
        "request_id": str(uuid4()),
        "expected_revision": expected_revision,
    }


def _change(message: pb.Change) -> Change:
    return Change(
        revision=message.revision,
        kind=_kind(message.kind),
        name=message.name,
        recorded_at=message.recorded_at.ToDatetime(tzinfo=UTC),
        actor=message.actor,
        correlation_id=message.correlation_id,
        digest=message.digest,
        before_digest=message.before_digest,
        of_revision=message.of_revision,
        chain=chain_of(message.applied.transforms),
        reports=reports_of(message.applied.reports),
    )


def _redone(response: pb.RedoChangeResponse) -> RestoredField:
    return RestoredField(
        field=field_of(response.field),
        imaginary=field_of(response.imaginary) if response.HasField("imaginary") else None,
        of_revision=response.of_revision,
        by_inverse=False,
    )


def _undone(response: pb.UndoChangeResponse) -> RestoredField:
    return replace(_redone(response), by_inverse=response.by_inverse)  # type: ignore[arg-type]


def _restored_blocked(response: pb.UndoBlockedResponse | pb.RedoBlockedResponse) -> RestoredBlocked:
    return RestoredBlocked(
        state=blocked_state(response.state),
        of_revision=response.of_revision,
        by_inverse=isinstance(response, pb.UndoBlockedResponse) and response.by_inverse,
    )


def _state(response: pb.GetStateResponse) -> LatticeState:
    return LatticeState(
        revision=response.revision,
        recorded_at=response.recorded_at.ToDatetime(tzinfo=UTC),
        fields=tuple(map(field_of, response.fields)),
        blocked=blocked_state(response.blocked),
    )


def _difference(response: pb.DiffFieldResponse) -> Difference:
    return Difference(
        from_digest=response.from_digest,
        to_digest=response.to_digest,
        sites=response.sites,
        differing=response.differing,
        greatest=response.greatest if response.HasField("greatest") else None,
        regions=_regions(response.regions),
    )


def _regions(messages: Sequence[pb.DifferingRegion]) -> tuple[DifferingRegion, ...]:
    return tuple(
        DifferingRegion(tuple(each.origin), tuple(each.shape), each.differing) for each in messages
    )


def _verified(message: pb.VerifiedEvent) -> VerifiedEvent:
    return VerifiedEvent(
        revision=message.revision,
        name=message.name,
        kind=_kind(message.kind),
        outcome=pb.VerifiedOutcome.Name(message.outcome).removeprefix("VERIFIED_OUTCOME_"),
        digest=message.digest,
        computed_digest=message.found,
        computed_with=message.computed_with,
    )


def _kind(number: chains_pb2.ChangeKind) -> str:
    return chains_pb2.ChangeKind.Name(number).removeprefix("CHANGE_KIND_")
