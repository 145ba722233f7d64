"""The two forms in which a stream is told: lines of JSON, and server-sent events.

A streamed message with nothing but one repeated message field is a batch made for
transport: its elements are told one by one. Any other message is told as it is.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract.descriptors import flattened_field, message_class
from gateway.http.exchange import Headers
from gateway.transcoding.codec import Encode, Encoder

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"

EVENT_ID_FIELD = "position"
"""The integer field of an element that is a server-sent event's id, where there is one."""

_ELEMENTS_PER_CHUNK = 100
_RETRY_MS = 2_000
"""When a browser connects again that has lost its stream."""

_REMEMBERED_MAX = 64
_REMEMBERED_BYTES_MAX = 16 * 2**10

_is_no_wish = re.compile(rb"q\s*=\s*0(\.0*)?").fullmatch


class StreamEncoding(Protocol):
    """How a stream is told."""

    headers: Headers
    begin: bytes
    """What is sent before the first message; may be empty."""
    heartbeat: bytes
    """What says that a quiet stream is alive; empty when the form has nothing for it."""
    end: bytes
    """What says that the stream is complete; empty when its end says so."""

    def chunks(self, raw: bytes) -> Iterable[bytes]:
        """One serialized message of the stream, in parts of bounded size.

        Raises DecodeError for bytes that are none.
        """

    def failure(self, error: bytes) -> bytes:
        """What ends a stream that has failed; `error` is the body of an error."""


class StreamEncodings:
    """Both forms of one type of message."""

    def __init__(self, message: Descriptor, encoder: Encoder) -> None:
        self._ndjson = _Ndjson(message, encoder)
        self._sse = _ServerSentEvents(message, encoder)

    def accepted(self, accept: bytes) -> StreamEncoding:
        """Events for who names them before lines; lines for everybody else."""
        for part in accept.lower().split(b","):
            name, *parameters = [text.strip() for text in part.split(b";")]
            if any(map(_is_no_wish, parameters)):
                continue
            if name == SSE.encode():
                return self._sse
            if name == NDJSON.encode():
                break
        return self._ndjson


def streamed_type(message: Descriptor) -> Descriptor:
    """What a stream of these messages is told as."""
    field = flattened_field(message)
    return message if field is None or field.message_type is None else field.message_type


def event_id_field(element: Descriptor) -> FieldDescriptor | None:
    field = element.fields_by_name.get(EVENT_ID_FIELD)
    is_integer = field is not None and field.cpp_type in _INTEGERS and not field.is_repeated
    return field if is_integer else None


_INTEGERS = (
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
)


class _Form:
    """Takes messages apart into what is told one by one, and remembers how it was told.

    Followers of one log get the same bytes at the same time: text is made of them once, for
    all. What it is made into depends on nothing but these bytes.
    """

    def __init__(self, message: Descriptor, encoder: Encoder) -> None:
        self._parse = message_class(message).FromString
        field = flattened_field(message)
        self._name = field.name if field is not None else None
        self._encode: Encode = encoder.message(streamed_type(message))
        self._remembered: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()

    def chunks(self, raw: bytes) -> Iterable[bytes]:
        if len(raw) > _REMEMBERED_BYTES_MAX:
            return self._made(raw)
        known = self._remembered.get(raw)
        if known is None:
            known = self._remembered[raw] = tuple(self._made(raw))
            if len(self._remembered) > _REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        return known

    def _made(self, raw: bytes) -> Iterator[bytes]:
        message = self._parse(raw)
        if self._name is None:
            yield self._told((message,))
            return
        elements = getattr(message, self._name)
        for first in range(0, len(elements), _ELEMENTS_PER_CHUNK):
            yield self._told(elements[first : first + _ELEMENTS_PER_CHUNK])

    def _told(self, elements: Iterable[Any]) -> bytes:
        raise NotImplementedError


def _stream_headers(media_type: str) -> Headers:
    # A proxy that collects a stream before it passes it on makes it no stream.
    return (
        (b"content-type", media_type.encode()),
        (b"x-accel-buffering", b"no"),
        (b"vary", b"accept"),
    )


class _Ndjson(_Form):
    headers = _stream_headers(NDJSON)
    begin = b""
    heartbeat = b""
    end = b""

    def failure(self, error: bytes) -> bytes:
        return error + b"\n"

    def _told(self, elements: Iterable[Any]) -> bytes:
        encode, dumps, option = self._encode, orjson.dumps, orjson.OPT_APPEND_NEWLINE
        return b"".join([dumps(encode(element), None, option) for element in elements])


class _ServerSentEvents(_Form):
    headers = _stream_headers(SSE)
    begin = b"retry: %d\n\n" % _RETRY_MS
    heartbeat = b": alive\n\n"
    end = b"event: end\ndata: {}\n\n"

    def __init__(self, message: Descriptor, encoder: Encoder) -> None:
        super().__init__(message, encoder)
        self._has_id = event_id_field(streamed_type(message)) is not None

    def failure(self, error: bytes) -> bytes:
        return b"event: error\ndata: %b\n\n" % error

    def _told(self, elements: Iterable[Any]) -> bytes:
        return b"".join([self._event(element) for element in elements])

    def _event(self, element: Any) -> bytes:  # noqa: ANN401 - of the streamed type
        data = orjson.dumps(self._encode(element))
        if self._has_id:
            return b"id: %d\ndata: %b\n\n" % (element.position, data)
        return b"data: %b\n\n" % data
