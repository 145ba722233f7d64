"""The workers that Dask has: of this machine, or behind a scheduler. Knows not what they do.

Dask is imported when it is needed first, and lives in threads: nothing here holds up the event
loop. Work that a worker died of is begun again on another one, so it must come to the same
however often it is done.
"""

import asyncio
import logging
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

from services.lattice.computing.bounded_wait import bounded_wait
from services.lattice.distributed.folders import WorkersFolder
from services.lattice.distributed.worker import perform
from services.lattice.errors import ComputeBusy, WorkersUnavailable
from services.lattice.kernels.slices import Cancelled
from services.plumbing import correlation
from services.plumbing.budget import Budget
from services.plumbing.logging import get_logger

T = TypeVar("T")
R = TypeVar("R")

EXTRA = "girih-server[dask]"
"""What installs Dask."""

_CALLS_MAX = 4
"""Calls that have work done at once; a tenant has half as many. Others wait for a while."""
_WAITING_MAX = 16
_LOOK_S = 0.25
"""How often a call looks whether it was given up, and whether there are any workers."""
_CONNECT_S = 30.0
_NO_WORKERS_S = 30.0
"""A cluster that has had none for so long has lost them."""
_DEATHS_MAX = 3
"""Work that so many workers died of is not begun again."""
_CLOSE_S = 10.0
_RETRY_AFTER_S = 5.0

_log = get_logger("lattice")


@dataclass(frozen=True, kw_only=True)
class ClusterSetup:
    """Which workers there are, and where they find arrays."""

    storage: str = ""
    """As `LATTICE_STORAGE` has it."""
    scheduler: str = ""
    """The address of a scheduler. Empty: a cluster of this machine, begun by the first call."""
    worker_count: int = 2
    """Of a cluster of this machine: processes of one thread each."""
    worker_bytes: int = 1 << 31
    """The memory of each thread of a worker, in bytes."""

    @property
    def task_bytes(self) -> int:
        """What one piece of work may take: the rest is for the process, and for what Dask holds."""
        return self.worker_bytes // 4


