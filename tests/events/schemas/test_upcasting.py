"""What upcasters make of JSON, beside a model that knows nothing of them, and of what is read."""

import asyncio
import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from girih.events.v1 import events_pb2 as pb
from services.events.schemas import convert
from services.events.schemas.upcasting import StepFailed, chain, upcast
from tests.events.schemas.asking import append_request, schema_request, upcaster_request

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.schemas_pb2_grpc import SchemaServiceAsyncStub

NAMES = st.sampled_from(["a", "b", "/~"])
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text("xy", max_size=2)
VALUES = st.recursive(
    SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=2)
)
PLACES = st.lists(NAMES, min_size=1, max_size=2) | st.lists(NAMES, min_size=3, max_size=3)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["add", "constant"]), PLACES, VALUES),
    st.tuples(st.just("drop"), PLACES, st.none()),
    st.tuples(st.just("rename"), PLACES, NAMES),
    st.tuples(st.just("move"), PLACES, PLACES),
)
OBJECTS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=3)


def pointer(place: list[str]) -> str:
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in place)


def message(step: tuple[str, list[str], Any]) -> dict[str, Any]:
    name, place, other = step
    if name in ("add", "constant"):
        return {name: {"path": pointer(place), "value": json.dumps(other)}}
    if name == "rename":
        return {name: {"path": pointer(place), "name": other}}
    if name == "move":
        return {name: {"path": pointer(place), "to": pointer(other)}}
    return {name: {"path": pointer(place)}}


class Lost(Exception):
    """The model would lose something."""


