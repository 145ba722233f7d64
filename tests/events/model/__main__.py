"""Compares the service with a model of a log, sequence by sequence.

    python -m tests.events.model [--sequences 10000] [--seed N]
    python -m tests.events.model --plant NAME [--sequences 500]

Exits 1 at the first difference, with the shortest sequence that shows it. With `--plant` a mistake
is put into the database, which must be found: exits 1 when it is not.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import hypothesis
import structlog

from cli.local.postgres import EmbeddedPostgres
from tests.authority import Authority
from tests.conftest import FAST
from tests.events.model.checking import check
from tests.events.model.faults import FAULTS

SEQUENCES = 10_000
SEQUENCES_WITH_FAULT = 500
_PRINTED_EVERY = 500


def main() -> int:
    arguments = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sequences = arguments.sequences or (SEQUENCES_WITH_FAULT if arguments.plant else SEQUENCES)
    print(f"== up to {sequences:,} sequences, seed {arguments.seed}", flush=True)
    difference = _difference(sequences, arguments.plant, arguments.seed)
    if arguments.plant:
        print(f"{arguments.plant}: {'found' if difference else 'NOT FOUND'}")
        return 0 if difference else 1
    if difference is None:
        print("differences                  0")
        return 0
    print("\n".join(["BROKEN model", str(difference), *getattr(difference, "__notes__", ())]))
    return 1


def _difference(sequences: int, fault: str, seed: int) -> Exception | None:
    with tempfile.TemporaryDirectory(prefix="girih-") as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "data", options=FAST) as postgres:
            authority = Authority.create(folder / "keys")
            try:
                check(postgres, authority, sequences, fault=fault, chosen=seed, begun=_print_count)
            except Exception as difference:  # noqa: BLE001 - whatever differs is the answer
                return difference
    return None


def _print_count(count: int) -> None:
    if count % _PRINTED_EVERY == 0:
        print(f"sequences begun{count:>18,}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=int, help="10,000, or 500 with a mistake")
    parser.add_argument("--plant", choices=list(FAULTS), default="", help="a mistake to be found")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    return parser.parse_args()


if __name__ == "__main__":
    hypothesis.settings.register_profile("model", deadline=None)
    hypothesis.settings.load_profile("model")
    sys.exit(main())
