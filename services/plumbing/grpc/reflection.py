"""What a server tells of its contract: `grpc.reflection.v1`, and `v1alpha` for older tools.

The package has v1alpha alone. Both versions have the same messages under other names, so v1 is
served by translating between them.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection, reflection_pb2

_ALPHA: Final = "grpc.reflection.v1alpha"
_NEWEST: Final = "grpc.reflection.v1"
_SERVICE: Final = "ServerReflection"


def reflection_services(services: Iterable[str]) -> Iterator[tuple[ServiceDescriptor, object]]:
    """The services to serve, with their servicers, that tell of `services` and of themselves."""
    names = [*services, f"{_ALPHA}.{_SERVICE}", f"{_NEWEST}.{_SERVICE}"]
    pool = _pool_of_newest()
    servicer = reflection.aio.ReflectionServicer(names, _Pools(pool))
    yield reflection_pb2.DESCRIPTOR.services_by_name[_SERVICE], servicer
    yield pool.FindServiceByName(f"{_NEWEST}.{_SERVICE}"), _Newest(servicer, pool)


class _Newest:
    """`grpc.reflection.v1.ServerReflection`, by a servicer of v1alpha."""

    def __init__(self, servicer: Any, pool: DescriptorPool) -> None:  # noqa: ANN401 - untyped
        self._servicer = servicer
        self._response = GetMessageClass(
            pool.FindMessageTypeByName(f"{_NEWEST}.ServerReflectionResponse")
        )

    async def ServerReflectionInfo(
        self,
        requests: AsyncIterator[Any],
        context: Any,  # noqa: ANN401 - gRPC's own
    ) -> AsyncIterator[Any]:
        async for response in self._servicer.ServerReflectionInfo(_older(requests), context):
            yield self._response.FromString(response.SerializeToString())


async def _older(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield reflection_pb2.ServerReflectionRequest.FromString(request.SerializeToString())


class _Pools:
    """Looks for a file in what is linked, and then in what was made here."""

    def __init__(self, made: DescriptorPool) -> None:
        self._pools = (Default(), made)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a method of a pool
        def find(*arguments: Any) -> Any:  # noqa: ANN401
            first, second = self._pools
            try:
                return getattr(first, name)(*arguments)
            except KeyError:
                return getattr(second, name)(*arguments)

        return find


def _pool_of_newest() -> DescriptorPool:
    """The file of v1alpha under the names of v1."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", _NEWEST
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_ALPHA, _NEWEST)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_ALPHA, _NEWEST)
            method.output_type = method.output_type.replace(_ALPHA, _NEWEST)
    pool = DescriptorPool()
    pool.Add(file)
    return pool
