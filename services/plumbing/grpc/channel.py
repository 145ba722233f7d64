"""A gRPC channel as every client of ours opens one: it carries the current call along.

Correlation, causation, trace and deadline of the call being served travel with every call made
on its behalf, and the token that whoever opened the channel chooses. This wraps the channel's
own callables instead of using interceptors, which would put a task around every call.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self, cast

import grpc
import grpc.aio

from girih.client.channel import MESSAGE_BYTES_MAX, channel_options
from services.plumbing import correlation
from services.plumbing.correlation import TOKEN_KEY, TRACEPARENT_KEY
from services.plumbing.metrics import ClientMetrics, MethodMetrics
from services.plumbing.telemetry import lines, tracing

_Call = Callable[..., Any]

_OF_GRPC = "grpc."
"""What is asked all the time, how a process is, is nobody's work."""


Bearer = Callable[[], str]
"""Gives the token for the call that is being made, or empty text for none."""


def open_channel(
    address: str,
    *,
    bearer: Bearer | None = None,
    tls: grpc.ChannelCredentials | None = None,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    metrics: ClientMetrics | None = None,
    carries_call: bool = True,
) -> grpc.aio.Channel:
    """A channel to `address` (host:port or dns:///name:port). Connects when first used.

    Calls take the current call's remaining time as their deadline unless told a `timeout`,
    and the token that `bearer` gives, which is asked for every call. `tls` comes from
    `tls.channel_credentials`; without, nothing is encrypted. `metrics` counts what is called.
    Where it `carries_call` not, ids, deadline and token are whoever calls' to say.
    Close the channel, or use it as a context manager.
    """
    options = channel_options(message_bytes_max)
    if tls is None:
        inner = grpc.aio.insecure_channel(address, options=options)
    else:
        inner = grpc.aio.secure_channel(address, tls, options=options)
    return _CarryingChannel(inner, bearer, metrics, carries_call=carries_call)


class _CarryingChannel(grpc.aio.Channel):
    """Adds the current call's metadata and deadline to every call of `inner`."""

    def __init__(
        self,
        inner: grpc.aio.Channel,
        bearer: Bearer | None,
        metrics: ClientMetrics | None,
        *,
        carries_call: bool,
    ) -> None:
        self._inner = inner
        self._bearer = bearer or _nobody
        self._metrics = metrics
        self._carries_call = carries_call

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - gRPC's own signature
        call = self._inner.unary_unary(method, *args, **kwargs)
        return self._call(call, method, "unary")

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return self._call(
            self._inner.unary_stream(method, *args, **kwargs), method, "server_stream"
        )

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return self._call(
            self._inner.stream_unary(method, *args, **kwargs), method, "client_stream"
        )

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        call = self._inner.stream_stream(method, *args, **kwargs)
        return self._call(call, method, "bidi_stream")

    def _call(self, call: Any, path: str, grpc_type: str) -> _Call:  # noqa: ANN401
        watcher = _Watcher.of(path, grpc_type, self._metrics)
        if not self._carries_call:
            return call if watcher is None else watcher.watching(call)
        return _carrying(call, self._bearer, watcher)

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002, RUF100
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()


class _Watcher:
    """Counts the calls of one rpc, and tells of those that were slow."""

    def __init__(self, path: str, grpc_type: str, metrics: MethodMetrics) -> None:
        self._path = path
        self._is_unary = grpc_type == "unary"
        self._metrics = metrics

    @classmethod
    def of(cls, path: str, grpc_type: str, metrics: ClientMetrics | None) -> "_Watcher | None":
        """None for calls that are not watched: whether a process is well, and those of a channel
        without metrics."""
        _, service, method = path.split("/")
        if metrics is None or service.startswith(_OF_GRPC):
            return None
        return cls(path, grpc_type, metrics.of(grpc_type, service, method))

    def watching(self, call: _Call) -> _Call:
        """The same, watched."""

        def start(*args: Any, metadata: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401
            span = self.span()
            if span is not None:
                metadata = _traced(tuple(metadata or ()), span)
            made = call(*args, metadata=metadata, **kwargs)
            self.begun(made, span)
            return made

        return start

    def span(self) -> tracing.Span | None:
        """A span for a call that is about to be made, where the current one has one."""
        if not tracing.is_on():
            return None
        attributes = {"rpc.system.name": "grpc", "rpc.method": self._path[1:]}
        return tracing.child(self._path[1:], "client", attributes)

    def begun(self, call: grpc.aio.Call, span: tracing.Span | None) -> None:
        self._metrics.started.inc()
        call.add_done_callback(partial(self._ended, time.monotonic(), span))

    def _ended(self, began_s: float, span: tracing.Span | None, call: Any) -> None:  # noqa: ANN401
        duration_s = time.monotonic() - began_s
        code = _code_of(call)
        self._metrics.handled[code].inc()
        self._metrics.handling.observe(duration_s)
        if span is not None:
            span.set("rpc.response.status_code", code.name)
            span.end("" if code is grpc.StatusCode.OK else code.name)
        if self._is_unary and lines.is_slow(duration_s):
            lines.slow_dependency(self._path, duration_s, code.name)


def _code_of(call: grpc.aio.Call) -> grpc.StatusCode:
    """What a call has ended with. It is asked by a coroutine, which has nothing to wait for."""
    asking = call.code()
    try:
        asking.send(None)
    except StopIteration as answer:
        return cast("grpc.StatusCode", answer.value)
    asking.close()
    return grpc.StatusCode.UNKNOWN


def _carrying(call: Any, bearer: Bearer, watcher: _Watcher | None) -> _Call:  # noqa: ANN401
    def start(
        request: Any = None,  # noqa: ANN401 - a message, or an iterator of them
        *,
        timeout: float | None = None,
        metadata: Any = None,  # noqa: ANN401 - a Metadata or pairs
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        span = None if watcher is None else watcher.span()
        carried = correlation.outgoing_metadata()
        token = bearer()
        if token:
            carried = (*carried, (TOKEN_KEY, f"Bearer {token}"))
        if metadata:
            own = tuple(metadata)
            named = {key for key, _ in own}
            carried = (*own, *(pair for pair in carried if pair[0] not in named))
        if span is not None:
            carried = _traced(carried, span)
        if timeout is None:
            timeout = _remaining_s()
        made = call(request, timeout=timeout, metadata=_Pairs(carried), **kwargs)
        if watcher is not None:
            watcher.begun(made, span)
        return made

    return start


def _traced(pairs: tuple[tuple[str, str], ...], span: tracing.Span) -> tuple[tuple[str, str], ...]:
    """The same, from a span."""
    others = (pair for pair in pairs if pair[0] != TRACEPARENT_KEY)
    return (*others, (TRACEPARENT_KEY, span.traceparent))


class _Pairs(grpc.aio.Metadata):
    """Pairs that are only read one after the other, as gRPC does with what it is to send.

    Its own kind puts all into lists by key first, and takes them out again: with what it costs to
    find out that a tuple is no Metadata, that is a thirtieth of what a small call takes.
    """

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self._pairs = pairs

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


def _nobody() -> str:
    return ""


def _remaining_s() -> float | None:
    call = correlation.bound()
    return None if call is None else call.remaining_s()
