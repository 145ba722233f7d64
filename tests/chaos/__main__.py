"""Slow proofs: what must hold while processes die and databases go.

    python -m tests.chaos replicas [--seconds 60] [--writers 16] [--loaders 8] [--kill-every 5]
                                   [--unprotected]
    python -m tests.chaos import [--file FILE] [--rounds 20]
    python -m tests.chaos snapshot [--appends 200000] [--unprotected]
    python -m tests.chaos client [--kills 24] [--kill-every 5] [--lease 3] [--unprotected]
    python -m tests.chaos decisions [--rounds 1000] [--racers 16] [--unprotected]
    python -m tests.chaos retention [--events 100000] [--kills 10] [--unprotected]
    python -m tests.chaos refresh [--rounds 1000] [--callers 100] [--unprotected]
    python -m tests.chaos groups [--seconds 60] [--kill-every 1] [--rate 100] [--unprotected]
    python -m tests.chaos fields [--kills 100]
    python -m tests.chaos transforms [--kills 200]
    python -m tests.chaos jobs [--kills 200] [--unprotected]
    python -m tests.chaos filtered [--followers 1000] [--rate 500] [--seconds 60] [--unprotected]
    python -m tests.chaos projections [--kills 300] [--unprotected]
    python -m tests.chaos restore [--events 100000]
    python -m tests.chaos migrations [--rounds 30]
    python -m tests.chaos failover [--rounds 3]
    python -m tests.chaos moves [--seconds 60] [--kill-every 5] [--unprotected]
    python -m tests.chaos trouble [NAME...]
    python -m tests.chaos rolling [--rounds 2]
    python -m tests.chaos soak [--minutes 60]

Without a name all run, with their defaults. Prints what happened and every broken promise;
exits 1 when there is one. `--unprotected` takes the protection away and must therefore fail.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.chaos.clients import LEASE_S, follow_through_kills, killable
from tests.chaos.decisions import decide_together
from tests.chaos.field_writes import kill_during_writes
from tests.chaos.filtered import follow_filtered
from tests.chaos.groups import acknowledge_without_leases, consume_through_kills
from tests.chaos.imports import Disagreement, kill_during_imports
from tests.chaos.keeping.failover import fail_over
from tests.chaos.keeping.migrating import prove_migrations
from tests.chaos.keeping.patroni import NotInstalled
from tests.chaos.keeping.restores import lose_and_restore
from tests.chaos.killed_jobs import kill_during_jobs
from tests.chaos.lasting.rolling import replace_everything
from tests.chaos.lasting.soak import soak
from tests.chaos.moves import move_through_kills
from tests.chaos.projections import kill_projections
from tests.chaos.refresh import use_refresh_tokens
from tests.chaos.replicas import race
from tests.chaos.retention import retain_half
from tests.chaos.snapshots import SLOWDOWN_MAX, append_under_a_snapshot
from tests.chaos.transforms import kill_during_transforms
from tests.chaos.trouble.ground import Ground, ground_in
from tests.chaos.trouble.names import NotAllowed, own_names
from tests.chaos.trouble.prove import HEADER, prove_troubles
from tests.chaos.trouble.seeds import TROUBLES

IMPORT_ROUNDS = 20
REFRESH_ROUNDS = 1_000
DECISION_ROUNDS = 1_000
"""Of each kind."""
ANOMALIES_SHOWN = 5
RETENTION_KILLS = 10
CLIENT_KILLS = 24
KILL_EVERY_S = 5.0
GROUP_KILL_EVERY_S = 1.0
GROUP_RATE = 100.0
"""Events a second, which the consumers of a group keep up with while they are killed."""
PROJECTION_KILLS = 300
FIELD_KILLS = 100
JOB_KILLS = 200
RESTORED_EVENTS_MAX = 2_000
MIGRATION_ROUNDS = 30
FAILOVER_ROUNDS = 3
TRANSFORM_KILLS = 200
ROLLING_ROUNDS = 2
SOAK_MINUTES = 60.0
SOAK_MINUTES_AMONG_OTHERS = 5.0


def main() -> int:
    arguments = _arguments()
    proofs = {
        "replicas": prove_replicas,
        "import": prove_import,
        "snapshot": prove_snapshot,
        "decisions": prove_decisions,
        "refresh": prove_refresh,
        "client": prove_client,
        "retention": prove_retention,
        "filtered": prove_filtered,
        "groups": prove_groups,
        "projections": prove_projections,
        "fields": prove_fields,
        "jobs": prove_jobs,
        "restore": prove_restore,
        "migrations": prove_migrations_hold,
        "failover": prove_failover,
        "transforms": prove_transforms,
        "moves": prove_moves,
        "trouble": prove_trouble,
        "rolling": prove_rolling,
        "soak": prove_soak,
    }
    names = [arguments.proof] if arguments.proof else list(proofs)
    return max([proofs[name](arguments) for name in names])


def prove_replicas(arguments: argparse.Namespace) -> int:
    """Two replicas race; the history must hold what the log promises."""
    print(f"== two replicas, seed {arguments.seed}", flush=True)
    history, kills = asyncio.run(
        race(
            duration_s=arguments.seconds,
            writers=arguments.writers,
            kill_every_s=arguments.kill_every or KILL_EVERY_S,
            seed=arguments.seed,
            is_protected=not arguments.unprotected,
            loaders=arguments.loaders,
        )
    )
    _print({"kills": kills, **history.summary()})
    anomalies = history.anomalies()
    for name, count in Counter(line.partition(":")[0] for line in anomalies).items():
        print(f"BROKEN {name}: {count}")
    for line in anomalies[:ANOMALIES_SHOWN]:
        print(f"    {line}")
    return 1 if anomalies else 0


def prove_import(arguments: argparse.Namespace) -> int:
    """Kills in the middle of imports; the log must be the undisturbed one."""
    print(f"== kills during imports, seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="girih-") as name:
        file = arguments.file or _made_up(Path(name) / "cases.jsonl", arguments.seed)
        try:
            rounds = arguments.rounds or IMPORT_ROUNDS
            answer = asyncio.run(kill_during_imports(file, rounds, arguments.seed))
        except Disagreement as disagreement:
            print(f"BROKEN import: {disagreement}")
            return 1
    _print(answer)
    return 0


def prove_snapshot(arguments: argparse.Namespace) -> int:
    """Appends under a held snapshot; the last must take no longer than the first."""
    print(f"== {arguments.appends:,} appends while a snapshot is held", flush=True)
    answer = asyncio.run(
        append_under_a_snapshot(arguments.appends, is_protected=not arguments.unprotected)
    )
    _print({name: f"{value:,.3f}" for name, value in answer.items()})
    slowdown = max([value for name, value in answer.items() if name.startswith("slowdown")])
    if slowdown <= SLOWDOWN_MAX:
        return 0
    print(f"BROKEN snapshot: appends became {slowdown:.2f} times slower, of {SLOWDOWN_MAX} at most")
    return 1


def prove_fields(arguments: argparse.Namespace) -> int:
    """Kills in the middle of field writes; each field is as before or as after."""
    print(f"== kills during field writes, seed {arguments.seed}", flush=True)
    answer = asyncio.run(kill_during_writes(arguments.kills or FIELD_KILLS, arguments.seed))
    _print(answer.figures)
    for name, count in answer.broken.items():
        print(f"BROKEN {name}: {count}")
    return 1 if answer.broken else 0


def prove_jobs(arguments: argparse.Namespace) -> int:
    """Kills and pauses in the middle of simulations; each result is that of an undisturbed run."""
    print(f"== kills during simulations, seed {arguments.seed}", flush=True)
    answer = asyncio.run(
        kill_during_jobs(
            arguments.kills or JOB_KILLS, arguments.seed, is_protected=not arguments.unprotected
        )
    )
    return _judge(answer.figures, answer.broken)


def prove_restore(arguments: argparse.Namespace) -> int:
    """A lost disk; the database comes back from a base backup and the log behind it."""
    count = min(arguments.events, RESTORED_EVENTS_MAX)
    print(f"== restore, {3 * count:,} events", flush=True)
    answer = asyncio.run(lose_and_restore(count))
    return _judge(answer.figures, answer.broken)


def prove_migrations_hold(arguments: argparse.Namespace) -> int:
    """Migrations are killed, begun together, and made under the version before."""
    print("== migrations", flush=True)
    answer = asyncio.run(prove_migrations(rounds=arguments.rounds or MIGRATION_ROUNDS))
    return _judge(answer.figures, answer.broken)


def prove_moves(arguments: argparse.Namespace) -> int:
    """A log moves between two servers through kills, and is as one that stands still."""
    print(f"== a log that moves, seed {arguments.seed}", flush=True)
    outcome = asyncio.run(
        move_through_kills(
            duration_s=arguments.seconds,
            kill_every_s=arguments.kill_every or KILL_EVERY_S,
            seed=arguments.seed,
            is_protected=not arguments.unprotected,
        )
    )
    _print(outcome.figures)
    for name, count in Counter(line.partition(":")[0] for line in outcome.problems).items():
        print(f"BROKEN {name}: {count}")
    for line in outcome.problems[:ANOMALIES_SHOWN]:
        print(f"    {line}")
    return 1 if outcome.problems else 0


def prove_failover(arguments: argparse.Namespace) -> int:
    """The primary dies under load; nothing acknowledged is lost, and girih goes on."""
    print("== failover", flush=True)
    try:
        answer = asyncio.run(fail_over(arguments.rounds or FAILOVER_ROUNDS))
    except NotInstalled as error:
        print(f"left out, as Patroni is not installed: {error}")
        return 0
    return _judge(answer.figures, answer.broken)


def prove_trouble(arguments: argparse.Namespace) -> int:
    """Trouble of every kind; whoever calls is told what is documented, and all is well again."""
    print(f"== trouble\n{HEADER}", flush=True)
    with _ground() as ground:
        rows = asyncio.run(prove_troubles(arguments.names, ground))
    return 1 if any(row.broken for row in rows) else 0


def prove_rolling(arguments: argparse.Namespace) -> int:
    """Every replica is replaced under load; no caller sees an error, and streams go on."""
    print("== replicas are replaced", flush=True)
    with tempfile.TemporaryDirectory(prefix="girih-") as name:
        try:
            names = own_names(Path(name))
        except NotAllowed as error:
            print(f"left out: {error}")
            return 0
        answer = asyncio.run(replace_everything(arguments.rounds or ROLLING_ROUNDS, names))
    return _judge(answer.figures, answer.broken)


def prove_soak(arguments: argparse.Namespace) -> int:
    """Half load with faults, for long; nothing piles up."""
    minutes = arguments.minutes or (SOAK_MINUTES if arguments.proof else SOAK_MINUTES_AMONG_OTHERS)
    print(f"== soak, {minutes:g} minutes", flush=True)
    with _ground(has_disk=False) as ground:
        answer = asyncio.run(soak(minutes, ground))
    return _judge(answer.figures, answer.broken)


@contextlib.contextmanager
def _ground(*, has_disk: bool = True) -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="girih-") as name:
        folder = Path(name)
        # The database may run as another user.
        folder.chmod(0o755)
        with ground_in(folder, has_disk=has_disk) as ground:
            yield ground


def _judge(figures: Mapping[str, int | float | str], broken: Counter[str]) -> int:
    _print(figures)
    for name, count in broken.items():
        print(f"BROKEN {name}: {count}")
    return 1 if broken else 0


def prove_transforms(arguments: argparse.Namespace) -> int:
    """Kills in the middle of transforms; each field ends as after an uninterrupted run."""
    print(f"== kills during transforms, seed {arguments.seed}", flush=True)
    kills = arguments.kills or TRANSFORM_KILLS
    answer = asyncio.run(kill_during_transforms(kills, arguments.seed))
    _print(answer.figures)
    for name, count in answer.broken.items():
        print(f"BROKEN {name}: {count}")
    return 1 if answer.broken else 0


def prove_decisions(arguments: argparse.Namespace) -> int:
    """Many decide on the same through two replicas; of each round one wins."""
    print(f"== decisions on the same, seed {arguments.seed}", flush=True)
    answer = asyncio.run(
        decide_together(
            rounds=arguments.rounds or DECISION_ROUNDS,
            racers=arguments.racers,
            seed=arguments.seed,
            is_protected=not arguments.unprotected,
        )
    )
    _print(answer.figures)
    for name, count in answer.broken.items():
        print(f"BROKEN {name}: {count}")
    return 1 if answer.broken else 0


def prove_refresh(arguments: argparse.Namespace) -> int:
    """Refresh tokens used by many at once, after lost answers, and by thieves."""
    print(f"== refresh tokens, seed {arguments.seed}", flush=True)
    answer = asyncio.run(
        use_refresh_tokens(
            rounds=arguments.rounds or REFRESH_ROUNDS,
            callers=arguments.callers,
            seed=arguments.seed,
            is_protected=not arguments.unprotected,
        )
    )
    _print(answer.figures)
    for name, count in answer.broken.items():
        print(f"BROKEN {name}: {count}")
    return 1 if answer.broken else 0


def prove_retention(arguments: argparse.Namespace) -> int:
    """Half of a log is too old: nobody is given it, and it leaves the disk through kills."""
    kills = RETENTION_KILLS if arguments.kills is None else arguments.kills
    print(f"== {arguments.events:,} events, half too old, {kills} kills", flush=True)
    is_protected = not arguments.unprotected
    outcome = asyncio.run(
        retain_half(arguments.events, kills, arguments.seed, is_protected=is_protected)
    )
    _print(outcome.figures)
    for name, count in outcome.broken.items():
        print(f"BROKEN {name}: {count}")
    return 1 if outcome.broken else 0


def prove_client(arguments: argparse.Namespace) -> int:
    """Programs append and follow while everything is killed; each event is seen once, in order."""
    kills = CLIENT_KILLS if arguments.kills is None else arguments.kills
    print(f"== programs that go on through {kills} kills", flush=True)
    with killable() as girih:
        answer = asyncio.run(
            follow_through_kills(
                girih,
                kills=kills,
                kill_every_s=arguments.kill_every or KILL_EVERY_S,
                lease_s=arguments.lease,
                is_protected=not arguments.unprotected,
            )
        )
    _print(answer.figures)
    for name, count in answer.broken.items():
        print(f"BROKEN {name}: {count}")
    return 1 if answer.broken else 0


def prove_filtered(arguments: argparse.Namespace) -> int:
    """Followers with filters come, are cut off and come back; each event is seen once, in order."""
    print(f"== {arguments.followers} followers with filters, seed {arguments.seed}", flush=True)
    outcome = asyncio.run(
        follow_filtered(
            follower_count=arguments.followers,
            duration_s=arguments.seconds,
            appends_per_s=arguments.rate,
            seed=arguments.seed,
            is_protected=not arguments.unprotected,
        )
    )
    _print(outcome.summary())
    problems = outcome.problems()
    for name, count in Counter(line.partition(":")[0] for line in problems).items():
        print(f"BROKEN {name}: {count}")
    for line in problems[:ANOMALIES_SHOWN]:
        print(f"    {line}")
    return 1 if problems else 0


def prove_groups(arguments: argparse.Namespace) -> int:
    """Consumers of a group are killed and paused; each event is handled, in order, and no more."""
    print(f"== consumers of a group, seed {arguments.seed}", flush=True)
    if arguments.unprotected:
        answer = asyncio.run(acknowledge_without_leases(seed=arguments.seed))
    else:
        answer = asyncio.run(
            consume_through_kills(
                duration_s=arguments.seconds,
                kill_every_s=arguments.kill_every or GROUP_KILL_EVERY_S,
                rate=min(arguments.rate, GROUP_RATE),
                seed=arguments.seed,
            )
        )
    _print(answer.figures)
    for name, count in answer.broken.items():
        print(f"BROKEN {name}: {count}")
    for line in answer.examples:
        print(f"    {line}")
    return 1 if answer.broken else 0


def prove_projections(arguments: argparse.Namespace) -> int:
    """Projections are killed between write and checkpoint; each must be the fold of its log."""
    kills = PROJECTION_KILLS if arguments.kills is None else arguments.kills
    print(f"== projections through {kills} kills, seed {arguments.seed}", flush=True)
    outcome = asyncio.run(
        kill_projections(kills=kills, seed=arguments.seed, is_protected=not arguments.unprotected)
    )
    _print(outcome.figures)
    for name, count in outcome.broken.items():
        print(f"BROKEN {name}: {count}")
    return 1 if outcome.broken else 0


def _made_up(file: Path, seed: int) -> Path:
    """A file of 8,000 events of 1,400 cases, in which lines repeat each other."""
    dice = random.Random(seed)
    with file.open("w") as lines:
        for number in range(8_000):
            case = dice.randrange(1_400)
            event = {"stream": f"case-{case}", "type": "step", "by": f"clerk {number % 7}"}
            lines.write(json.dumps(event) + "\n")
    return file


def _print(figures: Mapping[str, int | float | str]) -> None:
    for name, value in figures.items():
        print(f"{name:28} {value:,}" if isinstance(value, int) else f"{name:28} {value}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "proof",
        nargs="?",
        choices=[
            "replicas",
            "import",
            "snapshot",
            "decisions",
            "refresh",
            "client",
            "retention",
            "filtered",
            "groups",
            "projections",
            "fields",
            "jobs",
            "restore",
            "migrations",
            "failover",
            "transforms",
            "moves",
            "trouble",
            "rolling",
            "soak",
        ],
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of trouble: {', '.join(TROUBLES)}"
    )
    parser.add_argument("--followers", type=int, default=1_000, help="with filters")
    parser.add_argument("--rate", type=float, default=500.0, help="appends a second under them")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--writers", type=int, default=16, help="on one stream, and on many")
    parser.add_argument("--loaders", type=int, default=8, help="of large appends")
    parser.add_argument("--kill-every", type=float, help="seconds: 5, of groups 1")
    parser.add_argument("--lease", type=float, default=LEASE_S, help="of the group under programs")
    parser.add_argument(
        "--kills",
        type=int,
        help="24 under programs, 300 of projections, 100 of field writes, 200 transforms or jobs",
    )
    parser.add_argument("--events", type=int, default=100_000, help="half of them too old")
    parser.add_argument("--appends", type=int, default=200_000, help="under a held snapshot")
    parser.add_argument("--unprotected", action="store_true")
    parser.add_argument("--file", type=Path, help="JSON lines; made up when unset")
    parser.add_argument("--rounds", type=int, help="20 imports, 1,000 sessions or decisions")
    parser.add_argument("--minutes", type=float, help="of the soak: 60, or 5 among all")
    parser.add_argument("--racers", type=int, default=16, help="who decide on the same")
    parser.add_argument("--callers", type=int, default=100, help="with one refresh token at once")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
