"""What commands say of themselves, on terminals of any width and to shells."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from cli import main
from cli.terminal.help import first_meant
from tests.cli import terminal
from tests.processes import ROOT


def commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """Every command and group below this one, by how it is called."""
    yield " ".join(words), command
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from commands(one, (*words, name))


ALL = dict(commands(typer.main.get_command(main.app), ("girih",)))
VERBS = [name for name, command in ALL.items() if not isinstance(command, click.Group)]


def page(name: str, width: int) -> str:
    context = click.Context(
        ALL[name], info_name=name, terminal_width=width, help_option_names=["-h", "--help"]
    )
    return ALL[name].get_help(context)


@pytest.mark.parametrize("name", VERBS)
def test_choices_are_named_by_the_page_and_not_by_their_help_as_well(name: str) -> None:
    chosen = [one for one in ALL[name].params if isinstance(one.type, click.Choice)]

    assert [one.name for one in chosen if "One of" in (getattr(one, "help", "") or "")] == []


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("name", ALL)
def test_a_page_fits_and_cuts_no_name(name: str, width: int) -> None:
    text, _, examples = page(name, width).partition("\nExample")

    options = [one for one in ALL[name].params if isinstance(one, click.Option) and not one.hidden]
    assert all(spelled in text for option in options for spelled in option.opts)
    assert all(len(line) <= width for line in text.splitlines())
    assert not {"{", "}"} & set(text)
    assert bool(examples) != isinstance(ALL[name], click.Group)


@pytest.mark.parametrize("name", VERBS)
def test_a_page_tells_what_each_argument_is(name: str) -> None:
    before, _, arguments = page(name, 1_000).partition("\nArguments:\n")
    rows = [line.split() for line in arguments.partition("\n\n")[0].splitlines()]
    names = [one.name for one in ALL[name].params if isinstance(one, click.Argument)]

    assert "rguments:" not in before
    assert len(rows) == len(names)
    assert all(len(words) > 1 and not words[1].startswith("[") for words in rows)


@pytest.mark.parametrize("name", VERBS)
def test_every_example_is_a_command_line_that_is_understood(name: str) -> None:
    examples = (ALL[name].epilog or "").strip().splitlines()

    assert any(f"{name} " in f"{line} " or f"{name})" in line for line in examples)
    for words in (words for line in examples for words in command_lines(line)):
        parse(words)


def command_lines(line: str) -> Iterator[list[str]]:
    """The words behind each `girih` of a line, up to where the shell begins something else."""
    for match in re.finditer(r"(?:^|[\s(])girih ((?:(?! [|<>] |\)[\s\"]|\)$).)*)", line):
        yield shlex.split(match[1])


def parse(words: list[str]) -> None:
    """Raises what is wrong with the words. Runs nothing."""
    command, name = ALL["girih"], "girih"
    while isinstance(command, click.Group):
        words = list(first_meant(command, words))
        name = f"{name} {words[0]}"
        command, words = ALL[name], words[1:]
    command.make_parser(click.Context(command, info_name=name)).parse_args(words)


COMPLETIONS = {
    "girih latt": {"lattices"},
    "girih lattices cre": {"create"},
    "girih lattices create --bou": {"--boundary"},
    "girih lattices create --boundary ": {"open", "periodic"},
    "girih events list -o js": {"json", "jsonl"},
    "girih restart l": {"lattice"},
    "girih logs ": {"postgres", "events", "lattice", "projections", "gateway", "up"},
    "girih keys create nightly --scope events.": {"events.read", "events.append"},
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with a `girih` that is this one."""
    command = tmp_path / "girih"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m cli "$@"\n')
    command.chmod(0o755)
    return f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


BASH = """
source <(girih completion bash)
while IFS= read -r line; do
  read -ra COMP_WORDS <<< "$line"
  [[ $line == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
  _girih_completion girih
  (IFS=,; echo "${COMPREPLY[*]}")
done
"""
FISH = """
girih completion fish | source
while read --delimiter \\n line; complete -C "$line" | cut -f1 | string join ,; end
"""


@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("fish", FISH)])
def test_a_shell_completes_commands_options_and_values(
    shell: str, script: str, path: str, tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [shell, "-c", script],
        env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
        input="".join(f"{line}\n" for line in COMPLETIONS),
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )

    completions = [set(line.split(",")) for line in done.stdout.splitlines()]
    assert completions == list(COMPLETIONS.values()), done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes_what_is_typed(path: str, tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text(
        "autoload -Uz compinit; compinit -u; source <(girih completion zsh); PS1='ready '\n"
    )
    environ = {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb"}
    with terminal.running(["zsh", "-i"], environ) as zsh:
        zsh.read_until("ready ")
        zsh.type("girih lattices cre\t--boundary p\t")
        zsh.read_until("--boundary periodic")
