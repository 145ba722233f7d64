"""What the contract says of an rpc beyond its name and its messages."""

from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from girih.options.v1 import options_pb2


def scope_of(method: MethodDescriptor) -> str:
    """What a caller's token must allow; empty when the contract does not say."""
    options: Any = method.GetOptions()
    return str(options.Extensions[options_pb2.scope])
