"""What can go wrong with projections, by name. Knows no transport and no storage."""

from girih.ids import Position
from services.plumbing.errors import (
    CannotRun,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
)
from services.plumbing.settings import EX_CONFIG


class WrongProjection(CannotRun):
    """A projection that cannot be run as it is written, or as it was plugged in."""

    exit_code = EX_CONFIG


class ProjectionNotFound(NotFound):
    """The server has no projection of this name."""

    reason = "PROJECTION_NOT_FOUND"

    def __init__(self, projection: str) -> None:
        super().__init__(f"there is no projection called {projection}", projection=projection)


class DocumentNotFound(NotFound):
    """The projection of documents has none of this id."""

    reason = "DOCUMENT_NOT_FOUND"

    def __init__(self, document: str, position: Position) -> None:
        """`position` is up to where in the log that is so."""
        message = f"there is no document {document} up to position {position}"
        super().__init__(message, document=document, position=position)


class ProjectionUnfit(FailedPrecondition):
    """The projection cannot run on this server, for any tenant."""

    reason = "PROJECTION_UNFIT"

    def __init__(self, projection: str, problem: str) -> None:
        super().__init__(f"{projection} cannot run: {problem}", projection=projection)


class ProjectionStopped(FailedPrecondition):
    """The projection stands still before the position that is waited for."""

    reason = "PROJECTION_STOPPED"

    def __init__(self, projection: str, position: Position, failed: Position | None) -> None:
        super().__init__(
            f"{projection} has stopped at position {position}",
            projection=projection,
            position=position,
            failed_position=failed or 0,
        )


class ProjectionWaitsFull(ResourceExhausted):
    """As many calls wait for projections as may."""

    reason = "PROJECTION_WAITS_FULL"
