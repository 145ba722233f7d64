"""Short forms of the proofs of migrations, on the server of the tests."""

import subprocess
import sys

import pytest

from cli.local.postgres import EmbeddedPostgres
from services.events.postgres.database import MIGRATIONS
from services.plumbing.postgres.migrations import newest_revision
from tests.chaos.keeping.dying_migration import statements
from tests.chaos.keeping.migrating import Outcome, kill_at_each_statement
from tests.processes import ROOT

NEWEST = int(newest_revision(MIGRATIONS))


def test_statements_end_at_semicolons_and_nowhere_else() -> None:
    sql = "SELECT ';'; -- ;\nDO $$ BEGIN; END; $$; SELECT 1;"

    assert list(statements(sql)) == ["SELECT ';';", " -- ;\nDO $$ BEGIN; END; $$;", " SELECT 1;"]


async def test_the_newest_revision_killed_in_its_middle_leads_to_the_same_schema(
    postgres: EmbeddedPostgres,
) -> None:
    outcome = Outcome()

    await kill_at_each_statement(postgres, NEWEST, outcome, sparsely=True)

    assert not +outcome.broken
    assert outcome.figures["kills of migrations"]


@pytest.mark.parametrize("_round", [1, 2])
def test_processes_that_migrate_an_empty_database_together_all_come_through(
    empty_url: str, _round: int
) -> None:
    command = (sys.executable, "-m", "tests.chaos.keeping.together", empty_url, "8")

    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
