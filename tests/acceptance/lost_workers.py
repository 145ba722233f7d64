"""Workers of Dask are killed, all of them die, their scheduler goes: chains are right, or nothing.

    python -m tests.acceptance.lost_workers [--chains 8]

Starts a scheduler and two workers as docs/how-to/transforms.md says. While chains are applied a
worker is killed -9 again and again: every digest is that of memory. A call that is cancelled ends
at once, and soon the workers do nothing more of it. Work that kills whoever does it is given up by
name, and so is what is under way when the scheduler is killed; then nothing is left of it. Needs
`distributed`.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from services.lattice.arrays.content import FieldContent
from services.lattice.errors import WorkersUnavailable
from services.lattice.transforms.chain import Chain
from services.lattice.transforms.neighbours import Diffuse
from services.lattice.transforms.numbers import Normalise
from tests.lattice.distributed.kept import GO, SHAPE, Kept
from tests.lattice.distributed.processes import die
from tests.lattice.transforms.arrays import fit_of

_END_S = 1.0
"""A call that is cancelled ends within it."""
_IDLE_S = 20.0
"""The workers do nothing more of it by then."""


class Proof:
    """A field, what a chain makes of it, and the workers that apply it."""

    def __init__(self, kept: Kept, chains: int) -> None:
        self._kept = kept
        self._chains = chains
        array = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
        fit = fit_of(array, (True, False, False))
        self._array = array
        self._chain = Chain.of([Diffuse(0.1, 3), Normalise(0.0, 1.0)], fit)

    async def run(self, scheduler: "subprocess.Popen[bytes]") -> list[str]:
        """What does not hold."""
        content = await self._kept.keep(self._array)
        made, _ = self._chain.apply(self._array.copy(), GO)
        expected = (await self._kept.keep(made)).digest
        broken = await self._killed(content, expected)
        broken += await self._cancelled(content)
        broken += await self._poisoned(content, expected)
        broken += await self._without_scheduler(content, scheduler)
        return broken

    async def _killed(self, content: FieldContent, expected: str) -> list[str]:
        """Chains come out right while workers are killed."""
        kills, wrong, rng = 0, 0, random.Random(1)
        for _ in range(self._chains):
            pids = await self._kept.pids()
            applying = asyncio.create_task(self._kept.apply(content, self._chain))
            await asyncio.sleep(rng.uniform(0, 2))
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(sorted(pids)), signal.SIGKILL)
                kills += 1
            made = await applying
            wrong += made.digest != expected
        print(
            f"{self._chains} chains, {kills} workers killed, {wrong} digests are wrong", flush=True
        )
        return ["a digest is another one than in memory"] if wrong else []

    async def _cancelled(self, content: FieldContent) -> list[str]:
        """A call that is given up ends, and its work soon behind it."""
        known = self._kept.arrays()
        applying = asyncio.create_task(self._kept.apply(content, self._chain))
        await self._kept.until_one_more(known)
        began_s = time.perf_counter()
        applying.cancel()
        await asyncio.gather(applying, return_exceptions=True)
        ended_s = time.perf_counter() - began_s
        await self._kept.pids()
        idle_s = time.perf_counter() - began_s
        print(
            f"cancelled: ended in {ended_s:.2f} s, workers are free in {idle_s:.1f} s", flush=True
        )
        broken = [] if ended_s <= _END_S else ["a cancelled call goes on"]
        return broken if idle_s <= _IDLE_S else [*broken, "workers go on with what was cancelled"]

    async def _poisoned(self, content: FieldContent, expected: str) -> list[str]:
        """Work that kills its workers is given up, and what comes behind it is done."""
        try:
            await self._kept.cluster.map(die, [0])
        except WorkersUnavailable as error:
            print(f"poison: {error.message}, {error.metadata}", flush=True)
        else:
            return ["work that kills every worker is not given up"]
        made = await self._kept.apply(content, self._chain)
        return [] if made.digest == expected else ["a digest is wrong behind poison"]

    async def _without_scheduler(
        self, content: FieldContent, scheduler: "subprocess.Popen[bytes]"
    ) -> list[str]:
        """What is under way when the scheduler goes is told of, and leaves nothing."""
        known = self._kept.arrays()
        applying = asyncio.create_task(self._kept.apply(content, self._chain))
        await self._kept.until_one_more(known)
        scheduler.kill()
        began_s = time.perf_counter()
        try:
            await applying
        except WorkersUnavailable as error:
            took_s = time.perf_counter() - began_s
            print(f"scheduler killed: {error.message} after {took_s:.1f} s", flush=True)
        else:
            return ["a chain succeeded without a scheduler"]
        await self._kept.writer.close()
        left = self._kept.arrays() - known
        return [] if not left else [f"{len(left)} arrays are left of what was given up"]


@contextlib.contextmanager
def started(*command: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A process, ended behind the block with those that it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(arguments: argparse.Namespace) -> int:
    address = f"tcp://127.0.0.1:{_free_port()}"
    begin = ("--no-dashboard", "--host", "127.0.0.1")
    worker = ("--nthreads", "1", "--memory-limit", "1GiB", "--preload", "girih_server.workers")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="girih-")))
        port = address.rpartition(":")[2]
        scheduler = stack.enter_context(started("scheduler", "--port", port, *begin))
        scratch = ("--local-directory", str(folder / "scratch"))
        stack.enter_context(
            started("worker", address, "--nworkers", "2", *worker, *begin, *scratch)
        )
        broken = asyncio.run(_proven(folder / "arrays", address, scheduler, arguments.chains))
    print("; ".join(broken) or "holds")
    return 1 if broken else 0


async def _proven(
    folder: Path, address: str, scheduler: "subprocess.Popen[bytes]", chains: int
) -> list[str]:
    kept = Kept(folder, address)
    try:
        return await Proof(kept, chains).run(scheduler)
    finally:
        await kept.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=8)
    sys.exit(main(parser.parse_args()))
