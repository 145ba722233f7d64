"""What happens around every rpc: correlation, token, scope, deadline, errors, metrics, log.

One wrapper serves all four kinds of rpc and both styles of streaming handlers. It is put
around a handler once, when the service is added, so a call pays for no lookups and no
layers. It knows gRPC and no service.
"""

import asyncio
import inspect
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, TypeAlias

import grpc
import grpc.aio

from girih.ids import NO_TENANT
from services.plumbing import correlation
from services.plumbing.auth.tokens import (
    TokenExpired,
    TokenInvalid,
    TokenRefused,
    Verifier,
    expired,
)
from services.plumbing.budget import Budget
from services.plumbing.correlation import (
    CAUSATION_KEY,
    CORRELATION_KEY,
    TOKEN_KEY,
    TRACEPARENT_KEY,
    Call,
    well_formed,
    well_formed_traceparent,
)
from services.plumbing.errors import (
    DeadlineExceeded,
    PermissionDenied,
    ServiceError,
    ShuttingDown,
    Unauthenticated,
    let_go,
)
from services.plumbing.grpc import errors as grpc_errors
from services.plumbing.grpc.requests import RequestMemory, Requests, ServerFull
from services.plumbing.identity import PUBLIC, Principal, authorize
from services.plumbing.logging import get_logger, write_line
from services.plumbing.metrics import GrpcMetrics, MethodMetrics
from services.plumbing.telemetry import lines, tracing

Context = grpc.aio.ServicerContext[Any, Any]
RpcHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic for the type checker only
Handler = Callable[[Any, Context], Any]
Serialize = Callable[[Any], bytes]
Deserialize = Callable[[bytes], Any]
GrpcType = Literal["unary", "client_stream", "server_stream", "bidi_stream"]

_log = get_logger("server")

_DISCARDING_MAX: Final = 64
"""So many streams that were refused are read on at once: those of strangers are among them."""

_EXPIRY_SLACK_S = 1.0
_authorization = re.compile(r"bearer ([\w.-]+)", re.ASCII | re.IGNORECASE).fullmatch


@dataclass(frozen=True, kw_only=True)
class Rpc:
    """One rpc of one service: its place in the contract, its handler, and its rules."""

    path: str
    handler: Handler
    takes_stream: bool
    gives_stream: bool
    serialize: Serialize
    deserialize: Deserialize
    request_bytes_max: int
    """Of one message."""
    metrics: MethodMetrics
    timeout_s: float
    scope: str
    """What the caller's token must allow; see `identity.authorize`."""
    quiet: bool
    """Calls that go well are logged at debug level only."""
    is_traced: bool = True
    """Its calls have spans, where anything is traced."""
    accepts: bool = False
    """Its handler says when a call is accepted. See `accept`."""


async def accept(context: Context) -> None:
    """Tell the caller of a stream that its call was accepted, and its id, ahead of any message.

    Once, and before the first of them. What ends a call sooner is known to be a refusal.
    """
    await context.send_initial_metadata(((CORRELATION_KEY, correlation.current().correlation_id),))


def grpc_type(*, takes_stream: bool, gives_stream: bool) -> GrpcType:
    """The kind of an rpc, in the words of the gRPC dashboards."""
    if takes_stream:
        return "bidi_stream" if gives_stream else "client_stream"
    return "server_stream" if gives_stream else "unary"


@dataclass(frozen=True)
class _Outcome:
    """How a call ended. Without a `status` there is nobody left to tell, or they were told."""

    code: grpc.StatusCode
    reason: str = ""
    status: grpc.Status | None = None
    is_left: bool = False
    """The caller has gone, and gRPC has said so by an error of its own."""


_OK = _Outcome(grpc.StatusCode.OK)


