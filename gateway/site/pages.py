"""The gateway's own pages: health, the OpenAPI document, and documentation for people."""

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.http import errors
from services.plumbing import correlation

_DOCS_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS = {
    "/docs": ("docs.html", "text/html"),
    "/docs/docs.css": ("docs.css", "text/css"),
    "/docs/docs.js": ("docs.js", "text/javascript"),
    "/docs/session.js": ("session.js", "text/javascript"),
}


class Site:
    """An ASGI application for its `paths`."""

    def __init__(self, pages: Iterable[Route], document: dict[str, Any] | None) -> None:
        """`document` is the OpenAPI document; without it there is no documentation."""
        routes = [*pages, *(_docs_routes(document) if document else [])]
        self.paths = frozenset(route.path for route in routes)
        self._app = Starlette(routes=routes, exception_handlers={HTTPException: _refused})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        await self._app(scope, receive, send)


def _docs_routes(document: dict[str, Any]) -> list[Route]:
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    return [
        Route("/", _to_docs),
        _fixed("/openapi.json", text, "application/json"),
        *(
            _fixed(path, files(__package__).joinpath("docs", name).read_bytes(), media_type)
            for path, (name, media_type) in _ASSETS.items()
        ),
    ]


def _fixed(path: str, content: bytes, media_type: str) -> Route:
    headers = {"cache-control": "no-cache", "content-security-policy": _DOCS_CSP}

    async def answer(_request: Request) -> Response:
        return Response(content, headers=headers, media_type=media_type)

    return Route(path, answer)


async def _to_docs(_request: Request) -> Response:
    return RedirectResponse("/docs")


async def _refused(_request: Request, refusal: Exception) -> Response:
    allowed = _header(refusal, "Allow").split(", ")
    error = errors.method_not_allowed(sorted(name for name in allowed if name))
    headers = {name.decode(): value.decode() for name, value in error.headers}
    body = error.body(correlation.current().correlation_id)
    return Response(body, error.status, headers, "application/json")


def _header(refusal: Exception, name: str) -> str:
    headers = refusal.headers if isinstance(refusal, HTTPException) else None
    return (headers or {}).get(name, "")
