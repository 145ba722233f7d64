"""What calls to girih end with, by name: one small tree, one idea of "away".

Match on classes, or on `reason`, which never changes. Messages are for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2

from girih.events.v1 import events_pb2 as pb
from girih.status_details import MESSAGE_TOO_LARGE, first_detail


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is out of its bounds, by its path: `events[3].id`."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class PreconditionViolation:
    """One precondition that does not hold: of a stream, or of queries."""

    index: int
    """Its place among the preconditions of the append; `unless` stands behind them."""
    stream: str
    """Empty when it is of queries."""
    actual_revision: int | None
    """The revision of the stream's last event; None when it has no events."""
    position: int = 0
    """Of the first event in the way; 0 when it is of a stream."""
    event_id: str = ""
    """Of that event."""
    read_again: bool = True
    """Whether it may hold for who reads again and decides again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A status that a call ended with, taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    """Empty when the answer does not come from a process of girih."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    details: tuple[Any, ...] = ()


_CLIENT_CLOSED: Final = Refusal(
    code=grpc.StatusCode.CANCELLED, message="the client is closed", reason="CLIENT_CLOSED"
)


class GirihError(Exception):
    """A call did not do what was asked. One without a class of its own is of this one."""

    reasons: ClassVar[frozenset[str]] = frozenset()
    """The reasons that errors of this class tell, and not of those below it; see `codes`."""
    codes: ClassVar[frozenset[grpc.StatusCode]] = frozenset()
    """The codes of which they tell where the reason has no class."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.code: Final = refusal.code
        self.reason: Final = refusal.reason
        self.message: Final = refusal.message
        self.metadata: Final = refusal.metadata
        """Numbers and names that belong to the reason, as the contract lists them."""
        self.retry_after_s: Final = refusal.retry_after_s
        """When the server wants the call repeated; None when it does not say."""

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}: {self.message}"

    def number(self, name: str) -> int:
        """A whole number of `metadata`; 0 where it is missing."""
        text = self.metadata.get(name, "")
        return int(text) if text.isdecimal() else 0


class Unavailable(GirihError):
    """The service is away, too busy, or did not answer in time: repeat the same call.

    The client has repeated it already, as long as its time allowed. It is not known whether
    an append that ends so happened: repeat it with the same events, which keep their ids.
    """

    codes = frozenset(
        {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.CANCELLED,
        }
    )

    @classmethod
    def no_answer(cls, message: str) -> "Unavailable":
        """Nothing came in time."""
        return cls(Refusal(code=grpc.StatusCode.DEADLINE_EXCEEDED, message=message))


class ClientClosed(GirihError):
    """The client was closed, here or while the call was open. An append may have happened."""

    reasons = frozenset({"CLIENT_CLOSED"})

    def __init__(self, refusal: Refusal | None = None) -> None:
        super().__init__(refusal or _CLIENT_CLOSED)


class CallEnded(Unavailable):
    """The server ended the call, and nothing is known to be wrong: go on through another.

    So it does when nothing was sent for a while and others waited.
    """

    reasons = frozenset({"CALL_IDLE"})


class Unauthenticated(GirihError):
    """The token is missing, not valid or expired. `reason` tells which."""

    codes = frozenset({grpc.StatusCode.UNAUTHENTICATED})

    @property
    def is_expired(self) -> bool:
        return self.reason == "TOKEN_EXPIRED"

    @property
    def is_stale(self) -> bool:
        """A new token may help: also where the key that signed this one is trusted no more."""
        return self.reason in ("TOKEN_EXPIRED", "TOKEN_INVALID")


class NotLoggedIn(Unauthenticated):
    """There is nothing to call with: no token, no API key, and nobody is logged in."""

    reasons = frozenset({"NOT_LOGGED_IN", "REFRESH_TOKEN_INVALID"})


class KeyInvalid(Unauthenticated):
    """The API key is none of the server's, has expired, or was revoked."""

    reasons = frozenset({"KEY_INVALID"})


class PermissionDenied(GirihError):
    """The token does not allow this. Do not repeat."""

    codes = frozenset({grpc.StatusCode.PERMISSION_DENIED})


class StreamOwned(PermissionDenied):
    """A stream belongs to a service, which alone appends to it. Nothing was appended."""

    reasons = frozenset({"STREAM_OWNED"})

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of the append that belong to services, as many as fit."""
        return _names(self.metadata.get("streams", ""))


class PlanLimit(PermissionDenied):
    """The tenant's plan does not allow this. Do not repeat unchanged."""

    reasons = frozenset({"PLAN_LIMIT"})

    @property
    def limit(self) -> str:
        """What of the plan: "lattices", "axes" or "extent"."""
        return self.metadata.get("limit", "")

    @property
    def maximum(self) -> int:
        return self.number("maximum")

    @property
    def asked(self) -> int:
        return self.number("asked")

    @property
    def plan(self) -> str:
        return self.metadata.get("plan", "")


