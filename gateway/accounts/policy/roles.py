"""What members may do: roles, and the scopes that each brings. Knows no tenant."""

from enum import IntEnum
from typing import Final


class Role(IntEnum):
    """What a member may do in a tenant. Each may do what those before it may."""

    VIEWER = 1
    MEMBER = 2
    ADMIN = 3
    OWNER = 4

    @property
    def word(self) -> str:
        """Its name in tokens and records: `viewer`."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> "Role":
        return cls[word.upper()]


_ADDED: Final = {
    Role.VIEWER: {
        "events.read",
        "groups.read",
        "lattices.read",
        "members.read",
        "projections.read",
        "usage.read",
    },
    Role.MEMBER: {
        "events.append",
        "groups.consume",
        "groups.write",
        "lattices.write",
        "schemas.write",
    },
    Role.ADMIN: {"members.write", "keys.read", "keys.write", "projections.write", "streams.write"},
    Role.OWNER: set[str](),
}

SCOPES: Final = {
    role: frozenset[str]().union(*(_ADDED[lower] for lower in Role if lower <= role))
    for role in Role
}
"""What a role allows."""

KEY_SCOPES: Final = SCOPES[Role.MEMBER]
"""What a key may allow: to work with data, and nothing of accounts."""
