"""What the documentation pages are made of: files of their own, and the contract's words."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from gateway.app import read_contract
from gateway.site.reference import reference
from tests.gateway.sample import sample_contract

pytestmark = pytest.mark.documented

CONTRACT = read_contract()
REST_ONLY = "girih.accounts.v1.AccountService"
REFERENCE = reference(CONTRACT, [REST_ONLY])

DOCS = Path(str(files("gateway.site").joinpath("docs")))
ASSETS = sorted(
    str(file.relative_to(DOCS)) for file in DOCS.rglob("*") if file.suffix in (".css", ".js")
)


async def test_the_documentation_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/docs/grpc", "/docs/errors", *(f"/docs/{name}" for name in ASSETS)):
        answer = await client.get(path)

        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
        assert not re.search(r"(src|href|url|import|from)\W{1,3}(https?:)?//", answer.text), path


async def test_the_root_leads_to_the_documentation(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).headers["location"] == "/docs"


async def test_the_reference_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs/reference.json")

    assert [one["name"] for one in answer.json()["packages"]] == [
        one["name"] for one in reference(sample_contract())["packages"]
    ]


def rpcs() -> Iterator[tuple[str, dict[str, Any]]]:
    for package in REFERENCE["packages"]:
        for service in package["services"]:
            for rpc in service["rpcs"]:
                yield f"{service['name']}.{rpc['name']}", rpc


def types() -> Iterator[dict[str, Any]]:
    for package in REFERENCE["packages"]:
        yield from package["types"]


def test_every_rpc_that_is_called_by_grpc_is_in_the_reference() -> None:
    called = {
        method.full_name
        for service in CONTRACT.services
        if service.full_name != REST_ONLY
        for method in service.methods
    }

    assert {name for name, _ in rpcs()} == called


def test_everything_in_the_reference_has_its_words() -> None:
    described = [
        *(rpc for _, rpc in rpcs()),
        *types(),
        *(part for one in types() for part in [*one.get("fields", ()), *one.get("values", ())]),
    ]

    assert len(described) > 200
    assert [one["name"] for one in described if not one["description"]] == []


def test_every_type_that_is_named_is_in_the_reference_or_everybodys() -> None:
    there = {one["name"] for one in types()}
    named = {field["of"] for one in types() for field in one.get("fields", ())}
    named |= {rpc[end] for _, rpc in rpcs() for end in ("request", "response")}

    assert {name for name in named - there - {""} if not name.startswith("google.")} == set()


@pytest.mark.parametrize(("name", "rpc"), [one for one in rpcs() if one[1]["example"]])
def test_an_example_is_what_grpc_takes(name: str, rpc: dict[str, Any]) -> None:
    request = GetMessageClass(CONTRACT.pool.FindMessageTypeByName(rpc["request"]))()

    json_format.ParseDict(rpc["example"], request)
