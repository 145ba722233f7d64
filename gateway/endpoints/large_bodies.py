"""Bodies that take long to turn into messages: in a process beside this one, one at a time,
tenants taking turns.

A thread would not do: the parser keeps the interpreter for a whole array, and the collector
looks at all that it made. 12 MiB of small values stop every connection for half a second, or
for seconds.
"""

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.contract.descriptors import Contract
from gateway.contract.rules import Rule
from gateway.http import errors
from gateway.transcoding import beside
from gateway.transcoding.validation import ValidationError, Violation
from services.plumbing.budget import Budget


class LargeBodies:
    """The process is started when it is needed first, and again when it has died."""

    def __init__(self, contract: Contract, *, wait_s: float) -> None:
        """`wait_s` is how long a body may wait for its turn, and take."""
        self._contract = contract.serialized
        self._wait_s = wait_s
        self._turns = Budget(1, share=1)
        self._pool: ProcessPoolExecutor | None = None

    async def message(
        self, tenant: str, rule: Rule, captured: tuple[str, ...], query: bytes, body: bytes
    ) -> Message:
        """What the parts of a request say; raises ValidationError, and HttpError when nobody
        can tell."""
        try:
            async with asyncio.timeout(self._wait_s), self._turns.borrowed(1, tenant):
                built = await self._build(rule, captured, query, body)
        except TimeoutError:
            raise errors.too_busy() from None
        if isinstance(built, list):
            raise ValidationError(built)
        return GetMessageClass(rule.method.input_type).FromString(built)

    async def close(self) -> None:
        """End the process."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)

    async def _build(
        self, rule: Rule, captured: tuple[str, ...], query: bytes, body: bytes
    ) -> bytes | list[Violation]:
        pool = self._pool = self._pool or self._started()
        arguments = (beside.key_of(rule), captured, query, body)
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, beside.build, *arguments)
        except BrokenProcessPool:
            # Nobody knows why it died, and the same body may have been it: the next one gets
            # another process.
            self._pool = None
            raise errors.too_busy() from None

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=beside.start,
            initargs=(self._contract,),
        )
