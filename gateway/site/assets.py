"""Files of the package as routes: pages, their styles and scripts, below a strict policy.

Nothing from elsewhere, nothing inline, and no text that becomes markup by itself.
"""

from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import Final

from starlette.routing import Route

from gateway.site.fixed import fixed_page

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What browsers let a page do."""

STRICT_POLICY: Final = f"{POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"
"""The same, and no script of the page can turn a text into markup or code, by mistake either."""

_MEDIA_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}


def file_routes(path: str, folder: Traversable, policy: str = POLICY) -> Iterator[Route]:
    """The pages, styles and scripts of a folder, and of those in it, below a path."""
    for file in folder.iterdir():
        if file.is_dir():
            yield from file_routes(f"{path}/{file.name}", file, policy)
        elif media_type := _MEDIA_TYPES.get(PurePath(file.name).suffix):
            yield fixed_file(f"{path}/{file.name}", file.read_bytes(), media_type, policy)


def fixed_file(path: str, content: bytes, media_type: str, policy: str = POLICY) -> Route:
    """One of them: asked for each time, and not sent again while it is the same."""
    return fixed_page(path, content, media_type, _headers(policy))


def _headers(policy: str) -> Mapping[str, str]:
    return {"cache-control": "no-cache", "content-security-policy": policy}
