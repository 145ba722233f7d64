"""What happens to lattices, and what is promised by whoever keeps it. Knows no wire."""

import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Protocol, Self
from uuid import UUID, uuid4, uuid5

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.region import Region
from services.lattice.domain import Lattice, LatticeId, LatticeSpec
from services.lattice.geometry import Geometry
from services.plumbing.errors import EventsUnavailable

_COMMANDS = UUID("0b4c0c30-3d70-5d8e-9b1f-6a8b5f6f3c11")
"""The namespace of commands, by the lattice and the request that they come from."""


@dataclass(frozen=True, kw_only=True)
class LatticeCreated:
    """A lattice was created.

    `blocked` is the bitmap as in `LatticeSpec`. The catalogue leaves it out, and keeps
    `blocked_digest`, its SHA-256, which is empty when no site is blocked.
    """

    lattice_id: LatticeId
    geometry: Geometry
    vertices: int
    edges: int
    blocked_digest: bytes = b""
    blocked: bytes = field(default=b"", repr=False)
    array_id: str = ""
    """Of the array that a large bitmap is kept in; see `bitmaps`."""
    array_digest: str = ""

    def __post_init__(self) -> None:
        if self.blocked and hashlib.sha256(self.blocked).digest() != self.blocked_digest:
            raise DamagedRecord(f"the bitmap of lattice {self.lattice_id} is not what was created")

    @classmethod
    def of(cls, lattice_id: LatticeId, spec: LatticeSpec, *, vertices: int, edges: int) -> Self:
        return cls(
            lattice_id=lattice_id,
            geometry=spec.geometry,
            vertices=vertices,
            edges=edges,
            blocked_digest=digest_of(spec),
            blocked=spec.blocked,
        )

    def creates(self, spec: LatticeSpec) -> bool:
        """This is the creation of the lattice specified, and of no other."""
        return self.geometry == spec.geometry and self.blocked_digest == digest_of(spec)

    def lattice(self, created_at: datetime) -> Lattice:
        return Lattice(
            lattice_id=self.lattice_id,
            geometry=self.geometry,
            vertices=self.vertices,
            edges=self.edges,
            created_at=created_at,
        )


@dataclass(frozen=True, kw_only=True)
class LatticeDeleted:
    """A lattice was deleted. Nothing happens to it any more."""

    lattice_id: LatticeId


class ChangeKind(Enum):
    """What changed a field, if no caller sent its numbers, or which sites are blocked."""

    WRITTEN = "written"
    """Only of blocked sites: a field that a caller writes has no change."""
    TRANSFORMED = "transformed"
    UNDONE = "undone"
    REDONE = "redone"


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """Why a field was written that no caller sent."""

    kind: ChangeKind
    before_digest: str
    request_id: str = ""
    of_revision: int = -1
    """Of what was undone or done again."""
    applied: bytes = field(default=b"", repr=False)
    """What was applied, as the contract's `AppliedChain`: read by who knows transforms."""
    written_digest: str = ""
    """Of what a request said to write of the blocked sites. Events of old have none."""


@dataclass(frozen=True, kw_only=True)
class NamedContent:
    """What another field holds that was written at once."""

    name: str
    content: FieldContent


@dataclass(frozen=True, kw_only=True)
class FieldWritten:
    """A field was created, or written: all of it, or a region. `content` is the field now."""

    lattice_id: LatticeId
    name: str
    content: FieldContent
    region: Region | None = None
    change: FieldChange | None = None
    imaginary: NamedContent | None = None
    """The imaginary parts of a field of complex numbers."""

    job_id: str = ""
    """The job whose result it is; empty when somebody wrote it."""
    request_id: str = ""
    """Of the call that created it; a change has its own."""

    @property
    def contents(self) -> "Sequence[NamedContent]":
        """All fields that were written."""
        own = NamedContent(name=self.name, content=self.content)
        return [own] if self.imaginary is None else [own, self.imaginary]


@dataclass(frozen=True, kw_only=True)
class FieldDeleted:
    """A field was deleted. Another one may have its name."""

    lattice_id: LatticeId
    name: str


@dataclass(frozen=True, kw_only=True)
class BlockedChanged:
    """Which sites of a lattice are blocked was changed.

    The bitmap is as in `LatticeCreated`: the catalogue leaves it out.
    """

    lattice_id: LatticeId
    revision: int
    """In the stream of the lattice."""
    sites: int
    vertices: int
    edges: int
    change: FieldChange
    blocked_digest: bytes = b""
    blocked: bytes = field(default=b"", repr=False)
    array_id: str = ""
    array_digest: str = ""

    def __post_init__(self) -> None:
        if self.blocked and hashlib.sha256(self.blocked).digest() != self.blocked_digest:
            raise DamagedRecord(f"the bitmap of lattice {self.lattice_id} is not what was recorded")

    @classmethod
    def of(cls, lattice: Lattice, spec: LatticeSpec, revision: int, change: FieldChange) -> Self:
        return cls(
            lattice_id=lattice.lattice_id,
            revision=revision,
            sites=spec.geometry.sites,
            vertices=lattice.vertices,
            edges=lattice.edges,
            change=change,
            blocked_digest=digest_of(spec),
            blocked=spec.blocked,
        )

    def lattice(self, before: Lattice) -> Lattice:
        """The lattice behind the change."""
        return replace(before, vertices=self.vertices, edges=self.edges)


@dataclass(frozen=True, kw_only=True)
class UnknownEvent:
    """Something that this version of the service does not know yet."""

    event_type: str


