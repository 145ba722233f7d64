"""Migrates up to a revision, and dies in the middle of that one.

    python -m tests.chaos.keeping.dying_migration URL REVISION STATEMENT

By kill -9 behind so many statements of it. Ends with 0, and the revision applied, when it has
fewer.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Iterator

from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.plumbing.postgres import migrations
from services.plumbing.postgres.opening import GirihConnection

_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|(?P<end>;)",
    re.DOTALL,
)


def statements(sql: str) -> Iterator[str]:
    """Cut where a semicolon ends a statement, and nowhere else."""
    begins = 0
    for token in _TOKEN.finditer(sql):
        if token["end"]:
            yield sql[begins : token.end()]
            begins = token.end()


def main() -> None:
    url, revision, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    revisions = migrations._revisions(MIGRATIONS)[:revision]
    execute = GirihConnection.execute

    async def execute_and_die(self: GirihConnection, query: str, *rest: object) -> str:
        if query != revisions[-1].sql:
            return str(await execute(self, query, *rest))
        for number, statement in enumerate(statements(query), 1):
            await execute(self, statement)
            if number == count:
                os.kill(os.getpid(), signal.SIGKILL)
        return ""

    GirihConnection.execute = execute_and_die  # type: ignore[method-assign, assignment]  # to die
    asyncio.run(migrations._migrate(url, revisions, SCHEMA))


if __name__ == "__main__":
    main()
