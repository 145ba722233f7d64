"""What must hold of the database for tenants to be isolated from each other in it.

Looked at when the process starts, on a connection of its own: a policy that has a gap keeps
nobody out, and nothing else would show it. Knows how to ask; what is asked is in `sql/isolation`.
"""

from dataclasses import dataclass, field
from typing import cast

import asyncpg

from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load

ROLE = "girih_events"
"""What the process works as, whatever it logs in as."""

_ANY_SCHEMA = ("select_role_gaps", "select_table_gaps")
_THIS_SCHEMA = ("select_policy_gaps", "select_privilege_gaps")


@dataclass
class IsolationFindings:
    """Everything wrong with the isolation, each in a sentence."""

    of_isolation: list[str] = field(default_factory=list)
    """Tenants are not isolated, or the process could not work at all."""
    of_login: list[str] = field(default_factory=list)
    """What the login could do if it stepped out of the role: let through in development."""


async def find_isolation_findings(
    connection: RawConnection, newest_revision: str
) -> IsolationFindings:
    """Look at the isolation in the database that `connection` leads to.

    Takes some milliseconds and changes nothing. `newest_revision` is what this version of
    the code needs of the schema, and knows.
    """
    findings = IsolationFindings(of_login=await _problems(connection, "select_login_gaps"))
    try:
        revision = await _revision(connection)
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        findings.of_isolation.append(
            f"the login cannot work as {ROLE} ({error}): run `girih migrate`,"
            f" and GRANT {ROLE} to the login of DATABASE_URL"
        )
        return findings
    if revision < newest_revision:
        findings.of_isolation.append(
            f"the schema is at revision {revision or 'none'}, and this version needs"
            f" {newest_revision}: run `girih migrate`"
        )
        return findings
    async with connection.transaction(readonly=True):
        await connection.execute(_sql("assume_role"))
        for name in _ANY_SCHEMA:
            findings.of_isolation += await _problems(connection, name)
        for name in _THIS_SCHEMA:
            findings.of_isolation += await _problems(connection, name, revision == newest_revision)
    return findings


async def _revision(connection: RawConnection) -> str:
    """The schema's revision, empty when there is none. Raises when the role is not to be had."""
    try:
        async with connection.transaction(readonly=True):
            await connection.execute(_sql("assume_role"))
            return cast("str", await connection.fetchval(_sql("select_revision")) or "")
    except asyncpg.UndefinedTableError:
        return ""


async def _problems(connection: RawConnection, name: str, *arguments: object) -> list[str]:
    return [row["problem"] for row in await connection.fetch(_sql(name), *arguments)]


def _sql(name: str) -> str:
    return load("services.events.postgres.sql.isolation", name)
