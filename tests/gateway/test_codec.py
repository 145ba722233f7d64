"""JSON to messages and back, compared with protobuf's own mapping."""

import base64
import json
import math
from typing import Any, cast

import orjson
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contract.descriptors import ContractError
from gateway.transcoding import json_body
from gateway.transcoding.codec import Decoder, Encoder
from gateway.transcoding.validation import ValidationError
from tests.gateway.sample import descriptor, message

EVERYTHING = descriptor("Everything")
_decode = Decoder().message(EVERYTHING)
_encode = Encoder().message(EVERYTHING)

# Compared by their own tests: the oracle shows them as escaped strings.
_JSON_TEXTS = ("json", "chosen_json")

_BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


# Without NaN, of which there are many that JSON writes alike: tested by itself.
_PLAIN: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_FLOAT: st.floats(allow_nan=False, width=32),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: st.text(max_size=20),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=20),
}


def decoded(text: bytes | str) -> Message:
    body = text.encode() if isinstance(text, str) else text
    return GetMessageClass(EVERYTHING)(**_decode(json_body.parse(body)))


def encoded(made: Message) -> Any:
    return json.loads(orjson.dumps(_encode(made)))


def violations(text: str) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        decoded(text)
    return caught.value.violations


def _scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([0, 1, 2, 77])
    if field.cpp_type in _BOUNDS:
        return st.integers(*_BOUNDS[field.cpp_type])
    return _PLAIN[field.type]


@st.composite
def everything(draw: st.DrawFn, depth: int = 2) -> Message:
    """Any message of the sample contract, nested a little."""
    made: Any = GetMessageClass(EVERYTHING)()
    for field in EVERYTHING.fields:
        if field.name in _JSON_TEXTS or not draw(st.booleans()):
            continue
        if field.message_type is None:
            if field.is_repeated:
                getattr(made, field.name).extend(draw(st.lists(_scalars(field), max_size=3)))
            else:
                setattr(made, field.name, draw(_scalars(field)))
        elif field.message_type is EVERYTHING and depth:
            child = draw(everything(depth - 1))
            target = getattr(made, field.name)
            (target.add() if field.is_repeated else target).CopyFrom(child)
            if not field.is_repeated:
                target.SetInParent()
    _draw_special(draw, made, depth)
    return cast("Message", made)


def _draw_special(draw: st.DrawFn, made: Any, depth: int) -> None:
    made.notes.update(draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)))
    for flag in draw(st.lists(st.booleans(), max_size=2)):
        made.colours_by_flag[flag] = draw(st.sampled_from([0, 1, 2]))
    if depth and draw(st.booleans()):
        made.children_by_number[draw(st.integers(-(2**63), 2**63 - 1))].CopyFrom(
            draw(everything(0))
        )
    for moment in draw(st.lists(st.integers(-62135596800, 253402300799), max_size=2)):
        made.moments.add(seconds=moment, nanos=draw(st.integers(0, 999_999_999)))
        made.moment.CopyFrom(made.moments[0])
    if draw(st.booleans()):
        made.duration.FromNanoseconds(draw(st.integers(-(10**15), 10**15)))
        made.structure.update({"a": [1.5, None, {"b": "c"}]})
        made.wrapped.value = draw(st.integers(-(2**63), 2**63 - 1))
        made.mask.paths.append("long_number")
        made.value.null_value = 0


# Drawing such messages is slow, and not what is tested.
_many = settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@_many
@given(everything())
def test_writes_what_protobuf_writes(made: Message) -> None:
    oracle = json_format.MessageToDict(made, always_print_fields_with_no_presence=True)

    value = encoded(made)

    assert without_json_texts(value) == without_json_texts(json.loads(json.dumps(oracle)))


@_many
@given(everything())
def test_reads_what_protobuf_wrote(made: Message) -> None:
    text = json_format.MessageToJson(made, indent=None)

    assert decoded(text).SerializeToString(deterministic=True) == made.SerializeToString(
        deterministic=True
    )


@_many
@given(everything())
def test_reads_what_it_wrote_itself(made: Message) -> None:
    assert decoded(orjson.dumps(_encode(made))).SerializeToString(
        deterministic=True
    ) == made.SerializeToString(deterministic=True)