FieldEvent = FieldWritten | FieldDeleted
LatticeEvent = LatticeCreated | LatticeDeleted | FieldEvent | BlockedChanged | UnknownEvent


@dataclass(frozen=True, kw_only=True)
class LatticeRecord:
    """An event with its place in the stream it was read from."""

    revision: int
    recorded_at: datetime
    event: LatticeEvent
    incarnation: str = ""
    """Of the journal that it was read from."""
    actor: str = ""
    """Who recorded it; empty where that was not read."""
    correlation_id: str = ""


@dataclass(frozen=True, kw_only=True)
class StreamSlice:
    """What was read of one lattice, oldest first.

    `revision` is that of the last event read, or where reading began when there was none.
    """

    revision: int
    recorded: Sequence[LatticeRecord]
    incarnation: str = ""
    """Of the journal that it was read from; empty when nothing was read."""


@dataclass(frozen=True, kw_only=True)
class Appended:
    """Where a creation is recorded: the revision the lattice is at then, and since when.

    It is not new when the same command had recorded it before.
    """

    revision: int
    recorded_at: datetime
    is_new: bool
    catalogue_revision: int
    """Where it is in the catalogue."""
    incarnation: str = ""
    """Of the journal that it is in."""


class StreamChanged(Exception):
    """The lattice is not as the append expected it, or was created before."""

    def __init__(self, message: str, *, stream: str = "") -> None:
        super().__init__(message)
        self.stream = stream
        """Which stream of several is another, where that is known."""


class CatalogueChanged(Exception):
    """The catalogue is not as the append expected it."""


class JournalReplaced(EventsUnavailable):
    """The journal does not hold any longer what was read of it: it was restored to an earlier
    state. Nothing that is remembered of the tenant's lattices is known to be true."""


class DamagedRecord(Exception):
    """What was read is not what can have been written."""


class CatalogueFollower(Protocol):
    """Follows one tenant's catalogue."""

    @property
    def revision(self) -> int:
        """The revision of the last record that was folded or was there before; -1 if none was."""

    @property
    def is_current(self) -> bool:
        """Everything is folded that was recorded up to a moment ago."""

    async def run(self) -> None:
        """Follow for ever, whatever becomes of the event store meanwhile."""


class LatticeJournal(Protocol):
    """Keeps what happens to the lattices of each tenant, for ever and in order.

    A lattice has a stream of its own; the catalogue is one more stream per tenant, with
    the creations and deletions of all its lattices. Each append writes both or neither,
    and is durable when it returns. Appending again with the same `command_id` and the
    same content changes nothing.

    Others may have written into the same streams. A record that cannot be read as what its type
    says is read as an unknown event, and so is a creation that is not the first record of
    its lattice. Revisions count every record.

    A journal has an incarnation, which changes when it is restored to an earlier state. Who
    reads on tells in which one it has read, and gets JournalReplaced when what it has read is
    in the journal no more.

    Everything raises EventsUnavailable when the outcome is unknown or nothing could be
    read; the same call may then be repeated.
    """

    async def append_created(
        self,
        tenant: TenantId,
        created: LatticeCreated,
        command_id: UUID,
        *,
        catalogue_revision: int | None = None,
    ) -> Appended:
        """Record a creation.

        Raises StreamChanged when the lattice was created before by another command or
        with other content, and CatalogueChanged unless the catalogue is at the revision
        given, which is -1 while it is empty. Without one it may be at any.
        """

    async def append_deleted(
        self, tenant: TenantId, lattice_id: LatticeId, *, expected_revision: int, command_id: UUID
    ) -> int:
        """Record a deletion, and answer its revision in the catalogue.

        Raises StreamChanged unless the lattice is at the revision expected.
        """

    async def append_field(
        self, tenant: TenantId, event: FieldEvent, *, expected_revision: int, command_id: UUID
    ) -> LatticeRecord:
        """Record what became of a field, in the stream of its lattice alone.

        Raises StreamChanged unless the lattice is at the revision expected.
        """

    async def append_blocked(
        self, tenant: TenantId, event: BlockedChanged, *, command_id: UUID
    ) -> Appended:
        """Record a change of blocked sites, in the stream of the lattice and in the catalogue.

        Raises StreamChanged unless the lattice is at the revision before the event's.
        """

    async def read(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        incarnation: str = "",
    ) -> StreamSlice:
        """Answer what happened to a lattice after a revision. No lattice reads as nothing."""

    def history(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        limit: int | None = None,
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        """Yield what happened to a lattice after a revision in batches, up to what is there now.

        Creations come without their bitmaps. Whoever reads holds one batch at a time.
        """

    def catalogue(
        self, tenant: TenantId, *, after_revision: int, incarnation: str = ""
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        """Yield the catalogue after a revision in batches, up to where it ends now."""

    def follower(
        self,
        tenant: TenantId,
        fold: Callable[[Sequence[LatticeRecord]], None],
        began: Callable[[str], None],
    ) -> CatalogueFollower:
        """Follow a catalogue from where it ends when it runs, folding what is recorded later.

        `began` is called with the journal's incarnation when that place is known, and again
        whenever it is found anew because the journal was replaced.
        """


def command_of(lattice_id: str, request_id: str) -> UUID:
    """The command that a request always leads to, or a fresh one."""
    return uuid5(_COMMANDS, f"{lattice_id}/{request_id}") if request_id else uuid4()


def digest_of(spec: LatticeSpec) -> bytes:
    """The SHA-256 of the bitmap of blocked sites, empty when none is blocked."""
    return hashlib.sha256(spec.blocked).digest() if spec.blocked else b""
