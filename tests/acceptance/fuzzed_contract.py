"""The whole OpenAPI document against a fuzzer: what is documented is what happens.

    python -m tests.acceptance.fuzzed_contract --cases 3000

Starts a girih of its own, registers somebody, and lets Schemathesis (of the `bench`
requirements) call every route with data that fits the document and with data that does not,
all its checks on, to the end. Prints how often which check failed, and with what data. Ends
with 1 when a check failed that has to hold, or when there were fewer cases than asked for.
"""

import argparse
import json
import math
import os
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

ROOT = Path(__file__).resolve().parents[2]

BRIEF = {"GATEWAY_STREAM_TIMEOUT_S": "5"}
"""A stream that is followed ends while the fuzzer still waits for its end."""

_NO_5XX = "not_a_server_error"
MUST_HOLD = {_NO_5XX, "status_code_conformance", "ignored_auth"}
"""Checks of which no failure is accepted. The others are told as well."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=3_000, help="the fewest cases of the run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--paths", default=".", help="of the routes alone that match this")
    parser.add_argument("--report", type=Path, help="keep the report of every case here")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder, **UNLIMITED, **BRIEF) as system,
    ):
        report = arguments.report or Path(name) / "report.ndjson"
        _fuzz(system, report, arguments)
        return _summarize(report, arguments.cases)


def _fuzz(system: System, report: Path, asked: argparse.Namespace) -> None:
    # Every route gets at least 100 cases of each of these.
    per_route = math.ceil(asked.cases / 100)
    with httpx.Client(base_url=system.url, timeout=30) as client:
        tenant = settled(client, "ada", "ada")
    token = system.authority.token(tenant.tenant_id, sub=f"user:{tenant.user_id}")
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", f"{system.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {token}"),
        *("--checks", "all", "--continue-on-failure", "--mode", "all"),
        *("--max-examples", str(per_route), "--seed", str(asked.seed), "--no-shrink"),
        *("--include-path-regex", asked.paths),
        *("--suppress-health-check", "all", "--request-timeout", "30"),
        *("--workers", "2", "--report", "ndjson", "--report-ndjson-path", str(report)),
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.acceptance.fuzzer_hooks", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **hooks})


def _summarize(report: Path, cases_min: int) -> int:
    """Print the counts, and answer the exit code."""
    failures: Counter[str] = Counter()
    kinds: Counter[tuple[str, str, str]] = Counter()
    case_count = 0
    for case, checks in _cases(report):
        case_count += 1
        names = [check["name"] for check in checks if check["status"] == "failure"]
        failures.update(names)
        kinds.update((name, f"{case['method']} {case['path']}", _data_of(case)) for name in names)
    for (name, route, data), count in sorted(kinds.items()):
        print(f"{count:6} {name}: {route}: {data}")
    broken = {name: failures[name] for name in sorted(MUST_HOLD) if failures[name]}
    print(f"\n{case_count} cases; failed checks: {dict(failures) or 'none'}")
    print(f"of those that must hold: {broken or 'none'}")
    return 1 if broken or case_count < cases_min else 0


def _cases(report: Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every case and its checks."""
    with report.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            recorder = event.get("ScenarioFinished", {}).get("recorder") or {}
            for case_id, checks in recorder.get("checks", {}).items():
                exchange = recorder.get("interactions", {}).get(case_id) or {}
                is_late = _has_passed_own_deadline(exchange)
                kept = [one for one in checks if not (is_late and one["name"] == _NO_5XX)]
                yield recorder["cases"][case_id]["value"], kept


def _has_passed_own_deadline(exchange: dict[str, Any]) -> bool:
    """Whether the answer is that the time is over which the request allowed: on a busy machine
    that is no failure of the server's."""
    status = (exchange.get("response") or {}).get("status_code")
    headers = (exchange.get("request") or {}).get("headers") or {}
    return status == httpx.codes.GATEWAY_TIMEOUT and any(
        name.lower() == "x-request-timeout" for name in headers
    )


def _data_of(case: dict[str, Any]) -> str:
    """What a case tries, as Schemathesis says it; empty for data by chance."""
    phase = (case.get("meta") or {}).get("phase") or {}
    return (phase.get("data") or {}).get("description") or phase.get("name") or ""


if __name__ == "__main__":
    sys.exit(main())
