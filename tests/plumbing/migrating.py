"""Migrates the database named on the command line; the tests run it as a process."""

import asyncio
import sys

from services.plumbing.postgres.migrations import migrate

if __name__ == "__main__":
    database_url, package = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    print(asyncio.run(migrate(database_url, package, schema="sample", timeout_s=30)))
