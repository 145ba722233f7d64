"""What logins give away, and what a flood of them does to everybody else.

    python -m tests.acceptance.logins timing [--attempts 500] [--unprotected]
    python -m tests.acceptance.logins flood [--rounds 3] [--idle 10] [--seconds 10] [--rate 100]

`timing` logs in with addresses that nobody has and with wrong passwords, in turns at random:
neither the answer nor its time may tell one from the other. `flood` measures other calls
alone and beside a flood of logins, in turns: from so many addresses that no limit stops it, then
from one address with all limits as they are by default. Without a name both run.

Starts girihs of its own on a durable database. Exits with 1 when something does not hold.
`--unprotected` takes away the hash that is computed for nobody, and must therefore fail.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence

import uvloop

from tests.acceptance.login_flood import Flooded, Load, flood
from tests.acceptance.login_timing import ONE_PROXY, UNAUTHORIZED, Timed, time_logins
from tests.acceptance.measures import Separation, quantile
from tests.processes import own_postgres, running_system
from tests.security.conftest import UNLIMITED

AUC_MARGIN = 0.05
P99_RATIO_MAX = 2.0
GROWTH_MIB_MAX = 150.0


def main() -> int:
    arguments = _arguments()
    proofs = {"timing": prove_timing, "flood": prove_flood}
    names = [arguments.proof] if arguments.proof else list(proofs)
    return max([proofs[name](arguments) for name in names])


def prove_timing(arguments: argparse.Namespace) -> int:
    """Unknown addresses and wrong passwords must look alike and take alike."""
    print(f"== what a failed login tells, seed {arguments.seed}", flush=True)
    module = "tests.acceptance.hasty_gateway" if arguments.unprotected else "gateway"
    with (
        own_postgres() as (postgres, folder),
        running_system(
            postgres.url, folder, gateway_module=module, **UNLIMITED, **ONE_PROXY
        ) as system,
    ):
        dice = random.Random(arguments.seed)
        unknown, known = uvloop.run(
            time_logins(system.url, arguments.attempts, arguments.accounts, dice)
        )
    return max([_report_answers(unknown, known), _report_times(unknown, known)])


def _report_answers(unknown: Timed, known: Timed) -> int:
    answers = unknown.answers | known.answers
    is_one = len(answers) == 1 and {answer[0] for answer in answers} == {UNAUTHORIZED}
    print(f"answers: {len(answers)} kind(s), statuses {sorted({one[0] for one in answers})}")
    if is_one:
        return 0
    print("BROKEN: status, headers or body differ")
    for answer in sorted(answers)[:4]:
        print(f"    {answer}")
    return 1


def _report_times(unknown: Timed, known: Timed) -> int:
    for name, timed in (("unknown address", unknown), ("wrong password", known)):
        print(f"{name:16} {_percentiles(timed.durations_s)}")
    result = Separation.of(unknown.durations_s, known.durations_s)
    holds = abs(result.auc - 0.5) <= AUC_MARGIN
    print(f"AUC {result.auc:.3f} (0.5 +- {AUC_MARGIN}), p {result.p:.2g}: {_verdict(holds)}")
    return 0 if holds else 1


def prove_flood(arguments: argparse.Namespace) -> int:
    """Other calls go on, whoever logs in how often."""
    variants: dict[str, dict[str, str]] = {
        "from many addresses, no limits": UNLIMITED,
        "from one address, limits as by default": {"GATEWAY_REGISTRATION_COUNT_MAX": "0"},
    }
    load = Load(
        arguments.rounds, arguments.idle, arguments.seconds, arguments.rate, arguments.calls
    )
    worst = 0
    for name, limits in variants.items():
        print(f"== {load.logins_per_s:.0f} logins/s {name}, seed {arguments.seed}", flush=True)
        with (
            own_postgres() as (postgres, folder),
            running_system(postgres.url, folder, **limits, **ONE_PROXY) as system,
        ):
            dice = random.Random(arguments.seed)
            flooded = uvloop.run(flood(system, load, dice, from_many=limits is UNLIMITED))
        worst = max(worst, _report_flood(flooded))
    return worst


def _report_flood(result: Flooded) -> int:
    for kind in result.idle.samples:
        for when, seen in (("idle", result.idle), ("flooded", result.beside)):
            print(
                f"{kind:24} {when:8} {_percentiles([one.duration_s for one in seen.samples[kind]])}"
            )
    logins = result.logins
    answers = Counter(f"{one.status} {one.reason}".strip() for one in logins.samples)
    print(
        f"logins: {len(logins.samples)} in {logins.duration_s:.1f} s, answered with"
        f" {dict(sorted(answers.items()))}; offering them took {logins.cores:.2f} cores"
    )
    cores = f"{result.idle.gateway_cores:.2f} cores idle, {result.beside.gateway_cores:.2f} flooded"
    print(f"the gateway took {cores}")
    held = [_report_ratio(result), _report_memory(result), _report_failures(result)]
    return 0 if all(held) else 1


def _report_ratio(result: Flooded) -> bool:
    idle_s, flooded_s = (quantile(seen.durations_s, 0.99) for seen in (result.idle, result.beside))
    ratio = flooded_s / idle_s
    holds = ratio <= P99_RATIO_MAX
    print(
        f"p99 of other calls {idle_s * 1e3:.1f} ms idle, {flooded_s * 1e3:.1f} ms flooded,"
        f" ratio {ratio:.2f} (at most {P99_RATIO_MAX}): {_verdict(holds)}"
    )
    return holds


def _report_memory(result: Flooded) -> bool:
    growth_mib = result.rss_max_mib - result.rss_before_mib
    holds = growth_mib <= GROWTH_MIB_MAX
    print(
        f"memory of the gateway and what is beside it {result.rss_before_mib:.0f} MiB before,"
        f" at most {result.rss_max_mib:.0f} MiB (at most {GROWTH_MIB_MAX:.0f} more):"
        f" {_verdict(holds)}"
    )
    return holds


def _report_failures(result: Flooded) -> bool:
    failures = result.idle.failures + result.beside.failures
    print(f"other calls that failed: {dict(failures) or 'none'}: {_verdict(not failures)}")
    return not failures


def _percentiles(durations_s: Sequence[float]) -> str:
    p50, p99 = (quantile(durations_s, share) * 1e3 for share in (0.5, 0.99))
    return f"n {len(durations_s):5}  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "BROKEN"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proof", nargs="?", choices=["timing", "flood"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attempts", type=int, default=500, help="of each kind")
    parser.add_argument("--accounts", type=int, default=100, help="that they are spread over")
    parser.add_argument("--unprotected", action="store_true", help="of timing")
    parser.add_argument("--rounds", type=int, default=3, help="of both, in turns")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds without a flood")
    parser.add_argument("--seconds", type=float, default=10.0, help="of flood")
    parser.add_argument("--rate", type=float, default=100.0, help="logins a second")
    parser.add_argument("--calls", type=float, default=40.0, help="other calls a second")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
