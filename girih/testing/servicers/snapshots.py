"""The rpcs of `SnapshotService` on logs in memory."""

import threading
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import snapshots_pb2
from girih.testing import checking, reading
from girih.testing.calls import Call, check
from girih.testing.log import Log, log_replaced
from girih.testing.refusals import Refused
from girih.testing.servicers.events import LogOf

_COUNT_MAX: Final = 2
"""So many are kept of a stream."""


class _Saved(NamedTuple):
    """A snapshot, and where the log ended when it was saved."""

    snapshot: snapshots_pb2.Snapshot
    head: int


class SnapshotServicer:
    """The snapshots of the calling tenant's streams."""

    def __init__(self, log_of: LogOf) -> None:
        self._log_of = log_of
        self._lock = threading.Lock()
        self._saved: dict[tuple[str, str], dict[int, _Saved]] = {}
        """By tenant and stream, and then by revision."""

    def SaveSnapshot(
        self, request: snapshots_pb2.SaveSnapshotRequest, call: Call
    ) -> snapshots_pb2.SaveSnapshotResponse:
        checking.check_snapshot(request)
        log = self._log_of(call.tenant)
        snapshot = _snapshot(request)
        with log.changed, self._lock:
            if _event_at(log, request.stream, request.revision) is None:
                message = f"the stream {request.stream} has no event of revision {request.revision}"
                raise Refused("SNAPSHOT_REVISION_NOT_FOUND", message, {"stream": request.stream})
            if request.incarnation not in ("", log.incarnation):
                raise log_replaced(log)
            stream = log.streams[request.stream]
            if stream.has_redacted(upto=request.revision, since=request.read_position):
                return snapshots_pb2.SaveSnapshotResponse(digest=snapshot.digest)
            snapshot.saved_at.FromDatetime(log.now())
            kept = self._saved.setdefault((call.tenant, request.stream), {})
            kept[request.revision] = _Saved(snapshot, log.head)
            for revision in sorted(kept)[:-_COUNT_MAX]:
                del kept[revision]
            is_kept = request.revision in kept
        return snapshots_pb2.SaveSnapshotResponse(kept=is_kept, digest=snapshot.digest)

    def LoadStream(
        self, request: snapshots_pb2.LoadStreamRequest, call: Call
    ) -> Iterator[snapshots_pb2.LoadStreamResponse]:
        check(request)
        log = self._log_of(call.tenant)
        with log.changed, self._lock:
            snapshot = self._newest(log, request, call.tenant)
            first = snapshots_pb2.LoadStreamResponse(
                incarnation=log.incarnation, head_position=log.head, snapshot=snapshot
            )
        yield first
        tail = pb.ReadRequest(
            stream=request.stream,
            from_revision=snapshot.revision + 1 if snapshot else 0,
            incarnation=first.incarnation,
        )
        for response in reading.read(log, tail, call):
            yield snapshots_pb2.LoadStreamResponse(
                events=response.events, incarnation=response.incarnation
            )

    def _newest(
        self, log: Log, request: snapshots_pb2.LoadStreamRequest, tenant: str
    ) -> snapshots_pb2.Snapshot | None:
        """The newest that fits: of a layout that is known, and with nothing gone behind it."""
        saved = self._saved.get((tenant, request.stream), {})
        for revision in sorted(saved, reverse=True):
            snapshot, known = saved[revision].snapshot, request.schema_version
            is_newer = bool(known) and snapshot.schema_version > known
            if is_newer or not _holds(log, request.stream, saved[revision]):
                continue
            copy = snapshots_pb2.Snapshot()
            copy.CopyFrom(snapshot)
            copy.is_older = snapshot.schema_version < known
            return copy
        return None


def _snapshot(request: snapshots_pb2.SaveSnapshotRequest) -> snapshots_pb2.Snapshot:
    is_json = request.WhichOneof("state") == "json"
    content = request.json.encode() if is_json else request.binary
    snapshot = snapshots_pb2.Snapshot(
        revision=request.revision,
        schema_version=request.schema_version,
        content_type=request.content_type,
        digest=sha256(content).hexdigest(),
    )
    if is_json:
        snapshot.json = request.json
    elif content:
        snapshot.binary = content
    return snapshot


def _event_at(log: Log, name: str, revision: int) -> pb.RecordedEvent | None:
    """The event of a revision; None where there is none, or it was deleted."""
    stream = log.streams.get(name)
    if stream is None or not stream.deleted_below <= revision < len(stream.events):
        return None
    return stream.events[revision]


def _holds(log: Log, name: str, saved: _Saved) -> bool:
    """Whether nothing in it was deleted or redacted since, and no event behind it is gone."""
    revision = saved.snapshot.revision
    if _event_at(log, name, revision) is None:
        return False
    stream = log.streams[name]
    if stream.first_revision() > revision + 1:
        return False
    return not stream.has_redacted(upto=revision, since=saved.head)
