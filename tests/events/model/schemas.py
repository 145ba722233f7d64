"""What a log's schemas and upcasters do, for a handful of schemas that stand here in two spellings:
as JSON Schema, and as a function that knows none of it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.events.model.values import Refused, Shown, Written

Takes = Callable[[Any], bool]

NAMES: Final = ("open", "named", "closed")
TEXTS: Final = {
    "open": '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}',
    "named": '{"type":"object","properties":{"n":{"type":"integer"},"m":{"type":"string"}},'
    '"required":["n","m"]}',
    "closed": '{"type":"object","properties":{"n":{"type":"integer"},"m":{"type":"string"}},'
    '"required":["n","m"],"additionalProperties":false}',
}


def _has_number(value: Any) -> bool:
    return isinstance(value, dict) and type(value.get("n")) is int


def _is_named(value: Any) -> bool:
    return _has_number(value) and isinstance(value.get("m"), str)


TAKES: Final[dict[str, Takes]] = {
    "open": _has_number,
    "named": _is_named,
    "closed": lambda value: _is_named(value) and set(value) == {"n", "m"},
}
BACKWARD: Final = {
    (before, behind)
    for before in NAMES
    for behind in NAMES
    if NAMES.index(behind) <= NAMES.index(before)
}
"""Where the second takes all that the first takes."""

UPCASTERS: Final[dict[str, list[dict[str, Any]]]] = {
    "as it is": [],
    "name": [{"constant": {"path": "/m", "value": '"named"'}}],
    "rename": [
        {"add": {"path": "/k", "value": "1"}},
        {"rename": {"path": "/k", "name": "l"}},
        {"constant": {"path": "/m", "value": '"renamed"'}},
    ],
}


def _named(value: dict[str, Any]) -> dict[str, Any]:
    return value | {"m": "named"}


def _renamed(value: dict[str, Any]) -> dict[str, Any] | None:
    """None where something would be lost."""
    if "l" in value:
        return None
    changed = {"k": 1} | value | {"m": "renamed"}
    changed["l"] = changed.pop("k")
    return changed


CHANGES: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]]] = {
    "as it is": lambda value: value,
    "name": _named,
    "rename": _renamed,
}
MAKES: Final = {
    ("as it is", "open", "open"),
    ("as it is", "named", "open"),
    ("as it is", "named", "named"),
    ("as it is", "closed", "open"),
    ("as it is", "closed", "named"),
    ("as it is", "closed", "closed"),
    ("name", "open", "open"),
    ("name", "open", "named"),
    ("name", "named", "open"),
    ("name", "named", "named"),
    ("name", "closed", "open"),
    ("name", "closed", "named"),
    ("name", "closed", "closed"),
    ("rename", "closed", "open"),
    ("rename", "closed", "named"),
}
"""Where an upcaster makes of all that the first schema takes what the second takes. What `rename`
makes of an open schema's events depends on members that nobody has named: nobody asks for that."""
ASKED: Final = [
    (upcaster, before, behind)
    for upcaster in UPCASTERS
    for before in NAMES
    for behind in NAMES
    if upcaster != "rename" or before == "closed"
]


@dataclass
class EventType:
    """What is registered of a type."""

    schemas: dict[int, str] = field(default_factory=dict)
    promised: dict[int, str] = field(default_factory=dict)
    upcasters: dict[int, tuple[int, str]] = field(default_factory=dict)
    """By the version they lead away from: to which, and what they do."""

    def behind(self, version: int) -> int | None:
        return min([one for one in self.schemas if one > version], default=None)


@dataclass
class Registry:
    """What is registered in a log."""

    types: dict[str, EventType] = field(default_factory=dict)

    def refusal(self, events: Sequence[Written]) -> str:
        """Why events are refused that are not as their schemas say; empty when all are."""
        problems = {self._problem(event) for event in events}
        reasons = ("SCHEMA_VIOLATED", "SCHEMA_VERSION_UNKNOWN")
        return next((reason for reason in reasons if reason in problems), "")

    def _problem(self, event: Written) -> str:
        known = self.types.get(event.type)
        if known is None:
            return ""
        schema = known.schemas.get(event.version)
        if schema is None:
            return "SCHEMA_VERSION_UNKNOWN"
        if event.binary is not None:
            return "SCHEMA_VIOLATED"
        value = json.loads(event.json) if event.json else None
        return "" if TAKES[schema](value) else "SCHEMA_VIOLATED"

    def register(self, name: str, version: int, schema: str, compatibility: str) -> bool:
        """Whether it was registered before."""
        known = self.types.get(name, EventType())
        if known.schemas.get(version) == schema:
            return True
        newest = max(known.schemas, default=None)
        if newest is not None and version <= newest:
            raise Refused("SCHEMA_VERSION_TAKEN")
        promised = compatibility
        if promised == "UNSPECIFIED":
            promised = "BACKWARD" if newest is None else known.promised[newest]
        before = None if newest is None else known.schemas[newest]
        if before and promised == "BACKWARD" and (before, schema) not in BACKWARD:
            raise Refused("SCHEMA_INCOMPATIBLE")
        known.schemas[version], known.promised[version] = schema, promised
        self.types[name] = known
        return False

    def register_upcaster(self, name: str, version: int, target: int, upcaster: str) -> int:
        """The version it leads to."""
        known = self.types.get(name, EventType())
        if version not in known.schemas or target not in known.schemas:
            raise Refused("SCHEMA_NOT_FOUND")
        if known.behind(version) != target or self._leaves_gap(known, version):
            raise Refused("UPCASTER_REFUSED")
        if (upcaster, known.schemas[version], known.schemas[target]) not in MAKES:
            raise Refused("UPCASTER_REFUSED")
        known.upcasters[version] = (target, upcaster)
        return target

    def _leaves_gap(self, known: EventType, version: int) -> bool:
        versions = sorted(known.schemas)
        places = sorted({versions.index(one) for one in (*known.upcasters, version)})
        return places != list(range(places[0], places[-1] + 1))

    def delete(self, name: str) -> int:
        """How many versions were deleted."""
        if name not in self.types:
            raise Refused("SCHEMA_NOT_FOUND")
        return len(self.types.pop(name).schemas)

    def versions(self) -> list[tuple[str, int, bool]]:
        """Type, version, and whether an upcaster leads on."""
        return [
            (name, version, version in known.upcasters)
            for name, known in sorted(self.types.items())
            for version in sorted(known.schemas)
        ]

    def upcast(self, shown: Shown) -> Shown:
        """An event as a reader is given it who asks for upcasters."""
        written, known = shown.written, self.types.get(shown.written.type)
        version = written.version
        if known is None or version not in known.upcasters or not written.json:
            return shown
        if written.stream.startswith("$"):
            return shown
        value: Any = json.loads(written.json)
        while value is not None and version in known.upcasters:
            version, upcaster = known.upcasters[version]
            if isinstance(value, dict):
                value = CHANGES[upcaster](value)
        failed = replace(shown, upcast_from=written.version, has_problem=True)
        if value is None or not TAKES[known.schemas[version]](value):
            return failed
        changed = replace(written, version=version, json=json.dumps(value, sort_keys=True))
        return replace(shown, written=changed, upcast_from=written.version)