class Cluster:
    """Has work done by the workers. They are begun, or connected to, by the first call."""

    def __init__(self, setup: ClusterSetup) -> None:
        self.setup = setup
        self._turns = Budget(_CALLS_MAX, share=_CALLS_MAX // 2)
        self._threads = ThreadPoolExecutor(_CALLS_MAX, thread_name_prefix="cluster")
        self._connecting = threading.Lock()
        self._connected: _Connected | None = None
        self._is_closed = threading.Event()

    @property
    def is_installed(self) -> bool:
        """The package is there that all of this needs."""
        return find_spec("distributed") is not None

    @property
    def thread_count(self) -> int:
        """The threads of the workers: as many as there are to be, before there are any."""
        connected = self._connected
        return connected.thread_count if connected is not None else self.setup.worker_count

    async def map(self, work: Callable[[T], R], tasks: Iterable[T]) -> Sequence[R]:
        """What `work`, a function of a module, makes of each, in their order. As `fold`."""
        results: list[R] = []
        await self.fold(work, tasks, results.append)
        return results

    async def fold(
        self, work: Callable[[T], R], tasks: Iterable[T], take: Callable[[R], None]
    ) -> None:
        """Have `take`, in a thread, take what `work`, a function of a module, makes of each, in
        their order.

        Few are with the workers at once, or wait to be taken; the rest waits here. Whoever is
        cancelled has what was not begun given up. Raises what both raise, ComputeBusy, and
        WorkersUnavailable when there are no workers or one after the other died.
        """
        async with self._turn():
            given_up = threading.Event()
            loop = asyncio.get_running_loop()
            payloads = (pickle.dumps((work, task)) for task in tasks)
            try:
                await loop.run_in_executor(self._threads, self._run, payloads, take, given_up)
            finally:
                given_up.set()

    async def close(self) -> None:
        """Give up all work, and end the workers that were begun here."""
        self._is_closed.set()
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(self._disconnect)

    def _turn(self) -> "_Turn":
        call = correlation.bound()
        return _Turn(self._turns, call.tenant if call else "")

    def _run(
        self,
        payloads: Iterable[bytes],
        take: Callable[[Any], None],
        given_up: threading.Event,
    ) -> None:
        connected = self._connect()

        def is_given_up() -> bool:
            return given_up.is_set() or self._is_closed.is_set()

        try:
            _Run(connected, payloads, take, is_given_up).finish()
        except WorkersUnavailable as error:
            # What lost its workers, or its scheduler, is not asked again.
            _log.warning("workers are lost", problem=error.message)
            self._disconnect(connected)
            raise

    def _connect(self) -> "_Connected":
        with self._connecting:
            if self._connected is None:
                self._connected = _Connected(self.setup)
            return self._connected

    def _disconnect(self, lost: "_Connected | None" = None) -> None:
        with self._connecting:
            connected = self._connected
            if connected is None or (lost is not None and lost is not connected):
                return
            self._connected = None
        connected.close()


class _Turn:
    """One of the calls that have work done at once."""

    def __init__(self, turns: Budget, owner: str) -> None:
        self._turns = turns
        self._owner = owner

    async def __aenter__(self) -> None:
        busy = ComputeBusy(
            "as many calls have work done by workers as may at once",
            retry_after_s=_RETRY_AFTER_S,
            waiting=self._turns.waiting,
        )
        if self._turns.waiting >= _WAITING_MAX:
            raise busy
        async with bounded_wait(busy):
            await self._turns.take(1, self._owner)

    async def __aexit__(self, *_: object) -> None:
        self._turns.give_back(1, self._owner)


class _Connected:
    """A client of Dask, and the cluster of this machine if it has one."""

    def __init__(self, setup: ClusterSetup) -> None:
        import dask
        import distributed

        # Its lines have no form of ours. What there is to know is raised here.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        self._folder: WorkersFolder | None = None
        self._cluster: Any = None
        try:
            with dask.config.set(
                {
                    "distributed.scheduler.allowed-failures": _DEATHS_MAX,
                    # No pages about what it does, for whoever finds the port.
                    "distributed.scheduler.http.routes": [],
                    "distributed.worker.http.routes": [],
                    "distributed.comm.timeouts.connect": _CONNECT_S,
                }
            ):
                self.client: Any = self._client(distributed, setup)
        except (OSError, TimeoutError) as error:
            self._let_go()
            raise WorkersUnavailable(
                "the scheduler of the workers cannot be reached", retry_after_s=_RETRY_AFTER_S
            ) from error
        self.thread_count = setup.worker_count

    def look(self) -> bool:
        """Whether there are any workers. Raises OSError when the scheduler has gone."""
        threads: int = sum(self.client.nthreads().values())
        self.thread_count = max(1, threads)
        return threads > 0

    def close(self) -> None:
        """End what was begun; whatever cannot be ended in time is left to the system."""
        try:
            self.client.close(timeout=_CLOSE_S)
            if self._cluster is not None:
                self._cluster.close(timeout=_CLOSE_S)
        except (OSError, TimeoutError, RuntimeError) as error:
            _log.warning("the workers did not end in time", problem=str(error))
        finally:
            self._let_go()

    def _client(self, distributed: Any, setup: ClusterSetup) -> Any:  # noqa: ANN401 - has no types
        options = {"set_as_default": False, "direct_to_workers": False}
        if setup.scheduler:
            return distributed.Client(setup.scheduler, timeout=_CONNECT_S, **options)
        self._folder = WorkersFolder()
        # Its ports are open to whoever has an account on this machine: certificates of its own
        # let nobody else in.
        security = distributed.Security.temporary()
        self._cluster = distributed.LocalCluster(
            n_workers=setup.worker_count,
            threads_per_worker=1,
            processes=True,
            memory_limit=setup.worker_bytes,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            security=security,
            local_directory=self._folder.path,
            silence_logs=logging.CRITICAL,
        )
        _log.info("workers have begun", count=setup.worker_count, bytes_each=setup.worker_bytes)
        return distributed.Client(self._cluster, security=security, **options)

    def _let_go(self) -> None:
        if self._folder is not None:
            self._folder.remove()
            self._folder = None


class _Run:
    """The work of one call."""

    def __init__(
        self,
        connected: _Connected,
        payloads: Iterable[bytes],
        take: Callable[[Any], None],
        is_given_up: Callable[[], bool],
    ) -> None:
        self._connected = connected
        self._waiting = enumerate(payloads)
        self._take = take
        self._is_given_up = is_given_up
        self._under_way: dict[Any, int] = {}
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ahead: dict[int, Any] = {}
        """What came of pieces behind the one that is to be taken next."""
        self._taken = 0
        self._seen_s = time.monotonic()
        """When there were workers last."""

    def finish(self) -> None:
        """Do all of it. Raises WorkersUnavailable."""
        from distributed import CancelledError, KilledWorker

        try:
            self._look()
            while self._fill():
                self._await_one()
                while self._taken in self._ahead:
                    self._take(self._ahead.pop(self._taken))
                    self._taken += 1
        except KilledWorker as error:
            raise WorkersUnavailable(
                f"{_DEATHS_MAX + 1} workers died of the same piece of work", deaths=_DEATHS_MAX + 1
            ) from error
        except Cancelled as error:
            raise WorkersUnavailable("work was taken away from its worker") from error
        except (CancelledError, OSError) as error:
            raise WorkersUnavailable("the scheduler of the workers has gone") from error
        finally:
            self._give_up()

    def _fill(self) -> bool:
        """Begin as much as the workers are kept busy with; whether anything is under way."""
        room = 2 * self._connected.thread_count
        while len(self._under_way) < room and len(self._ahead) < room:
            number, payload = next(self._waiting, (0, None))
            if payload is None:
                break
            # No two pieces are the same to Dask: what one call is done with another may begin.
            future = self._connected.client.submit(perform, payload, pure=False)
            self._under_way[future] = number
            future.add_done_callback(self._done.put)
        return bool(self._under_way)

    def _await_one(self) -> None:
        """Wait for a piece that is done."""
        while True:
            self._check()
            try:
                future = self._done.get(timeout=_LOOK_S)
            except queue.Empty:
                self._look()
                continue
            break
        while True:
            try:
                result = future.result(timeout=_LOOK_S)
                break
            except TimeoutError:
                # Its worker died with the answer: it is done again.
                self._check()
                self._look()
        self._ahead[self._under_way.pop(future)] = result
        future.release()

    def _check(self) -> None:
        if self._is_given_up():
            raise GivenUp

    def _look(self) -> None:
        """Raise WorkersUnavailable when there have been no workers for long."""
        now_s = time.monotonic()
        if self._connected.look():
            self._seen_s = now_s
        elif now_s - self._seen_s > _NO_WORKERS_S:
            raise WorkersUnavailable(
                f"there have been no workers for {_NO_WORKERS_S:.0f} s", waited_s=_NO_WORKERS_S
            )

    def _give_up(self) -> None:
        if self._under_way:
            self._connected.client.cancel(list(self._under_way), force=True)
        self._under_way.clear()


class GivenUp(Exception):
    """Nobody waits for the work any more."""
