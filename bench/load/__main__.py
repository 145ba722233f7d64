"""Many people use a girih at once: what they wait for, what is refused, and what it takes.

    python -m bench.load [--users 100 1000] [--seconds 60] [--think-s 5]

Each number of people is a run of its own on one `girih up`: they come, so many a second, each
registers, logs in, and then makes lattices, finds paths, appends, reads and follows, thinking
between. With --prepared all are registered before, a few at a time. When all have come they work
on for the time that is told. Then all go at once, a caller who asks for little sees how soon the
girih is itself again, and everybody reads back what was acknowledged: nothing may be missing,
doubled or elsewhere.

Nothing may fail. Refusals (429 and 503, with a reason and `Retry-After`) are waited out, and
are mistakes as well up to --refused-from people. What is printed as set are the settings that
differ from those of `girih up`: all people have one address here, and hashing passwords is not
what is measured.
"""

import argparse
import math
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.load import observing
from bench.load.crowds import Load, Proven, crowds
from bench.load.figures import Figures, percentile_ms, table
from bench.load.observing import Seen, Target, observed
from bench.load.recovery import WITHIN_S, Probe, probe
from tests.installations import Installation, running

_ENTERING = ("register", "log in")
_USERS_PER_PROCESS = 2_500
_FEW = 100
"""So many people `girih up` takes as it is."""
_FOR_MANY = {
    "GATEWAY_ADDRESS_CALLS_PER_MINUTE": "0",
    "GATEWAY_HASHING_MEMORY_KIB": "8",
    # Sessions are renewed four times an hour, not every four minutes.
    "GATEWAY_ACCESS_TOKEN_S": "900",
    # People who think for long stay connected.
    "GATEWAY_KEEP_ALIVE_S": "600",
}


@dataclass(frozen=True)
class Run:
    """What came of one number of people."""

    load: Load
    seen: Seen
    proven: Proven
    recovered_s: float

    def figures(self) -> Figures:
        """Of entering while they came, and of everything else once all were there."""
        phases = self.proven.phases
        before = ("preparing", "arriving")
        entering = [phases[name].only(_ENTERING) for name in before if name in phases]
        return Figures.sum([*entering, phases["holding"]])

    def all_figures(self) -> Figures:
        return Figures.sum(self.proven.phases.values())

    def mistakes(self, refused_from: int) -> list[str]:
        """What must not be, in words."""
        figures = self.all_figures()
        wrong = [f"failed {count} times: {what}" for what, count in figures.failures().items()]
        if self.proven.arrived_count < self.load.user_count:
            wrong.append(f"only {self.proven.arrived_count:,} people could begin")
        if self.load.user_count < refused_from:
            refusals = figures.refusals().items()
            wrong += [f"refused {count} times: {reason}" for reason, count in refusals]
        if self.proven.problem_count:
            wrong += [f"{self.proven.problem_count} are not as acknowledged", *self.proven.problems]
        if self.recovered_s > WITHIN_S:
            wrong.append(f"itself again only after {self.recovered_s:.1f} s")
        return wrong


def main(arguments: argparse.Namespace) -> int:
    settings = _settings(max(arguments.users), arguments.gateway_processes)
    print("set: " + (" ".join(f"{name}={value}" for name, value in settings.items()) or "nothing"))
    worst = 0
    with tempfile.TemporaryDirectory(prefix="girih-") as folder:
        # The server may run as another user, who must reach its data.
        Path(folder).chmod(0o755)
        installation = Installation.made(Path(folder) / "data")
        installation.environ.update(settings)
        with running(installation), probe(installation.url) as prober:
            prober.learn()
            print(f"usual: a round of an append, a read and a path {prober.usual_s * 1e3:.0f} ms")
            for user_count in arguments.users:
                load = Load(
                    user_count,
                    arguments.per_s,
                    arguments.think_s,
                    arguments.load_processes or math.ceil(user_count / _USERS_PER_PROCESS),
                )
                done = run(target_of(installation), installation.url, load, prober, arguments)
                worst = max(worst, report(done, arguments.refused_from))
    return worst


def run(target: Target, url: str, load: Load, prober: Probe, arguments: argparse.Namespace) -> Run:
    """Have so many people work for a while on a girih that is up."""
    with crowds(url, load) as people, observed(target, people.pids) as take:
        if arguments.prepared:
            people.all_do("prepare")
            print(f"{load.user_count:,} accounts within {take().duration_s:.0f} s", flush=True)
        people.all_do("arrive")
        arriving = take()
        print(f"{load.user_count:,} people came within {arriving.duration_s:.0f} s", flush=True)
        people.all_do("hold")
        take()
        time.sleep(arguments.seconds)
        seen = take()
        people.all_do("leave")
        recovered_s = prober.recovered_after_s()
        return Run(load, seen, people.prove(), recovered_s)


def report(done: Run, refused_from: int) -> int:
    """Print a run; answers 1 when something was as it must not be."""
    figures, seen = done.figures(), done.seen
    for line in table(figures, seen.duration_s):
        print(line)
    for reason, count in done.all_figures().refusals().most_common():
        print(f"  refused: {count:,} with {reason}")
    for line in observing.lines(seen):
        print(line)
    took_ms = done.proven.phases["holding"].all_took_ms()
    print(
        f"{done.load.user_count:,} people:"
        f" {took_ms.total() / seen.duration_s:.0f} answers a second,"
        f" p50 {percentile_ms(took_ms, 50)} ms, p99 {percentile_ms(took_ms, 99)} ms;"
        f" itself again after {done.recovered_s:.1f} s;"
        f" {done.proven.event_count:,} events and {done.proven.lattice_count:,} lattices"
        " were acknowledged and read back"
    )
    mistakes = done.mistakes(refused_from)
    for mistake in mistakes:
        print(f"MISTAKE: {mistake}")
    sys.stdout.flush()
    return 1 if mistakes else 0


def target_of(installation: Installation) -> Target:
    """Where to look at a `girih up`."""
    environ = installation.environ
    return Target(
        int(environ["GATEWAY_ADDRESS"].rpartition(":")[2]),
        {part: int(environ[f"{part.upper()}_METRICS_PORT"]) for part in ("gateway", "events")},
        {child.name: child.pid for child in installation.state.children},
    )


def _settings(user_count: int, gateway_processes: int) -> Mapping[str, str]:
    """What is set beside what `girih up` sets."""
    processes = {"GATEWAY_PROCESSES": str(gateway_processes)} if gateway_processes > 1 else {}
    return processes | (_FOR_MANY if user_count > _FEW else {})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, nargs="+", default=[100])
    parser.add_argument("--seconds", type=float, default=60.0, help="after all have come")
    parser.add_argument("--think-s", type=float, default=5.0, help="in the mean")
    parser.add_argument("--per-s", type=float, default=25.0, help="so many come in a second")
    parser.add_argument("--load-processes", type=int, default=0, help="0: one for 2,500 people")
    parser.add_argument("--gateway-processes", type=int, default=1)
    parser.add_argument(
        "--prepared", action="store_true", help="all are registered before anybody comes"
    )
    parser.add_argument(
        "--refused-from", type=int, default=10_000, help="so many people may meet refusals"
    )
    return parser.parse_args()


if __name__ == "__main__":
    # So that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(_arguments()))
