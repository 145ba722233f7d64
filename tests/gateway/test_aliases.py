"""`/api/...` is the newest version, and nothing else."""

import httpx
import pytest

from gateway.http.aliases import newest_version, paths_meant
from tests.gateway.sample import Gateway


@pytest.mark.parametrize("path", ["/v1/numbers/5", "/api/v1/numbers/5", "/api/numbers/5"])
async def test_all_spellings_lead_to_one_route(
    path: str, client: httpx.AsyncClient, gateway: Gateway
) -> None:
    answer = await client.get(path)

    assert answer.json()["longNumber"] == "5"
    assert set(gateway.application.metrics._requests) == {("GET", "/v1/numbers/{long_number}", 200)}


@pytest.mark.documented
@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/api/nope", "/api/v2/numbers/5", "/apiv1/numbers/5", "/api/api/numbers/5",
     "/api/v1/v1/numbers/5", "/api/health", "/api/docs", "/api//v1/numbers/5"],
)  # fmt: skip
async def test_nothing_else_has_an_alias(path: str, client: httpx.AsyncClient) -> None:
    assert (await client.get(path)).status_code == 404


async def test_a_wrong_method_of_an_alias_is_405(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/api/echo")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_the_newest_version_is_meant() -> None:
    assert newest_version(["/v1/a", "/v10/a", "/v2/b", "/auth/login"]) == "/v10"
    assert list(paths_meant("/api/a", "/v10")) == ["/a", "/v10/a"]
    assert list(paths_meant("/v1/a", "/v10")) == ["/v1/a"]
    assert newest_version(["/auth/login"]) == ""
