"""Moves the schemas of projections forward, for `girih migrate`. Serves nothing."""

from services.plumbing.postgres.migrations import migrate
from services.projections.postgres.database import MIGRATIONS
from services.projections.postgres.isolation import SCHEMA
from services.projections.registry import all_projections
from services.projections.shipped.all import shipped


async def migrate_all(url: str, timeout_s: float) -> list[str]:
    """Apply what is missing of the runner's schema and of each projection's own; answers what was,
    as schema and revision. Raises what `migrate` does, and what a projection's SQL does wrong: what
    was applied until then stays.
    """
    schemas = {SCHEMA: MIGRATIONS} | {
        projection.schema: projection.migrations
        for projection in all_projections(shipped()).values()
    }
    return [
        f"{schema} {revision}"
        for schema, package in schemas.items()
        for revision in await migrate(url, package, schema=schema, timeout_s=timeout_s)
    ]
