"""What keeps projections: their tables, checkpoints and quarantine. An interface; knows no SQL."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from girih.ids import Position
from girih.projection import Projection, ProjectionTransaction
from services.projections.domain import (
    Checkpoint,
    ProjectionKey,
    ProjectionState,
    RebuildCause,
    SetAside,
    StopCause,
)


class CheckpointTransaction(ProjectionTransaction, Protocol):
    """A transaction of one generation, in which its checkpoint is moved."""

    async def move(self, position: Position, incarnation: str, applied_count: int) -> None:
        """The generation holds the log up to `position` when the transaction is committed."""

    async def set_aside(self, events: Sequence[SetAside]) -> None:
        """Put events into quarantine."""

    async def release(self, positions: Sequence[Position], applied_count: int) -> None:
        """Take events out of quarantine, of which so many are applied in this transaction."""


class ProjectionStore(Protocol):
    """Keeps the projections of all tenants. Methods raise DatabaseUnavailable and DatabaseBusy."""

    async def begin(self, key: ProjectionKey, version: str, fence: int) -> ProjectionState:
        """Take a projection over under a lease with the token `fence`, making it known first."""

    def transaction(
        self, checkpoint: Checkpoint
    ) -> AbstractAsyncContextManager[CheckpointTransaction]:
        """A transaction for the block, committed at its end unless that raises, which comes out as
        it is.

        Raises LeaseLost when the checkpoint is not as `checkpoint` says: another process has it.
        """

    async def note_failure(
        self,
        checkpoint: Checkpoint,
        *,
        cause: StopCause | None,
        problem: str,
        position: Position | None,
        attempt_count: int,
    ) -> None:
        """Note what went wrong; with a cause the generation stops. Raises LeaseLost."""

    async def held_streams(self, checkpoint: Checkpoint) -> Collection[str]:
        """The streams of which events were put aside."""

    async def discard_asked(self, checkpoint: Checkpoint) -> None:
        """Give up what was put aside and somebody has asked to give up. Raises LeaseLost."""

    async def streams_to_replay(self, checkpoint: Checkpoint) -> Collection[str]:
        """The streams whose events somebody has asked to apply that were put aside."""

    async def quarantined(
        self, checkpoint: Checkpoint, stream: str, count_max: int
    ) -> Sequence[Position]:
        """The first events of a stream that were put aside."""

    async def keep_quarantined(
        self, checkpoint: Checkpoint, stream: str, position: Position, problem: str
    ) -> None:
        """An event could not be applied this time either: it stays, and those of its stream, and
        none of them is to be replayed any more. Raises LeaseLost."""

    async def begin_rebuild(
        self, key: ProjectionKey, version: str, cause: RebuildCause, fence: int
    ) -> None:
        """Begin a generation beside the active one, in place of another that was being built."""

    async def swap(self, checkpoint: Checkpoint, *, is_behind_allowed: bool) -> bool:
        """Make a generation that was built the active one. False, with nothing changed, when it is
        behind the active one, which it may be if `is_behind_allowed`. Raises LeaseLost."""

    def forget_dropped(self, key: ProjectionKey, projection: Projection) -> AsyncIterator[int]:
        """Delete the rows of generations that nobody reads, piece by piece; yields how many."""
