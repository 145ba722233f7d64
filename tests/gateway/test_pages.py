"""Pages of the gateway, and applications that are mounted below a prefix beside them."""

from pathlib import Path

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gateway.site.pages import Site
from tests.gateway.sample import Gateway


async def echo(request: Request) -> Response:
    return PlainTextResponse(f"{request.scope['root_path']} {request.url.path}")


async def refuse(_request: Request) -> Response:
    raise HTTPException(409, "not now")


@pytest.fixture
def mounted(gateway: Gateway, tmp_path: Path) -> httpx.AsyncClient:
    """A client of a gateway with a console of its own pages and files."""
    (tmp_path / "index.html").write_text("<p>console")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "app.js").write_text("1")
    console = Mount(
        "/console",
        routes=[
            Route("/echo/{rest:path}", echo),
            Route("/refuse", refuse),
            Mount("/", StaticFiles(directory=tmp_path, html=True)),
        ],
    )
    gateway.application.pages = Site([Route("/health", echo), console], {"openapi": "3.1.0"})
    return gateway.client


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/console/", "<p>console"),
        ("/console/deep/app.js", "1"),
        ("/console/echo/a/b%2Fc", "/console /console/echo/a/b/c"),
    ],
)
async def test_all_below_a_prefix_is_the_mounted_applications(
    path: str, text: str, mounted: httpx.AsyncClient
) -> None:
    answer = await mounted.get(path)

    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_prefix_alone_leads_below_itself(mounted: httpx.AsyncClient) -> None:
    answer = await mounted.get("/console", headers={"host": "elsewhere.example"})

    assert (answer.status_code, answer.headers["location"]) == (307, "/console/")


@pytest.mark.parametrize("path", ["/consoles", "/consol", "/console/nope.js", "/x/console/"])
async def test_what_is_not_there_is_told_as_everywhere(
    path: str, mounted: httpx.AsyncClient
) -> None:
    answer = await mounted.get(path)

    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["details"] == {"reason": "ROUTE_NOT_FOUND"}
    assert error["correlation_id"] == answer.headers["x-correlation-id"]


async def test_a_mounted_page_that_fails_answers_the_body_of_all_errors(
    mounted: httpx.AsyncClient,
) -> None:
    answer = await mounted.get("/console/refuse")

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "CONFLICT"
    assert answer.json()["error"]["message"] == "not now"


async def test_other_methods_than_a_mounted_pages_are_405(mounted: httpx.AsyncClient) -> None:
    answer = await mounted.post("/console/deep/app.js")

    assert answer.status_code == 405


async def test_routes_and_pages_beside_a_prefix_stay(mounted: httpx.AsyncClient) -> None:
    answers = [await mounted.get(path) for path in ("/docs", "/health", "/v1/numbers/5")]

    assert [answer.status_code for answer in answers] == [200, 200, 200]


def test_what_is_below_a_prefix_has_one_name() -> None:
    site = Site([Route("/health", echo), Mount("/console", routes=[])], None)

    paths = ("/health", "/console", "/console/", "/console/a/b", "/consoles", "/health/x")
    names = [site.route(path) for path in paths]

    below = "/console/{path}"
    assert names == ["/health", "/console", below, below, None, None]
