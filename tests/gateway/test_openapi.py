"""The OpenAPI document says what the gateway does."""

import re
from typing import Any

import httpx
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from gateway.accounts.policy.roles import KEY_SCOPES
from gateway.app import read_contract
from gateway.contract.comments import errors_of
from gateway.contract.descriptors import http_rules, scope_of
from gateway.contract.rules import WHOLE_BODY, Rule, rules_of
from gateway.openapi.document import document as openapi_document
from gateway.openapi.names import body_name, operation_id, schema_names
from gateway.openapi.values import digits
from girih.events.v1 import events_pb2
from girih.options.v1 import options_pb2
from girih.rules.checking import check_of
from girih.rules.words import rules_of as rules_of_field
from tests.casing import EXCEPTIONS, odd_keys, odd_names
from tests.gateway.sample import sample_contract
from tests.messages import UUID, messages


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    contract = sample_contract()
    return openapi_document(contract, list(rules_of(contract)))


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    contract = read_contract()
    return openapi_document(contract, list(rules_of(contract)))


def test_it_is_valid(sample: dict[str, Any], real: dict[str, Any]) -> None:
    validate(sample)
    validate(real)


def test_every_http_rule_is_in_it(real: dict[str, Any]) -> None:
    contract = read_contract()
    rules = [
        rule for service in contract.services for m in service.methods for rule in http_rules(m)
    ]
    operations = {
        (method, re.sub(r"{[^}]*}", "{}", path.split(":")[0]))
        for path, item in real["paths"].items()
        for method in item
        if method != "parameters"
    }

    assert rules
    for rule in rules:
        method = rule.WhichOneof("pattern")
        path = re.sub(r"{[^}]*}", "{}", getattr(rule, method).split(":")[0])
        assert (method, path) in operations


