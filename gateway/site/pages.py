"""The gateway's own pages: health, the OpenAPI document, and documentation for people."""

from collections.abc import Iterable
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.site.assets import file_routes, fixed_file
from services.plumbing import correlation

_PAGE = "docs.html"
_PAGES = ("/docs", "/docs/grpc", "/docs/errors")
"""What people look at: one page, whose script draws what its address asks for."""


class Site:
    """An ASGI application: single pages, and whole applications below a prefix."""

    def __init__(
        self,
        pages: Iterable[Route | Mount],
        document: dict[str, Any] | None,
        reference: dict[str, Any] | None = None,
    ) -> None:
        """`document` is the OpenAPI document; without it there is no documentation. `reference`
        is what the pages for gRPC and of errors are drawn from.
        """
        routes = [*pages, *(_docs_routes(document, reference or {}) if document else [])]
        self._mounts = [route.path for route in routes if isinstance(route, Mount)]
        paths = {route.path for route in routes if isinstance(route, Route)}
        routes += [_to_folder(path) for path in self._mounts if path not in paths]
        self._paths = paths.union(self._mounts)
        self._app = Starlette(routes=routes, exception_handlers={HTTPException: _failed})

    def route(self, path: str) -> str | None:
        """What a path is called in logs and metrics; None when it is no page.

        All that is below a prefix has one name.
        """
        if path in self._paths:
            return path
        below = (f"{prefix}/{{path}}" for prefix in self._mounts if path.startswith(f"{prefix}/"))
        return next(below, None)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        await self._app(scope, receive, send)


def _docs_routes(document: dict[str, Any], reference: dict[str, Any]) -> list[Route]:
    folder = files(__package__).joinpath("docs")
    page = folder.joinpath(_PAGE).read_bytes()
    return [
        Route("/", _to_docs),
        fixed_file("/openapi.json", _json(document), "application/json"),
        fixed_file("/docs/reference.json", _json(reference), "application/json"),
        *(fixed_file(path, page, "text/html") for path in _PAGES),
        *file_routes("/docs", folder),
    ]


def _json(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


async def _to_docs(_request: Request) -> Response:
    return RedirectResponse("/docs")


def _to_folder(path: str) -> Route:
    """To the page of a mounted application: what it links to is below the prefix."""

    async def answer(_request: Request) -> Response:
        return RedirectResponse(f"{path}/")

    return Route(path, answer)


async def _failed(_request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException), "see where it is registered"
    error = _http_error(failure)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    body = error.body(correlation.current().correlation_id)
    return Response(body, error.status, headers, "application/json")


def _http_error(failure: HTTPException) -> HttpError:
    """The errors of pages, in the words of all routes."""
    if failure.status_code == 404:
        return errors.route_not_found()
    if failure.status_code == 405:
        allowed = (failure.headers or {}).get("Allow", "").split(", ")
        return errors.method_not_allowed(sorted(name for name in allowed if name))
    code = HTTPStatus(failure.status_code).name
    return HttpError(failure.status_code, code, failure.detail, {"reason": code})
