"""Registers schemas and upcasters: looks at what is asked, and appends it to the log.

Each registration says where the stream of schemas ended when it was decided, so of two that
race one is decided again.
"""

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Final

from girih.ids import TenantId
from girih.rules.violations import FieldViolation
from services.events.errors import (
    PreconditionFailed,
    SchemaIncompatible,
    SchemaRefused,
    SchemasFull,
    SchemaVersionTaken,
    UpcasterRefused,
)
from services.events.schemas import convert, worker
from services.events.schemas.beside import Beside
from services.events.schemas.compiled import CompiledSchema, Problem
from services.events.schemas.convert import AskedSchema, AskedUpcaster
from services.events.schemas.enforcing import Appender
from services.events.schemas.registries import Registries
from services.events.schemas.registry import (
    NOT_YET,
    REGISTRATION_COUNT_MAX,
    SCHEMA_COUNT_MAX,
    SCHEMAS_BYTES_MAX,
    Change,
    Compatibility,
    EventType,
    RegisteredSchema,
    Registry,
    SchemaRegistered,
    SchemasDeleted,
    UpcasterRegistered,
)
from services.events.schemas.upcasting import Upcaster
from services.plumbing.correlation import Call

_RACES_MAX: Final = 10
_EXAMPLE_CHARS_MAX: Final = 600


class Registrar:
    """Registers in the logs of all tenants."""

    def __init__(self, appender: Appender, registries: Registries, beside: Beside) -> None:
        """`appender` appends what is registered, which no schema binds."""
        self._appender = appender
        self._registries = registries
        self._beside = beside

    async def register(
        self, call: Call, asked: AskedSchema, plan_count_max: int
    ) -> tuple[EventType, RegisteredSchema, bool]:
        """The type, the version, and whether it was registered before.

        `plan_count_max` is how many schemas the tenant may have, 0 for as many as a log may.
        """

        async def decided(registry: Registry) -> Change | None:
            known = registry.types.get(asked.type)
            if known is not None and _is_known(known, asked):
                return None
            check_room(registry, len(asked.text), plan_count_max)
            before = None if known is None else known.newest
            promised = asked.compatibility or (
                Compatibility.BACKWARD if before is None else before.compatibility
            )
            schema = await self._examined(
                call.tenant, asked.text, None if before is None else before.schema, promised
            )
            return SchemaRegistered(
                asked.type, RegisteredSchema(asked.version, promised, schema, NOT_YET)
            )

        registry, was_there = await self._change(call, decided)
        event_type, registered = registry.version(asked.type, asked.version)
        return event_type, registered, was_there

    async def register_upcaster(self, call: Call, asked: AskedUpcaster) -> None:
        async def decided(registry: Registry) -> Change:
            event_type, before = registry.version(asked.type, asked.upcaster.from_version)
            _, behind = registry.version(asked.type, asked.upcaster.to_version)
            check_place(event_type, asked.upcaster)
            check_room(registry, asked.upcaster.byte_count, 0, is_schema=False)
            await self._try(call.tenant, asked, before.schema, behind.schema)
            return UpcasterRegistered(asked.type, asked.upcaster)

        await self._change(call, decided)

    async def delete(self, call: Call, name: str) -> int:
        """How many versions were deleted."""
        count = 0

        async def decided(registry: Registry) -> Change:
            nonlocal count
            count = len(registry.type(name).schemas)
            return SchemasDeleted(name)

        await self._change(call, decided)
        return count

    async def _change(
        self, call: Call, decided: Callable[[Registry], Awaitable[Change | None]]
    ) -> tuple[Registry, bool]:
        """The registry with the change that was decided on it, and whether there was none."""
        for attempt in range(_RACES_MAX):
            registry = await self._registries.newest(call.tenant)
            change = await decided(registry)
            if change is None:
                return registry, True
            try:
                await self._appender.append(
                    call.tenant, convert.registration(registry, call, change)
                )
            except PreconditionFailed:
                if attempt == _RACES_MAX - 1:
                    raise
                continue
            return await self._registries.newest(call.tenant), False
        raise AssertionError("the last attempt raises")

    async def _examined(
        self,
        tenant: TenantId,
        text: bytes,
        before: CompiledSchema | None,
        promised: Compatibility,
    ) -> CompiledSchema:
        problems, broken, weight, pattern_count = await self._beside.run(
            tenant, worker.examine, text, None if before is None else before.text, promised
        )
        if problems:
            raise SchemaRefused(violations=[_violation(problem) for problem in problems])
        if broken:
            words = ", ".join(one.compatibility.value for one in broken)
            is_certain = any(one.is_certain for one in broken)
            raise SchemaIncompatible(
                f"the schema is not {words} compatible with the version before"
                + ("" if is_certain else ", as far as anybody can prove"),
                broken=words,
                proven=is_certain,
            )
        return CompiledSchema(text, weight, pattern_count)

    async def _try(
        self, tenant: TenantId, asked: AskedUpcaster, before: CompiledSchema, behind: CompiledSchema
    ) -> None:
        failure = await self._beside.run(
            tenant,
            worker.counterexample,
            before.text,
            behind.text,
            asked.upcaster,
            asked.examples,
        )
        if failure is not None:
            example, why = failure
            raise UpcasterRefused(
                violations=[
                    FieldViolation(
                        "upcaster.steps",
                        f"make what the schema of version {asked.upcaster.to_version} refuses:"
                        f" {why}",
                    )
                ],
                example=example.decode()[:_EXAMPLE_CHARS_MAX],
            )


