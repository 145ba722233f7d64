"""Messages keep the rules of the contract: the quick answer and the words are of one mind."""

import math
import re
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from girih.accounts.v1 import accounts_pb2
from girih.events.v1 import events_pb2
from girih.lattice.v1 import lattice_pb2, paths_pb2, simulations_pb2, structure_pb2
from girih.ops.v1 import ops_pb2
from girih.options.v1 import options_pb2
from girih.rules import checking
from girih.rules import words as rules
from girih.rules.violations import VIOLATIONS_MAX
from services.plumbing import validation
from services.plumbing.errors import InvalidInput, Violations
from tests.messages import UUID, messages

FILES = [accounts_pb2, events_pb2, lattice_pb2, ops_pb2, paths_pb2, simulations_pb2, structure_pb2]
MESSAGES = {
    message.full_name: message
    for file in FILES
    for message in file.DESCRIPTOR.message_types_by_name.values()
}
STREAM = events_pb2.Event.DESCRIPTOR.fields_by_name["stream"]


def fields_of(message: Message) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        validation.check(message)
    return [(one.field, one.description) for one in caught.value.violations]


def event(**changed: object) -> events_pb2.Event:
    values: dict[str, object] = {"stream": "s", "type": "t", **changed}
    return events_pb2.Event(**values)  # type: ignore[arg-type]


def all_fields() -> Iterator[FieldDescriptor]:
    for message in MESSAGES.values():
        yield from message.fields


def test_a_message_that_keeps_all_rules_is_let_through() -> None:
    validation.check(event(id=UUID.lower(), tags=["a", "b"], metadata={"k": "v"}))


def test_how_long_a_text_may_be_is_told_apart_from_what_it_must_be() -> None:
    category = MESSAGES["girih.events.v1.Query"].fields_by_name["category"]

    assert rules.words_of(category).startswith("must be at most 255 characters, a name without -")


@pytest.mark.parametrize(
    ("changed", "path", "words"),
    [
        ({"stream": ""}, "stream", "must be 1 to 255 characters of A-Z"),
        ({"stream": "s" * 256}, "stream", "must be 1 to 255"),
        ({"stream": "s\n"}, "stream", "must be 1 to 255"),
        ({"type": "t" * 256}, "type", "must be 1 to 255 characters without control characters"),
        ({"type": "a\x85"}, "type", "must be 1 to 255"),
        ({"id": UUID}, "id", "must be a UUID as lower-case text with hyphens, or empty"),
        ({"schema_version": -1}, "schema_version", "must be 0 or more"),
        ({"tags": ["a", ""]}, "tags[1]", "must be 1 to 255"),
        ({"tags": ["a", "b", "a"]}, "tags[2]", "must not be given twice"),
        ({"tags": [str(n) for n in range(33)]}, "tags", "must have at most 32 items, none twice"),
        ({"metadata": {"": "v"}}, "metadata", "each key must be 1 to 64 characters"),
        ({"metadata": {"k": "\n"}}, "metadata[k]", "must be at most 1,024 characters"),
        ({"metadata": {str(n): "" for n in range(33)}}, "metadata", "must have at most 32 keys"),
    ],
)
def test_a_bad_field_is_named_with_what_it_must_be(
    changed: dict[str, object], path: str, words: str
) -> None:
    [(field, description)] = fields_of(event(**changed))

    assert field == path
    assert description.startswith(words)


def test_a_line_may_hold_what_is_not_printable_and_no_control_character() -> None:
    validation.check(event(type="a\u00a0\u200b\ue000"))


def test_bad_fields_within_lists_have_their_path() -> None:
    request = events_pb2.AppendRequest(
        events=[event(), event(tags=[""])], preconditions=[events_pb2.Precondition(stream="s")]
    )

    assert [path for path, _ in fields_of(request)] == [
        "events[1].tags[0]",
        "preconditions[0].expected",
    ]


def test_a_required_message_must_be_given() -> None:
    request = lattice_pb2.FindPathRequest(lattice_id=UUID, start={"coordinates": [0]})

    assert fields_of(request) == [("goal", "must be given")]


def test_an_optional_field_is_checked_when_it_is_set() -> None:
    validation.check(events_pb2.ReadRequest())

    assert fields_of(events_pb2.ReadRequest(from_position=0)) == [
        ("from_position", "must be 1 or more")
    ]


def test_an_enum_holds_a_value_of_the_contract() -> None:
    with_role = accounts_pb2.SetMemberRoleRequest(user_id=UUID, role=9)  # type: ignore[arg-type]
    [(path, words)] = fields_of(with_role)

    assert path == "role"
    assert words == "must be one of ROLE_VIEWER, ROLE_MEMBER, ROLE_ADMIN, ROLE_OWNER"


def test_a_length_counts_characters() -> None:
    validation.check(accounts_pb2.LoginRequest(email="a@b", password="ü" * 1_024))
    too_short = accounts_pb2.ChangePasswordRequest(new_password="密码密码密")
    too_long = accounts_pb2.LoginRequest(email="a@b", password="ü" * 1_025)

    assert fields_of(too_short) == [("new_password", "must be 6 to 1,024 characters")]
    assert fields_of(too_long) == [("password", "must be at most 1,024 characters")]


