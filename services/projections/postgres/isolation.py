"""What must hold of the database for tenants to be isolated from each other in projections.

Looked at when the process starts, on a connection of its own. Knows how to ask; what is asked is
in `sql/isolation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from services.plumbing.postgres.isolation import WorkingRole, role_problems
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load

ROLE: Final = "girih_projections"
"""What the process works as, whatever it logs in as. It cannot reach the log."""
SCHEMA: Final = "projections"

_PACKAGE: Final = "services.projections.postgres.sql.isolation"
_ROLE: Final = WorkingRole(ROLE, SCHEMA, _PACKAGE)


@dataclass
class IsolationFindings:
    """Everything wrong with the isolation, each in a sentence."""

    of_isolation: list[str] = field(default_factory=list)
    """Tenants are not isolated, or the process could not work at all."""
    of_login: list[str] = field(default_factory=list)
    """What the login could do if it stepped out of the role: let through in development."""
    of_schemas: dict[str, list[str]] = field(default_factory=dict)
    """What is wrong with the schema of one projection: that is not run."""


async def find_isolation_findings(
    connection: RawConnection, newest_revision: str, schemas: Sequence[str]
) -> IsolationFindings:
    """Look at the isolation in the database that `connection` leads to; changes nothing.

    `newest_revision` is what this version needs of the schema `projections`; `schemas` are those
    of projections.
    """
    findings = IsolationFindings(
        of_login=[row["problem"] for row in await connection.fetch(_sql("select_login_gaps"))]
    )
    _, problem = await _ROLE.revision(connection, newest_revision)
    if problem:
        findings.of_isolation.append(problem)
        return findings
    async with connection.transaction(readonly=True):
        await _ROLE.assume(connection)
        findings.of_isolation += await role_problems(connection)
        for row in await connection.fetch(_sql("select_role_gaps")):
            findings.of_isolation.append(row["problem"])
        for row in await connection.fetch(_sql("select_table_gaps"), [SCHEMA, *schemas]):
            if row["schema"] == SCHEMA:
                findings.of_isolation.append(row["problem"])
            else:
                findings.of_schemas.setdefault(row["schema"], []).append(row["problem"])
    return findings


def _sql(name: str) -> str:
    return load(_PACKAGE, name)