class LimitReached(GirihError):
    """There are as many of something as there may be: make room. Do not repeat."""

    reasons = frozenset({"TOO_MANY_KEYS", "TOO_MANY_INVITATIONS", "SCHEMAS_FULL", "GROUPS_FULL"})


class QuotaExceeded(LimitReached):
    """The tenant has made as many calls this month as its plan allows. Repeating is refused
    until the month ends or the plan changes."""

    reasons = frozenset({"QUOTA_EXCEEDED"})


class InvalidRequest(GirihError):
    """Fields are out of their bounds. Do not repeat unchanged."""

    codes = frozenset({grpc.StatusCode.INVALID_ARGUMENT})

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        request = first_detail(refusal.details, error_details_pb2.BadRequest())
        self.violations: Final = tuple(
            FieldViolation(one.field, one.description)
            for one in (request.field_violations if request else ())
        )

    @classmethod
    def unsent(cls, field: str, description: str) -> "InvalidRequest":
        """What the service would refuse is not sent."""
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=field, description=description
        )
        detail = Any()
        detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        return cls(
            Refusal(
                code=grpc.StatusCode.INVALID_ARGUMENT,
                reason="INVALID_INPUT",
                message=f"{field} {description}",
                details=(detail,),
            )
        )


class RequestTooLarge(GirihError):
    """The request, or its answer, is more than a message may hold. Ask for less."""

    reasons = frozenset({MESSAGE_TOO_LARGE, "ANSWER_TOO_LARGE"})

    @classmethod
    def unsent(cls, byte_count: int, byte_count_max: int) -> "RequestTooLarge":
        """What the event store would refuse is not sent."""
        return cls(
            Refusal(
                code=grpc.StatusCode.INVALID_ARGUMENT,
                reason=MESSAGE_TOO_LARGE,
                message=f"the request must be at most {byte_count_max:,} bytes",
                metadata={
                    "byte_count": str(byte_count),
                    "byte_count_max": str(byte_count_max),
                },
            )
        )

    @property
    def byte_count(self) -> int:
        """Of the request; 0 when that was not told."""
        return self.number("byte_count")

    @property
    def byte_count_max(self) -> int:
        """What it may have; 0 when that was not told."""
        return self.number("byte_count_max")


class WorkTooLarge(GirihError):
    """A lattice has more neighbours to look at than one call may have looked at. Do not repeat
    unchanged: give the call more time, or look at less."""

    reasons = frozenset({"WORK_TOO_LARGE"})

    @property
    def estimate(self) -> int:
        """The neighbours that there are to look at, as estimated."""
        return self.number("estimate")

    @property
    def limit(self) -> int:
        """The neighbours that the call may have looked at."""
        return self.number("limit")


class ConsumerTooSlow(Unavailable):
    """A part of a streamed answer waited too long to be read: read faster, or ask for less."""

    reasons = frozenset({"CONSUMER_TOO_SLOW"})


class Conflict(GirihError):
    """A race was lost, or what is asked for stands against what there is: read again, decide
    again, then repeat."""

    codes = frozenset({grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION})


class AlreadyExists(Conflict):
    """What was to be made exists with other content."""

    codes = frozenset({grpc.StatusCode.ALREADY_EXISTS})


class NotFound(GirihError):
    """What the call names does not exist, or not for this caller."""

    codes = frozenset({grpc.StatusCode.NOT_FOUND})


class SchemaViolated(InvalidRequest):
    """Events are not as the schemas of their types say, or name a version that is not registered.
    Nothing was appended; `violations` tell where."""

    reasons = frozenset({"SCHEMA_VIOLATED", "SCHEMA_VERSION_UNKNOWN"})


class SchemaRefused(InvalidRequest):
    """A schema, or an upcaster, that may not be registered; `violations` tell why."""

    reasons = frozenset({"SCHEMA_REFUSED", "UPCASTER_REFUSED"})


class SchemaIncompatible(GirihError):
    """A schema breaks what it promises of the version before it."""

    reasons = frozenset({"SCHEMA_INCOMPATIBLE"})


class SchemaVersionTaken(AlreadyExists):
    """The version is registered with another schema, or a later one is."""

    reasons = frozenset({"SCHEMA_VERSION_TAKEN"})


class SchemaCheckTooLong(GirihError):
    """To check an event, or to look through a schema, takes longer than it may. Do not repeat
    unchanged."""

    reasons = frozenset({"SCHEMA_CHECK_TOO_LONG"})


