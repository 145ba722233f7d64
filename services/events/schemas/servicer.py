"""The rpcs of `SchemaService`: convert, call, convert back."""

from typing import Any

import grpc.aio

from girih.events.v1 import schemas_pb2 as pb
from services.events.schemas import convert
from services.events.schemas.registering import Registrar
from services.events.schemas.registries import Registries
from services.plumbing import correlation, validation
from services.policy import plan_of

Context = grpc.aio.ServicerContext[Any, Any]


class SchemaServicer:
    """The schemas of the calling tenant's log, over gRPC."""

    def __init__(self, registrar: Registrar, registries: Registries) -> None:
        self._registrar = registrar
        self._registries = registries

    async def RegisterSchema(
        self, request: pb.RegisterSchemaRequest, _context: Context
    ) -> pb.RegisterSchemaResponse:
        asked = convert.asked_schema(request)
        call = correlation.current()
        plan = plan_of(call.principal)
        count_max = plan.schema_count_max if plan is not None else 0
        event_type, registered, was_there = await self._registrar.register(call, asked, count_max)
        version = convert.version_of(asked.type, event_type, registered)
        return pb.RegisterSchemaResponse(version=version, already_registered=was_there)

    async def GetSchema(
        self, request: pb.GetSchemaRequest, _context: Context
    ) -> pb.GetSchemaResponse:
        validation.check(request)
        registry = await self._registries.newest(correlation.current().tenant)
        version = request.version if request.HasField("version") else None
        event_type, registered = registry.version(request.type, version)
        return convert.schema_response(request.type, event_type, registered)

    async def ListSchemas(
        self, request: pb.ListSchemasRequest, _context: Context
    ) -> pb.ListSchemasResponse:
        page = convert.asked_page(request)
        registry = await self._registries.newest(correlation.current().tenant)
        return convert.list_response(registry, page)

    async def RegisterUpcaster(
        self, request: pb.RegisterUpcasterRequest, _context: Context
    ) -> pb.RegisterUpcasterResponse:
        asked = convert.asked_upcaster(request)
        await self._registrar.register_upcaster(correlation.current(), asked)
        return pb.RegisterUpcasterResponse(
            type=asked.type,
            from_version=asked.upcaster.from_version,
            to_version=asked.upcaster.to_version,
        )

    async def DeleteSchemas(
        self, request: pb.DeleteSchemasRequest, _context: Context
    ) -> pb.DeleteSchemasResponse:
        validation.check(request)
        count = await self._registrar.delete(correlation.current(), request.type)
        return pb.DeleteSchemasResponse(version_count=count)
