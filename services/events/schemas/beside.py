"""Has a process beside this one do what may take long, one thing at a time, tenants in turns.

What takes more of a core than it may is ended with the process, and the next one gets another. Not
what has to wait for the core: that is no fault of a schema's.
"""

import asyncio
import multiprocessing
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar, cast

from girih.ids import TenantId
from services.events.errors import SchemaCheckTooLong, SchemasBusy
from services.events.schemas import worker
from services.plumbing.budget import Budget

P = ParamSpec("P")
T = TypeVar("T")

_START_S: Final = 60.0
"""Longer than callers wait: one that is ended while it starts would be started by the next."""
_END_S: Final = 5.0


class Beside:
    """The process is started when it is needed first, and again when it was ended."""

    def __init__(
        self, *, work_s: float = 2.0, wait_s: float = 10.0, answer_s: float = 30.0
    ) -> None:
        """`wait_s` is how long something may wait for its turn, `work_s` how much of a core it may
        take, and `answer_s` how long that may last, in seconds: no caller waits for longer."""
        self._wait_s = wait_s
        self._work_s = work_s
        self._answer_s = answer_s
        self._turns = Budget(1, share=1)
        self._process: _Process | None = None

    async def run(
        self, tenant: TenantId, function: Callable[P, T], *args: P.args, **_none: P.kwargs
    ) -> T:
        """What a function of `worker` answers. Raises `SchemasBusy` when its turn does not come,
        or no core, and `SchemaCheckTooLong` when it takes too long.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.take(1, tenant)
        except TimeoutError:
            raise SchemasBusy("too many long checks by schemas wait for their turn") from None
        # Of its own, so that a caller that goes away leaves no answer for the next one.
        working = asyncio.create_task(self._work(tenant, function, args), name="check beside")
        return cast("T", await asyncio.shield(working))

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(process.end)

    async def _work(
        self, tenant: TenantId, function: Callable[..., object], arguments: tuple[object, ...]
    ) -> object:
        try:
            return await asyncio.to_thread(self._ask, function, arguments)
        finally:
            self._turns.give_back(1, tenant)

    def _ask(self, function: Callable[..., object], arguments: tuple[object, ...]) -> object:
        process = self._process = self._process or _Process()
        try:
            answer = process.ask(function, arguments, self._work_s, self._answer_s)
        except (TimeoutError, EOFError, OSError) as error:
            self._process = None
            process.end()
            if isinstance(error, TimeoutError):
                raise SchemasBusy("there is no core for long checks by schemas") from None
            raise SchemaCheckTooLong(
                f"to check this by its schema takes more than {self._work_s:g} s of a core"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Process:
    """A process and the way to it. For one thread at a time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(
            target=worker.serve, args=(theirs,), name="schemas", daemon=True
        )
        self._process.start()
        theirs.close()
        self._is_started = False

    def ask(
        self,
        function: Callable[..., object],
        arguments: tuple[object, ...],
        work_s: float,
        answer_s: float,
    ) -> object:
        """Raises EOFError when the process has died, as it does when it takes longer, and
        `TimeoutError` when there was no core for it."""
        if not self._is_started:
            # To start takes its time, which is not that of the first question.
            self._answer(worker.problem, (b"true", b"null", 1), _START_S, _START_S)
            self._is_started = True
        return self._answer(function, arguments, work_s, answer_s)

    def end(self) -> None:
        self._ours.close()
        self._process.kill()
        self._process.join(_END_S)

    def _answer(
        self,
        function: Callable[..., object],
        arguments: tuple[object, ...],
        work_s: float,
        wait_s: float,
    ) -> object:
        self._ours.send((function, arguments, work_s))
        if not self._ours.poll(wait_s):
            raise TimeoutError
        return self._ours.recv()
