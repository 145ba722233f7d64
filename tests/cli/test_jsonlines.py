"""Lines become drafts whose payload is what was sent, or errors that say what is wrong."""

import io
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.importing import jsonlines
from cli.importing.jsonlines import BadLine, Draft, Format, Line, draft, event_id, lines

FORM = Format()
NAMESPACE = uuid.UUID(int=7)


def cut(text: str, form: Format = FORM) -> Draft:
    return draft(Line(1, text.encode()), form)


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ('{"stream":"s","type":"t"}', "{}"),
        ('{"stream":"s","type":"t","a":1.10}', '{"a":1.10}'),
        ('{"a":123456789012345678901234567890,"type":"t","stream":"s"}', None),
        ('{ "a" :  [1,  2] , "stream" : "s", "type":"t", "b":"\\u00e9" }', None),
        ('{"stream":"s","a":{"stream":"inner"},"type":"t"}', '{"a":{"stream":"inner"}}'),
        ('{"\\u0073tream":"s","type":"t","a":null}', '{"a":null}'),
        ('{"stream":"s","type":"t","a":-0.0,"b":1E400,"c":true}', '{"a":-0.0,"b":1E400,"c":true}'),
    ],
)
def test_the_payload_is_the_rest_as_it_was_sent(text: str, payload: str | None) -> None:
    expected = {
        '{"a":123456789012345678901234567890,"type":"t","stream":"s"}': (
            '{"a":123456789012345678901234567890}'
        ),
        '{ "a" :  [1,  2] , "stream" : "s", "type":"t", "b":"\\u00e9" }': (
            '{"a" :  [1,  2],"b":"\\u00e9"}'
        ),
    }
    assert cut(text) == Draft("s", "t", payload or expected[text])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values), st.booleans())
def test_no_member_is_lost_or_changed(members: dict[str, object], escapes: bool) -> None:
    members_sent = {**members, "stream": "s", "type": "t"}

    made = cut(json.dumps(members_sent, ensure_ascii=escapes).encode(errors="replace").decode())

    expected = {
        name: value for name, value in members_sent.items() if name not in ("stream", "type")
    }
    text = json.dumps(expected, ensure_ascii=escapes).encode(errors="replace").decode()
    assert json.loads(made.payload) == json.loads(text)


def test_other_members_may_name_stream_and_type() -> None:
    form = Format(stream_field="case", type_field="activity")

    assert cut('{"case":"c","activity":"a","type":5}', form) == Draft("c", "a", '{"type":5}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "line 1: must be a JSON object"),
        ('"text"', "line 1: must be a JSON object"),
        ('{"type":"t"}', "line 1: must have the member 'stream'"),
        ('{"stream":"s"}', "line 1: must have the member 'type'"),
        ('{"stream":5,"type":"t"}', "line 1: the member 'stream' must be a text"),
        ('{"stream":"","type":"t"}', "line 1: the member 'stream' must be a text"),
        ('{"stream":"s","type":"t","a":NaN}', "line 1: must be JSON, which has no NaN"),
        ('{"stream":"s","type":"t","a":-Infinity}', "line 1: must be JSON, which has no -Infinity"),
        ('{"stream":"s","stream":"r","type":"t"}', "stands there twice at character 15"),
        ('{"stream":"s","type":"t"', "'}' expected at character 25"),
        ('{"stream":"s","type":"t"} x', "more follows after the object at character 27"),
        ('{"stream":"s","type":"t",}', "expected at character 26"),
        ('{"stream":"s","type" "t"}', "':' expected at character 22"),
        ("{'stream':'s'}", "expected at character 2"),
        ('{"stream":"s","type":"t","a":' + "[" * 100_000, "line 1: must be nested less deep"),
    ],
)
def test_a_bad_line_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(BadLine) as caught:
        cut(text)

    assert message in str(caught.value)


def test_bytes_that_are_no_text_are_a_bad_line() -> None:
    with pytest.raises(BadLine, match="line 3: must be UTF-8, and is not at byte 3"):
        draft(Line(3, b'{"\xff":1}'), FORM)


def test_a_byte_order_mark_may_open_a_file() -> None:
    assert draft(Line(1, b'\xef\xbb\xbf{"stream":"s","type":"t"}'), FORM).stream == "s"


def test_blank_lines_count_and_are_passed_over() -> None:
    result = list(lines(io.BytesIO(b"\n{}\r\n \n\n{}")))

    assert result == [Line(2, b"{}"), Line(5, b"{}")]


def test_an_overlong_line_is_an_error_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonlines, "LINE_BYTES_MAX", 10)

    result = list(lines(io.BytesIO(b"x" * 35 + b"\n" + b"y" * 10 + b"\n")))

    assert isinstance(result[0], BadLine)
    assert result[0].number == 1
    assert result[1] == Line(2, b"y" * 10)


def test_an_id_depends_on_source_number_and_content_and_on_nothing_else() -> None:
    ids = {
        event_id(NAMESPACE, source, Line(number, content))
        for source in ("a", "b")
        for number in (1, 2)
        for content in (b"{}", b"[]")
    }

    assert len(ids) == 8
    assert event_id(NAMESPACE, "a", Line(1, b"{}")) in ids
    assert all(uuid.UUID(one).version == 5 for one in ids)


def test_the_ids_of_an_import_never_change() -> None:
    assert event_id(NAMESPACE, "a", Line(1, b"{}")) == "bd689deb-144b-5a53-8a12-87d4ae3f0d13"