class Chain:
    """Puts around handlers what every rpc needs."""

    def __init__(
        self,
        domain: str,
        *,
        verifier: Verifier,
        metrics: GrpcMetrics,
        details_of: grpc_errors.DetailsOf,
        stopping: asyncio.Event,
        memory: RequestMemory,
        call_count_max: int,
    ) -> None:
        """Calls beyond `call_count_max` at a time are refused, and those of one tenant beyond its
        share of them; as is what `memory` refuses.
        """
        self._domain = domain
        self._verifier = verifier
        self._refused = metrics.refused
        self._details_of = details_of
        self._stopping = stopping
        self._memory = memory
        self._calls = Budget(call_count_max)
        self._discarding = Budget(_DISCARDING_MAX)

    def wrap(self, rpc: Rpc) -> RpcHandler:
        """The handler as gRPC wants it, with everything around it."""
        run = _runner(rpc)

        async def serve(_messages: object, context: Context) -> Any:  # noqa: ANN401
            started_s = time.monotonic()
            rpc.metrics.started.inc()
            call, refusal, span = self._enter(rpc, context, started_s)
            requests = Requests(
                context, self._memory, call.tenant, rpc.deserialize, rpc.request_bytes_max
            )
            owner = call.tenant or _host(context.peer())
            has_place = self._calls.take_now(1, owner) is not None
            try:
                try:
                    self._admit(rpc, call, refusal, has_place=has_place)
                    await _send_correlation(rpc, context, call)
                    response = await _in_time(run(requests, context), rpc, call)
                except BaseException as error:
                    outcome = self._outcome(error, context)
                    if isinstance(error, Unauthenticated | PermissionDenied) and not _outlived(
                        error, call
                    ):
                        self._report(error, rpc, call, context)
                    _finish(rpc, call, started_s, outcome, span)
                    if outcome.status is None:
                        if outcome.is_left:
                            # What gRPC says of a batch that failed would be logged as a bug.
                            raise asyncio.CancelledError from None
                        raise
                    let_go(error)
                else:
                    _finish(rpc, call, started_s, _OK, span)
                    return response
                # Not within `except`: what is told now would carry the error, and that the request.
                if rpc.takes_stream:
                    await self._discard_rest(requests, owner)
            finally:
                if has_place:
                    self._calls.give_back(1, owner)
                requests.close()
            return await _abort(context, outcome.status, call)

        return _method_handler(rpc, serve)

    async def _discard_rest(self, requests: Requests[Any], owner: str) -> None:
        """Unless that is done for too many calls, or for too many of this owner."""
        if self._discarding.take_now(1, owner) is None:
            return
        try:
            await requests.discard_rest()
        finally:
            self._discarding.give_back(1, owner)

    def _admit(
        self, rpc: Rpc, call: Call, refusal: TokenRefused | None, *, has_place: bool
    ) -> None:
        """Before anything of the request is read."""
        if not has_place:
            raise ServerFull(
                "as many calls are being served as this process takes, or as it takes of one tenant"
            )
        if refusal is not None:
            raise refusal
        authorize(call.principal, rpc.scope)

    def _enter(
        self, rpc: Rpc, context: Context, started_s: float
    ) -> tuple[Call, TokenRefused | None, tracing.Span | None]:
        """Make the call's context from what it carries, and tell what its token is refused for."""
        metadata = _by_key(tuple(context.invocation_metadata() or ()))
        principal, token, refusal = self._caller(rpc, metadata)
        traceparent = _traceparent(metadata.get(TRACEPARENT_KEY))
        span = None
        if rpc.is_traced and tracing.is_on():
            span = tracing.served(rpc.path[1:], traceparent, _RPC_ATTRIBUTES)
        call = Call(
            correlation_id=_id(metadata.get(CORRELATION_KEY)) or correlation.fresh(),
            causation_id=_id(metadata.get(CAUSATION_KEY)),
            tenant=NO_TENANT if principal is None else principal.tenant,
            traceparent=traceparent if span is None else span.traceparent,
            deadline_s=started_s + _time_left_s(rpc, principal, context.time_remaining()),
            principal=principal,
            token=token,
        )
        correlation.enter(call)
        _log_replaced(metadata, call)
        return call, refusal, span

    def _caller(
        self, rpc: Rpc, metadata: Mapping[str, str | bytes]
    ) -> tuple[Principal | None, str, TokenRefused | None]:
        """Who calls, with which token, or what that token is refused for.

        An rpc for anybody does not look: its caller may well hold a token that has expired.
        """
        sent = metadata.get(TOKEN_KEY)
        if rpc.scope == PUBLIC or sent is None:
            return None, "", None
        try:
            token = _bearer(sent)
            return self._verifier.verify(token), token, None
        except TokenRefused as refusal:
            return None, "", refusal

    def _report(
        self,
        error: Unauthenticated | PermissionDenied,
        rpc: Rpc,
        call: Call,
        context: Context,
    ) -> None:
        """Count and log who was refused what. Nothing of a token is written down."""
        self._refused.labels(error.reason).inc()
        who, why = call.principal, error.message
        if isinstance(error, TokenRefused):
            who, why = who or error.principal, error.why
        lines.refusal(
            "a call was refused",
            method=rpc.path,
            tenant=who.tenant if who else "",
            subject=who.subject if who else "",
            service=who.service if who else "",
            reason=error.reason,
            why=why,
            peer=context.peer(),
        )

    def _outcome(self, error: BaseException, context: Context) -> _Outcome:
        """What the call ended in. Logs bugs in full, and keeps them from the caller."""
        if isinstance(error, ServiceError):
            return self._refusal(error)
        if isinstance(error, grpc.aio.AbortError):
            return _Outcome(context.code())
        if isinstance(error, asyncio.CancelledError):
            return self._cancellation(error, context)
        if isinstance(error, grpc.aio.InternalError) or (
            isinstance(error, grpc.aio.BaseError) and context.done()
        ):
            # The caller left while we were writing.
            return _Outcome(grpc.StatusCode.CANCELLED, is_left=True)
        return self._bug(error)

    def _refusal(self, error: ServiceError) -> _Outcome:
        status = grpc_errors.to_status(error, self._domain, self._details_of(error))
        return _Outcome(status.code, error.reason, status)

    def _cancellation(self, error: asyncio.CancelledError, context: Context) -> _Outcome:
        """Tell a caller that left from a CancelledError that our own code let out.

        gRPC takes any for the former: it would send no status, and a caller that is still
        there would wait until its deadline.
        """
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            late = context.time_remaining() == 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            return _Outcome(code)
        if self._stopping.is_set():
            return self._refusal(ShuttingDown("this process is shutting down"))
        return self._bug(error)

    def _bug(self, error: BaseException) -> _Outcome:
        _log.error("a call failed unexpectedly", exc_info=error)
        status = grpc_errors.internal_status(self._domain)
        return _Outcome(status.code, grpc_errors.INTERNAL_REASON, status)