def without_json_texts(value: Any) -> Any:
    """NaN is not equal to itself; JSON texts are compared elsewhere."""
    if isinstance(value, dict):
        return {k: without_json_texts(v) for k, v in value.items() if k != "json"}
    return [without_json_texts(item) for item in value] if isinstance(value, list) else value


_SPELLINGS = [
    ('{"longNumber": "9007199254740993"}', {"long_number": 2**53 + 1}),
    ('{"longNumber": 9007199254740993}', {"long_number": 2**53 + 1}),
    ('{"long_number": -9223372036854775808}', {"long_number": -(2**63)}),
    ('{"longNatural": 18446744073709551615}', {"long_natural": 2**64 - 1}),
    ('{"number": 5.0}', {"number": 5}),
    ('{"number": 1e3}', {"number": 1000}),
    ('{"longNumber": 9007199254740992.0}', {"long_number": 2**53}),
    ('{"number": "12"}', {"number": 12}),
    ('{"number": "1e2"}', {"number": 100}),
    ('{"number": 1E+2}', {"number": 100}),
    ('{"number": "1.10e1"}', {"number": 11}),
    ('{"number": "5.0"}', {"number": 5}),
    ('{"number": 10.50e1}', {"number": 105}),
    ('{"number": -0}', {"number": 0}),
    ('{"number": "-0"}', {"number": 0}),
    ('{"longNumber": "9.223372036854775807e18"}', {"long_number": 2**63 - 1}),
    ('{"longNumber": 9007199254740993.0}', {"long_number": 2**53 + 1}),
    ('{"longNumber": ' + "1" + "0" * 400 + "e-400}", {"long_number": 1}),
    ('{"doubleNumber": 1.10}', {"double_number": 1.1}),
    ('{"colour": "COLOUR_RED"}', {"colour": 1}),
    ('{"colour": 2}', {"colour": 2}),
    ('{"colour": 99}', {"colour": 99}),
    ('{"data": "+/8="}', {"data": b"\xfb\xff"}),
    ('{"data": "-_8"}', {"data": b"\xfb\xff"}),
    ('{"doubleNumber": "-Infinity"}', {"double_number": -math.inf}),
    ('{"doubleNumber": "1.5e3"}', {"double_number": 1500.0}),
    ('{"doubleNumber": 1.2345678901234567e30}', {"double_number": 1.2345678901234567e30}),
    ('{"text": null, "children": null, "child": null}', {}),
    ('{"maybeNumber": 0}', {"maybe_number": 0}),
    ('{"child": {}}', {"child": {}}),
    ('{"chosenText": "a", "chosenNumber": null}', {"chosen_text": "a"}),
    ('{"notes": {"a": "b"}, "coloursByFlag": {"true": 1}}',
     {"notes": {"a": "b"}, "colours_by_flag": {True: 1}}),
    ('  \n{"flag" : true }\r\n', {"flag": True}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fields"), _SPELLINGS)
def test_takes_every_spelling_of_a_value(text: str, fields: dict[str, Any]) -> None:
    assert decoded(text) == message("Everything", **fields)


_REFUSED = [
    ('{"nope": 1}', "nope"),
    ('{"child": {"children": [{}, {"nope": 1}]}}', "child.children[1].nope"),
    ('{"number": 2147483648}', "number"),
    ('{"natural": -1}', "natural"),
    ('{"longNumber": 9223372036854775808}', "longNumber"),
    ('{"longNumber": 1e300}', "longNumber"),
    ('{"longNumber": "1.5"}', "longNumber"),
    ('{"longNumber": "1_000"}', "longNumber"),
    ('{"longNumber": "٣"}', "longNumber"),
    ('{"longNumber": " 1"}', "longNumber"),
    ('{"longNumber": 1.5}', "longNumber"),
    ('{"longNumber": true}', "longNumber"),
    ('{"longNumber": 99999999999999999999999999}', "longNumber"),
    ('{"flag": "true"}', "flag"),
    ('{"flag": 1}', "flag"),
    ('{"text": 1}', "text"),
    ('{"texts": "a"}', "texts"),
    ('{"texts": ["a", null]}', "texts[1]"),
    ('{"children": [null]}', "children[0]"),
    ('{"child": []}', "child"),
    ('{"data": "a"}', "data"),
    ('{"data": "a b="}', "data"),
    ('{"data": "é"}', "data"),
    ('{"data": "YW Jj"}', "data"),
    ('{"data": "YWJj!!!!"}', "data"),
    ('{"longNumber": "1e300"}', "longNumber"),
    ('{"longNumber": "1e99999999999999999999"}', "longNumber"),
    ('{"longNumber": 1e-99999999999999999999}', "longNumber"),
    ('{"longNumber": "1e"}', "longNumber"),
    ('{"longNumber": "01"}', "longNumber"),
    ('{"longNumber": "+1"}', "longNumber"),
    ('{"longNumber": ".5e1"}', "longNumber"),
    ('{"longNumber": ""}', "longNumber"),
    ('{"number": 2147483648.0}', "number"),
    ('{"colour": "RED"}', "colour"),
    ('{"colour": 1e20}', "colour"),
    ('{"doubleNumber": "1e999"}', "doubleNumber"),
    ('{"doubleNumber": "0x10"}', "doubleNumber"),
    ('{"doubleNumber": 1e999}', "doubleNumber"),
    ('{"floatNumber": 1e39}', "floatNumber"),
    ('{"doubleNumber": []}', "doubleNumber"),
    ('{"notes": {"a": 1}}', "notes[a]"),
    ('{"notes": {"a": null}}', "notes[a]"),
    ('{"childrenByNumber": {"x": {}}}', "childrenByNumber[x]"),
    ('{"childrenByNumber": {"1": {"nope": 1}}}', "childrenByNumber[1].nope"),
    ('{"moment": "yesterday"}', "moment"),
    ('{"moment": 5}', "moment"),
    ('{"duration": "5"}', "duration"),
    ('{"chosenText": "a", "chosenNumber": 1}', ""),
    ('{"longNumber": 1, "long_number": 1}', "long_number"),
    ('{"json": 1e999}', "json"),
    ('{"json": [[{"a": -1e400}]]}', "json"),
    ('{"json": ' + "9" * 400 + "}", "json"),
    ('{"json": ' + "[" * 300 + "]" * 300 + "}", "json"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path"), _REFUSED)
def test_refuses_a_value_by_its_path(text: str, path: str) -> None:
    assert [result for result, _ in violations(text)] == [path]


_NO_JSON = [
    "", "{", "[", "nul", "{'a': 1}", '{"a": 1,}', "NaN", '{"doubleNumber": NaN}',
    '{"doubleNumber": Infinity}', '{"json": -Infinity}', "01", '{"text": "\\ud800"}',
    '{"text": "a\nb"}', '{"text": "a"} x', "\ufeff{}", "[" * 100_000, '{"a":' * 10_000,
    '{"text": "a", "text": "a"}', '{"json": {"a": 1, "a": 1}}', '{"number": ' + "9" * 5000 + "}",
]  # fmt: skip


@pytest.mark.parametrize("text", _NO_JSON, ids=lambda text: text[:20] or "empty")
def test_refuses_what_is_no_json(text: str) -> None:
    assert [path for path, _ in violations(text)] == [""]


def test_refuses_what_is_no_utf8() -> None:
    with pytest.raises(ValidationError):
        decoded(b'{"text": "\xff"}')


def test_tells_every_violation_at_once() -> None:
    result = violations('{"number": "x", "texts": [1, "a", 2], "nope": {}, "child": {"flag": 0}}')

    assert [path for path, _ in result] == ["number", "texts[0]", "texts[2]", "nope", "child.flag"]


def test_tells_a_bounded_number_of_violations() -> None:
    assert len(violations(json.dumps({"texts": [1] * 10_000}))) == 100


_VERBATIM = [
    "null", "true", '"a"', "[]", "{}", "12345678901234567890123456789", "-1e40",
    "0.1000000000000000055511151231257827021181583404541015625", "1e-400", "-0.0", "[1,2.5,\"x\"]",
    "-0", "[-0]", '{"a":-0,"b":[0,-0]}', '"a, -0, b"', "1e5", "5e-324", "1.7976931348623157e308",
    '{"z":1,"a":{"\\"":[null]}}', '"\\u0000"', '{"n":18446744073709551616}', '[1E5,1.0e+3]',
]  # fmt: skip


@given(
    st.lists(
        st.from_regex(
            r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,2}|\.0{0,8}[0-9]{1,20}0*)?([eE][+-]?[0-9]{1,2})?",
            fullmatch=True,
            alphabet="-+.eE0123456789",
        )
    )
)
def test_a_json_text_keeps_the_spelling_of_numbers(numbers: list[str]) -> None:
    text = f"[{','.join(numbers)}]"

    made: Any = decoded(f'{{"json": {text}}}')

    assert made.json == text


@pytest.mark.parametrize("text", _VERBATIM)
def test_a_json_text_keeps_what_was_sent(text: str) -> None:
    made: Any = decoded(f'{{"json": {text}, "chosenJson": {text}}}')

    assert made.json == text
    assert made.chosen_json == text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=3), values),
    max_leaves=12,
)


