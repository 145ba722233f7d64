"""Bodies that take long to turn into messages: in a process beside this one, one at a time,
tenants taking turns.

A thread would not do: the parser keeps the interpreter for a whole array, and the collector
looks at all that it made. 12 MiB of small values stop every connection for half a second, or
for seconds.
"""

import asyncio
from typing import Any, Final

from gateway.contract.descriptors import Contract
from gateway.contract.rules import Rule
from gateway.http import errors
from gateway.transcoding.beside import key_of
from gateway.transcoding.validation import ValidationError
from services.plumbing import correlation
from services.plumbing.beside.process import ProcessBeside, ProcessDied
from services.plumbing.budget import Budget

_BUILDER: Final = "gateway.transcoding.beside"


class LargeBodies:
    """The process is started when it is needed first, and again when it has died."""

    def __init__(self, contract: Contract, *, wait_s: float) -> None:
        """`wait_s` is how long a body may wait for its turn, and take, unless its caller has less
        time."""
        self._builder = ProcessBeside(_BUILDER, contract.serialized, asks_large=True)
        self._wait_s = wait_s
        self._turns = Budget(1, share=1)
        self._building: asyncio.Task[Any] | None = None
        """What has its turn, whether anybody waits for it or not."""

    async def message(
        self, tenant: str, rule: Rule, captured: tuple[str, ...], query: bytes, body: bytes
    ) -> bytes:
        """The serialized message that the parts of a request say; raises ValidationError, and
        HttpError when nobody can tell. To parse it may take as long as to hold up others."""
        left_s = correlation.current().remaining_s()
        wait_s = self._wait_s if left_s is None else min(self._wait_s, left_s)
        try:
            async with asyncio.timeout(wait_s):
                await self._turns.take(1, tenant)
                building = self._begun(tenant, key_of(rule), captured, query, body)
                built = await asyncio.shield(building)
        except TimeoutError:
            # Whoever's time it was that ended: no service has heard of the call.
            raise errors.too_busy() from None
        except ProcessDied:
            # Nobody knows why it died, and the same body may have been it: the next one gets
            # another process.
            raise errors.too_busy() from None
        if isinstance(built, list):
            raise ValidationError(built)
        assert isinstance(built, bytes), "see what it answers"
        return built

    def _begun(self, tenant: str, *parts: object) -> asyncio.Task[Any]:
        """The work on a body of a tenant whose turn it is, and stays until the work is done.

        The process goes on with what nobody waits for any longer. Given the next one meanwhile, it
        would hold as many as a tenant gives up, and all others would wait for them.
        """
        self._building = asyncio.create_task(self._builder.ask(*parts), name="large body")
        self._building.add_done_callback(lambda building: self._done(tenant, building))
        return self._building

    def _done(self, tenant: str, building: asyncio.Task[Any]) -> None:
        self._turns.give_back(1, tenant)
        if not building.cancelled():
            building.exception()  # perhaps nobody else looks at it, which would be logged

    async def close(self) -> None:
        """End the process."""
        await self._builder.close()
