"""What is asked of a place to move logs from there and to there. Knows no database."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol

from girih.ids import Position, TenantId

CARRIED: Final = (
    "incarnations",
    "restored",
    "kept_logs",
    "stream_rules",
    # Before snapshots: whoever puts one down deletes those that it was folded into.
    "redactions",
    "snapshots",
    # Before what belongs to them.
    "groups",
    "group_lanes",
    "group_cuts",
    "group_held",
    "group_consumers",
)
"""What belongs to a log beside its streams and records, and is carried along, in this order."""

DERIVED: Final = ("labels", "unlabelled", "tallied", "tallies")
"""What is made anew of the records."""


class PlacedLog(NamedTuple):
    """What a place knows of a log."""

    tenant: TenantId
    moved_to: str | None
    """Where it is; None when that is here."""
    moving_to: str | None
    """Where it is copied to; None while it stays."""
    move: int
    """The number of the last move that is known of here."""
    is_awaited: bool
    """It is copied to here."""
    is_old: bool
    """It did not leave just now: whoever looked for it here before has learnt where it is."""


class Claim(NamedTuple):
    """A log that a mover has to itself."""

    move: int
    moving_to: str


class Copied(NamedTuple):
    """Records of a log, as its database has them."""

    upto: Position
    """The position of the last one."""
    streams: Sequence[str]
    """Those that begin with them."""
    records: Sequence[str]


class PlaceStore(Protocol):
    """One place. Raises `Unavailable` and `ResourceExhausted`, as all stores do."""

    async def know(self, tenant: TenantId) -> None:
        """Have the place know a log, which is there when nobody said else."""

    async def placed(self, tenant: TenantId) -> PlacedLog | None:
        """What it knows of a log."""

    async def work(self, count_max: int) -> Sequence[PlacedLog]:
        """The logs that are to be moved from there, and those of which there is a copy there."""

    async def count(self) -> int:
        """How many logs are there."""

    async def ask(self, tenant: TenantId, place: str | None) -> bool:
        """Have a log that is there be moved to `place`, or stay. False when it is not there, or
        moves elsewhere already.
        """

    async def claim(self, tenant: TenantId, lease_s: float) -> Claim | None:
        """Have the log to oneself for so long; None when another mover has it."""

    async def renew(self, tenant: TenantId, move: int, lease_s: float) -> bool:
        """For longer, or no more when it is 0. False when somebody else has it."""

    async def begin(self, tenant: TenantId, from_place: str, move: int) -> bool:
        """Await the log. False when it is there, or comes by a later move."""

    def held(self, tenant: TenantId, move: int) -> AbstractAsyncContextManager[bool]:
        """Nobody writes to the log, nor to what belongs to it, until the block has ended. False
        when the move is not the newest any more.
        """

    async def leave(self, tenant: TenantId, move: int, place: str) -> bool:
        """Have the log be at `place` once the block ends that holds it."""

    async def arrive(self, tenant: TenantId, move: int) -> bool:
        """Have the log be there that left for there by that move. False when it is not awaited."""

    async def point(self, tenant: TenantId, place: str, move: int) -> None:
        """Say where the log is, since that move."""

    async def discard(self, tenant: TenantId, move: int) -> bool:
        """Delete some of a copy. True when nothing is left."""

    async def head(self, tenant: TenantId) -> Position:
        """Where the log ends there, or what is copied of it."""

    async def records(self, tenant: TenantId, behind: Position, bytes_max: int) -> Copied | None:
        """The next some, so many bytes together but for the first; None at the end."""

    async def receive(self, tenant: TenantId, move: int, behind: Position, copied: Copied) -> bool:
        """Put them down. False when somebody else moves the log."""

    async def hashes(self, tenant: TenantId, table: str) -> frozenset[str]:
        """Of the rows of one of `CARRIED`, each."""

    async def rows(self, tenant: TenantId, table: str, hashes: Sequence[str]) -> Sequence[str]:
        """Those rows."""

    async def exchange(
        self, tenant: TenantId, move: int, table: str, lost: Sequence[str], gained: Sequence[str]
    ) -> bool:
        """Have the copy lose rows by their hashes, and gain others."""

    async def digest(self, tenant: TenantId, behind: Position, upto: Position) -> tuple[int, bytes]:
        """How many records lie there, and one digest of all of them."""


class OpensPlace(Protocol):
    """Who opens a connection to a place for those who move logs."""

    def __call__(self) -> AbstractAsyncContextManager[PlaceStore]: ...


Openers = Mapping[str, OpensPlace]
"""By the names of places, the one first that knows of all logs."""