def _host(peer: str) -> str:
    """Where who calls in no tenant's name is, without the port: `ipv4:192.0.2.7`."""
    return peer.rpartition(":")[0]


async def _send_correlation(rpc: Rpc, context: Context, call: Call) -> None:
    """Callers of streams learn the id, and that the call was accepted, before any message.

    For the others it goes behind the answer: sending it ahead costs a message of its own,
    which is a sixth of what an empty call costs.
    """
    if not rpc.gives_stream:
        context.set_trailing_metadata(((CORRELATION_KEY, call.correlation_id),))
    elif not rpc.accepts:
        await accept(context)


async def _abort(context: Context, status: grpc.Status, call: Call) -> NoReturn:
    pair = (CORRELATION_KEY, call.correlation_id)
    trailing = (*(status.trailing_metadata or ()), pair)
    try:
        await context.abort(status.code, status.details, trailing)
    except grpc.aio.BaseError:
        if not context.done():
            raise
        # The caller left while it was told: gRPC would log the failure with a traceback.
        raise asyncio.CancelledError from None


def _runner(rpc: Rpc) -> Callable[[Requests[Any], Context], Awaitable[Any]]:
    """The handler as a coroutine from what is received to what is sent, for any kind of rpc."""
    if not rpc.gives_stream:

        async def answer(requests: Requests[Any], context: Context) -> bytes:
            return rpc.serialize(await rpc.handler(await _taken(rpc, requests), context))

        return answer
    if not inspect.isasyncgenfunction(rpc.handler):

        async def write(requests: Requests[Any], context: Context) -> None:
            await rpc.handler(await _taken(rpc, requests), context)

        return write

    async def pump(requests: Requests[Any], context: Context) -> None:
        # Closed here and now: a generator left to the collector would hold what it holds.
        async with aclosing(rpc.handler(await _taken(rpc, requests), context)) as responses:
            async for response in responses:
                await context.write(response)
                del response  # it may be large, and it may be long until the next one

    return pump


async def _taken(rpc: Rpc, requests: Requests[Any]) -> Any:  # noqa: ANN401 - any message
    """What the handler takes: the messages, or the single one."""
    return requests if rpc.takes_stream else await requests.only()


def _method_handler(rpc: Rpc, serve: Any) -> RpcHandler:  # noqa: ANN401
    """To gRPC all rpcs take streams: only of those it does not read messages unasked.

    On the wire there is no difference. Messages pass it as bytes: parsed inside, their errors
    are handled too.
    """
    if rpc.gives_stream:
        return grpc.stream_stream_rpc_method_handler(serve, response_serializer=rpc.serialize)
    return grpc.stream_unary_rpc_method_handler(serve)


async def _in_time(work: Awaitable[Any], rpc: Rpc, call: Call) -> Any:  # noqa: ANN401
    timeout = asyncio.timeout(call.remaining_s())
    try:
        async with timeout:
            return await work
    except TimeoutError:
        if timeout.expired():
            raise _late(rpc, call) from None
        raise


def _time_left_s(rpc: Rpc, principal: Principal | None, callers_s: float | None) -> float:
    """How long the call may take. A stream ends with the token it was opened with."""
    left_s = rpc.timeout_s if callers_s is None else min(callers_s, rpc.timeout_s)
    if principal is None or not (rpc.takes_stream or rpc.gives_stream):
        return left_s
    return min(left_s, max(0.0, principal.expires_at - time.time()))


