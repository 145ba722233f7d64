"""girih from Python: asynchronous, typed, and light (gRPC and protobuf, nothing of the servers).

`EventStoreClient` appends, reads and follows; `Follower` keeps a state current that is folded
from events. Everything to be imported is here.
"""

from girih.client.appending import AppendStream
from girih.client.channel import open_channel, tls_credentials
from girih.client.context import CallContext, bind_context, current_context
from girih.client.cursors import Batch
from girih.client.errors import (
    BeyondEnd,
    EventIdReused,
    FieldViolation,
    GirihError,
    InvalidRequest,
    LogReplaced,
    PermissionDenied,
    PreconditionFailed,
    PreconditionViolation,
    RequestTooLarge,
    StreamNotFound,
    StreamOwned,
    Unauthenticated,
    Unavailable,
)
from girih.client.event_store import EventStoreClient
from girih.client.events import (
    ABSENT,
    LogInfo,
    NewEvent,
    Placement,
    Precondition,
    RecordedEvent,
    StreamInfo,
    StreamState,
)
from girih.client.following import Follower
from girih.client.reading import Subscription
from girih.client.retry import RetryPolicy
from girih.client.tokens import Token
from girih.ids import Position, Revision, new_correlation_id, new_event_id, uuid7

__all__ = [
    "ABSENT",
    "AppendStream",
    "Batch",
    "BeyondEnd",
    "CallContext",
    "EventIdReused",
    "EventStoreClient",
    "FieldViolation",
    "Follower",
    "GirihError",
    "InvalidRequest",
    "LogInfo",
    "LogReplaced",
    "NewEvent",
    "PermissionDenied",
    "Placement",
    "Position",
    "Precondition",
    "PreconditionFailed",
    "PreconditionViolation",
    "RecordedEvent",
    "RequestTooLarge",
    "RetryPolicy",
    "Revision",
    "StreamInfo",
    "StreamNotFound",
    "StreamOwned",
    "StreamState",
    "Subscription",
    "Token",
    "Unauthenticated",
    "Unavailable",
    "bind_context",
    "current_context",
    "new_correlation_id",
    "new_event_id",
    "open_channel",
    "tls_credentials",
    "uuid7",
]