def check_room(
    registry: Registry, byte_count: int, plan_count_max: int, *, is_schema: bool = True
) -> None:
    """Raises `SchemasFull` where a log has no room for so much more."""
    most = min(plan_count_max or SCHEMA_COUNT_MAX, SCHEMA_COUNT_MAX)
    if is_schema and registry.schema_count >= most:
        raise SchemasFull(
            f"the log has {registry.schema_count:,} schemas, and may have {most:,}",
            retry_after_s=None,
            schema_count_max=most,
        )
    if registry.byte_count + byte_count > SCHEMAS_BYTES_MAX:
        raise SchemasFull(
            f"the schemas of a log may have {SCHEMAS_BYTES_MAX:,} bytes together",
            retry_after_s=None,
        )
    if registry.revision >= REGISTRATION_COUNT_MAX:
        raise SchemasFull(
            f"schemas of a log may be changed {REGISTRATION_COUNT_MAX:,} times", retry_after_s=None
        )


def check_place(event_type: EventType, upcaster: Upcaster) -> None:
    """Raises `UpcasterRefused` where a chain would have a circle or a gap."""
    following = event_type.next_version(upcaster.from_version)
    if upcaster.to_version != following:
        raise UpcasterRefused.of(
            "upcaster.to_version",
            f"must be {following}, the version that is registered behind {upcaster.from_version}"
            if following is not None
            else f"must be registered behind {upcaster.from_version}, the newest",
        )
    versions = sorted(event_type.schemas)
    places = sorted(map(versions.index, {*event_type.upcasters, upcaster.from_version}))
    for place, behind in pairwise(places):
        if behind > place + 1:
            gap = versions[place + 1]
            raise UpcasterRefused.of(
                "upcaster.from_version", f"leaves a gap: nothing leads on from version {gap}"
            )


def _is_known(known: EventType, asked: AskedSchema) -> bool:
    """Whether it is registered already; raises `SchemaVersionTaken` where another one is."""
    registered = known.schemas.get(asked.version)
    if registered is not None and registered.schema.is_same(asked.text):
        return True
    newest = known.newest.version
    if asked.version > newest:
        return False
    raise SchemaVersionTaken(
        f"version {asked.version} of {asked.type} is registered with another schema"
        if registered is not None
        else f"version {newest} of {asked.type} is registered: a new one must be above it",
        newest_version=newest,
    )


def _violation(problem: Problem) -> FieldViolation:
    where, what = problem
    return FieldViolation("schema", f"{where}: {what}" if where else what)
