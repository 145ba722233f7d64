"""Lines of streamed answers end where their writers end them."""

from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.client.lines import lines_of


@given(st.text(alphabet="a\n\u2028\u2029\u0085\x0b\x0c\x1c"), st.lists(st.integers(0, 20)))
def test_lines_are_those_of_the_whole_text_however_it_arrives(text: str, cuts: list[int]) -> None:
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[start:end] for start, end in pairwise(ends)]

    lines = list(lines_of(pieces))

    assert lines == (text.split("\n")[:-1] if text.endswith("\n") or not text else text.split("\n"))


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x1e"])
def test_a_line_that_httpx_would_split_stays_whole(character: str) -> None:
    line = f'{{"event": {{"type": "a{character}b"}}}}'
    response = httpx.Response(200, content=f"{line}\n".encode(), headers={"content-type": "x/y"})
    assert len(list(response.iter_lines())) == 2

    assert list(lines_of(response.iter_text())) == [line]


def test_a_carriage_return_before_the_end_is_no_part_of_a_line() -> None:
    assert list(lines_of(["a\r", "\nb\r\n"])) == ["a", "b"]
