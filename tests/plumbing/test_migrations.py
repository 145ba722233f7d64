"""Migrations, on a real database, from as many processes as like to."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from services.plumbing.migrations import MigrationTimeout, WrongMigrations, migrate

PACKAGE = "tests.plumbing.migrations_sample"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_brings_an_empty_database_to_the_newest_revision(database_url: str) -> None:
    assert await migrate(database_url, PACKAGE, schema="sample") == ["0001", "0002"]
    assert await migrate(database_url, PACKAGE, schema="sample") == []
