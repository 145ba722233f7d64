"""The two encodings of a stream: lines of JSON, and server-sent events.

What a line or an event is made of, and its id, is a `StreamShape`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from operator import attrgetter
from typing import Any, Protocol

import orjson
from cachetools import FIFOCache
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass

from gateway.contract.streams import StreamShape
from gateway.http.errors import HttpError
from gateway.http.exchange import Headers, HttpExchange
from gateway.hubs.ring import Piece
from gateway.transcoding.codec import Encode, Encoder
from gateway.transcoding.slices import SLICE_BYTES, SlicedEncoder

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"

_ITEMS_PER_CHUNK = 100
_RETRY_MS = 2_000
"""When a browser connects again that has lost its stream."""

_CACHED_COUNT_MAX = 64
_CACHED_BYTES_MAX = SLICE_BYTES

_weight = re.compile(rb"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)").fullmatch
"""RFC 9110, 12.4.2."""
_RANGE_COUNT_MAX = 32


class StreamEncoding(Protocol):
    """How a stream is written."""

    headers: Headers
    begin: bytes
    """What is sent before the first message; may be empty."""
    heartbeat: bytes
    """What says that a quiet stream is alive; empty when there is nothing for it."""
    end: bytes
    """What says that the stream is complete; empty when its end says so."""

    def chunks(self, raw: bytes) -> Iterable[bytes]:
        """One serialized message of the stream, in parts of bounded size.

        Raises DecodeError for bytes that are none.
        """

    def pieces(self, raw: bytes) -> Iterable[Piece]:
        """The same of a message that holds items which have ids, with what each part holds."""

    def failure(self, error: bytes) -> bytes:
        """What ends a stream that has failed; `error` is the body of an error."""


class StreamEncodings:
    """Both encodings of one type of response."""

    def __init__(self, response: Descriptor, shape: StreamShape, encoder: Encoder) -> None:
        self._ndjson = _NdjsonEncoding(response, shape, encoder)
        self._sse = _SseEncoding(response, shape, encoder)

    def accepted(self, accept: bytes) -> StreamEncoding:
        """What the client would rather have; lines for who has no preference.

        Of two that weigh the same the one that is named more exactly wins, then the first.
        """
        ranges = [_media_range(text) for text in accept.lower().split(b",", _RANGE_COUNT_MAX)]
        sse, ndjson = _preference(ranges, SSE), _preference(ranges, NDJSON)
        return self._sse if sse > ndjson else self._ndjson


def _media_range(text: bytes) -> tuple[bytes, float]:
    """A media range of Accept, and its weight: 1 where it tells none."""
    name, *parameters = [part.strip() for part in text.split(b";")]
    weights = [float(match[1]) for match in map(_weight, parameters) if match]
    return name, weights[0] if weights else 1.0


def _preference(ranges: list[tuple[bytes, float]], media_type: str) -> tuple[float, int, int]:
    """Compares as media types are preferred: by weight, then how exactly and how early named."""
    name = media_type.encode()
    names = (b"*/*", name.partition(b"/")[0] + b"/*", name)
    accepted = [
        (names.index(one), -place, weight)
        for place, (one, weight) in enumerate(ranges)
        if one in names
    ]
    if not accepted:
        return 0.0, 0, 0
    # RFC 9110, 12.5.1: of several that match, the most exact one tells the weight.
    exactness, place, weight = max(accepted)
    return (weight, exactness, place) if weight else (0.0, 0, 0)


def failed(error: HttpError, encoding: StreamEncoding, exchange: HttpExchange) -> bytes:
    """What ends a stream that fails with this error, which the log names too."""
    exchange.error_code = error.code
    return encoding.failure(error.body(exchange.correlation_id))


class _Encoding:
    """Takes responses apart into items, and keeps the encoded text of the latest responses.

    Followers of one log get the same bytes at the same time: text is made of them once, for
    all. What it is made into depends on nothing but these bytes.
    """

    _frame: tuple[bytes, bytes]
    """What stands before and behind an item that is told in slices, which has no id."""

    def __init__(self, response: Descriptor, shape: StreamShape, encoder: Encoder) -> None:
        self._parse = GetMessageClass(response).FromString
        self._items = attrgetter(shape.items) if shape.items else None
        self._item = shape.item
        self._incarnation: Callable[[Any], str] = (
            attrgetter(shape.incarnation) if shape.incarnation else _no_incarnation
        )
        self._encode: Encode = encoder.message(shape.item)
        self._sliced_encoder = SlicedEncoder(encoder)
        self._event_id = attrgetter(shape.event_id) if shape.event_id else None
        self._cache: FIFOCache[bytes, tuple[bytes, ...]] = FIFOCache(_CACHED_COUNT_MAX)
        self._pieces: FIFOCache[bytes, tuple[Piece, ...]] = FIFOCache(_CACHED_COUNT_MAX)

    def chunks(self, raw: bytes) -> Iterable[bytes]:
        if len(raw) > _CACHED_BYTES_MAX:
            return self._chunks(raw)
        cached = self._cache.get(raw)
        if cached is None:
            cached = self._cache[raw] = tuple(self._chunks(raw))
        return cached

    def pieces(self, raw: bytes) -> Iterable[Piece]:
        if len(raw) > _CACHED_BYTES_MAX:
            return self._cut(raw)
        cached = self._pieces.get(raw)
        if cached is None:
            cached = self._pieces[raw] = tuple(self._cut(raw))
        return cached

    def _cut(self, raw: bytes) -> Iterator[Piece]:
        assert self._items is not None, "only what has items is cut"
        assert self._event_id is not None, "and these have ids"
        response = self._parse(raw)
        items, incarnation = self._items(response), self._incarnation(response)
        for first in range(0, len(items), _ITEMS_PER_CHUNK):
            some = items[first : first + _ITEMS_PER_CHUNK]
            texts = self._texts(some, incarnation)
            ids = list(map(self._event_id, some))
            yield Piece(b"".join(texts), ids, list(accumulate(map(len, texts))), incarnation)

    def _chunks(self, raw: bytes) -> Iterator[bytes]:
        if self._items is None and len(raw) > SLICE_BYTES:
            yield from self._slices(raw)
            return
        response = self._parse(raw)
        incarnation = self._incarnation(response)
        if self._items is None:
            yield self._text((response,), incarnation)
            return
        items = self._items(response)
        for first in range(0, len(items), _ITEMS_PER_CHUNK):
            yield self._text(items[first : first + _ITEMS_PER_CHUNK], incarnation)
        if not items:
            yield self._signal(response, incarnation)

    def _slices(self, raw: bytes) -> Iterator[bytes]:
        """The text of a large response that is one item."""
        begin, end = self._frame
        yield begin
        yield from self._sliced_encoder.slices(self._item, raw)
        yield end

    def _text(self, items: Iterable[Any], incarnation: str) -> bytes:
        return b"".join(self._texts(items, incarnation))

    def _texts(self, items: Iterable[Any], incarnation: str) -> list[bytes]:
        raise NotImplementedError

    def _signal(self, response: Any, incarnation: str) -> bytes:  # noqa: ANN401 - of any type
        """What tells how far the stream is; may be empty."""
        raise NotImplementedError


def _stream_headers(media_type: str) -> Headers:
    # A proxy that collects a stream before it passes it on makes it no stream.
    return (
        (b"content-type", media_type.encode()),
        (b"x-accel-buffering", b"no"),
        (b"vary", b"accept"),
    )


class _NdjsonEncoding(_Encoding):
    headers = _stream_headers(NDJSON)
    _frame = (b"", b"\n")
    begin = b""
    heartbeat = b""
    end = b""

    def failure(self, error: bytes) -> bytes:
        return error + b"\n"

    def _texts(self, items: Iterable[Any], _incarnation: str) -> list[bytes]:
        encode, dumps, option = self._encode, orjson.dumps, orjson.OPT_APPEND_NEWLINE
        return [dumps(encode(item), None, option) for item in items]

    def _signal(self, _response: object, _incarnation: str) -> bytes:
        return b""


class _SseEncoding(_Encoding):
    headers = _stream_headers(SSE)
    _frame = (b"data: ", b"\n\n")
    begin = b"retry: %d\n\n" % _RETRY_MS
    heartbeat = b": alive\n\n"
    end = b"event: end\ndata: {}\n\n"

    def __init__(self, response: Descriptor, shape: StreamShape, encoder: Encoder) -> None:
        super().__init__(response, shape, encoder)
        self._signals = [
            (field.name, field.json_name.encode(), encoder.message(field.message_type))
            for field in shape.signals
            if field.message_type is not None
        ]

    def failure(self, error: bytes) -> bytes:
        return b"event: error\ndata: %b\n\n" % error

    def _texts(self, items: Iterable[Any], incarnation: str) -> list[bytes]:
        suffix = _suffix(incarnation)
        return [self._event(item, suffix) for item in items]

    def _signal(self, response: Any, incarnation: str) -> bytes:  # noqa: ANN401 - of any type
        for name, event_type, encode in self._signals:
            if response.HasField(name):
                signal = getattr(response, name)
                assert self._event_id is not None, "checked when the shape was read"
                number, data = self._event_id(signal), orjson.dumps(encode(signal))
                place = b"id: %d%b" % (number, _suffix(incarnation))
                return b"event: %b\n%b\ndata: %b\n\n" % (event_type, place, data)
        return b""

    def _event(self, item: Any, suffix: bytes) -> bytes:  # noqa: ANN401 - of the shape's type
        data = orjson.dumps(self._encode(item))
        if self._event_id is not None:
            return b"id: %d%b\ndata: %b\n\n" % (self._event_id(item), suffix, data)
        return b"data: %b\n\n" % data


def _suffix(incarnation: str) -> bytes:
    """What stands behind the number in an id."""
    return f"-{incarnation}".encode() if incarnation else b""


def _no_incarnation(_response: object) -> str:
    return ""
