"""Http rules, path templates and queries."""

from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

from gateway.contract.descriptors import ContractError
from gateway.contract.rules import Routes, Template, rules_of
from gateway.contract.streams import stream_shape
from gateway.transcoding.query import Query
from gateway.transcoding.validation import ValidationError
from tests.gateway.sample import contract_from, descriptor


def result(templates: list[str], path: str) -> tuple[str, tuple[str, ...]] | None:
    routes = Routes([("GET", Template.parse(text), text) for text in templates])
    match = routes.find(path)
    return None if match is None else (match.targets["GET"], match.captured())


@pytest.mark.parametrize(
    ("template", "path", "captured"),
    [
        ("/v1/a", "/v1/a", ()),
        ("/v1/a/{b}", "/v1/a/x", ("x",)),
        ("/v1/a/{b}", "/v1/a/x%2Fy%20z", ("x/y z",)),
        ("/v1/a/{b}", "/v1/a/x:y@z", ("x:y@z",)),
        ("/v1/a/{b}:go", "/v1/a/x:y:go", ("x:y",)),
        ("/v1/a/{b}/c/{d.e}", "/v1/a/1/c/2", ("1", "2")),
        ("/v1/{b=a/*}", "/v1/a/1", ("a/1",)),
        ("/v1/{b=a/*}:go", "/v1/a/1:go", ("a/1",)),
        ("/v1/{b=**}", "/v1/a/1/2", ("a/1/2",)),
        ("/v1/a:go", "/v1/a:go", ()),
    ],
)
def test_a_template_takes_a_path_apart(template: str, path: str, captured: tuple[str, ...]) -> None:
    assert result([template], path) == (template, captured)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/v1/a", "/v1/a/"),
        ("/v1/a", "/v1/A"),
        ("/v1/a", "//v1/a"),
        ("/v1/a/{b}", "/v1/a/"),
        ("/v1/a/{b}", "/v1/a/x/y"),
        ("/v1/a/{b}:go", "/v1/a/x"),
        ("/v1/a/{b}:go", "/v1/a/:go"),
        ("/v1/a.b", "/v1/axb"),
        ("/v1/{b=a/*}", "/v1/b/1"),
        ("/v1/a", "/v1/a%00"),
    ],
)
def test_a_template_leaves_other_paths_alone(template: str, path: str) -> None:
    assert result([template], path) is None


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/a/b", "/v1/a/b"),
        ("/v1/a/c", "/v1/a/{x}"),
        ("/v1/a/c:go", "/v1/a/{x}:go"),
        ("/v1/c/c", "/v1/{x=**}"),
    ],
)
def test_the_most_literal_template_wins(path: str, meant: str) -> None:
    templates = ["/v1/{x=**}", "/v1/a/{x}", "/v1/a/b", "/v1/a/{x}:go"]

    match = result(templates, path)

    assert match is not None
    assert match[0] == meant


@pytest.mark.parametrize(
    ("templates", "path", "meant"),
    [
        (["/{x}/{y}:go", "/v1/{y}"], "/v1/a:go", ("/v1/{y}", ("a:go",))),
        (["/{x}/{y}:go", "/v1/{y}"], "/v2/a:go", ("/{x}/{y}:go", ("v2", "a"))),
        (["/v1/{x}:go", "/v1/{x}"], "/v1/a:stop", ("/v1/{x}", ("a:stop",))),
        (["/v1/{x}:go", "/v1/{x}"], "/v1/a:", ("/v1/{x}", ("a:",))),
        (["/v1/a{x}", "/v1/ab"], "/v1/ab", ("/v1/a{x}", ("b",))),
        (["/v1/{x}/b:go", "/v1/a/{x}"], "/v1/a/b:go", ("/v1/a/{x}", ("b:go",))),
    ],
)
def test_one_template_is_meant_among_those_with_verbs_and_without(
    templates: list[str], path: str, meant: tuple[str, tuple[str, ...]]
) -> None:
    assert result(templates, path) == meant


def test_a_path_has_the_methods_of_its_most_literal_template_alone() -> None:
    routes = Routes(
        (method, Template.parse(text), text)
        for method, text in [("GET", "/v1/{x}"), ("DELETE", "/v1/{x}"), ("POST", "/v1/{x}:go")]
    )

    match = routes.find("/v1/a:go")

    assert match is not None
    assert match.targets == {"POST": "/v1/{x}:go"}


def test_a_path_that_is_no_utf8_is_an_error_of_its_own() -> None:
    with pytest.raises(UnicodeDecodeError):
        result(["/v1/a/{b}"], "/v1/a/%ff")


@pytest.mark.parametrize("text", ["v1/a", "/v1/{A}", "/v1/a b", "/v1/{a", "/v1/*a", "/v1/{a=b c}"])
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        Template.parse(text)


_FILE = """
syntax = "proto3";
package sample.events.v1;
import "google/api/annotations.proto";
service Service {{
  rpc Call({request}) returns (Message) {{ option (google.api.http) = {{ {rule} }}; }}
}}
message Message {{ string text = 1; repeated string texts = 2; Message child = 3; }}
"""


@pytest.mark.parametrize(
    ("request_type", "rule"),
    [
        ("Message", 'get: "/v1/{nope}"'),
        ("Message", 'get: "/v1/{texts}"'),
        ("Message", 'get: "/v1/{child}"'),
        ("Message", 'get: "/v1/a" body: "*"'),
        ("Message", 'post: "/v1/a" body: "nope"'),
        ("Message", 'post: "/v1/a" response_body: "text"'),
        ("Message", 'post: "/v1/a" response_body: "nope"'),
        ("Message", 'custom: {kind: "FETCH" path: "/v1/a"}'),
        ("stream Message", 'get: "/v1/a"'),
        ("stream Message", 'post: "/v1/a" body: "child"'),
        ("stream Message", 'post: "/v1/{text}" body: "*"'),
    ],
)
def test_a_rule_that_cannot_be_served_is_refused_at_start(
    request_type: str, rule: str, tmp_path: Path
) -> None:
    proto = tmp_path / "bad.proto"
    proto.write_text(_FILE.format(request=request_type, rule=rule))
    contract = contract_from(proto)

    with pytest.raises(ContractError):
        list(rules_of(contract))


