"""A log's schemas and upcasters, as its stream of them has it. Knows no storage and no wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from girih.ids import Revision
from services.events.domain import NO_REVISION, SchemasSeen
from services.events.errors import SchemaNotFound
from services.events.schemas.compiled import CompiledSchema
from services.events.schemas.upcasting import Upcaster

SCHEMA_COUNT_MAX: Final = 1_000
SCHEMAS_BYTES_MAX: Final = 8 * 2**20
"""Of one log, upcasters included."""
REGISTRATION_COUNT_MAX: Final = 20_000
"""Of one log: all of them are read when a process needs its schemas first."""

NOT_YET: Final = datetime.min.replace(tzinfo=UTC)
"""When a schema is registered that is about to be."""


class Compatibility(Enum):
    """What a version must promise to the one before it."""

    NONE = "none"
    BACKWARD = "backward"
    """It takes all that the version before takes: who reads by it can read what is stored."""
    FORWARD = "forward"
    """The version before takes all that it takes: who reads by that one can read what comes."""
    FULL = "full"
    """Both."""


@dataclass(frozen=True)
class RegisteredSchema:
    """A version of a type's schema."""

    version: int
    compatibility: Compatibility
    schema: CompiledSchema
    registered_at: datetime


@dataclass(frozen=True)
class EventType:
    """The schemas of a type by version, in their order, and what leads from one to the next."""

    schemas: Mapping[int, RegisteredSchema]
    upcasters: Mapping[int, Upcaster] = field(default_factory=dict)
    """By the version that they lead away from."""

    @property
    def newest(self) -> RegisteredSchema:
        return self.schemas[max(self.schemas)]

    def with_upcaster(self, upcaster: Upcaster) -> "EventType":
        """With an upcaster, in the place of one that leads away from the same version."""
        return replace(self, upcasters={**self.upcasters, upcaster.from_version: upcaster})

    def next_version(self, version: int) -> int | None:
        """The version that is registered behind a version; None behind the last."""
        return min((other for other in self.schemas if other > version), default=None)


@dataclass(frozen=True)
class SchemaRegistered:
    """A version was added to a type."""

    type: str
    schema: RegisteredSchema


@dataclass(frozen=True)
class UpcasterRegistered:
    """Events of one version can be made ones of the next, or are made so otherwise."""

    type: str
    upcaster: Upcaster


@dataclass(frozen=True)
class SchemasDeleted:
    """A type has neither schemas nor upcasters any more."""

    type: str


Change = SchemaRegistered | UpcasterRegistered | SchemasDeleted


@dataclass(frozen=True)
class Registry:
    """All of a log as of a revision of the stream, in an incarnation of the log."""

    incarnation: str = ""
    revision: Revision = NO_REVISION
    types: Mapping[str, EventType] = field(default_factory=dict)

    @property
    def seen(self) -> SchemasSeen:
        """What events were checked by that were checked by these."""
        return SchemasSeen(self.incarnation, self.revision)

    def type(self, name: str) -> EventType:
        """Raises `SchemaNotFound`."""
        event_type = self.types.get(name)
        if event_type is None:
            raise SchemaNotFound(f"no schema of the type {name} is registered", type=name)
        return event_type

    def version(self, name: str, version: int | None) -> tuple[EventType, RegisteredSchema]:
        """A version of a type, None for the newest. Raises `SchemaNotFound`."""
        event_type = self.type(name)
        if version is None:
            return event_type, event_type.newest
        registered = event_type.schemas.get(version)
        if registered is None:
            raise SchemaNotFound(
                f"version {version} of the type {name} is not registered",
                type=name,
                version=version,
            )
        return event_type, registered

    @property
    def schema_count(self) -> int:
        return sum(len(one.schemas) for one in self.types.values())

    @property
    def byte_count(self) -> int:
        """Of all schemas and upcasters together."""
        return sum(
            sum(len(registered.schema.text) for registered in one.schemas.values())
            + sum(upcaster.byte_count for upcaster in one.upcasters.values())
            for one in self.types.values()
        )

    def changed(self, change: Change | None, revision: Revision) -> "Registry":
        """With what the event of that revision says; None is something that nobody here knows."""
        types = dict(self.types)
        if isinstance(change, SchemasDeleted):
            types.pop(change.type, None)
        elif isinstance(change, SchemaRegistered):
            known = types.get(change.type, EventType({}))
            schemas = {**known.schemas, change.schema.version: change.schema}
            types[change.type] = replace(known, schemas=schemas)
        elif isinstance(change, UpcasterRegistered) and change.type in types:
            types[change.type] = types[change.type].with_upcaster(change.upcaster)
        return replace(self, revision=revision, types=types)
