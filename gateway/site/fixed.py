"""Pages whose bytes never change while a process runs: compressed once, and not sent twice."""

import functools
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass(frozen=True)
class _Representation:
    content: bytes
    etag: str
    encoding: str = ""

    @property
    def headers(self) -> dict[str, str]:
        encoded = {"content-encoding": self.encoding} if self.encoding else {}
        # Caches keep one for each of what clients take.
        return {"etag": self.etag, "vary": "Accept-Encoding", **encoded}


def fixed_page(path: str, content: bytes, media_type: str, headers: Mapping[str, str]) -> Route:
    """A route that answers `content`, with gzip for those who take it.

    Who has it already, as `If-None-Match` tells, is answered 304 without it.
    """
    plain, compressed = _representations(content)

    async def answer(request: Request) -> Response:
        takes = _takes_gzip(request.headers.get("accept-encoding", ""))
        sent = compressed if takes else plain
        all_headers = {**headers, **sent.headers}
        if _has(request.headers.get("if-none-match", ""), plain, compressed):
            return Response(status_code=304, headers=all_headers)
        return Response(sent.content, headers=all_headers, media_type=media_type)

    return Route(path, answer)


# A process that makes several gateways, as tests do, compresses each page once.
@functools.lru_cache(maxsize=256)
def _representations(content: bytes) -> tuple[_Representation, _Representation]:
    digest = hashlib.sha256(content).hexdigest()[:32]
    # Without the time: every process of a gateway answers the same bytes.
    compressed = gzip.compress(content, mtime=0)
    return (
        _Representation(content, f'"{digest}"'),
        _Representation(compressed, f'"{digest}-gzip"', "gzip"),
    )


def _has(if_none_match: str, *representations: _Representation) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or any(one.etag in tags for one in representations)


def _takes_gzip(accept_encoding: str) -> bool:
    """As RFC 9110, 12.5.3, has it: what is named counts before `*`, and `q=0` is a refusal."""
    qualities = dict(_coding(item) for item in accept_encoding.lower().split(","))
    return qualities.get("gzip", qualities.get("*", False))


def _coding(item: str) -> tuple[str, bool]:
    """Its name, and whether it is taken."""
    name, *parameters = (part.strip() for part in item.split(";"))
    return name, not any(_never.fullmatch(parameter) for parameter in parameters)


_never = re.compile(r"q\s*=\s*0(\.0*)?")
