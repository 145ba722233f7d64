"""A gRPC channel as every client of ours opens one: it carries the current call along.

Correlation, causation, trace and deadline of the call being served travel with every call made
on its behalf, and the token that whoever opened the channel chooses. This wraps the channel's
own callables instead of using interceptors, which would put a task around every call.
"""

from collections.abc import Callable, Iterator
from typing import Any, Self

import grpc
import grpc.aio

from girih.client.channel import MESSAGE_BYTES_MAX, channel_options
from services.plumbing import correlation
from services.plumbing.correlation import TOKEN_KEY

_Call = Callable[..., Any]


Bearer = Callable[[], str]
"""Gives the token for the call that is being made, or empty text for none."""


def open_channel(
    address: str,
    *,
    bearer: Bearer | None = None,
    tls: grpc.ChannelCredentials | None = None,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
) -> grpc.aio.Channel:
    """A channel to `address` (host:port or dns:///name:port). Connects when first used.

    Calls take the current call's remaining time as their deadline unless told a `timeout`,
    and the token that `bearer` gives, which is asked for every call. `tls` comes from
    `tls.channel_credentials`; without, nothing is encrypted. Close the channel, or use it as
    a context manager.
    """
    options = channel_options(message_bytes_max)
    if tls is None:
        return _CarryingChannel(grpc.aio.insecure_channel(address, options=options), bearer)
    return _CarryingChannel(grpc.aio.secure_channel(address, tls, options=options), bearer)


class _CarryingChannel(grpc.aio.Channel):
    """Adds the current call's metadata and deadline to every call of `inner`."""

    def __init__(self, inner: grpc.aio.Channel, bearer: Bearer | None) -> None:
        self._inner = inner
        self._bearer = bearer or _nobody

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - gRPC's own signature
        return _carrying(self._inner.unary_unary(*args, **kwargs), self._bearer)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return _carrying(self._inner.unary_stream(*args, **kwargs), self._bearer)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return _carrying(self._inner.stream_unary(*args, **kwargs), self._bearer)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return _carrying(self._inner.stream_stream(*args, **kwargs), self._bearer)

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


def _carrying(call: Any, bearer: Bearer) -> _Call:  # noqa: ANN401 - one of four multi-callables
    def start(
        request: Any = None,  # noqa: ANN401 - a message, or an iterator of them
        *,
        timeout: float | None = None,
        metadata: Any = None,  # noqa: ANN401 - a Metadata or pairs
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        carried = correlation.outgoing_metadata()
        token = bearer()
        if token:
            carried = (*carried, (TOKEN_KEY, f"Bearer {token}"))
        if metadata:
            own = tuple(metadata)
            named = {key for key, _ in own}
            carried = (*own, *(pair for pair in carried if pair[0] not in named))
        if timeout is None:
            timeout = _remaining_s()
        return call(request, timeout=timeout, metadata=_Pairs(carried), **kwargs)

    return start


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