class SchemasMoved(Unavailable):
    """Schemas kept being registered while events were checked by them: repeat the append."""

    reasons = frozenset({"SCHEMAS_MOVED"})


class LatticeNotFound(NotFound):
    """There is no lattice of this id, or it was deleted."""

    reasons = frozenset({"LATTICE_NOT_FOUND"})


class FieldNotFound(NotFound):
    """The lattice has no field of this name."""

    reasons = frozenset({"FIELD_NOT_FOUND"})


class UploadNotFound(NotFound):
    """There is no such upload of the field: it was finished, or has expired."""

    reasons = frozenset({"UPLOAD_NOT_FOUND"})


class UploadOffset(Conflict):
    """The upload is elsewhere, or a call that was cut off still goes on with it: go on from where
    it is."""

    reasons = frozenset({"UPLOAD_OFFSET"})


class UploadsFull(GirihError):
    """The tenant has begun as many uploads of fields as may be unfinished at once. Go on with
    those; what was given up counts until it expires."""

    reasons = frozenset({"UPLOADS_FULL"})

    @property
    def limit(self) -> int:
        """How many there may be; 0 when that was not told."""
        return self.number("limit")


class UploadInterrupted(GirihError):
    """An upload was cut off, and what the service has not kept of it cannot be read again: begin
    it anew."""

    reasons = frozenset({"UPLOAD_INTERRUPTED"})

    @classmethod
    def beyond(cls, offset: int, kept_from: int) -> "UploadInterrupted":
        """The service goes on at `offset`, which is before what is kept here."""
        return cls(
            Refusal(
                code=grpc.StatusCode.ABORTED,
                reason="UPLOAD_INTERRUPTED",
                message=f"the upload is at {offset:,}, and what is kept begins at {kept_from:,}",
            )
        )


class LatticesChanged(Unavailable):
    """The tenant's lattices kept changing while they were counted: repeat the same call."""

    reasons = frozenset({"LATTICES_CHANGED"})


class JobNotBegun(Unavailable):
    """The job has nothing yet that could be shown: repeat the same call in a moment."""

    reasons = frozenset({"JOB_NOT_BEGUN"})


class JobsChanged(Unavailable):
    """The job, or the tenant's jobs, kept changing while it was to be changed: repeat the same
    call."""

    reasons = frozenset({"JOBS_CHANGED"})


class PreconditionFailed(Conflict):
    """A stream is not in the state expected, or an event is there that must not be. Nothing was
    appended: read and decide again, unless `read_again` says that this cannot help."""

    reasons = frozenset({"PRECONDITION_FAILED"})

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        failure = first_detail(refusal.details, pb.PreconditionFailure())
        self.violations: Final = tuple(
            PreconditionViolation(
                one.index,
                one.stream,
                one.actual_revision if one.HasField("actual_revision") else None,
                one.position,
                one.event_id,
                one.read_again,
            )
            for one in (failure.violations if failure else ())
        )
        """Those that do not hold, by index, as many as fit into a status."""

    @property
    def read_again(self) -> bool:
        """Whether reading again can help: it can with all that do not hold."""
        return all(one.read_again for one in self.violations)


class RevisionConflict(Conflict):
    """An aggregate was decided on at a revision that its stream was not at any more, as often as
    it was loaded and decided on again. Nothing was saved."""

    reasons = frozenset({"REVISION_CONFLICT"})

    @classmethod
    def of(
        cls, stream: str, expected: int, actual: int | None, attempts: int
    ) -> "RevisionConflict":
        """`expected` is -1 for a stream without events, and `actual` None."""
        revision = -1 if actual is None else actual
        return cls(
            Refusal(
                code=grpc.StatusCode.ABORTED,
                reason="REVISION_CONFLICT",
                message=f"{stream} is at revision {revision} and not at {expected}"
                f", after {attempts} attempts",
                metadata={
                    "stream": stream,
                    "expected_revision": str(expected),
                    "actual_revision": str(revision),
                    "attempt_count": str(attempts),
                },
            )
        )

    @property
    def stream(self) -> str:
        """The stream of the aggregate."""
        return self.metadata["stream"]

    @property
    def expected_revision(self) -> int:
        """The revision that was decided on last; -1 for a stream without events."""
        return int(self.metadata["expected_revision"])

    @property
    def actual_revision(self) -> int:
        """The revision that the stream was at then; -1 for one without events."""
        return int(self.metadata["actual_revision"])

    @property
    def attempts(self) -> int:
        """How often it was decided."""
        return self.number("attempt_count")


