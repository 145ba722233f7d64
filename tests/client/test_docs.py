"""The programs of the client's documentation run, against a real event store."""

import re
from pathlib import Path
from typing import Any

import pytest

from girih.client import EventStoreClient
from tests.authority import Authority

DOCS = Path(__file__).resolve().parents[2] / "docs" / "client.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)


async def run(program: str, address: str, token: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(program, str(DOCS), "exec"), names)
    await names["main"](address, token)


async def test_the_programs_of_the_documentation_run(
    events: EventStoreClient,
    address: str,
    authority: Authority,
    tenant: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    token = authority.token(tenant)

    for program in PROGRAMS:
        await run(program, address, token)

    assert capsys.readouterr().out.splitlines() == [
        "0 submitted {'by': 'Ada'}",
        "it is at revision 0",
        "101",
        "Counter({'counted': 100, 'submitted': 1}) as of 0.0 seconds ago",
    ]
    assert await events.head() == 101