@given(JSON)
def test_a_text_as_orjson_writes_it_is_what_it_is_to_the_careful_parser(value: Any) -> None:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    quick, careful = json_body.parse(text.encode()), json_body._parsed(text, json_body._decoder)

    assert json_body.dump(quick) == json_body.dump(careful)


@pytest.mark.parametrize("text", ['{"a":1,"a":1}', '{"a":{"b":1,"b":1}}', '[{"a":1,"b":2,"a":1}]'])
def test_no_key_is_taken_twice_however_a_text_is_spaced(text: str) -> None:
    for spaced in (text, text.replace(":", ": ")):
        with pytest.raises(ValidationError):
            json_body.parse(spaced.encode())


@pytest.mark.parametrize("text", ["12345678901234567000", "1.2345678901234567e19"])
def test_an_integer_is_what_its_digits_say_and_not_the_double_next_to_it(text: str) -> None:
    made = decoded(f'{{"longNatural":{text}}}')

    assert encoded(made)["longNatural"] == "12345678901234567000"


def test_a_json_text_keeps_the_order_of_its_keys() -> None:
    made: Any = decoded('{"json": {"b": 1, "a": {"d": 2, "c": 99999999999999999999}}}')

    assert made.json == '{"b":1,"a":{"d":2,"c":99999999999999999999}}'


