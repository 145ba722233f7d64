"""Passes what a client sends on to a call, while that is answered. Knows no body."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from gateway.backends.remote import Request
from gateway.endpoints.upstream_call import CallFailed, UpstreamCall
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.transcoding.validation import ValidationError


class Feed:
    """Passes messages on to a call, one after the other."""

    def __init__(self, call: UpstreamCall, *, ends_call: bool) -> None:
        """`ends_call` lets a bad message end the call, when what came before must not count."""
        self._call = call
        self._ends_call = ends_call
        self.refusal: HttpError | None = None
        """Why no more are taken, once that is so."""

    @contextlib.asynccontextmanager
    async def running(self, messages: AsyncIterator[Request]) -> AsyncIterator[None]:
        """A block in which `messages` go to the call."""
        feeding = asyncio.ensure_future(self.run(messages))
        try:
            yield
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def run(self, messages: AsyncIterator[Request]) -> None:
        try:
            async for message in messages:
                await self._call.write(message)
        except (ValidationError, HttpError) as error:
            self._refuse(errors.invalid(error) if isinstance(error, ValidationError) else error)
        except (*CallFailed, asyncio.InvalidStateError):
            # The service has ended the call: whoever reads its responses learns why.
            return
        except BaseException:
            # The client has gone, or we have a bug: nobody is to wait for more.
            self._call.cancel()
            raise
        with contextlib.suppress(*CallFailed, asyncio.InvalidStateError):
            await self._call.done_writing()

    def _refuse(self, error: HttpError) -> None:
        self.refusal = error
        if self._ends_call:
            self._call.end(error)
