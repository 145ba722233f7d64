"""`girih backup` carries a log from one tenant to another, as an operator calls it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from cli import exit_codes
from girih.client import NewEvent
from girih.client.blocking.client import Client
from tests import forked
from tests.authority import Authority


def girih(authority: Authority, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return forked.run(("backup", *arguments), {**os.environ, **authority.environ})


def document(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_sealed_log_goes_to_another_tenant_and_a_changed_one_does_not(
    served: str, authority: Authority, tmp_path: Path
) -> None:
    key, folder = tmp_path / "key", tmp_path / "log"
    sealed = ("--key", str(key), "-o", "json")
    there = (*sealed, "--events-address", served)
    with Client(events=served, token=authority.token("commanded")) as source:
        source.append([NewEvent(stream="s", type="t", json="1")])

    girih(authority, "key", str(key)).check_returncode()
    exported = document(girih(authority, "export", str(folder), "--tenant", "commanded", *there))
    verified = document(girih(authority, "verify", str(folder), *sealed))
    imported = document(girih(authority, "import", str(folder), "--tenant", "copied", *there))
    part = next(folder.glob("events-*"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    refused = girih(authority, "import", str(folder), "--tenant", "other", *there)

    assert exported["root"] == verified["root"] == imported["root"]
    with Client(events=served, token=authority.token("copied")) as target:
        assert target.head() == 1
    assert refused.returncode == exit_codes.DATAERR
    assert part.name in refused.stderr