def test_a_json_text_is_shown_as_json_on_one_line() -> None:
    made = message("Everything", json='{"a":\n [1.50,\r\n12345678901234567890123]}')

    assert b'"json":{"a":  [1.50,  12345678901234567890123]},' in orjson.dumps(_encode(made))


def test_an_empty_json_text_is_left_out() -> None:
    assert "json" not in encoded(message("Everything"))
    assert "chosenJson" not in encoded(message("Everything"))


def test_a_list_with_a_row_length_is_shown_in_rows() -> None:
    table = message("Table", cells=[1, 2, 3, 2**62, 5, 6], columns=3, measures=[0.5, math.nan])
    encode = Encoder().message(descriptor("Table"))

    assert encode(table) == {
        "cells": [["1", "2", "3"], [str(2**62), "5", "6"]],
        "columns": 3,
        "measures": [[0.5, "NaN"]],
    }
    assert encode(message("Table"))["cells"] == []


def test_rows_of_an_unknown_length_are_found_at_start() -> None:
    with pytest.raises(ContractError):
        Encoder().message(descriptor("BadTable"))


def test_a_request_with_rows_is_found_at_start() -> None:
    with pytest.raises(ContractError):
        Decoder().message(descriptor("Table"))


def test_fields_without_presence_are_always_printed() -> None:
    value = encoded(message("Everything"))

    assert value["longNumber"] == "0"
    assert value["texts"] == []
    assert value["notes"] == {}
    assert value["colour"] == "COLOUR_UNSPECIFIED"
    assert not {"maybeNumber", "child", "chosenText", "moment"} & value.keys()


def test_numbers_that_json_lacks_are_strings() -> None:
    made = message("Everything", double_numbers=[1.0, math.nan, -math.inf], double_number=math.inf)

    value = encoded(made)

    assert value["doubleNumbers"] == [1.0, "NaN", "-Infinity"]
    assert value["doubleNumber"] == "Infinity"


def test_finite_numbers_whose_sum_is_not_stay_numbers() -> None:
    assert (
        encoded(message("Everything", double_numbers=[1e308] * 3))["doubleNumbers"] == [1e308] * 3
    )


def test_four_mebibytes_of_base64_pass() -> None:
    data = bytes(range(256)) * 2**14

    made: Any = decoded(json.dumps({"data": base64.urlsafe_b64encode(data).decode()}))

    assert made.data == data
