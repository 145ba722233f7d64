"""The head of an HTTP/1 request, read as RFC 9112 has it and in no other way.

Where two readers of one connection could disagree about where a request ends or whom it is
for, it is refused: no bare line feed, no folded field, one Host, one length. Takes time in
proportion to the head. Knows bytes, and nothing of connections.
"""

import re
from typing import Final, NamedTuple

from gateway.http import errors

END: Final = b"\r\n\r\n"
"""What ends every head."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELD_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"

_head = re.compile(
    rb"(%b) ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])\r\n((?:%b:%b\r\n)*+)\r\n"
    % (_TOKEN, _TOKEN, _FIELD_VALUE)
).fullmatch
are_fields = re.compile(rb"(?:%b:%b\r\n)*+" % (_TOKEN, _FIELD_VALUE)).fullmatch

_never_in_a_head = re.compile(rb"[^\t\r\n\x20-\x7e\x80-\xff]|(?<!\r)\n|\r(?!\n|\Z)").search
_begins_with_token = re.compile(_TOKEN).match

# RFC 3986, 3.2.2. No user information: RFC 9110, 4.2.4 has it refused.
_is_authority = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]++\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})++)(?::[0-9]{0,5})?"
).fullmatch
_absolute = re.compile(rb"https?://([^/?]*+)([^?]*+)(.*+)", re.IGNORECASE).fullmatch
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch


class RequestHead(NamedTuple):
    """What a request says before its body."""

    method: str
    raw_path: bytes
    """Percent-encoded, as it was sent. `*` for a request about the server."""
    query: bytes
    is_http_1_0: bool
    headers: list[tuple[bytes, bytes]]
    """Names in lower case, values without white space around them."""
    content_length: int
    """Of the body in bytes; 0 when it has none or is chunked."""
    is_chunked: bool
    keeps_alive: bool
    """Whether the client means to send another request on the connection."""
    expects_continue: bool
    """Whether the client waits to be asked for the body."""

    @property
    def has_body(self) -> bool:
        return self.is_chunked or self.content_length > 0


def read_head(head: bytes) -> RequestHead:
    """What these bytes say, which end with the first `END`; raises HttpError."""
    match = _head(head)
    if match is None:
        raise errors.malformed_request()
    method, target, major, minor, lines = match.groups()
    if major != b"1":
        raise errors.http_version_not_supported()
    is_http_1_0 = minor == b"0"
    fields = [line.partition(b":") for line in lines.split(b"\r\n")[:-1]]
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in fields]
    framing = _Framing(headers)
    host = framing.host(is_required=not is_http_1_0)
    authority, raw_path, query = _target(method, target)
    if authority is not None:
        _replace_host(headers, host, authority)
    content_length, is_chunked = framing.length(is_http_1_0=is_http_1_0)
    return RequestHead(
        method=method.decode(),
        raw_path=raw_path,
        query=query,
        is_http_1_0=is_http_1_0,
        headers=headers,
        content_length=content_length,
        is_chunked=is_chunked,
        keeps_alive=not is_http_1_0 and not framing.closes,
        expects_continue=framing.expects_continue and not is_http_1_0,
    )


def is_hopeless(begin: bytearray, searched_bytes: int) -> bool:
    """Whether nothing that follows could make a head of these bytes, searched so far before."""
    is_begun = _begins_with_token(begin) is not None
    return not is_begun or _never_in_a_head(begin, max(0, searched_bytes - 1)) is not None


class _Framing:
    """The fields that say where a request ends, and what becomes of its connection."""

    __slots__ = ("closes", "codings", "expects_continue", "hosts", "lengths")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.hosts: list[bytes] = []
        self.lengths: list[bytes] = []
        self.codings: list[bytes] = []
        self.closes = False
        self.expects_continue = False
        for name, value in headers:
            if name in _FRAMING_NAMES:
                self._take(name, value)

    def _take(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self.hosts.append(value)
        elif name == b"content-length":
            self.lengths.append(value)
        elif name == b"transfer-encoding":
            self.codings.append(value.lower())
        elif name == b"connection":
            # Upgrade is a wish, and no protocol is known here that could be changed to.
            self.closes |= b"close" in [option.strip() for option in value.lower().split(b",")]
        else:
            self.expects_continue |= value.lower() == b"100-continue"

    def host(self, *, is_required: bool) -> bytes | None:
        if len(self.hosts) > 1 or (is_required and not self.hosts):
            raise errors.malformed_request("a request must have one Host")
        if not self.hosts:
            return None
        if not _is_authority(self.hosts[0]):
            raise errors.malformed_request("Host must be a name or an address, and perhaps a port")
        return self.hosts[0]

    def length(self, *, is_http_1_0: bool) -> tuple[int, bool]:
        """The length of the body, and whether it is chunked instead; raises HttpError."""
        if not self.codings:
            return self._content_length(), False
        if self.lengths:
            raise errors.malformed_request(
                "a request must have Content-Length or Transfer-Encoding, not both"
            )
        if is_http_1_0:
            raise errors.malformed_request("HTTP/1.0 has no Transfer-Encoding")
        if self.codings == [b"chunked"]:
            return 0, True
        last = self.codings[-1].rpartition(b",")[2].strip()
        if last != b"chunked":
            raise errors.malformed_request("the last Transfer-Encoding must be chunked")
        raise errors.not_implemented("Transfer-Encoding must be chunked alone")

    def _content_length(self) -> int:
        if not self.lengths:
            return 0
        if len(self.lengths) > 1 or not _is_length(self.lengths[0]):
            raise errors.malformed_request("Content-Length must be one number of bytes")
        return int(self.lengths[0])


_FRAMING_NAMES = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"}
)


def _target(method: bytes, target: bytes) -> tuple[bytes | None, bytes, bytes]:
    """Authority, if it names one, path and query of a request target."""
    if target.startswith(b"/"):
        raw_path, _, query = target.partition(b"?")
        return None, raw_path, query
    if method == b"CONNECT":
        raise errors.not_implemented("CONNECT must be sent to a proxy, and this is none")
    is_options = method == b"OPTIONS"
    if target == b"*" and is_options:
        return None, b"*", b""
    match = _absolute(target)
    if match is None or not _is_authority(match[1]):
        raise errors.malformed_request("a request target must be a path or a URL of http or https")
    authority, raw_path, query = match.groups()
    return authority, raw_path or (b"*" if is_options and not query else b"/"), query[1:]


def _replace_host(headers: list[tuple[bytes, bytes]], host: bytes | None, authority: bytes) -> None:
    """What a whole URL says counts, whatever Host says beside it."""
    if host is not None:
        headers.remove((b"host", host))
    headers.append((b"host", authority))