_STREAMS = """
syntax = "proto3";
package sample.events.v1;
import "girih/options/v1/options.proto";
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
service Service {{
  rpc Watch({request}) returns ({response}) {{
    option (google.api.http) = {{post: "/v1/watch" body: "*"}};
    option (girih.options.v1.stream) = {{ {options} }};
  }}
}}
message Item {{
  int64 number = 1; repeated int64 numbers = 2; string text = 3; bool flag = 4;
  repeated bool flags = 5;
}}
message Items {{
  repeated Item items = 1; Item one = 2; repeated string texts = 3; map<string, Item> named = 4;
  int64 head = 5; bool caught_up = 6;
}}
"""


def streaming_method(
    options: str, folder: Path, request: str = "Item", response: str = "stream Items"
) -> MethodDescriptor:
    proto = folder / "streams.proto"
    proto.write_text(_STREAMS.format(options=options, request=request, response=response))
    return next(rules_of(contract_from(proto))).method


def test_a_stream_has_the_shape_that_its_options_name(tmp_path: Path) -> None:
    options = 'items: "items" event_id: "number" resumes_at: "number" stays_open: "flag"'

    shape = stream_shape(streaming_method(options, tmp_path))

    assert shape.item.name == "Item"
    assert (shape.items, shape.event_id) == ("items", "number")
    assert (shape.resumes_at, shape.stays_open) == ("number", "flag")


def test_a_stream_without_items_shows_its_responses(tmp_path: Path) -> None:
    shape = stream_shape(streaming_method('event_id: "head"', tmp_path))

    assert (shape.item.name, shape.items, shape.event_id) == ("Items", "", "head")


@pytest.mark.parametrize(
    "options",
    [
        *(f'items: "{name}"' for name in ("nope", "one", "texts", "named", "head")),
        *(f'items: "items" event_id: "{name}"' for name in ("nope", "numbers", "text", "flag")),
        *(f'event_id: "head" resumes_at: "{name}"' for name in ("nope", "numbers", "text")),
        *(f'stays_open: "{name}"' for name in ("nope", "flags", "number")),
        'items: "items" resumes_at: "number"',
        'items: "items" incarnation: "text"',
        'items: "items" event_id: "number" resumes_at: "number" incarnation: "text"',
    ],
)
def test_stream_options_that_name_a_wrong_field_are_refused_at_start(
    options: str, tmp_path: Path
) -> None:
    with pytest.raises(ContractError):
        streaming_method(options, tmp_path)


@pytest.mark.parametrize(
    ("request_type", "response"),
    [
        ("Item", "Items"),
        ("stream Item", "stream Items"),
        ("stream Item", "Items"),
        ("Item", "stream google.api.HttpBody"),
    ],
)
def test_stream_options_of_what_is_no_such_stream_are_refused_at_start(
    request_type: str, response: str, tmp_path: Path
) -> None:
    with pytest.raises(ContractError):
        streaming_method("", tmp_path, request_type, response)


def queried(text: str) -> dict[str, object]:
    values: dict[str, object] = {}
    Query(descriptor("Everything"), {"text"}).put_into(values, text.encode())
    return values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("number=5", {"number": 5}),
        ("longNumber=9007199254740993", {"long_number": 2**53 + 1}),
        ("long_number=-1", {"long_number": -1}),
        ("flag=true", {"flag": True}),
        ("colour=COLOUR_RED&colours=2&colours=COLOUR_BLUE", {"colour": 1, "colours": [2, 2]}),
        ("texts=a&texts=b%26c", {"texts": ["a", "b&c"]}),
        ("child.longNumbers=1&child.long_numbers=2", {"child": {"long_numbers": [1, 2]}}),
        ("child.child.flag=false", {"child": {"child": {"flag": False}}}),
        ("data=-_8", {"data": b"\xfb\xff"}),
        ("doubleNumber=1e3", {"double_number": 1000.0}),
        ("maybeText=", {"maybe_text": ""}),
    ],
)
def test_a_query_sets_fields(text: str, values: dict[str, object]) -> None:
    assert queried(text) == values


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("nope=1", "nope"),
        ("text=is-in-the-path", "text"),
        ("number=5&number=5", "number"),
        ("longNumber=1&long_number=1", "long_number"),
        ("number=", "number"),
        ("flag=1", "flag"),
        ("colour=RED", "colour"),
        ("child=x", "child"),
        ("children.text=x", "children.text"),
        ("notes=x", "notes"),
        ("chosenNumber=1&chosenText=a", "chosenText"),
        ("child.child.child.child.child.flag=true", "child.child.child.child.child.flag"),
        ("maybeText=%ff", "maybeText"),
        ("&".join(f"texts={n}" for n in range(1001)), ""),
    ],
)  # fmt: skip
def test_a_query_is_refused_by_its_parameter(text: str, path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        queried(text)

    assert [field for field, _ in caught.value.violations] == [path]


def test_a_moment_can_stand_in_a_query() -> None:
    moment = queried("moment=2026-01-02T03:04:05.5Z")["moment"]

    assert str(moment) == "seconds: 1767323045\nnanos: 500000000\n"
