"""Every command of the documentation is run by `python -m tests.docs`, or told why it is not."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs.site.sources import Sources
from tests.cli.test_help import command_lines, parse
from tests.docs import pages
from tests.docs.following import ENDLESS, NOT_RUN, all_pages, reason_not_to_run
from tests.processes import ROOT

COMMANDS = [(page, command) for page in all_pages() for command in pages.commands(page)]
WRITTEN = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *Sources().written()]
_inline = re.compile(r"`([^`\n]+)`")
_module = re.compile(r"python -m ([\w.]+)")
_target = re.compile(r"^make ([a-z-]+)")


def texts() -> list[str]:
    """What is written as code, in blocks and in sentences."""
    inline = (
        text for page in WRITTEN for text in _inline.findall((ROOT / page).read_text("utf-8"))
    )
    return [*inline, *(command.text for _, command in COMMANDS)]


def test_most_commands_are_run() -> None:
    run = [one for one in COMMANDS if not reason_not_to_run(one[1].text)]

    assert len(run) > 2 / 3 * len(COMMANDS) > 50


@pytest.mark.parametrize("start", NOT_RUN)
def test_what_is_not_run_stands_on_a_page(start: str) -> None:
    reasons = {reason_not_to_run(command.text) for _, command in COMMANDS}

    assert NOT_RUN[start] in reasons
    assert any(command.text.startswith(start) for _, command in COMMANDS)


def test_what_is_stopped_stands_on_a_page_and_is_run() -> None:
    for start in ENDLESS:
        assert any(command.text.startswith(start) for _, command in COMMANDS)
        assert not reason_not_to_run(start)


OURS = [
    command.text
    for _, command in COMMANDS
    if command.text.startswith("girih") or not reason_not_to_run(command.text)
]


@pytest.mark.parametrize("text", OURS)
def test_a_command_of_girih_is_understood(text: str) -> None:
    for words in command_lines(re.sub(r"\s+(# |\|\| ).*", "", text)):
        parse(words)


def test_modules_that_are_to_be_run_are_there() -> None:
    named = {name for text in texts() for name in _module.findall(text)}

    assert len(named) > 20
    assert {name for name in named if not _is_there(name)} == set()


def _is_there(name: str) -> bool:
    return find_spec(name) is not None


def test_targets_of_make_are_there() -> None:
    named = {match[1] for text in texts() if (match := _target.match(text))}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert {"docs", "test", "up"} <= named
    assert {name for name in named if f"\n{name}:" not in makefile} == set()


def test_a_page_that_says_something_else_than_is_printed_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ N=2\n$ echo $N \\\n  more\n2 more\n```\n\n```sh\nexit 3\n```\n")

    assert (
        pages.followed(str(page), tmp_path, {}, as_run=lambda text: text * (text != "exit 3")) == 2
    )
    with pytest.raises(AssertionError, match="exit 3"):
        pages.followed(str(page), tmp_path, {})
    page.write_text("```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match="echo one"):
        pages.followed(str(page), tmp_path, {})