def flat(value: Any, at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every place in an object and what is there: `{}` for an object, else the value."""
    if not isinstance(value, dict):
        return {at: value}
    members: dict[tuple[str, ...], Any] = {at: {}}
    for name, member in value.items():
        members |= flat(member, (*at, name))
    return members


def whole(places: dict[tuple[str, ...], Any]) -> Any:
    """The value that has these places."""
    made = deepcopy(places[()])
    for place in sorted(places, key=len):
        if place:
            here = made
            for name in place[:-1]:
                here = here[name]
            here[place[-1]] = deepcopy(places[place])
    return made


def modelled(value: Any, steps: list[tuple[str, list[str], Any]]) -> Any:
    """What the contract says that steps do, on a table of places instead of a tree."""
    if not isinstance(value, dict):
        return value
    places = flat(value)
    for name, place_list, other in steps:
        place = tuple(place_list)
        if places.get(place[:-1]) != {} or place[:-1] not in places:
            continue
        is_there = place in places
        moved = {p[len(place) :]: v for p, v in places.items() if p[: len(place)] == place}
        left = {p: v for p, v in places.items() if p[: len(place)] != place}
        if name == "drop":
            places = left
        elif name == "constant" or (name == "add" and not is_there):
            places = left | {(*place, *p): v for p, v in flat(other).items()}
        elif name in ("rename", "move") and is_there:
            target = (*place[:-1], other) if name == "rename" else tuple(other)
            if target[:-1] not in places or places[target[:-1]] != {} or target in places:
                raise Lost
            if target[: len(place)] == place:
                raise Lost
            places = left | {(*target, *p): v for p, v in moved.items()}
    return whole(places)


@settings(max_examples=300, deadline=None)
@given(OBJECTS | VALUES, st.lists(st.lists(STEPS, max_size=4), max_size=4))
@example({"a": {"b": 1}}, [[("move", ["a"], ["a", "/~"])]])
@example({"a": {"b": 1}}, [[("rename", ["a"], "a")]])
def test_a_chain_of_upcasters_does_what_the_model_does(
    value: Any, chained: list[list[tuple[str, list[str], Any]]]
) -> None:
    before = deepcopy(value)
    upcasters = {
        version: convert.asked_upcaster(
            upcaster_request(version, version + 1, *map(message, steps))
        ).upcaster
        for version, steps in enumerate(chained)
    }
    try:
        expected = modelled(value, [step for steps in chained for step in steps])
    except Lost:
        with pytest.raises(StepFailed):
            upcast(value, chain(upcasters, 0))
    else:
        assert upcast(value, chain(upcasters, 0)) == expected
    assert value == before


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=6))
def test_an_upcaster_is_the_same_once_it_was_registered_and_read(
    steps: list[tuple[str, list[str], Any]],
) -> None:
    request = upcaster_request(1, 2, *map(message, steps))
    asked = convert.asked_upcaster(request)

    answered = convert.upcaster_message(asked.upcaster)
    again = convert.asked_upcaster(upcaster_request(1, 2))
    request.upcaster.CopyFrom(answered)

    assert convert.asked_upcaster(request).upcaster.steps == asked.upcaster.steps
    assert again.upcaster.steps == []


def test_a_chain_goes_as_far_as_it_leads() -> None:
    upcasters = {
        version: convert.asked_upcaster(upcaster_request(version, behind)).upcaster
        for version, behind in [(1, 3), (3, 4), (7, 9)]
    }

    assert [one.to_version for one in chain(upcasters, 1)] == [3, 4]
    assert [one.to_version for one in chain(upcasters, 4)] == []


RENAME = {"rename": {"path": "/by", "name": "grantedBy"}}


async def versions(schemas: "SchemaServiceAsyncStub") -> None:
    """Three versions: `by` becomes `grantedBy`, which is joined by a level."""
    first = {"properties": {"by": {"type": "string"}}, "required": ["by"]}
    second = {"properties": {"grantedBy": {"type": "string"}}, "required": ["grantedBy"]}
    third = {
        "properties": {"grantedBy": {"maxLength": 10}, "level": {"type": "integer"}},
        "required": ["grantedBy", "level"],
    }
    for version, schema in enumerate((first, second, third), 1):
        await schemas.RegisterSchema(schema_request(schema, version, compatibility="NONE"))
    await schemas.RegisterUpcaster(upcaster_request(1, 2, RENAME))
    await schemas.RegisterUpcaster(
        upcaster_request(2, 3, {"add": {"path": "/level", "value": "1"}})
    )


async def read(
    events: "EventStoreServiceAsyncStub", **options: Any
) -> list[tuple[int, Any, pb.Upcast]]:
    """The versions and the JSON of the stream, and what became of each event."""
    call = events.Read(pb.ReadRequest(stream="permit-1", **options))
    recorded = [one for response in [r async for r in call] for one in response.events]
    return [(one.event.schema_version, json.loads(one.event.json), one.upcast) for one in recorded]


async def test_readers_who_ask_get_the_newest_version_and_others_what_is_stored(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    await events.Append(append_request({"by": "Ada"}, version=0))
    await versions(schemas)
    for version, value in [
        (1, {"by": "Eve"}),
        (2, {"grantedBy": "Omar"}),
        (3, {"grantedBy": "I", "level": 7}),
    ]:
        await events.Append(append_request(value, version))

    raw, upcasts = await read(events), await read(events, upcast=True)

    assert [(version, value) for version, value, _ in raw] == [
        (0, {"by": "Ada"}),
        (1, {"by": "Eve"}),
        (2, {"grantedBy": "Omar"}),
        (3, {"grantedBy": "I", "level": 7}),
    ]
    assert [(version, value) for version, value, _ in upcasts] == [
        (0, {"by": "Ada"}),
        (3, {"grantedBy": "Eve", "level": 1}),
        (3, {"grantedBy": "Omar", "level": 1}),
        (3, {"grantedBy": "I", "level": 7}),
    ]
    assert [(one.from_version, one.problem) for *_, one in upcasts[1:3]] == [(1, ""), (2, "")]


async def test_what_an_upcaster_makes_wrong_comes_as_it_is_stored_and_says_why(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    await versions(schemas)
    await events.Append(append_request({"by": "Ada, countess of Lovelace"}, 1))
    await events.Append(append_request({"by": "Ada", "grantedBy": 2}, 1))

    first, second = await read(events, upcast=True)

    assert first[:2] == (1, {"by": "Ada, countess of Lovelace"})
    assert first[2].problem.startswith("/grantedBy: ")
    assert second[:2] == (1, {"by": "Ada", "grantedBy": 2})
    assert second[2].problem == "/grantedBy is there already"


async def test_a_follower_gets_what_is_registered_while_it_follows(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    call = events.Read(pb.ReadRequest(stream="permit-1", follow=True, upcast=True))
    await versions(schemas)
    await asyncio.sleep(1.1)  # For so long what it knew before may count.

    await events.Append(append_request({"by": "Ada"}, 1))
    response = await anext(aiter(call))
    call.cancel()

    assert json.loads(response.events[0].event.json) == {"grantedBy": "Ada", "level": 1}


async def test_events_that_grow_come_in_responses_that_every_client_takes(
    events: "EventStoreServiceAsyncStub", schemas: "SchemaServiceAsyncStub"
) -> None:
    await schemas.RegisterSchema(schema_request(True, 1))
    await schemas.RegisterSchema(schema_request(True, 2))
    padding = {"add": {"path": "/padding", "value": json.dumps("x" * 16_000)}}
    await schemas.RegisterUpcaster(upcaster_request(1, 2, padding))
    request = append_request({"n": 0}, 1)
    for n in range(1, 600):
        request.events.extend(append_request({"n": n}, 1).events)
    await events.Append(request)

    responses = [
        response async for response in events.Read(pb.ReadRequest(stream="permit-1", upcast=True))
    ]

    sizes = [response.ByteSize() for response in responses]
    assert max(sizes) <= 4 * 2**20 < sum(sizes)
    values = [json.loads(one.event.json) for response in responses for one in response.events]
    assert [value["n"] for value in values] == list(range(600))
    assert all(len(value["padding"]) == 16_000 for value in values)
    assert len({response.incarnation for response in responses}) == 1
