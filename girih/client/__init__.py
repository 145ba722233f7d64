"""girih from Python: with asyncio or without, typed, and light (gRPC and protobuf, nothing of the
servers).

`AsyncClient` and `Client` append, read and follow events, and find paths on lattices; `Follower`
keeps a state current that is folded from events. Everything to be imported is here.
"""

from girih.client.appending import AppendStream
from girih.client.async_client import AsyncClient
from girih.client.blocking.client import Client
from girih.client.blocking.lattices import Lattices
from girih.client.channel import open_channel, tls_credentials
from girih.client.context import CallContext, bind_context, current_context
from girih.client.cursors import Batch
from girih.client.errors import (
    AlreadyExists,
    BeyondEnd,
    ClientClosed,
    Conflict,
    ConsumerTooSlow,
    EventIdReused,
    FieldViolation,
    GirihError,
    InvalidRequest,
    KeyInvalid,
    LatticeNotFound,
    LatticesChanged,
    LimitReached,
    LogReplaced,
    NotFound,
    NotLoggedIn,
    PermissionDenied,
    PlanLimit,
    PreconditionFailed,
    PreconditionTooCostly,
    PreconditionViolation,
    QuotaExceeded,
    RequestTooLarge,
    StreamNotFound,
    StreamOwned,
    Unauthenticated,
    Unavailable,
    WorkTooLarge,
)
from girih.client.event_store import EventStoreClient
from girih.client.events import (
    ABSENT,
    Cause,
    LogInfo,
    NewEvent,
    NoMatch,
    Placement,
    Precondition,
    Query,
    RecordedEvent,
    StreamInfo,
    StreamState,
    TracedEvent,
)
from girih.client.following import Follower
from girih.client.lattices.client import AsyncLattices
from girih.client.lattices.values import (
    Boundary,
    Computation,
    CornerRule,
    Lattice,
    Neighbourhood,
    Path,
    Run,
    Site,
)
from girih.client.reading import Subscription
from girih.client.retry import RetryPolicy
from girih.client.tokens import Token
from girih.ids import Position, Revision, new_correlation_id, new_event_id, uuid7

__all__ = [
    "ABSENT",
    "AlreadyExists",
    "AppendStream",
    "AsyncClient",
    "AsyncLattices",
    "Batch",
    "BeyondEnd",
    "Boundary",
    "CallContext",
    "Cause",
    "Client",
    "ClientClosed",
    "Computation",
    "Conflict",
    "ConsumerTooSlow",
    "CornerRule",
    "EventIdReused",
    "EventStoreClient",
    "FieldViolation",
    "Follower",
    "GirihError",
    "InvalidRequest",
    "KeyInvalid",
    "Lattice",
    "LatticeNotFound",
    "Lattices",
    "LatticesChanged",
    "LimitReached",
    "LogInfo",
    "LogReplaced",
    "Neighbourhood",
    "NewEvent",
    "NoMatch",
    "NotFound",
    "NotLoggedIn",
    "Path",
    "PermissionDenied",
    "Placement",
    "PlanLimit",
    "Position",
    "Precondition",
    "PreconditionFailed",
    "PreconditionTooCostly",
    "PreconditionViolation",
    "Query",
    "QuotaExceeded",
    "RecordedEvent",
    "RequestTooLarge",
    "RetryPolicy",
    "Revision",
    "Run",
    "Site",
    "StreamInfo",
    "StreamNotFound",
    "StreamOwned",
    "StreamState",
    "Subscription",
    "Token",
    "TracedEvent",
    "Unauthenticated",
    "Unavailable",
    "WorkTooLarge",
    "bind_context",
    "current_context",
    "new_correlation_id",
    "new_event_id",
    "open_channel",
    "tls_credentials",
    "uuid7",
]
