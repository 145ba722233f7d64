"""Completion in shells: click's own scripts, and its answers to what they ask."""

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import click
import typer
from click.shell_completion import get_completion_class, shell_complete

NAME = "girih"
_VARIABLE = "_GIRIH_COMPLETE"


class Shell(StrEnum):
    """Whose completion."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def is_asked(environ: Mapping[str, str]) -> bool:
    """Whether it is a shell that runs the command, to learn how a word can go on."""
    return bool(environ.get(_VARIABLE))


def answer(app: typer.Typer) -> int:
    """Print how the word can go on, and answer the exit code."""
    command = typer.main.get_command(app)
    return shell_complete(command, {}, NAME, _VARIABLE, os.environ[_VARIABLE])


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="Which shell.")],
) -> None:
    """Print what makes a shell complete commands, options and their values.

    For bash add `source <(girih completion bash)` to ~/.bashrc, for zsh the same with zsh to
    ~/.zshrc, behind compinit. For fish write it to ~/.config/fish/completions/girih.fish.
    """
    kind = get_completion_class(shell.value)
    assert kind is not None, "click knows the three"
    root = click.get_current_context().find_root().command
    print(kind(root, {}, NAME, _VARIABLE).source())
