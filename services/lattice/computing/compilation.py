"""Has kernels compiled beside the event loop, a kind at a time, and lets calls wait for theirs.

Knows the kinds by name, and no kernel.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future

from services.lattice.computing.bounded_wait import bounded_wait
from services.lattice.errors import ComputeBusy

_RETRY_AFTER_S = 2.0


class Compilation:
    """Kinds of kernels, those first that somebody waits for, then in their order.

    What is compiled already, or is no kind, nobody waits for.
    """

    def __init__(self, kinds: Iterable[str], compile_kind: Callable[[str], None]) -> None:
        self._compile_kind = compile_kind
        self._compiled = {kind: asyncio.Event() for kind in kinds}
        self._wanted: list[str] = []

    @property
    def missing(self) -> Collection[str]:
        """The kinds that are not compiled yet."""
        return [kind for kind, compiled in self._compiled.items() if not compiled.is_set()]

    async def run(self) -> None:
        """Compile all, one after the other. Raises what compiling raises."""
        while missing := self.missing:
            kind = next((wanted for wanted in self._wanted if wanted in missing), None)
            kind = kind or next(iter(missing))
            await _in_a_daemon_thread(self._compile_kind, kind)
            self._compiled[kind].set()

    def want(self, kinds: Collection[str]) -> None:
        """Compile these kinds before those that nobody waits for."""
        self._wanted += [kind for kind in kinds if kind not in self._wanted]

    async def wait_for(self, kind: str) -> None:
        """Wait until a kind is compiled, however long that takes."""
        await self._compiled[kind].wait()

    async def ready(self, kinds: Collection[str]) -> None:
        """Wait until the kinds that a call needs are compiled. Raises ComputeBusy."""
        missing = self.missing
        needed = [kind for kind in kinds if kind in missing]
        if not needed:
            return
        busy = ComputeBusy(
            "what this is computed with is still being compiled",
            retry_after_s=_RETRY_AFTER_S,
            waiting=len(needed),
        )
        self.want(needed)
        async with bounded_wait(busy):
            for kind in needed:
                await self.wait_for(kind)


async def _in_a_daemon_thread(work: Callable[[str], None], kind: str) -> None:
    """Work in a thread that nobody waits for when the process ends meanwhile."""
    working: Future[None] = Future()
    # Else it would be cancelled with who waits, and the thread could not tell that it is done.
    working.set_running_or_notify_cancel()

    def run() -> None:
        try:
            work(kind)
        except BaseException as error:  # noqa: BLE001 - raised to whoever waits
            working.set_exception(error)
        else:
            working.set_result(None)

    threading.Thread(target=run, name="compiler", daemon=True).start()
    await asyncio.wrap_future(working)
