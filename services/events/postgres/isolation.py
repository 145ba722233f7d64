"""What must hold of the database for tenants to be isolated from each other in it.

Looked at when the process starts, on a connection of its own: a policy that has a gap keeps
nobody out, and nothing else would show it. Knows how to ask; what is asked is in `sql/isolation`.
"""

from dataclasses import dataclass, field
from typing import Final

from services.plumbing.postgres.isolation import WorkingRole, role_problems
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load

ROLE = "girih_events"
"""What the process works as, whatever it logs in as."""

_PACKAGE: Final = "services.events.postgres.sql.isolation"
_ROLE: Final = WorkingRole(ROLE, "events", _PACKAGE)
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
    revision, problem = await _ROLE.revision(connection, newest_revision)
    if problem:
        findings.of_isolation.append(problem)
        return findings
    async with connection.transaction(readonly=True):
        await _ROLE.assume(connection)
        findings.of_isolation += await role_problems(connection)
        for name in _ANY_SCHEMA:
            findings.of_isolation += await _problems(connection, name)
        for name in _THIS_SCHEMA:
            findings.of_isolation += await _problems(connection, name, revision == newest_revision)
    return findings


async def _problems(connection: RawConnection, name: str, *arguments: object) -> list[str]:
    return [row["problem"] for row in await connection.fetch(_sql(name), *arguments)]


def _sql(name: str) -> str:
    return load(_PACKAGE, name)
