"""What it costs to be observed: an empty rpc with a line of the log and all its numbers, beside the
same without either, in turns.

    python -m bench.observe [--rounds 15] [--calls 2000]

Servers are processes of their own, which do for an rpc what all ours do (token, scope, deadline,
correlation) and answer what they are asked. Judged is what the calls take of the server's CPU,
which is what bounds its throughput and which others on the machine do not change; calls a second
are printed beside it. What tracing costs where it is off is the time of what it does in a call
then. Where OpenTelemetry is installed, a server that sends a tenth of its traces is printed too.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from bench.serving import run, seconds
from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.telemetry import tracing
from tests.plumbing.knots import DOMAIN, KnotClient
from tests.processes import Process, authority_of, ending, free_port, is_serving

PART_MAX = 0.15
"""Of an empty rpc's throughput."""
OFF_PART_MAX = 0.005
"""What counts as nothing."""
CALLERS = 32
_BARE = {"GIRIH_LOG_LEVEL": "error", "GIRIH_METRICS": "false"}
_OBSERVED = {"GIRIH_LOG_LEVEL": "info", "GIRIH_METRICS": "true"}
_OFF_COUNT = 200_000


@dataclass
class Server:
    """One of those compared, with what it took per call in each round."""

    process: Process
    client: KnotClient
    cpu_s: list[float] = field(default_factory=list)
    calls_per_s: list[float] = field(default_factory=list)

    async def round(self, call_count: int) -> None:
        # As the call `clock_getcpuclockid` makes it of a process.
        clock = ~self.process.pid << 3 | 2
        began_s = time.clock_gettime(clock)
        took_s = await seconds([self._call] * call_count, callers=CALLERS)
        self.cpu_s.append((time.clock_gettime(clock) - began_s) / call_count)
        self.calls_per_s.append(call_count / took_s)

    async def _call(self) -> None:
        await self.client.ask("Unary", "ok")


async def main(arguments: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        variants = {"bare": _BARE, "observed": _OBSERVED}
        if importlib.util.find_spec("opentelemetry") is not None:
            variants["traced"] = _OBSERVED | _traced(stack)
        async with contextlib.AsyncExitStack() as channels:
            servers = {}
            for name, environ in variants.items():
                process, address = stack.enter_context(_serving(folder, name, environ))
                channel = grpc.aio.insecure_channel(address)
                await channels.enter_async_context(channel)
                token = authority_of(folder).token(aud=[DOMAIN])
                servers[name] = Server(process, KnotClient(channel, token))
            for number in range(arguments.rounds + 1):
                for server in servers.values():
                    await server.round(arguments.calls)
                if number == 0:
                    _forget_first(servers.values())
    return report(servers)


def report(servers: Mapping[str, Server]) -> int:
    bare, observed = servers["bare"], servers["observed"]
    part = _part_lost(bare.cpu_s, observed.cpu_s)
    holds = part <= PART_MAX
    print(
        f"an empty rpc with its line and its numbers: {_us(observed)} us of CPU of {_us(bare)} us,"
        f" {part:.1%} of the throughput (at most {PART_MAX:.0%}): {'holds' if holds else 'MISSED'};"
        f" {statistics.median(observed.calls_per_s):,.0f} calls/s"
        f" of {statistics.median(bare.calls_per_s):,.0f}",
        flush=True,
    )
    off_us = off_s() * 1e6
    off_part = off_us / _us(bare)
    off_holds = off_part <= OFF_PART_MAX
    print(
        f"tracing that is off: {off_us:.2f} us, {off_part:.2%} of a call"
        f" (at most {OFF_PART_MAX:.1%}): {'holds' if off_holds else 'MISSED'}",
        flush=True,
    )
    if "traced" in servers:
        traced = servers["traced"]
        more = _part_lost(observed.cpu_s, traced.cpu_s)
        print(f"a tenth of the traces sent: {_us(traced)} us, {more:.1%} more", flush=True)
    return 0 if holds and off_holds else 1


def off_s() -> float:
    """What tracing takes of a call that is served, makes a call and a statement: it looks whether
    it is on."""
    with correlation.bind(Call("c-1")):
        looks = timeit.timeit(tracing.is_on, number=_OFF_COUNT)
        parents = timeit.timeit(tracing.parent_here, number=_OFF_COUNT)
    return (3 * looks + parents) / _OFF_COUNT


def _part_lost(without: Sequence[float], with_it: Sequence[float]) -> float:
    ratios = [one / other for one, other in zip(without, with_it, strict=True)]
    return 1 - statistics.median(ratios)


def _us(server: Server) -> float:
    return round(statistics.median(server.cpu_s) * 1e6, 1)


def _forget_first(servers: Iterable[Server]) -> None:
    """The first round makes connections, verifies tokens and compiles what is called."""
    for server in servers:
        server.cpu_s.clear()
        server.calls_per_s.clear()


def _traced(stack: contextlib.ExitStack) -> dict[str, str]:
    from tests.collector import collecting

    collector = stack.enter_context(collecting())
    return {"GIRIH_OTLP_ENDPOINT": collector.endpoint, "GIRIH_TRACE_RATIO": "0.1"}


@contextlib.contextmanager
def _serving(folder: Path, name: str, environ: Mapping[str, str]) -> Iterator[tuple[Process, str]]:
    address = f"127.0.0.1:{free_port()}"
    process = Process(
        [sys.executable, "-m", "tests.plumbing.serving"],
        {
            "GIRIH_ENVIRONMENT": "development",
            "GIRIH_LOG_FORMAT": "json",
            "GIRIH_TRUSTED_KEYS": authority_of(folder).environ["GIRIH_TRUSTED_KEYS"],
            "KNOTS_ADDRESS": address,
            **environ,
        },
        folder / f"{name}.log",
        lambda: is_serving(address),
    )
    with ending(process):
        process.start()
        process.wait_ready()
        yield process, address


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=2_000)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run(asyncio.wait_for(main(_arguments()), timeout=1_800)))
