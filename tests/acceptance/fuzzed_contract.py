"""The whole OpenAPI document against a fuzzer: what is documented is what happens.

    python -m tests.acceptance.fuzzed_contract --cases 100

Starts a girih of its own, registers somebody, and lets Schemathesis (of the `bench`
requirements) call every route with data that fits the document and with data that does not,
all its checks on, to the end. Ends with 1 when a check failed that has to hold.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.processes import System, own_postgres, running_system
from tests.security.conftest import UNLIMITED, settled

MUST_HOLD = {"not_a_server_error", "status_code_conformance", "ignored_auth"}
"""Checks of which no failure is accepted. The others are told as well."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100, help="cases per route and phase, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="keep the report of every case here")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder, **UNLIMITED) as system,
    ):
        report = arguments.report or Path(name) / "report.ndjson"
        _fuzz(system, report, arguments.cases, arguments.seed)
        return _tell(report)


def _fuzz(system: System, report: Path, case_count: int, seed: int) -> None:
    with httpx.Client(base_url=system.url, timeout=30) as client:
        tenant = settled(client, "ada", "ada")
    token = system.authority.token(tenant.tenant_id, sub=f"user:{tenant.user_id}")
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", f"{system.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {token}"),
        *("--checks", "all", "--continue-on-failure", "--mode", "all"),
        *("--max-examples", str(case_count), "--seed", str(seed), "--no-shrink"),
        *("--suppress-health-check", "all", "--request-timeout", "30"),
        *("--workers", "2", "--report", "ndjson", "--report-ndjson-path", str(report)),
    ]
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL)


def _tell(report: Path) -> int:
    """Print the counts, and answer the exit code."""
    failures: Counter[str] = Counter()
    case_count = 0
    for interaction in _interactions(report):
        case_count += 1
        failures.update(check["name"] for check in interaction if check["status"] == "failure")
    broken = {name: failures[name] for name in sorted(MUST_HOLD) if failures[name]}
    print(f"\n{case_count} cases; failed checks: {dict(failures) or 'none'}")
    print(f"of those that must hold: {broken or 'none'}")
    return 1 if broken or not case_count else 0


def _interactions(report: Path) -> Iterator[list[dict[str, Any]]]:
    """The checks of every case."""
    with report.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            recorder = event.get("ScenarioFinished", {}).get("recorder")
            if recorder:
                yield from recorder.get("checks", {}).values()


if __name__ == "__main__":
    sys.exit(main())
