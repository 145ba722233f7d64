"""Several processes that serve one address together, and the one that looks after them.

They listen on one socket, which the parent opens and never accepts from: whichever process
is free takes the next connection, and none is lost with a process that dies. (Sockets of
their own, with SO_REUSEPORT, would share more evenly, and lose what waits at one that dies.)
Each is a gateway like a replica on another machine, but for the counters of limits and
throttles: those the parent keeps, unless all have a Redis.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.processes.channel import answer_child
from gateway.processes.merged_metrics import MergedMetrics
from gateway.processes.shared_counts import COUNTERS, KeptCounts
from gateway.processes.worker import READY
from gateway.serving.server import listen, stopped_by_signals
from gateway.settings import Settings
from girih.backoff import Backoff
from services.plumbing.errors import CannotRun
from services.plumbing.logging import get_logger
from services.plumbing.metrics import NoRegistry, metrics_server, new_registry
from services.plumbing.settings import EX_CONFIG

_log = get_logger("gateway")

_WORKER: Final = "gateway.processes.worker"
_PAUSE_S_MIN = 0.2
_PAUSE_S_MAX = 30.0
_PROGRESS_S = 60.0
"""A process that lived so long was well: what it died of is new."""
_LAST_S = 10.0
"""How long processes may take to end beyond what they let their calls take."""


class ProcessFailed(CannotRun):
    """A process ended before it ever served, or says that its settings are wrong."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises PortTaken, MetricsPortTaken and ProcessFailed."""
    registry = new_registry(is_on=settings.metrics)
    with listen(settings.address) as listener:
        workers = Workers(settings, listener, registry)
        merged = CollectorRegistry() if settings.metrics else NoRegistry()
        merged.register(MergedMetrics(registry, workers.metrics_ports))
        with metrics_server(merged, settings.metrics_host, settings.metrics_port) as metrics_port:
            host, port = listener.getsockname()[:2]
            _log.info(
                "starting",
                address=f"{host}:{port}",
                metrics_port=metrics_port,
                processes=settings.processes,
            )
            await workers.run()


class Workers:
    """The processes that serve: started, missed when they die, and stopped together."""

    def __init__(
        self, settings: Settings, listener: socket.socket, registry: CollectorRegistry
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._counts = KeptCounts()
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._ports: dict[int, int] = {}
        """Where those tell their metrics that serve."""
        self._have_served = False
        self._stopping = asyncio.Event()
        self._deaths = Counter(
            "gateway_process_deaths", "Processes that ended unasked.", registry=registry
        )
        serving = Gauge("gateway_processes_serving", "Processes that serve.", registry=registry)
        serving.set_function(lambda: len(self._ports))

    def metrics_ports(self) -> Mapping[int, int]:
        """The ports of the processes that serve, by their numbers."""
        return dict(self._ports)

    async def run(self) -> None:
        """Keep all processes running until a signal; raises ProcessFailed."""
        loop = asyncio.get_running_loop()
        numbers = range(1, self._settings.processes + 1)
        with stopped_by_signals(self._stopping):
            keeping = [loop.create_task(self._keep(number)) for number in numbers]
            asked = loop.create_task(self._stopping.wait())
            await asyncio.wait({asked, *keeping}, return_when=asyncio.FIRST_COMPLETED)
            await self._stop(keeping)
            asked.cancel()
        for task in keeping:
            task.result()
        _log.info("stopped")

    async def _stop(self, keeping: list[asyncio.Task[None]]) -> None:
        """Let all drain at once; end those that do not come to an end."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        # From now on connections are the processes' own to refuse.
        self._listener.close()
        settings = self._settings
        grace_s = settings.drain_duration_s + settings.shutdown_grace_s + _LAST_S
        _, late = await asyncio.wait(keeping, timeout=grace_s)
        if late:
            _log.error("processes did not stop in time: they are killed", grace_s=grace_s)
            self._signal(signal.SIGKILL)
            await asyncio.wait(keeping)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children.values():
            # One may have ended by itself, which whoever keeps it is to learn in a moment.
            with suppress(ProcessLookupError):
                child.send_signal(number)

    async def _keep(self, number: int) -> None:
        """Run one process after the other under a number, until all are stopped."""
        backoff = Backoff(_PAUSE_S_MIN, _PAUSE_S_MAX)
        while not self._stopping.is_set():
            began_s = time.monotonic()
            code = await self._run_one(number)
            if self._stopping.is_set():
                return
            self._deaths.inc()
            if code == EX_CONFIG or not self._have_served:
                raise _failed(number, code)
            if time.monotonic() - began_s > _PROGRESS_S:
                backoff.reset()
            pause_s = backoff.next_s()
            _log.error("a process has died", process=number, code=code, starts_again_in_s=pause_s)
            await self._pause(pause_s)

    async def _run_one(self, number: int) -> int:
        """Its exit code; below 0 the signal that ended it; EX_OSERR when none could be made."""
        try:
            child, ours = await self._spawn()
        except OSError as problem:
            _log.error("no process could be made", process=number, error=str(problem))
            return os.EX_OSERR
        self._children[number] = child
        if self._stopping.is_set():
            child.terminate()
        answering = asyncio.ensure_future(
            answer_child(ours, lambda request: self._answer(number, request))
        )
        try:
            return await child.wait()
        finally:
            del self._children[number]
            self._ports.pop(number, None)
            answering.cancel()
            await asyncio.wait([answering])
            if not answering.cancelled() and (error := answering.exception()) is not None:
                _log.error("a process was not answered: this is a bug", exc_info=error)

    async def _spawn(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        """A process, and the socket that it asks by."""
        ours, theirs = socket.socketpair()
        descriptors = self._listener.fileno(), theirs.fileno()
        with theirs:
            try:
                child = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", _WORKER, *map(str, descriptors), pass_fds=descriptors
                )
            except BaseException:
                ours.close()
                raise
        return child, ours

    async def _answer(self, number: int, request: list[Any]) -> Any:  # noqa: ANN401 - JSON
        match request:
            case [name, group, method, *arguments] if name == COUNTERS:
                return await self._counts.answer(group, method, arguments)
            case [name, metrics_port] if name == READY:
                self._have_served = True
                self._ports[number] = metrics_port
                _log.info("serving", process=number, pid=self._children[number].pid)
                return None
            case _:
                raise ValueError("a process asks for what nobody does")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _failed(number: int, code: int) -> ProcessFailed:
    error = ProcessFailed(f"process {number} ended with {code} before it served")
    error.exit_code = code if code > 0 else 1
    return error