class HistoryUnusable(GirihError):
    """A stream cannot be folded into the state of its aggregate: an event has no handler, is not as
    its class says, or is gone. Repeating changes nothing."""

    reasons = frozenset({"HISTORY_UNUSABLE"})

    @classmethod
    def at(cls, stream: str, revision: int, event_type: str, problem: str) -> "HistoryUnusable":
        """Of the event at `revision`."""
        return cls(
            Refusal(
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason="HISTORY_UNUSABLE",
                message=f"{event_type} at revision {revision} of {stream}: {problem}",
                metadata={"stream": stream, "revision": str(revision), "type": event_type},
            )
        )

    @property
    def stream(self) -> str:
        """The stream of the event."""
        return self.metadata["stream"]

    @property
    def revision(self) -> int:
        """The revision of the event."""
        return int(self.metadata["revision"])

    @property
    def type(self) -> str:
        """The type of the event."""
        return self.metadata["type"]


class PreconditionTooCostly(GirihError):
    """It takes too long to look for the events that must not be there. Nothing was appended. Do
    not repeat unchanged: give `after`, a later one, or queries with a rarer part."""

    reasons = frozenset({"PRECONDITION_TOO_COSTLY"})

    @property
    def looked_at_position(self) -> int:
        """Up to where it was looked."""
        return self.number("looked_at_position")

    @property
    def head_position(self) -> int:
        """Where the log ends."""
        return self.number("head_position")


class EventIdReused(AlreadyExists):
    """An id is stored with other content. Nothing was appended. Do not repeat."""

    reasons = frozenset({"EVENT_ID_REUSED"})

    @property
    def event_ids(self) -> tuple[str, ...]:
        """The first of them, as many as fit."""
        return _names(self.metadata.get("event_ids", ""))


class StreamNotFound(NotFound):
    """No event was ever appended to the stream."""

    reasons = frozenset({"STREAM_NOT_FOUND"})


class StreamTombstoned(InvalidRequest):
    """Streams are closed for ever. Nothing was appended."""

    reasons = frozenset({"STREAM_TOMBSTONED"})

    @property
    def streams(self) -> tuple[str, ...]:
        """Those of the append, as many as fit."""
        return _names(self.metadata.get("streams", ""))


class EventGone(InvalidRequest):
    """The event is gone already."""

    reasons = frozenset({"EVENT_GONE"})


class EventNotFound(NotFound):
    """No event is at the position."""

    reasons = frozenset({"EVENT_NOT_FOUND"})


class MetadataChanged(Conflict):
    """The metadata of the stream is not the version that was expected."""

    reasons = frozenset({"STREAM_METADATA_CHANGED"})

    @property
    def actual_version(self) -> int:
        """The version that is there; 0 for none."""
        return int(self.metadata.get("actual_version", 0))


class BeyondEnd(Conflict):
    """The log, or the stream, ends before what was read of it: it was restored to an earlier
    state. What was read is not what it holds: read it again from the beginning."""

    reasons = frozenset({"BEYOND_END"})


class LogReplaced(Conflict):
    """The log does not hold any longer what was read of it: it was restored, or another server
    took over that did not have all of it. Undo what came of what was read behind
    `shared_position`, and read on from there without an incarnation, or from the beginning."""

    reasons = frozenset({"LOG_REPLACED"})

    @property
    def incarnation(self) -> str:
        """The incarnation that the log is in now."""
        return self.metadata.get("incarnation", "")

    @property
    def shared_position(self) -> int:
        """The position up to which it holds what was read; 0 when that is not known."""
        return self.number("shared_position")


class DataDamaged(GirihError):
    """Something that was stored is missing or altered: its operators must bring it back. Do not
    repeat."""

    codes = frozenset({grpc.StatusCode.DATA_LOSS})

    @classmethod
    def received(cls, digest: str, expected: str) -> "DataDamaged":
        """What came has another digest than what was to come."""
        return cls(
            Refusal(
                code=grpc.StatusCode.DATA_LOSS,
                reason="DIGEST_MISMATCH",
                message=f"what came has the digest {digest}, not {expected}",
            )
        )


class LeaseLost(Conflict):
    """What a consumer has said of an event came too late, or twice: the event is given to somebody
    else, or will be."""

    reasons = frozenset({"LEASE_LOST", "EVENT_NOT_DELIVERED"})


class GroupNotFound(NotFound):
    """There is no consumer group of that name, or it was deleted."""

    reasons = frozenset({"GROUP_NOT_FOUND"})


class GroupExists(AlreadyExists):
    """There is a consumer group of that name, with other settings."""

    reasons = frozenset({"GROUP_EXISTS"})


class GroupChanged(Conflict):
    """The settings of a consumer group are not the version that was expected."""

    reasons = frozenset({"GROUP_CHANGED"})


class ParkedEventNotFound(NotFound):
    """An event is not parked by the consumer group. Nothing was changed."""

    reasons = frozenset({"PARKED_EVENT_NOT_FOUND"})


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
