"""How a stream is shown: which fields of its messages make its lines, its ids and its end.

Taken from `girih.options.v1.stream` alone, never from the shape of a message: a field that is
added beside the items changes nothing of what REST sends.
"""

from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from gateway.contract.descriptors import HTTP_BODY, ContractError, is_map, stream_options
from girih.options.v1.options_pb2 import StreamOptions

_INTEGERS = (
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
)
_BOOLS = (FieldDescriptor.CPPTYPE_BOOL,)
_STRINGS = (FieldDescriptor.CPPTYPE_STRING,)


@dataclass(frozen=True)
class StreamShape:
    """How the answers of one streaming method are shown. Names are those of proto fields."""

    item: Descriptor
    """What a line, or the data of an event, is made of."""
    items: str = ""
    """The repeated field of a response that holds items; empty when the response is one."""
    event_id: str = ""
    """The integer field of an item that is the id of its event; empty when there is none."""
    resumes_at: str = ""
    """The integer field of the request that names the first event; empty when there is none."""
    stays_open: str = ""
    """The bool field of the request that asks for a stream without end; may be empty."""
    resume_clears: tuple[str, ...] = ()
    """The fields of the request that say in another way where to begin."""
    falling: tuple[str, int] | None = None
    """The field of the request and its value that ask for items in falling order of ids."""

    incarnation: str = ""
    """The string field, of a response and of the request, that says what ids belong to; may be
    empty."""
    signals: tuple[FieldDescriptor, ...] = ()
    """The fields of a response that tell how far the stream is."""
    shared_without: tuple[str, ...] = ()
    """The fields of the request without which all who ask for the same are sent the same; empty
    when each may be sent something else."""

    def is_falling(self, request: Message) -> bool:
        """Whether `request` asks for items in falling order of their ids."""
        return self.falling is not None and getattr(request, self.falling[0]) == self.falling[1]

    def is_shared(self, request: Message) -> bool:
        """Whether all who ask for the same as `request` are sent the same, from where they are."""
        if not (self.shared_without and getattr(request, self.stays_open)):
            return False
        is_plain = not any(_is_set(request, name) for name in self.shared_without)
        return is_plain and not self.is_falling(request)


def stream_shape(method: MethodDescriptor) -> StreamShape:
    """Raises ContractError for a name that does not fit, and for a stream that cannot have one."""
    options = stream_options(method)
    if options is None:
        return StreamShape(method.output_type)
    _check_method(method)
    request, item = method.input_type, _item(method, options.items)
    if options.resumes_at and not options.event_id:
        raise ContractError(f"{method.full_name}: a stream without event_id has no resumes_at")
    if options.incarnation and not options.resumes_at:
        raise ContractError(f"{method.full_name}: a stream without resumes_at has no incarnation")
    places = (options.items, options.resumes_at, options.stays_open)
    if options.shared_without and not all(places):
        raise ContractError(
            f"{method.full_name}: a stream without items, resumes_at and stays_open is not shared"
        )
    for message, name, types, kind in (
        (method.output_type, options.incarnation, _STRINGS, "a string"),
        (request, options.incarnation, _STRINGS, "a string"),
        (item, options.event_id, _INTEGERS, "an integer"),
        (request, options.resumes_at, _INTEGERS, "an integer"),
        (request, options.stays_open, _BOOLS, "a bool"),
    ):
        field = message.fields_by_name.get(name)
        if name and (field is None or field.is_repeated or field.cpp_type not in types):
            raise ContractError(
                f"{method.full_name}: {name} must be {kind} field of {message.full_name}"
            )
    for name in (*options.resume_clears, *options.shared_without):
        if name not in request.fields_by_name:
            raise ContractError(f"{method.full_name}: {request.full_name} has no field {name}")
    return StreamShape(
        item,
        options.items,
        options.event_id,
        options.resumes_at,
        options.stays_open,
        tuple(options.resume_clears),
        _falling(method, options),
        options.incarnation,
        tuple(_signal(method, name, options.event_id) for name in options.signals),
        tuple(options.shared_without),
    )


def _signal(method: MethodDescriptor, name: str, event_id: str) -> FieldDescriptor:
    field = method.output_type.fields_by_name.get(name)
    message = None if field is None or field.is_repeated else field.message_type
    number = message.fields_by_name.get(event_id) if message is not None else None
    if field is None or number is None or number.cpp_type not in _INTEGERS:
        raise ContractError(
            f"{method.full_name}: {name} must be a message field of the response with an integer"
            f" field {event_id or 'that is the id of an event'}"
        )
    return field


def _falling(method: MethodDescriptor, options: StreamOptions) -> tuple[str, int] | None:
    if not options.HasField("falling"):
        return None
    field = method.input_type.fields_by_name.get(options.falling.field)
    enum = field.enum_type if field is not None and not field.is_repeated else None
    value = enum.values_by_name.get(options.falling.value) if enum is not None else None
    if value is None:
        raise ContractError(
            f"{method.full_name}: {options.falling.field} must be an enum field of the request"
            f" that has the value {options.falling.value}"
        )
    return options.falling.field, value.number


def _check_method(method: MethodDescriptor) -> None:
    is_fit = method.server_streaming and not method.client_streaming
    if not is_fit or method.output_type.full_name == HTTP_BODY:
        raise ContractError(
            f"{method.full_name}: stream options must be those of an rpc that takes one request "
            "and answers with a stream of messages"
        )


def _item(method: MethodDescriptor, items: str) -> Descriptor:
    response = method.output_type
    if not items:
        return response
    field = response.fields_by_name.get(items)
    if field is None or not field.is_repeated or field.message_type is None or is_map(field):
        raise ContractError(
            f"{method.full_name}: {items} must be a repeated message field of {response.full_name}"
        )
    return field.message_type


def _is_set(request: Message, name: str) -> bool:
    """Whether a field has a value, or another one than its default where it has no presence."""
    if request.DESCRIPTOR.fields_by_name[name].has_presence:
        return request.HasField(name)
    return bool(getattr(request, name))
