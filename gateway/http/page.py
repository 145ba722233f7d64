"""Which web page a request comes from, as the browser says that shows it.

A browser says so truly, whatever the page would like; whoever is no browser says what it
likes. Good to keep pages apart, and to tell nobody else.
"""

from collections.abc import Mapping
from contextvars import ContextVar

_origin: ContextVar[str] = ContextVar("girih_page_origin", default="")


def page_origin() -> str:
    """The origin of the page that the request being served comes from; see `origin_of`."""
    return _origin.get()


def enter_page(headers: Mapping[bytes, bytes]) -> None:
    """Make the page that these headers tell of this task's, for the rest of it."""
    _origin.set(origin_of(headers))


def origin_of(headers: Mapping[bytes, bytes]) -> str:
    """`https://app.girih.dev`; empty for pages of our own origin, and where there is none.

    Of a request to its own origin a browser tells the origin or not, as its kind has it.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return ""
    is_own = headers.get(b"sec-fetch-site") == b"same-origin"
    if is_own or origin.partition(b"://")[2] == headers.get(b"host"):
        return ""
    return origin.decode("latin-1")
