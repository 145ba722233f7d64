"""What may be registered, what is refused by which name, and what is answered of it."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from girih.events.v1 import events_pb2
from girih.events.v1 import schemas_pb2 as pb
from services.events.errors import UpcasterRefused
from services.events.schemas import convert, worker
from services.events.schemas.compiled import CompiledSchema, RefusedSchema
from services.events.schemas.registering import check_place
from services.events.schemas.registry import Compatibility, EventType, RegisteredSchema
from services.events.schemas.upcasting import Upcaster
from services.plumbing.errors import InvalidInput
from services.plumbing.grpc.errors import from_rpc_error
from services.policy import PlanLimits
from tests.authority import Authority
from tests.events.making import NOW
from tests.events.schemas.asking import (
    CLOSED,
    append_request,
    refusal,
    schema_request,
    upcaster_request,
)

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.schemas_pb2_grpc import SchemaServiceAsyncStub

OPEN: dict[str, Any] = {"type": "object", "properties": {"by": {"type": "string"}}}
WIDER = CLOSED | {"properties": {"by": {"type": "string"}, "at": {"type": "integer"}}}
"""Takes all that `CLOSED` takes."""


async def test_what_is_registered_is_answered_as_it_was_sent(
    schemas: "SchemaServiceAsyncStub",
) -> None:
    text = '{ "title":"ü \\"schema\\": ,\\"weight\\":", "maxLength" : 3.0 }'
    request = pb.RegisterSchemaRequest(type='a "schema":/b', version=7, schema=text)

    registered = await schemas.RegisterSchema(request)
    answer = await schemas.GetSchema(pb.GetSchemaRequest(type='a "schema":/b'))

    assert answer.schema == text
    assert answer.version == registered.version
    assert answer.version.version == 7
    assert answer.version.compatibility == pb.COMPATIBILITY_BACKWARD
    assert not registered.already_registered


async def test_the_same_schema_is_registered_once_however_it_is_spelled(
    schemas: "SchemaServiceAsyncStub", events: "EventStoreServiceAsyncStub"
) -> None:
    await schemas.RegisterSchema(schema_request({"type": "object", "title": "x"}))

    again = await schemas.RegisterSchema(schema_request({"title": "x", "type": "object"}))

    assert again.already_registered
    assert (await events.GetLog(events_pb2.GetLogRequest())).head_position == 1


async def test_a_version_is_taken_for_ever_and_later_ones_lie_above_it(
    schemas: "SchemaServiceAsyncStub",
) -> None:
    await schemas.RegisterSchema(schema_request(CLOSED, 3))

    same = await refusal(schemas.RegisterSchema(schema_request(OPEN, 3)))
    lower = await refusal(schemas.RegisterSchema(schema_request(OPEN, 2)))

    assert (same.reason, lower.reason) == ("SCHEMA_VERSION_TAKEN", "SCHEMA_VERSION_TAKEN")
    assert lower.metadata["newest_version"] == "3"


REFUSED: dict[str, tuple[Any, str]] = {
    "no schema": ([1], "must be an object"),
    "a bad keyword": ({"type": "text"}, "/type"),
    "a remote reference": ({"$ref": "http://127.0.0.1:1/x"}, "/$ref"),
    "a file": ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "/properties/a/$ref"),
    "a reference to nowhere": ({"$ref": "#/$defs/a"}, "/$ref"),
    "a reference to no schema": ({"$ref": "#/title", "title": "x"}, "/$ref"),
    "a reference to itself": ({"$ref": "#"}, "back to itself"),
    "a circle": (
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#"}},
        },
        "back to itself",
    ),
    "a base elsewhere": ({"$defs": {"a": {"$id": "http://x/"}}}, "/$defs/a/$id"),
    "a dynamic reference": ({"$dynamicRef": "#a"}, "/$dynamicRef"),
    "another dialect": ({"$schema": "http://json-schema.org/draft-04/schema#"}, "/$schema"),
    "a pattern that looks around": ({"pattern": "(?=a)a"}, "/pattern"),
    "a pattern that refers back": ({"pattern": "(a)\\1"}, "/pattern"),
    "a pattern that grows": ({"pattern": "(a{1000}){1000}"}, "/pattern"),
    "a long pattern": ({"patternProperties": {"a" * 257: {}}}, "/patternProperties"),
    "many patterns": ({"anyOf": [{"pattern": f"a{n}"} for n in range(101)]}, "100 patterns"),
    "many schemas": ({"anyOf": [True] * 2_000}, "2,000 schemas"),
    "references that multiply": (
        {
            "$ref": "#/$defs/0",
            "$defs": {
                **{
                    str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}, {"$ref": f"#/$defs/{n + 1}"}]}
                    for n in range(30)
                },
                "30": {},
            },
        },
        "too much to check",
    ),
    "members that multiply": (
        {
            "$defs": {
                "a": {"allOf": [{"items": {"$ref": "#/$defs/a"}}, {"items": {"$ref": "#/$defs/a"}}]}
            },
            "$ref": "#/$defs/a",
        },
        "too much to check",
    ),
    "nesting": (json.loads('{"not":' * 70 + "true" + "}" * 70), "64 levels"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_schema_that_could_harm_is_refused_and_told_where(what: str) -> None:
    schema, words = REFUSED[what]

    with pytest.raises(RefusedSchema) as refused:
        CompiledSchema.examined(json.dumps(schema).encode())

    assert words in " ".join(refused.value.problems[0])


async def test_nothing_is_registered_of_a_schema_that_is_refused(
    schemas: "SchemaServiceAsyncStub", events: "EventStoreServiceAsyncStub"
) -> None:
    error = await refusal(schemas.RegisterSchema(schema_request({"$ref": "http://127.0.0.1:1/x"})))

    assert error.reason == "SCHEMA_REFUSED"
    assert error.violations[0].field == "schema"
    assert error.violations[0].description.startswith("/$ref: must lead to a schema within")
    assert (await events.GetLog(events_pb2.GetLogRequest())).head_position == 0


async def test_a_schema_that_is_no_json_is_refused(schemas: "SchemaServiceAsyncStub") -> None:
    request = pb.RegisterSchemaRequest(type="t", version=1, schema="{")

    error = await refusal(schemas.RegisterSchema(request))

    assert error.reason == "SCHEMA_REFUSED"
    assert "valid JSON" in error.violations[0].description


async def test_patterns_take_linear_time(
    schemas: "SchemaServiceAsyncStub", events: "EventStoreServiceAsyncStub"
) -> None:
    await schemas.RegisterSchema(schema_request({"pattern": "^(a+)+$"}))

    async with asyncio.timeout(20):
        error = await refusal(events.Append(append_request("a" * 100_000 + "b")))

    assert error.reason == "SCHEMA_VIOLATED"


@pytest.mark.parametrize(
    ("compatibility", "schema", "broken"),
    [
        ("BACKWARD", WIDER, ""),
        ("FORWARD", WIDER, "forward"),
        ("FULL", WIDER, "forward"),
        ("FULL", CLOSED | {"title": "x"}, ""),
        ("BACKWARD", OPEN, ""),
        ("FORWARD", CLOSED | {"properties": {"by": {"const": "Ada"}}}, ""),
        ("FULL", {"type": "array"}, "backward, forward"),
        ("NONE", {"type": "array"}, ""),
    ],
)
def test_a_version_keeps_to_what_it_promises_of_the_one_before(
    compatibility: str, schema: Any, broken: str
) -> None:
    before, behind = (json.dumps(one).encode() for one in (CLOSED, schema))

    problems, breaches, _, _ = worker.examine(behind, before, Compatibility[compatibility])

    assert not problems
    assert ", ".join(one.compatibility.value for one in breaches) == broken


async def test_a_promise_holds_on_for_the_versions_behind(
    schemas: "SchemaServiceAsyncStub",
) -> None:
    await schemas.RegisterSchema(schema_request(CLOSED, 1, compatibility="FULL"))

    error = await refusal(schemas.RegisterSchema(schema_request(WIDER, 2)))

    assert error.reason == "SCHEMA_INCOMPATIBLE"


async def test_of_many_who_register_a_version_at_once_one_does(
    schemas: "SchemaServiceAsyncStub",
) -> None:
    calls = [schemas.RegisterSchema(schema_request({"const": n})) for n in range(8)]

    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    refused = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    assert len(refused) == 7
    assert {from_rpc_error(one).reason for one in refused} == {"SCHEMA_VERSION_TAKEN"}


async def test_versions_are_listed_by_page(schemas: "SchemaServiceAsyncStub") -> None:
    for name, version in [("b", 1), ("b", 2), ("b", 10), ("a-1", 5), ("ü", 1)]:
        await schemas.RegisterSchema(schema_request(True, version, name))

    pages: list[list[tuple[str, int]]] = []
    token = ""
    while not pages or token:
        page = await schemas.ListSchemas(pb.ListSchemasRequest(page_size=2, page_token=token))
        pages.append([(one.type, one.version) for one in page.versions])
        token = page.next_page_token
    alone = await schemas.ListSchemas(pb.ListSchemasRequest(type="b", page_size=10))

    assert pages == [[("a-1", 5), ("b", 1)], [("b", 2), ("b", 10)], [("ü", 1)]]
    assert [one.version for one in alone.versions] == [1, 2, 10]


async def test_a_type_whose_schemas_are_deleted_takes_anything_and_may_have_others(
    schemas: "SchemaServiceAsyncStub", events: "EventStoreServiceAsyncStub"
) -> None:
    await schemas.RegisterSchema(schema_request(CLOSED, 3))

    answer = await schemas.DeleteSchemas(pb.DeleteSchemasRequest(type="submitted"))
    await events.Append(append_request([1], version=0))
    gone = await refusal(schemas.GetSchema(pb.GetSchemaRequest(type="submitted")))
    await schemas.RegisterSchema(schema_request(OPEN, 1))

    assert answer.version_count == 1
    assert gone.reason == "SCHEMA_NOT_FOUND"


@pytest.mark.parametrize(("name", "version"), [("submitted", 2), ("another", None)])
async def test_what_is_not_registered_is_not_found(
    schemas: "SchemaServiceAsyncStub", name: str, version: int | None
) -> None:
    await schemas.RegisterSchema(schema_request(CLOSED))

    error = await refusal(schemas.GetSchema(pb.GetSchemaRequest(type=name, version=version)))

    assert error.reason == "SCHEMA_NOT_FOUND"


async def test_a_plan_says_how_many_versions_there_may_be(
    schemas: "SchemaServiceAsyncStub", authority: Authority
) -> None:
    plan = PlanLimits("small", 0, 0, 0, 0, schema_count_max=1)
    await schemas.RegisterSchema(schema_request(True), metadata=authority.metadata(plan=plan))

    error = await refusal(
        schemas.RegisterSchema(
            schema_request(True, name="another"), metadata=authority.metadata(plan=plan)
        )
    )

    assert error.reason == "SCHEMAS_FULL"
    assert error.metadata["schema_count_max"] == "1"


NEXT = {
    "type": "object",
    "properties": {"grantedBy": {"type": "string"}, "level": {"type": "integer"}},
    "required": ["grantedBy", "level"],
    "additionalProperties": False,
}
RENAME = {"rename": {"path": "/by", "name": "grantedBy"}}
LEVEL = {"add": {"path": "/level", "value": "1"}}


async def two_versions(schemas: "SchemaServiceAsyncStub") -> None:
    await schemas.RegisterSchema(schema_request(CLOSED))
    await schemas.RegisterSchema(schema_request(NEXT, 2, compatibility="NONE"))


async def test_an_upcaster_is_answered_with_the_version_that_it_leads_away_from(
    schemas: "SchemaServiceAsyncStub",
) -> None:
    await two_versions(schemas)
    request = upcaster_request(1, 2, RENAME, LEVEL)

    await schemas.RegisterUpcaster(request)
    answer = await schemas.GetSchema(pb.GetSchemaRequest(type="submitted", version=1))

    assert answer.upcaster == request.upcaster
    assert answer.version.has_upcaster


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([RENAME], "required"),
        ([RENAME, {"add": {"path": "/level", "value": '"one"'}}], "/level"),
        ([RENAME, LEVEL, {"add": {"path": "/more", "value": "1"}}], "more"),
        ([RENAME, LEVEL, {"drop": {"path": "/grantedBy"}}], "grantedBy"),
        ([LEVEL, {"move": {"path": "/by", "to": "/grantedBy/x"}}], "no object"),
        ([LEVEL, {"rename": {"path": "/by", "name": "level"}}], "there already"),
    ],
)
def test_an_upcaster_that_makes_what_its_schema_refuses_is_found_out(
    steps: list[Any], words: str
) -> None:
    before, behind = (json.dumps(one).encode() for one in (CLOSED, NEXT))
    asked = convert.asked_upcaster(upcaster_request(1, 2, *steps))

    counterexample = worker.counterexample(before, behind, asked.upcaster, [])

    assert counterexample is not None
    assert "by" in json.loads(counterexample[0])
    assert words in counterexample[1]


async def test_examples_of_the_writer_are_tried_as_well(schemas: "SchemaServiceAsyncStub") -> None:
    plate = {"pattern": "^[A-Z]{2}-[0-9]+$"}
    await schemas.RegisterSchema(schema_request({"properties": {"plate": plate}}))
    await schemas.RegisterSchema(
        schema_request({"properties": {"plate": {"maxLength": 4}}}, 2, compatibility="NONE")
    )
    request = upcaster_request(1, 2)

    await schemas.RegisterUpcaster(request)
    request.examples.append('{"plate": "AB-1234"}')
    error = await refusal(schemas.RegisterUpcaster(request))

    assert error.reason == "UPCASTER_REFUSED"
    assert json.loads(error.metadata["example"]) == {"plate": "AB-1234"}


@pytest.mark.parametrize("versions", [(2, 1), (1, 1), (1, 3)])
def test_an_upcaster_that_leads_back_or_too_far_is_refused(versions: tuple[int, int]) -> None:
    with pytest.raises(UpcasterRefused) as refused:
        check_place(of_versions(1, 2, 3), Upcaster(*versions, []))

    assert refused.value.violations[0].field == "upcaster.to_version"


def test_an_upcaster_that_leaves_a_gap_is_refused() -> None:
    first = of_versions(1, 2, 3, 4).with_upcaster(Upcaster(1, 2, []))

    with pytest.raises(UpcasterRefused) as refused:
        check_place(first, Upcaster(3, 4, []))

    assert "version 2" in refused.value.violations[0].description
    check_place(first, Upcaster(2, 3, []))
    check_place(first.with_upcaster(Upcaster(2, 3, [])), Upcaster(3, 4, []))


def of_versions(*versions: int) -> EventType:
    schema = CompiledSchema(b"true", 1, 0)
    return EventType(
        {one: RegisteredSchema(one, Compatibility.NONE, schema, NOW) for one in versions}
    )


async def test_an_upcaster_of_unknown_versions_is_not_found(
    schemas: "SchemaServiceAsyncStub",
) -> None:
    await schemas.RegisterSchema(schema_request(True))

    error = await refusal(schemas.RegisterUpcaster(upcaster_request(1, 2)))

    assert error.reason == "SCHEMA_NOT_FOUND"


@pytest.mark.parametrize(
    ("step", "field"),
    [
        ({"add": {"path": "level", "value": "1"}}, "upcaster.steps[0].add.path"),
        ({"add": {"path": "/level", "value": "{"}}, "upcaster.steps[0].add.value"),
        ({"drop": {"path": "/a~2"}}, "upcaster.steps[0].drop.path"),
        ({"drop": {"path": "/a" * 33}}, "upcaster.steps[0].drop.path"),
        ({"move": {"path": "/a", "to": "b"}}, "upcaster.steps[0].move.to"),
        ({}, "upcaster.steps[0].change"),
    ],
)
def test_a_bad_step_is_told_by_its_field(step: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        convert.asked_upcaster(upcaster_request(1, 2, step))

    assert refused.value.violations[0].field == field
