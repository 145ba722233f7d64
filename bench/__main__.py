"""`python -m bench [NAME ...]`: runs the benches, one after the other, each a process of its own.

Every figure is a ratio to a limit measured in the same run, in turns, on the same machine:
absolute numbers of a shared machine do not travel.
"""

import subprocess
import sys

BENCHES = (
    "appends", "decisions", "reads", "filters", "followed", "delivery", "growth", "storage",
    "peers", "gateway", "arrays", "paths", "command", "schemas",
    "fields", "transfers", "overhead", "projections", "tenants", "start", "weighted", "structure",
    "groups", "transforms", "simulations", "observe", "load", "places",
)  # fmt: skip


def main(names: list[str]) -> int:
    unknown = set(names) - set(BENCHES)
    if unknown:
        print(f"unknown bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
        return 2
    worst = 0
    for name in names or BENCHES:
        print(f"== {name}", flush=True)
        worst = max(
            worst, subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode
        )
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
