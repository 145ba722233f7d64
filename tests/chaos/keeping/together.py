"""Migrates one database from several processes at once: forked, so that they begin together.

    python -m tests.chaos.keeping.together URL COUNT

Ends with how many did not come through.
"""

import asyncio
import os
import sys

from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.plumbing.postgres.migrations import migrate


def main() -> int:
    url, count = sys.argv[1], int(sys.argv[2])
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            asyncio.run(migrate(url, MIGRATIONS, schema=SCHEMA))
            os._exit(0)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())
