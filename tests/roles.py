"""Logins of a test's own. They belong to the whole server, so each has a name of its own."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from cli.local.postgres import USER, EmbeddedPostgres


@contextmanager
def login(postgres: EmbeddedPostgres, *grants: str, options: str = "") -> Iterator[str]:
    """A role that can log in, with `options` and as a member of `grants`; gives its name."""
    name = f"login_{secrets.token_hex(8)}"
    postgres.execute(f"CREATE ROLE {name} LOGIN {options}")
    try:
        for role in grants:
            postgres.execute(f"GRANT {role} TO {name}")
        yield name
    finally:
        postgres.execute(f"DROP ROLE {name}")


def url_as(database_url: str, name: str) -> str:
    """The URL of the same database, logging in as `name`."""
    return database_url.replace(f"://{USER}@", f"://{name}@")