def _outlived(error: Unauthenticated | PermissionDenied, call: Call) -> bool:
    """Whether a stream that was let in has lasted as long as its token: nobody is refused, and
    whoever follows a log lives through it once a minute."""
    return call.principal is not None and isinstance(error, TokenExpired)


def _late(rpc: Rpc, call: Call) -> ServiceError:
    """What a call is told whose time is up."""
    who = call.principal
    streams = rpc.takes_stream or rpc.gives_stream
    if who is not None and streams and who.expires_at - time.time() < _EXPIRY_SLACK_S:
        return expired(who)
    return DeadlineExceeded("the call took longer than it may")


def _finish(
    rpc: Rpc, call: Call, started_s: float, outcome: _Outcome, span: tracing.Span | None
) -> None:
    duration_s = time.monotonic() - started_s
    rpc.metrics.handled[outcome.code].inc()
    rpc.metrics.handling.observe(duration_s, None if span is None else tracing.exemplar(call))
    fields: dict[str, Any] = {
        "event": "call",
        "method": rpc.path,
        "status": outcome.code.name,
        "duration_ms": round(duration_s * 1e3, 3),
        "correlation_id": call.correlation_id,
    }
    if call.principal is not None:
        fields["tenant"] = call.tenant
        fields["subject"] = call.principal.subject
    if outcome.reason:
        fields["reason"] = outcome.reason
    if call.traceparent:
        fields["trace_id"], fields["span_id"] = call.trace_id, call.span_id
    if span is not None:
        _end(span, rpc, call, outcome)
    write_line(_level(rpc, outcome.code, duration_s), fields)


def _end(span: tracing.Span, rpc: Rpc, call: Call, outcome: _Outcome) -> None:
    if not span.is_recorded:
        return
    span.set("rpc.method", rpc.path[1:])
    span.set("rpc.response.status_code", outcome.code.name)
    span.set("girih.correlation_id", call.correlation_id)
    if call.tenant:
        span.set("girih.tenant", call.tenant)
    if outcome.reason:
        span.set("girih.reason", outcome.reason)
    span.end(outcome.code.name if outcome.code in _FAILURES else "")


_RPC_ATTRIBUTES: Final[Mapping[str, str]] = {"rpc.system.name": "grpc"}
_FAILURES: Final = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
"""What OpenTelemetry counts as a failure of the server: the others are the caller's."""


def _level(rpc: Rpc, code: grpc.StatusCode, duration_s: float) -> str:
    if code in _ERRORS:
        return _ERRORS[code]
    if lines.is_slow(duration_s) and not (rpc.takes_stream or rpc.gives_stream):
        return "warning"
    return "debug" if rpc.quiet else "info"


_ERRORS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.INTERNAL: "error",
    grpc.StatusCode.UNKNOWN: "error",
    grpc.StatusCode.UNAVAILABLE: "warning",
    grpc.StatusCode.DEADLINE_EXCEEDED: "warning",
}


def _by_key(pairs: Sequence[tuple[str, str | bytes]]) -> dict[str, str | bytes]:
    """Several values of one key become one text with commas, which no id or token is."""
    by_key = dict(pairs)
    if len(by_key) == len(pairs):
        return by_key
    values: dict[str, list[str | bytes]] = {key: [] for key in by_key}
    for key, value in pairs:
        values[key].append(value)
    return {
        key: several[0] if len(several) == 1 else ", ".join(map(str, several))
        for key, several in values.items()
    }


def _bearer(sent: str | bytes) -> str:
    """The token in what was sent; given twice, it is joined with a comma and is none."""
    match = _authorization(sent) if isinstance(sent, str) else None
    if match is None:
        raise TokenInvalid("the token is not valid", "it was not sent as one bearer token")
    return match[1]


def _id(text: str | bytes | None) -> str:
    return text if isinstance(text, str) and well_formed(text) else ""


def _traceparent(text: str | bytes | None) -> str:
    return text if isinstance(text, str) and well_formed_traceparent(text) else ""


def _log_replaced(metadata: Mapping[str, str | bytes], call: Call) -> None:
    """Say which ids were not taken, so that whoever sent them can be found."""
    taken = {CORRELATION_KEY: call.correlation_id, CAUSATION_KEY: call.causation_id}
    for key, id_taken in taken.items():
        sent = metadata.get(key, id_taken)
        if sent != id_taken:
            _log.warning("an ill-formed id was replaced", key=key, sent=repr(sent)[:100])
