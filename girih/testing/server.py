"""A server of the contract in the process of a test: gRPC on this machine, logs in memory."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final, Self

import grpc

from girih.client import AsyncClient, Client
from girih.events.v1 import events_pb2, groups_pb2, snapshots_pb2
from girih.testing.calls import RunningCalls, handler_of
from girih.testing.identities import ACTOR, TENANT, Identities
from girih.testing.log import Clock, Log
from girih.testing.servicers.events import EventStoreServicer
from girih.testing.servicers.groups import GroupServicer
from girih.testing.servicers.snapshots import SnapshotServicer

_CALLS_MAX: Final = 500
"""At once: each has a thread while it lasts."""
_CLOSING_S: Final = 5.0
"""So long clients without a call have for closing their connections before they are cut off."""
_MESSAGE_BYTES_MAX: Final = 9 * 2**20
_METADATA_BYTES_MAX: Final = 64 * 2**10


class MemoryServer:
    """An event store whose logs live as long as it does, as a context manager.

        with MemoryServer() as server, server.client() as girih:
            girih.append([NewEvent.with_data("permit-1", "submitted", {"by": "Ada"})])

    Each server has logs of its own, one for each tenant that a token is for. It needs a thread for
    each call that is open, up to 500, and keeps everything that is appended.
    """

    def __init__(self, *, now: Clock | None = None) -> None:
        """`now` is its clock, which tests may set: it dates events, and retention goes by it."""
        self._now = now or _now
        self._lock = Lock()
        self._logs: dict[str, Log] = {}
        self._identities = Identities()
        self._running = RunningCalls()
        self._snapshots = SnapshotServicer(self._log_of)
        self._groups = GroupServicer(self._log_of)
        self._grpc: grpc.Server | None = None
        self._threads: ThreadPoolExecutor
        self._port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__(*exc_info)

    def start(self) -> None:
        """Listen on a free port, or on the one before when it was stopped: logs are kept."""
        threads = ThreadPoolExecutor(_CALLS_MAX, thread_name_prefix="girih memory server")
        server = grpc.server(threads, options=_OPTIONS)
        servicers = (
            (events_pb2, "EventStoreService", EventStoreServicer(self._log_of)),
            (snapshots_pb2, "SnapshotService", self._snapshots),
            (groups_pb2, "GroupService", self._groups),
        )
        server.add_generic_rpc_handlers(
            [
                handler_of(
                    file.DESCRIPTOR.services_by_name[name],
                    servicer,
                    self._identities.admit,
                    self._running,
                )
                for file, name, servicer in servicers
            ]
        )
        self._port = server.add_insecure_port(f"127.0.0.1:{self._port}")
        server.start()
        self._grpc, self._threads = server, threads

    def stop(self) -> None:
        """End all calls, as a process does that is killed."""
        if self._grpc is not None:
            # gRPC ends the requests of a call first, as a client does that leaves.
            self._identities.cut_off()
            # Where calls go on their connections are cut off, of which gRPC writes a line at the
            # client's end. Clients without any close theirs when they are asked to.
            self._grpc.stop(grace=None if self._running.count else _CLOSING_S).wait()
            self._threads.shutdown(wait=False)
            self._grpc = None

    @property
    def address(self) -> str:
        """Where it serves: host:port, without encryption."""
        return f"127.0.0.1:{self._port}"

    @property
    def environ(self) -> Mapping[str, str]:
        """For programs that make their client themselves, beside the token that they are given."""
        return {"GIRIH_EVENTS_ADDRESS": self.address}

    def token(
        self,
        tenant: str = TENANT,
        *,
        actor: str = ACTOR,
        scopes: Collection[str] | None = None,
    ) -> str:
        """A new token for a tenant; `scopes` are what it allows, None for everything."""
        return self._identities.issue(tenant, actor, scopes)

    def expire(self, token: str) -> None:
        """Refuse a token from now on, with TOKEN_EXPIRED; calls that it opened end so."""
        self._identities.expire(token)
        self._wake()

    def end_streams(self) -> None:
        """End all calls that follow, as a process does that shuts down: whoever resumes goes on."""
        self._identities.end_streams()
        self._wake()

    def client(self, tenant: str = TENANT, **options: Any) -> Client:  # noqa: ANN401 - those of Client
        """A client without asyncio; close it, or use it as a context manager."""
        return Client(**self._options(tenant, options))

    def async_client(self, tenant: str = TENANT, **options: Any) -> AsyncClient:  # noqa: ANN401
        """A client with asyncio, made where its loop runs."""
        return AsyncClient(**self._options(tenant, options))

    def _options(self, tenant: str, options: Mapping[str, Any]) -> dict[str, Any]:
        own = {"events": self.address, "token": self.token(tenant), "tls": False, "environ": {}}
        return {**own, **options}

    def _log_of(self, tenant: str) -> Log:
        with self._lock:
            return self._logs.setdefault(tenant, Log(self._now))

    def _wake(self) -> None:
        with self._lock:
            logs = list(self._logs.values())
        for log in logs:
            with log.changed:
                log.changed.notify_all()


def _now() -> datetime:
    return datetime.now(UTC)


_OPTIONS: Final = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", _METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", _METADATA_BYTES_MAX),
    # Another process of the machine must not take some of the calls.
    ("grpc.so_reuseport", 0),
    # As often as clients of girih ask whether it lives.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
]