def test_operations_have_names_of_their_own(sample: dict[str, Any]) -> None:
    names = [
        operation["operationId"]
        for item in sample["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]

    assert len(names) == len(set(names))
    assert {"SampleService_Echo", "SampleService_EchoByText", "SampleService_EchoAsGet"} <= set(
        names
    )
    assert all(re.fullmatch(r"[A-Za-z]+_[A-Za-z]+", name) for name in names if "Service" in name)


def test_everything_of_the_real_contract_has_words(real: dict[str, Any]) -> None:
    wordless = [
        path
        for path, value in walk(real)
        if ("operationId" in value or value.get("in")) and not value.get("description")
    ]

    assert [path for path in wordless if "health" not in path and "well-known" not in path] == []


def test_success_has_the_status_that_the_contract_says(real: dict[str, Any]) -> None:
    assert "201" in real["paths"]["/v1/lattices"]["post"]["responses"]
    assert "200" in real["paths"]["/v1/lattices"]["get"]["responses"]


def test_an_answer_that_is_one_field_is_described_as_that(real: dict[str, Any]) -> None:
    created = real["paths"]["/v1/lattices"]["post"]["responses"]["201"]

    schema = created["content"]["application/json"]["schema"]
    assert schema["$ref"].endswith("/Lattice")


def test_errors_that_the_comments_promise_are_told_by_status(sample: dict[str, Any]) -> None:
    responses = sample["paths"]["/v1/fail"]["post"]["responses"]

    assert responses["404"]["description"].endswith(
        "- `THING_NOT_FOUND`: it is not there, as ever."
    )
    assert responses["409"]["description"].endswith("- `THING_CHANGED`: it changed.")
    assert "Do not retry unchanged" in responses["400"]["description"]
    assert "Errors" not in sample["paths"]["/v1/fail"]["post"]["description"]


def test_errors_of_every_rpc_are_told_by_status_alone(real: dict[str, Any]) -> None:
    texts = [tag["description"] for tag in real["tags"]]

    assert [text for text in texts if re.search(r"[A-Z]{4,} / [A-Z]{4,}", text)] == []


def test_fields_are_named_as_json_names_them(sample: dict[str, Any]) -> None:
    operation = sample["paths"]["/v1/numbers/{longNumber}"]["get"]

    assert "`longNumber`" in operation["description"]
    assert operation["parameters"][0]["name"] == "longNumber"
    assert operation["parameters"][0]["required"] is True


def test_names_are_in_camel_case_but_for_the_listed(real: dict[str, Any]) -> None:
    assert odd_names(real) == set()
    properties = {name for _, value in walk(real) for name in value.get("properties", ())}
    assert properties >= EXCEPTIONS


def test_descriptions_name_fields_and_details_as_json_does(real: dict[str, Any]) -> None:
    texts = [str(value["description"]) for _, value in walk(real) if "description" in value]

    named = {name for text in texts for name in re.findall("`([a-z]+(?:_[a-z]+)+)`", text)}
    assert named <= EXCEPTIONS
    assert any("`byteCountMax`" in text for text in texts)


def test_examples_are_in_camel_case_but_for_the_listed(real: dict[str, Any]) -> None:
    examples = [value["example"] for _, value in walk(real) if "example" in value]

    assert examples
    assert odd_keys(examples, free=frozenset({"json", "metadata"})) == set()


def test_a_choice_allows_at_most_one(sample: dict[str, Any]) -> None:
    everything = sample["components"]["schemas"]["Everything"]

    names = ["chosenNumber", "chosenText", "chosenChild", "chosenJson"]
    assert everything["allOf"][0]["oneOf"][1:] == [{"required": [name]} for name in names]
    assert len(everything["allOf"]) == 1


def test_long_integers_are_strings(sample: dict[str, Any]) -> None:
    everything = sample["components"]["schemas"]["Everything"]["properties"]

    assert everything["longNumber"]["type"] == "string"
    assert everything["longNumber"]["format"] == "int64"
    assert everything["number"]["type"] == "integer"


def test_a_json_text_is_any_value(sample: dict[str, Any]) -> None:
    everything = sample["components"]["schemas"]["Everything"]["properties"]

    assert "type" not in everything["json"]


def test_a_part_of_what_may_be_left_out_is_no_required_parameter(real: dict[str, Any]) -> None:
    parameters = real["paths"]["/v1/events"]["get"]["parameters"]
    queries = [one for one in parameters if one.get("name") == "filter.queries"]

    assert [one.get("required", False) for one in queries] == [False]


def test_the_sites_of_a_path_are_lists_of_coordinates(real: dict[str, Any]) -> None:
    sites = real["components"]["schemas"]["Path"]["properties"]["sites"]

    assert sites["items"]["type"] == "array"
    assert sites["items"]["items"]["format"] == "int64"


def test_streams_have_both_forms_of_their_elements(sample: dict[str, Any]) -> None:
    content = sample["paths"]["/v1/count"]["get"]["responses"]["200"]["content"]

    assert content["application/x-ndjson"]["schema"] == reference("CountedLine")
    assert "text/event-stream" in content


def test_a_line_of_a_stream_is_an_element_or_the_error_that_ends_it(sample: dict[str, Any]) -> None:
    line = sample["components"]["schemas"]["CountedLine"]

    assert line["anyOf"] == [reference("Counted"), reference("ErrorResponse")]


def test_a_field_of_the_path_is_not_in_the_body(real: dict[str, Any]) -> None:
    body = body_of(real, "/v1/lattices/{latticeId}:findPath")

    assert "latticeId" not in body["properties"]
    assert "start" in body["properties"]
    assert body["additionalProperties"] is False


def test_what_is_only_answered_is_complete(real: dict[str, Any]) -> None:
    schemas = real["components"]["schemas"]

    assert "position" in schemas["Placement"]["required"]
    assert "id" in schemas["Event"]["required"]


def test_what_a_request_must_hold_is_required(real: dict[str, Any]) -> None:
    schemas = real["components"]["schemas"]

    assert schemas["EventInput"]["required"] == ["stream", "type"]
    assert schemas["PathQuery"]["required"] == ["start", "goal"]
    assert body_of(real, "/v1/events:append")["required"] == ["events"]


@pytest.mark.parametrize(
    ("fits", "precondition"),
    [
        (True, {"stream": "s", "revision": "1"}),
        (False, {"stream": "s"}),
        (False, {"revision": "1"}),
        (False, {"stream": None, "revision": "1"}),
        (False, {"stream": "", "revision": "1"}),
        (True, {"noMatch": {"filter": {"queries": [{"category": "case"}]}}}),
        (True, {"stream": "", "noMatch": {"filter": {"queries": [{"category": "case"}]}}}),
        (False, {"stream": "s", "noMatch": {"filter": {"queries": [{"category": "case"}]}}}),
        (False, {"noMatch": {"filter": {"queries": [{}]}}}),
        (
            False,
            {"noMatch": {"filter": {"queries": [{"types": [], "tags": None, "category": ""}]}}},
        ),
    ],
)
def test_fields_that_go_together_are_told(
    real: dict[str, Any], fits: bool, precondition: dict[str, Any]
) -> None:
    assert schema_of(real, "Precondition").is_valid(precondition) == fits


def schema_of(document: dict[str, Any], name: str) -> Draft202012Validator:
    whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(whole)


@settings(max_examples=300)
@given(data=st.data())
def test_a_body_fits_exactly_when_its_message_keeps_the_rules(
    real: dict[str, Any], data: st.DataObject
) -> None:
    rule = data.draw(st.sampled_from(WITH_BODIES))
    message = data.draw(messages(rule.method.input_type, texts=TEXTS))
    for name in in_path(rule):
        setattr(message, name, fitting(rule.method.input_type.fields_by_name[name]))
    body = MessageToDict(message)
    for name in in_path(rule):
        body.pop(rule.method.input_type.fields_by_name[name].json_name, None)

    fits = schema_of(real, body_name(rule)).is_valid(body)

    assert fits == bool(check_of(rule.method.input_type).holds(message)), body


WITH_BODIES = [rule for rule in rules_of(read_contract()) if rule.body == WHOLE_BODY]
TEXTS = st.sampled_from(["", "a", "A-1", "a b", "é", "a@b.c", "B3/S23", "/a/b", UUID, "x" * 300])
"""Without line feeds: `$` of Python, unlike that of ECMAScript, matches before one."""


def in_path(rule: Rule) -> list[str]:
    return [variable.field_path for variable in rule.template.variables]


def fitting(field: FieldDescriptor) -> object:
    """A value that the field takes."""
    if field.type != FieldDescriptor.TYPE_STRING:
        return 1
    return UUID.lower() if rules_of_field(field).string.uuid else "a1"


def test_the_query_says_in_words_which_parameters_go_together(real: dict[str, Any]) -> None:
    read = real["paths"]["/v1/events"]["get"]
    of_stream = real["paths"]["/v1/streams/{streamName}/events"]["get"]

    assert "`heartbeat` is given only with `follow`." in read["description"]
    assert "At most one of `filter` and `stream` is given." in read["description"]
    assert "`stream`" not in of_stream["description"].partition("At most one")[2]
    assert "filter.queries" in parameters_of(real, "/v1/events")
    assert "filter.queries" not in parameters_of(real, "/v1/streams/{streamName}/events")


def test_numbers_have_their_bounds(real: dict[str, Any]) -> None:
    schemas = real["components"]["schemas"]

    assert "temperature" in schemas["IsingInput"]["required"]
    assert schemas["IsingInput"]["properties"]["temperature"]["exclusiveMinimum"] == 0
    pixels = body_of(real, "/v1/lattices/{latticeId}:render")["properties"]["pixelsMax"]
    assert [
        n for n in (0, 1, 15, 16, 4_096, 4_097) if Draft202012Validator(pixels).is_valid(n)
    ] == [*(0, 16, 4_096)]


def test_bounds_of_the_contract_are_bounds_of_the_document(real: dict[str, Any]) -> None:
    event = real["components"]["schemas"]["EventInput"]["properties"]
    key = body_of(real, "/v1/keys")["properties"]

    assert (event["type"]["minLength"], event["type"]["maxLength"]) == (1, 255)
    assert event["stream"]["pattern"] == (
        "^([A-Za-z0-9_][A-Za-z0-9_.:@-]{0,254}|\\$[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,253})$"
    )
    assert event["stream"]["description"].endswith("such a one behind $.")
    tags = event["tags"]["anyOf"][0]
    assert (tags["maxItems"], tags["uniqueItems"], tags["items"]["maxLength"]) == (32, True, 255)
    metadata = event["metadata"]["anyOf"][0]
    assert (metadata["maxProperties"], metadata["propertyNames"]["maxLength"]) == (32, 64)
    days = key["expiresInDays"]["anyOf"][0]
    assert (days["minimum"], days["maximum"]) == (0, 3_650)
    assert key["scopes"]["minItems"] == 1


def test_a_parameter_has_the_bounds_of_its_field(real: dict[str, Any]) -> None:
    listed = parameters_of(real, "/v1/lattices")
    parameters = parameters_of(real, "/v1/lattices/{latticeId}")
    read = parameters_of(real, "/v1/events")

    assert listed["pageSize"]["schema"]["minimum"] == 0
    assert parameters["latticeId"]["schema"]["format"] == "uuid"
    assert read["fromPosition"]["schema"]["anyOf"][1]["minimum"] == 1
    assert re.fullmatch(read["stream"]["schema"]["pattern"], "")
    assert "required" not in read["stream"]


def test_a_request_may_hold_null_for_what_it_may_leave_out(real: dict[str, Any]) -> None:
    event = real["components"]["schemas"]["EventInput"]["properties"]

    assert {"type": "null"} in event["id"]["anyOf"]
    assert "anyOf" not in event["stream"]
    precondition = real["components"]["schemas"]["Precondition"]["properties"]
    assert {"type": "null"} not in precondition["state"]["anyOf"]


@pytest.mark.parametrize(
    ("least", "most"), [(0, 2**63 - 1), (1, 2**63 - 1), (-(2**63), 2**63 - 1), (0, 10), (0, 19)]
)
def test_long_integers_are_told_digit_by_digit(least: int, most: int) -> None:
    matches = re.compile(digits(least, most)).fullmatch

    near = [least - 1, least, least + 1, -10, -1, 0, 1, 9, 10, 11, most - 1, most, most + 1]
    near += [10**n for n in range(21)] + [10**n - 1 for n in range(21)] + [9 * 10**18 + 1]
    for number in near:
        assert bool(matches(str(number))) == (least <= number <= most), number
    assert not any(matches(text) for text in ("", "00", "01", "-0", "+1", "1.0"))


def test_equal_contracts_make_equal_documents(sample: dict[str, Any]) -> None:
    sample_contract.cache_clear()
    contract = sample_contract()

    assert openapi_document(contract, list(rules_of(contract))) == sample


@pytest.mark.documented
async def test_it_is_served(client: httpx.AsyncClient, sample: dict[str, Any]) -> None:
    answer = await client.get("/openapi.json")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == sample


def walk(value: Any, path: str = "") -> Any:
    """Every object in a document, with where it is."""
    if isinstance(value, dict):
        yield path, value
        for key, item in value.items():
            yield from walk(item, f"{path}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, f"{path}/{index}")


def test_every_route_says_who_may_call_it(real: dict[str, Any]) -> None:
    contract = read_contract()

    for rule in rules_of(contract):
        operation = operation_of(real, rule)
        scope = scope_of(rule.method)
        needed = {
            one for scheme in operation["security"] for scopes in scheme.values() for one in scopes
        }
        assert needed == ({scope} - {"public", "signed-in"}), rule.template.text
        assert (operation["security"] == []) == (scope == "public"), rule.template.text


def test_a_key_opens_the_routes_whose_scopes_it_may_have_and_no_others(
    real: dict[str, Any],
) -> None:
    for rule in rules_of(read_contract()):
        schemes = {name for one in operation_of(real, rule)["security"] for name in one}
        is_for_keys = scope_of(rule.method) in KEY_SCOPES | {"signed-in"}
        assert ("ApiKey" in schemes) == is_for_keys, rule.template.text


def test_a_public_route_promises_no_errors_of_tokens(real: dict[str, Any]) -> None:
    login = real["paths"]["/auth/login"]["post"]

    assert "403" not in login["responses"]
    assert "TOKEN_" not in login["responses"]["401"]["description"]


def test_an_rpc_that_fails_like_another_promises_its_errors(real: dict[str, Any]) -> None:
    removal = real["paths"]["/v1/members/{userId}"]["delete"]

    assert "LAST_OWNER" in removal["responses"]["409"]["description"]


def test_every_example_of_the_contract_fits_its_schema(real: dict[str, Any]) -> None:
    examples = [
        (path, body["schema"], body["example"])
        for path, value in walk(real)
        if "requestBody" in value
        for body in value["requestBody"]["content"].values()
        if "example" in body
    ]

    assert examples
    for path, schema, example in examples:
        Draft202012Validator({**schema, "components": real["components"]}).validate(example)
        properties = resolved(real, schema)["properties"]
        assert set(example) <= set(properties), path


def test_every_answer_has_an_example_that_fits_its_schema(real: dict[str, Any]) -> None:
    media = [
        (path, one)
        for path, value in walk(real)
        if "operationId" in value
        for status, answer in value["responses"].items()
        for media_type, one in resolved(real, answer)["content"].items()
        if media_type != "text/event-stream" and one["schema"]
    ]

    assert media
    for path, one in media:
        assert "example" in one, path
        schema = {**one["schema"], "components": real["components"]}
        Draft202012Validator(schema).validate(one["example"])


def test_every_answer_names_the_request(sample: dict[str, Any], real: dict[str, Any]) -> None:
    for document in (sample, real):
        for path, value in walk(document):
            for answer in value["responses"].values() if "operationId" in value else ():
                assert "X-Correlation-ID" in resolved(document, answer)["headers"], path


def test_generators_can_make_names_of_all_that_has_one(real: dict[str, Any]) -> None:
    schemas = real["components"]["schemas"]

    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]*", name) for name in schemas)
    assert "EventsV1Event" not in schemas


def test_messages_of_one_name_are_told_apart_by_their_packages() -> None:
    messages: list[Any] = [events_pb2.Event.DESCRIPTOR, options_pb2.FieldRules.DESCRIPTOR]

    assert schema_names(messages, taken=["Event"]) == {
        "girih.events.v1.Event": "GirihEventsV1Event",
        "girih.options.v1.FieldRules": "FieldRules",
    }


def test_downloads_tell_which_types_they_may_have(real: dict[str, Any]) -> None:
    def types(method: str, path: str) -> list[str]:
        return list(real["paths"][path][method]["responses"]["200"]["content"])

    assert types("post", "/v1/lattices/{latticeId}:render") == ["image/png"]
    assert types("get", "/v1/jobs/{jobId}/series") == [
        "text/csv; charset=utf-8",
        "application/x-npy",
    ]
    assert types("get", "/v1/lattices/{latticeId}/blocked") == ["application/octet-stream"]


def test_every_rpc_lists_its_errors_or_says_whose_they_are() -> None:
    contract = read_contract()
    comments = {
        method.full_name: contract.comment(method.full_name)
        for service in contract.services
        for method in service.methods
    }
    promising = {name for name, comment in comments.items() if "Errors:" in comment}

    assert promising
    for service in contract.services:
        for method in service.methods:
            if method.full_name in promising:
                assert list(errors_of(contract, method)), method.full_name


def test_what_must_be_there_is_a_property(sample: dict[str, Any], real: dict[str, Any]) -> None:
    for document in (sample, real):
        for name, schema in document["components"]["schemas"].items():
            assert set(schema.get("required", [])) <= set(schema.get("properties", {})), name


def test_bytes_are_told_with_each_type_that_is_taken(real: dict[str, Any]) -> None:
    upload = real["paths"]["/v1/lattices:upload"]["post"]["requestBody"]

    assert list(upload["content"]) == ["application/octet-stream", "application/x-npy"]


def test_bodies_are_schemas_with_names(sample: dict[str, Any], real: dict[str, Any]) -> None:
    schemas = [
        media["schema"]
        for document in (sample, real)
        for _, value in walk(document)
        for kind, media in value.get("requestBody", {}).get("content", {}).items()
        if kind not in ("application/octet-stream", "application/x-npy")
    ]

    assert schemas
    assert [schema for schema in schemas if "$ref" not in schema] == []


def test_nothing_is_kept_that_nothing_refers_to(real: dict[str, Any]) -> None:
    referred = {value["$ref"] for _, value in walk(real) if "$ref" in value}

    kept = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses", "headers", "parameters")
        for name in real["components"][kind]
    }
    assert kept == referred


def test_no_text_has_an_escape_that_a_generator_would_write_as_a_byte(real: dict[str, Any]) -> None:
    texts = [
        value["description"] for _, value in walk(real) if isinstance(value.get("description"), str)
    ]

    assert texts
    assert [text for text in texts if "\\u" in text or "\\x" in text] == []


def reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to, and everything else as it is."""
    while "$ref" in value:
        kind, name = value["$ref"].split("/")[2:]
        value = document["components"][kind][name]
    return value


def body_of(document: dict[str, Any], path: str) -> Any:
    content = document["paths"][path]["post"]["requestBody"]["content"]
    return resolved(document, content["application/json"]["schema"])


def parameters_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    return {one["name"]: one for one in document["paths"][path]["get"]["parameters"]}


def operation_of(document: dict[str, Any], rule: Rule) -> dict[str, Any]:
    return next(
        value for _, value in walk(document) if value.get("operationId") == operation_id(rule)
    )
