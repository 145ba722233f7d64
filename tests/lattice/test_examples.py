"""Every example of the contract of paths and structure, called over gRPC."""

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from girih.lattice.v1 import paths_pb2, structure_pb2
from girih.options.v1 import options_pb2
from tests.lattice.serving import ABSENT, Client, refusal

METHODS = [
    method
    for file, service in ((paths_pb2, "PathService"), (structure_pb2, "StructureService"))
    for method in file.DESCRIPTOR.services_by_name[service].methods
]

each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def option(method: MethodDescriptor, name: str) -> Any:
    return json.loads(method.GetOptions().Extensions[getattr(options_pb2, name)])


async def called(client: Client, method: MethodDescriptor, lattice_id: str) -> list[Any]:
    """The answers to the example of an rpc."""
    request = json_format.ParseDict(
        option(method, "example") | {"latticeId": lattice_id}, GetMessageClass(method.input_type)()
    )
    answers = [answer async for answer in _answers(client.channel, method, request, client)]
    return [
        json_format.MessageToDict(one, always_print_fields_with_no_presence=True) for one in answers
    ]


async def _answers(
    channel: grpc.aio.Channel, method: MethodDescriptor, request: Any, client: Client
) -> AsyncIterator[Any]:
    path = f"/{method.containing_service.full_name}/{method.name}"
    writes: Any = GetMessageClass(method.input_type).SerializeToString
    reads: Any = GetMessageClass(method.output_type).FromString
    if method.server_streaming:
        stream: Any = channel.unary_stream(path, writes, reads)
        async for answer in stream(request, metadata=client.metadata):
            yield answer
    else:
        call: Any = channel.unary_unary(path, writes, reads)
        yield await call(request, metadata=client.metadata)


def shape(value: Any) -> Any:
    """Names and types, without the values. REST shows tables as lists of rows."""
    while isinstance(value, list):
        if not value:
            return "nothing"
        value = value[0]
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return type(value).__name__


@each_method
async def test_an_example_is_answered_with_the_names_that_are_told(
    client: Client, method: MethodDescriptor
) -> None:
    lattice = await client.create(dimensions=3, size=10)

    answers = await called(client, method, lattice.lattice_id)

    assert shape(answers[0]) == shape(option(method, "answer_example"))
    assert answers[0]["computation"]["method"] != "METHOD_UNSPECIFIED"


@each_method
async def test_an_example_is_answered_around_blocked_sites_too(
    client: Client, method: MethodDescriptor
) -> None:
    lattice = await client.create(dimensions=3, size=10, blocked=bytes(60) + b"\x01" + bytes(64))

    answers = await called(client, method, lattice.lattice_id)

    assert answers[0]["computation"]["elapsedNs"] != "0"
    assert await client.computes_nothing()


@each_method
async def test_a_lattice_that_is_absent_is_not_found(
    client: Client, method: MethodDescriptor
) -> None:
    wrong = await refusal(called(client, method, ABSENT))

    assert wrong.reason == "LATTICE_NOT_FOUND"
