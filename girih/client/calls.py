"""One call over gRPC: its metadata, its token, its attempts. Knows no rpc."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from girih.client.context import CallContext, ContextSource
from girih.client.errors import Unavailable, from_rpc_error
from girih.client.retry import Attempts, RetryPolicy

R = TypeVar("R")
M = TypeVar("M", bound=Message)

Token = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A token, or what gives one: asked before every attempt, so it should remember what is good.
Empty sends none, for channels that add their own."""

Metadata = tuple[tuple[str, str], ...]

_TOKEN_KEY = "authorization"  # noqa: S105 - the name of a key of metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, on whose behalf, and how patiently."""

    token: Token
    context: ContextSource
    retry: RetryPolicy

    @property
    def renews_token(self) -> bool:
        """Whether asking again may give another token."""
        return not self.token or not isinstance(self.token, str)

    def attempts(self, context: CallContext) -> Attempts:
        return Attempts(self.retry, context.remaining_s(), renews_token=self.renews_token)

    async def metadata(self, context_metadata: Metadata, timeout_s: float) -> Metadata:
        """What an attempt carries; raises Unavailable when the token does not come in time."""
        token = await self._token(timeout_s)
        if not token:
            return context_metadata
        return (*context_metadata, (_TOKEN_KEY, f"Bearer {token}"))

    async def unary(
        self, method: Callable[..., Awaitable[R]], request: object, timeout_s: float | None
    ) -> R:
        """Call until there is an answer; raises EventStoreError. Only for what may be repeated."""
        context = self.context()
        context_metadata = context.metadata()
        remaining_s = context.remaining_s()
        if timeout_s is not None:
            remaining_s = min(remaining_s, timeout_s)
        attempts = Attempts(self.retry, remaining_s, renews_token=self.renews_token)
        while True:
            attempt_s = attempts.begin()
            try:
                metadata = await self.metadata(context_metadata, attempt_s)
                return await method(request, timeout=attempt_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                await attempts.pause_after(from_rpc_error(error))
            except Unavailable as error:  # the token
                await attempts.pause_after(error)

    async def _token(self, timeout_s: float) -> str:
        if isinstance(self.token, str):
            return self.token
        token = self.token()
        if not inspect.isawaitable(token):
            return token
        try:
            async with asyncio.timeout(timeout_s):
                return await token
        except TimeoutError as error:
            raise Unavailable.no_answer("no token came in time") from error


async def next_response(
    call: grpc.aio.UnaryStreamCall[Any, M] | grpc.aio.StreamStreamCall[Any, M],
    timeout_s: float | None,
) -> M | None:
    """The next answer, None at the end; raises EventStoreError."""
    try:
        async with asyncio.timeout(timeout_s):
            response: Any = await call.read()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    except TimeoutError as error:
        raise Unavailable.no_answer("the event store did not answer in time") from error
    return None if response is grpc.aio.EOF else response
