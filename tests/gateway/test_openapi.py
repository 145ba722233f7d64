"""The OpenAPI document says what the gateway does."""

import re
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from gateway import openapi
from gateway.app import read_contract
from gateway.contract import http_rules
from gateway.rules import rules_of
from gateway.settings import Settings
from tests.gateway.sample import sample_contract

DEVELOPMENT = Settings.from_environ({"GIRIH_ENVIRONMENT": "development"})


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    contract = sample_contract()
    return openapi.document(contract, list(rules_of(contract)), DEVELOPMENT)


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    contract = read_contract()
    return openapi.document(contract, list(rules_of(contract)), DEVELOPMENT)


def test_it_is_valid(sample: dict[str, Any], real: dict[str, Any]) -> None:
    validate(sample)
    validate(real)


def test_every_http_rule_is_in_it(real: dict[str, Any]) -> None:
    contract = read_contract()
    rules = [
        rule for service in contract.services for m in service.methods for rule in http_rules(m)
    ]
    operations = {
        (method, re.sub(r"[A-Z]", lambda upper: f"_{upper[0].lower()}", path.split(":")[0]))
        for path, item in real["paths"].items()
        for method in item
        if method != "parameters"
    }

    assert rules
    for rule in rules:
        method = rule.WhichOneof("pattern")
        assert (method, getattr(rule, method).split(":")[0]) in operations


def test_operations_have_names_of_their_own(sample: dict[str, Any]) -> None:
    names = [
        operation["operationId"]
        for item in sample["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]

    assert len(names) == len(set(names))
    assert {"SampleService_Echo", "SampleService_Echo_1"} <= set(names)


def test_everything_of_the_real_contract_has_words(real: dict[str, Any]) -> None:
    wordless = [
        path
        for path, value in walk(real)
        if ("operationId" in value or value.get("in")) and not value.get("description")
    ]

    assert [path for path in wordless if "health" not in path] == []


def test_success_has_the_status_that_the_contract_says(real: dict[str, Any]) -> None:
    assert "201" in real["paths"]["/v1/lattices"]["post"]["responses"]
    assert "200" in real["paths"]["/v1/lattices"]["get"]["responses"]


def test_an_answer_that_is_one_field_is_described_as_that(real: dict[str, Any]) -> None:
    created = real["paths"]["/v1/lattices"]["post"]["responses"]["201"]

    schema = created["content"]["application/json"]["schema"]
    assert schema["$ref"].endswith("/lattice.v1.Lattice")


def test_errors_that_the_comments_promise_are_told_by_status(sample: dict[str, Any]) -> None:
    responses = sample["paths"]["/v1/fail"]["post"]["responses"]

    assert responses["404"]["description"] == "- `THING_NOT_FOUND`: it is not there, as ever."
    assert responses["409"]["description"] == "- `THING_CHANGED`: it changed."
    assert "Do not retry unchanged" in responses["400"]["description"]
    assert "Errors" not in sample["paths"]["/v1/fail"]["post"]["description"]


def test_fields_are_named_as_json_names_them(sample: dict[str, Any]) -> None:
    operation = sample["paths"]["/v1/numbers/{longNumber}"]["get"]

    assert "`longNumber`" in operation["description"]
    assert operation["parameters"][0]["name"] == "longNumber"
    assert operation["parameters"][0]["required"] is True


def test_a_choice_allows_at_most_one(sample: dict[str, Any]) -> None:
    everything = sample["components"]["schemas"]["sample.events.v1.Everything"]

    names = ["chosenNumber", "chosenText", "chosenChild", "chosenJson"]
    assert everything["allOf"][0]["oneOf"][1:] == [{"required": [name]} for name in names]
    assert len(everything["allOf"]) == 1


def test_long_integers_are_strings(sample: dict[str, Any]) -> None:
    everything = sample["components"]["schemas"]["sample.events.v1.Everything"]["properties"]

    assert everything["longNumber"]["type"] == "string"
    assert everything["longNumber"]["format"] == "int64"
    assert everything["number"]["type"] == "integer"


def test_a_json_text_is_any_value(sample: dict[str, Any]) -> None:
    everything = sample["components"]["schemas"]["sample.events.v1.Everything"]["properties"]

    assert "type" not in everything["json"]


def test_streams_have_both_forms_of_their_elements(sample: dict[str, Any]) -> None:
    content = sample["paths"]["/v1/count"]["get"]["responses"]["200"]["content"]

    counted = {"$ref": "#/components/schemas/sample.events.v1.Counted"}
    assert content["application/x-ndjson"]["schema"] == counted
    assert "text/event-stream" in content


def test_a_field_of_the_path_is_not_in_the_body(real: dict[str, Any]) -> None:
    operation = real["paths"]["/v1/lattices/{latticeId}:findPath"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]

    assert "latticeId" not in body["properties"]
    assert "start" in body["properties"]
    assert body["additionalProperties"] is False


def test_what_is_only_answered_is_complete(real: dict[str, Any]) -> None:
    schemas = real["components"]["schemas"]

    assert "position" in schemas["events.v1.Placement"]["required"]
    assert "required" not in schemas["events.v1.Event"]


def test_in_production_no_tenant_header_is_told() -> None:
    contract = sample_contract()
    production = Settings.from_environ({"GIRIH_ENVIRONMENT": "production"})

    document = openapi.document(contract, list(rules_of(contract)), production)

    assert "TenantId" not in document["components"]["parameters"]


def test_equal_contracts_make_equal_documents(sample: dict[str, Any]) -> None:
    sample_contract.cache_clear()
    contract = sample_contract()

    assert openapi.document(contract, list(rules_of(contract)), DEVELOPMENT) == sample


async def test_it_is_served(client: httpx.AsyncClient, sample: dict[str, Any]) -> None:
    answer = await client.get("/openapi.json")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == sample


@pytest.mark.parametrize("path", ["/docs", "/docs/docs.css", "/docs/docs.js"])
async def test_the_documentation_needs_nothing_from_elsewhere(
    path: str, client: httpx.AsyncClient
) -> None:
    answer = await client.get(path)

    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"(src|href|url|import|from)\W{1,3}(https?:)?//", answer.text)


async def test_the_root_leads_to_the_documentation(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).headers["location"] == "/docs"


def walk(value: Any, path: str = "") -> Any:
    """Every object in a document, with where it is."""
    if isinstance(value, dict):
        yield path, value
        for key, item in value.items():
            yield from walk(item, f"{path}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, f"{path}/{index}")