def test_a_length_in_bytes_counts_bytes() -> None:
    bounds = options_pb2.StringRules(min_bytes=6, max_bytes=8)

    [holds] = checking._string_predicates(bounds, is_optional=False)

    taken = [text for text in ("üü", "üüü", "üüüü", "üüüüü", "sixsix") if holds(text)]
    assert taken == ["üüü", "üüüü", "sixsix"]


@pytest.mark.parametrize("length_max", [math.nan, math.inf, -math.inf, -1.0])
def test_a_double_keeps_its_bounds(length_max: float) -> None:
    request = paths_pb2.ReachableRequest(
        lattice_id=UUID, sources=[{"coordinates": [0]}], length_max=length_max
    )

    assert fields_of(request) == [("length_max", "must be 0 or more and finite")]


@pytest.mark.parametrize("damping", [math.nan, math.inf, -1.0])
def test_a_damping_that_is_no_number_is_refused(damping: float) -> None:
    request = structure_pb2.CentralityRequest(
        lattice_id=UUID, measure=structure_pb2.MEASURE_PAGERANK, damping=damping
    )

    assert fields_of(request) == [("damping", "must be 0 or more and finite")]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_double_above_a_bound_is_not_at_it(temperature: float) -> None:
    model = simulations_pb2.Ising(temperature=temperature)

    assert fields_of(model) == [("temperature", "must be above 0 and finite")]


def test_one_or_more_of_some_fields_are_given() -> None:
    words = "must have one or more of types, tags, stream_prefix, category, correlation_id"
    request = events_pb2.ReadRequest(filter={"queries": [{"tags": ["a"]}, {}]})

    assert fields_of(request) == [("filter.queries[1]", words)]
    assert fields_of(events_pb2.Query()) == [("types", words)]


def test_no_more_violations_are_told_than_anybody_reads() -> None:
    request = events_pb2.AppendRequest(events=[events_pb2.Event()] * 5_000)

    assert len(fields_of(request)) == VIOLATIONS_MAX


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_every_rule_of_the_contract_can_be_checked(message: Descriptor) -> None:
    checking.check_of(message)


def test_every_rule_has_words() -> None:
    ruled = [field for field in all_fields() if rules.rules_of(field).ListFields()]

    assert len(ruled) > 50
    assert [field.full_name for field in ruled if not rules.words_of(field)] == []


def test_streams_are_named_alike_everywhere() -> None:
    patterns = {
        rules.rules_of(field).string.pattern
        for field in all_fields()
        if field.name == "stream" and rules.rules_of(field).ListFields()
    }

    assert patterns == {rules.rules_of(STREAM).string.pattern}


def test_a_field_is_required_that_may_not_hold_its_default() -> None:
    fields = [field for field in all_fields() if field.containing_type is STREAM.containing_type]

    required = [field.name for field in fields if checking.is_required(field)]

    assert required == ["stream", "type"]


REQUESTS = [message for name, message in MESSAGES.items() if name.endswith("Request")]


@given(st.sampled_from(REQUESTS).flatmap(messages))
def test_a_message_holds_exactly_when_nothing_is_wrong_with_it(message: Message) -> None:
    compiled = checking.check_of(message.DESCRIPTOR)
    violations = Violations()

    compiled.examine(message, "", violations)

    assert bool(compiled.holds(message)) == (not violations)


@given(
    st.sampled_from([*REQUESTS, events_pb2.Event.DESCRIPTOR]).flatmap(
        lambda one: st.lists(messages(one), max_size=4)
    )
)
def test_several_messages_hold_exactly_when_each_does(several: list[Message]) -> None:
    for message in several[:1]:
        compiled = checking.check_of(message.DESCRIPTOR)

        assert bool(compiled.all_hold(several)) == all(map(compiled.holds, several))


@given(st.lists(st.one_of(st.uuids().map(str), st.text("09af-AFg\u0661\u00b2", max_size=37))))
def test_ids_hold_exactly_when_the_pattern_as_documented_matches(ids: list[str]) -> None:
    pattern = rules.rules_of(events_pb2.Event.DESCRIPTOR.fields_by_name["id"]).string.pattern
    matches = [not one or re.fullmatch(pattern[1:-1], one) is not None for one in ids]
    events = [event(id=one) for one in ids]
    compiled = checking.check_of(events_pb2.Event.DESCRIPTOR)

    assert [bool(compiled.holds(one)) for one in events] == matches
    assert bool(compiled.all_hold(events)) == all(matches)


def test_two_ids_that_are_as_long_as_two_together_are_told_apart() -> None:
    one = "00000000-0000-0000-0000-000000000000"
    events = [event(id=one + "0"), event(id=one[1:])]

    assert not checking.check_of(events_pb2.Event.DESCRIPTOR).all_hold(events)


@given(st.text(st.characters(codec="utf-8")))
def test_strings_hold_exactly_when_the_pattern_as_documented_matches(text: str) -> None:
    for field in (STREAM, events_pb2.Event.DESCRIPTOR.fields_by_name["type"]):
        string = rules.rules_of(field).string
        matches = re.fullmatch(string.pattern[1:-1], text) is not None
        fits = not string.HasField("max_len") or string.min_len <= len(text) <= string.max_len
        one = event(**{field.name: text})

        assert bool(checking.check_of(one.DESCRIPTOR).holds(one)) == (matches and fits)
