"""What the contract says of an rpc beyond its name and its messages."""

from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor

from girih.options.v1 import options_pb2

REQUEST_BYTES_MAX: Final = 2**16
"""Of an rpc that does not say what it takes."""


def scope_of(method: MethodDescriptor) -> str:
    """What a caller's token must allow; empty when the contract does not say."""
    options: Any = method.GetOptions()
    return str(options.Extensions[options_pb2.scope])


def request_bytes_max(method: MethodDescriptor) -> int:
    """How many bytes a message may have that is sent to the rpc."""
    options: Any = method.GetOptions()
    return options.Extensions[options_pb2.request_bytes_max] or REQUEST_BYTES_MAX


def stays_open(method: MethodDescriptor) -> bool:
    """Whether a call may be quiet for as long as it likes, from its beginning."""
    options: Any = method.GetOptions()
    return bool(options.Extensions[options_pb2.stream].stays_open)
