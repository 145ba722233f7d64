"""What must hold of the role that a process works as, whatever it logs in as and whatever it keeps.

Knows how to ask, and no table.
"""

from dataclasses import dataclass
from typing import cast

import asyncpg

from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load


@dataclass(frozen=True)
class WorkingRole:
    """The role of a service, and the schema that it works in.

    `package` has two statements:

    assume_role      has the session work as the role until the transaction ends
    select_revision  the revision that the schema is at; no row, or no table, when there is none
    """

    name: str
    schema: str
    package: str

    async def revision(self, connection: RawConnection, newest: str) -> tuple[str, str]:
        """What the schema is at, and what is wrong with that when `newest` is needed."""
        try:
            revision = await self._revision(connection)
        except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
            return "", (
                f"the login cannot work as {self.name} ({error}): run `girih migrate`,"
                f" and GRANT {self.name} to the login of DATABASE_URL"
            )
        if revision >= newest:
            return revision, ""
        return revision, (
            f"the schema {self.schema} is at revision {revision or 'none'}, and this version"
            f" needs {newest}: run `girih migrate`"
        )

    async def assume(self, connection: RawConnection) -> None:
        """Work as the role until the transaction ends."""
        await connection.execute(load(self.package, "assume_role"))

    async def _revision(self, connection: RawConnection) -> str:
        """Raises when the role is not to be had."""
        try:
            async with connection.transaction(readonly=True):
                await self.assume(connection)
                revision = await connection.fetchval(load(self.package, "select_revision"))
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return ""
        return cast("str", revision or "")


async def role_problems(connection: RawConnection) -> list[str]:
    """What the role that the session works as is or may do that none of ours must."""
    statement = load("services.plumbing.postgres.statements", "select_role_traits")
    return [row["problem"] for row in await connection.fetch(statement)]
