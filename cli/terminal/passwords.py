"""Where passwords and other secrets come from: never from the command line, which others see."""

import getpass
import os
import sys
from typing import Annotated

import typer

from cli import exit_codes
from cli.failure import Failed

_OTHERWISE = "use --password-stdin or set GIRIH_PASSWORD"

FromStdin = Annotated[
    bool,
    typer.Option(
        "--password-stdin",
        help="Read the password from the first line of stdin. Otherwise it is GIRIH_PASSWORD, or"
        " asked for.",
    ),
]


def password(prompt: str = "Password", *, from_stdin: bool, is_new: bool = False) -> str:
    """From stdin, from GIRIH_PASSWORD, or asked for on the terminal; a new one twice."""
    if from_stdin:
        return _first_line()
    if password := os.environ.get("GIRIH_PASSWORD"):
        return password
    return asked(prompt, _OTHERWISE, is_new=is_new)


def are_typed(*, from_stdin: bool) -> bool:
    """Whether `password` asks on the terminal."""
    return not from_stdin and not os.environ.get("GIRIH_PASSWORD")


def check_source(*, from_stdin: bool) -> None:
    """Raise Failed where `password` has nowhere to take one from, before anything else is done."""
    if are_typed(from_stdin=from_stdin):
        _check_terminal("Password", _OTHERWISE)


def new_password(*, from_stdin: bool) -> str:
    """The one to change to: from stdin, from GIRIH_NEW_PASSWORD, or asked for twice."""
    if from_stdin:
        return _first_line()
    if password := os.environ.get("GIRIH_NEW_PASSWORD"):
        return password
    return asked("New password", "set GIRIH_NEW_PASSWORD", is_new=True)


def asked(prompt: str, otherwise: str, *, is_new: bool = False) -> str:
    """A secret typed blindly. Raises Failed where there is no terminal to type it on."""
    _check_terminal(prompt, otherwise)
    while True:
        secret = typed(prompt, is_secret=True)
        if not is_new or typed(f"{prompt}, again", is_secret=True) == secret:
            return secret
        print("The two are not the same; once more.", file=sys.stderr)


def _check_terminal(prompt: str, otherwise: str) -> None:
    if not sys.stdin.isatty():
        message = f"there is no terminal to ask for it: {prompt.lower()}; {otherwise}"
        raise Failed(message, exit_codes.USAGE)


def typed(prompt: str, *, is_secret: bool = False) -> str:
    """A line typed on the terminal, a secret one blindly. Raises Failed after Ctrl-C or Ctrl-D."""
    try:
        if is_secret:
            return getpass.getpass(f"{prompt}: ", stream=sys.stderr)
        return str(typer.prompt(prompt, default="", show_default=False, err=True)).strip()
    except (KeyboardInterrupt, EOFError, typer.Abort) as error:
        raise Failed("interrupted", exit_codes.INTERRUPTED) from error


def _first_line() -> str:
    line = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not line:
        raise Failed("stdin has an empty line where a secret should be", exit_codes.USAGE)
    return line
