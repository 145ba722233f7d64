"""Other paths for the same routes: `/api/...` stands for the newest version.

`/api/v1/lattices` is `/v1/lattices`, and so is `/api/lattices` while v1 is the newest;
`/api/auth/login` is `/auth/login`. Nothing but the path differs: a route has one name in
logs, metrics and documentation.
"""

import re
from collections.abc import Iterable

PREFIX = "/api/"

_version = re.compile(r"/v([0-9]+)/").match


def newest_version(templates: Iterable[str]) -> str:
    """`/v2` for routes that begin with /v1 and /v2; empty when none has a version."""
    versions = [int(match[1]) for match in map(_version, templates) if match]
    return f"/v{max(versions)}" if versions else ""


def paths_meant(raw_path: str, newest: str) -> tuple[str, ...]:
    """The paths that a path may stand for, the first that leads somewhere is meant."""
    if not raw_path.startswith(PREFIX):
        return (raw_path,)
    rest = raw_path[len(PREFIX) - 1 :]
    return rest, newest + rest
