"""Bodies that take long to turn into messages: in a process beside this one, one at a time,
tenants taking turns.

A thread would not do: the parser keeps the interpreter for a whole array, and the collector
looks at all that it made. 12 MiB of small values stop every connection for half a second, or
for seconds.
"""

import asyncio
from typing import Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

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
        self._builder = ProcessBeside(_BUILDER, contract.serialized)
        self._wait_s = wait_s
        self._turns = Budget(1, share=1)

    async def message(
        self, tenant: str, rule: Rule, captured: tuple[str, ...], query: bytes, body: bytes
    ) -> Message:
        """What the parts of a request say; raises ValidationError, and HttpError when nobody
        can tell."""
        left_s = correlation.current().remaining_s()
        wait_s = self._wait_s if left_s is None else min(self._wait_s, left_s)
        try:
            async with asyncio.timeout(wait_s), self._turns.borrowed(1, tenant):
                built = await self._builder.ask(key_of(rule), captured, query, body)
        except TimeoutError:
            raise (errors.no_answer() if wait_s == left_s else errors.too_busy()) from None
        except ProcessDied:
            # Nobody knows why it died, and the same body may have been it: the next one gets
            # another process.
            raise errors.too_busy() from None
        if isinstance(built, list):
            raise ValidationError(built)
        return GetMessageClass(rule.method.input_type).FromString(built)

    async def close(self) -> None:
        """End the process."""
        await self._builder.close()
