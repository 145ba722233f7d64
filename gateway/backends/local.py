"""Services that the gateway serves itself: their methods are called, without a hop.

Bounded by the same deadline as a call of another process. A client that goes away ends what
only reads. What may write goes on to its end: a call that is cut off between two appends
would leave what a lost answer alone never leaves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.backends.backlog import Backlog
from gateway.backends.remote import PendingCall, Request
from gateway.contract.descriptors import ContractError, http_rules
from services.plumbing import correlation
from services.plumbing.errors import DeadlineExceeded
from services.plumbing.logging import get_logger

_log = get_logger("gateway")

_WAIT_S_MAX: Final = 15.0
"""How long a call may be expected to wait. What hashes a password, or asks the event store some
times, one after the other, may take a while on a machine that has much to do."""
_SENT_COUNT: Final = 20
"""So many calls are always taken on. More of them, where each asks the event store for more than it
can answer, would all be given up half done, and begun anew."""

Rpc = Callable[[Any], Awaitable[Message]]


class LocalBackend:
    """One service of the contract, served by the methods of an object in this process."""

    def __init__(
        self,
        label: str,
        service: ServiceDescriptor,
        servicer: object,
        pool: DescriptorPool | None = None,
    ) -> None:
        """`pool` is where the classes of messages come from that the servicer knows."""
        self.label = label
        self.service = service
        self._servicer = servicer
        self._pool = pool or Default()
        self._running: set[asyncio.Task[bytes]] = set()
        self.answered_count = 0
        self.backlog: Backlog | None = Backlog(_WAIT_S_MAX, sent_count=_SENT_COUNT)
        self.pending: set[PendingCall] = set()

    def unary(self, method: MethodDescriptor) -> Callable[[Request], "asyncio.Future[bytes]"]:
        """Raises ContractError when the servicer has no such method."""
        rpc = self._rpc(method)
        input_type = self._pool.FindMessageTypeByName(method.input_type.full_name)
        parse = GetMessageClass(input_type).FromString
        only_reads = all(rule.WhichOneof("pattern") == "get" for rule in http_rules(method))

        def start(request: Request) -> "asyncio.Future[bytes]":
            # Into the class that the servicer was written for: the contract is read anew here.
            raw = request if isinstance(request, bytes) else request.SerializeToString()
            work = asyncio.ensure_future(_within_deadline(rpc(parse(raw))))
            self._running.add(work)
            work.add_done_callback(self._ended)
            return work if only_reads else asyncio.shield(work)

        return start

    def server_stream(self, method: MethodDescriptor) -> Callable[..., Any]:
        """Raises ContractError: nothing that is served here streams."""
        raise ContractError(f"{method.full_name}: streams are not served in this process")

    client_stream = server_stream

    def response_timeout_s(self) -> None:
        """It is always there."""

    async def finish(self) -> None:
        """Wait for what clients have left behind. Each call is bounded by its deadline."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _rpc(self, method: MethodDescriptor) -> Rpc:
        rpc = getattr(self._servicer, method.name, None)
        if not asyncio.iscoroutinefunction(rpc):
            raise ContractError(f"{method.full_name} is not implemented")
        return rpc

    def _ended(self, work: "asyncio.Task[bytes]") -> None:
        self._running.discard(work)
        if not work.cancelled() and work.exception() is not None:
            # Whoever waits for it reports what it was; nobody may be waiting any longer.
            _log.debug("a call failed", problem=type(work.exception()).__name__)


async def _within_deadline(work: Awaitable[Message]) -> bytes:
    timeout = asyncio.timeout(correlation.current().remaining_s())
    try:
        async with timeout:
            return (await work).SerializeToString()
    except TimeoutError:
        if timeout.expired():
            raise DeadlineExceeded("the call took longer than it may") from None
        raise
