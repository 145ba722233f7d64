"""The embedded server: it starts, stops, and survives what kills it."""

import asyncpg

from cli.postgres import EmbeddedPostgres


async def test_a_test_gets_a_fresh_database(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname='public'") == 0
    finally:
        await connection.close()


def test_the_server_listens_on_nothing_but_its_socket(postgres: EmbeddedPostgres) -> None:
    assert postgres.execute("SHOW listen_addresses") == ""
