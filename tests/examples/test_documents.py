"""The example of documents, run as its users run it: programs, processes, snapshots of before."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.documents.document import Document, State
from examples.documents.tests.test_rules import MARKDOWN, ORIGINAL, STRICT
from examples.documents.tests.test_snapshots import FIRST
from examples.documents.values import FeedbackItem
from girih.client import AsyncRepository, Client, EventStoreClient
from tests.acceptance.documents import DOCUMENT, problems, run
from tests.authority import Authority
from tests.client.test_docs import programs
from tests.client.test_docs import run as run_program
from tests.processes import ROOT, signed_in


@pytest.fixture
def login(address: str, authority: Authority, tenant: str, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who is logged in."""
    return {
        **signed_in(authority, tenant, tmp_path / "sessions.json"),
        "GIRIH_EVENTS_ADDRESS": address,
        "GIRIH_LATTICE_ADDRESS": "127.0.0.1:1",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }


async def test_the_example_runs_as_its_readme_says(login: dict[str, str], tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-m", "examples.documents"],
        cwd=tmp_path,
        env=login,
        capture_output=True,
        text=True,
        timeout=60,
    )
    printed = [
        await run_program(one, login, tmp_path) for one in programs("examples/documents/README.md")
    ]

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        "not allowed: lighting has 1 findings already",
        "withdrawn by Ada at revision 6",
    ]
    assert printed == [["document-1 towers.pdf"]]


def test_processes_against_each_other_do_what_the_rules_allow(
    environ: dict[str, str], address: str
) -> None:
    outcomes = run(3, environ, is_protected=True)

    with Client(events=address, token=environ["DOCUMENTS_TOKEN"]) as girih:
        events = list(girih.read(f"document-{DOCUMENT}"))
    assert problems(events, outcomes) == []
    given = sum(len(one.done) + one.refused for one in outcomes)
    assert sum(one.decisions for one in outcomes) >= given


def test_processes_break_the_rules_where_appends_expect_no_revision(
    environ: dict[str, str], address: str
) -> None:
    outcomes = run(3, environ, is_protected=False)

    with Client(events=address, token=environ["DOCUMENTS_TOKEN"]) as girih:
        events = list(girih.read(f"document-{DOCUMENT}"))
    assert problems(events, outcomes) != []


async def test_loading_begins_at_a_snapshot_of_version_1(events: EventStoreClient) -> None:
    documents = AsyncRepository(events, Document)
    await documents.execute("7", lambda one: one.upload(ORIGINAL))
    await documents.execute("7", lambda one: one.convert(MARKDOWN))
    content = json.dumps({"layout": "of version 1", "state": FIRST}).encode()
    await events.save_snapshot("document-7", 1, content, schema_version=1)

    await documents.execute("7", lambda one: one.assign_policy(STRICT))

    # The feedback is in the snapshot alone, and tells that it was used.
    assert (await documents.load("7")).state == State(
        original=ORIGINAL,
        conversions=(MARKDOWN,),
        feedback=(FeedbackItem("Omar", 4),),
        policies=(STRICT,),
    )
