"""Where passwords and other secrets come from: never from the command line, which others see."""

import getpass
import os
import sys
from typing import Annotated

import typer

from cli import exit_codes
from cli.failure import Failed

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
    return asked(prompt, "use --password-stdin or set GIRIH_PASSWORD", is_new=is_new)


def new_password(*, from_stdin: bool) -> str:
    """The one to change to: from stdin, from GIRIH_NEW_PASSWORD, or asked for twice."""
    if from_stdin:
        return _first_line()
    if password := os.environ.get("GIRIH_NEW_PASSWORD"):
        return password
    return asked("New password", "set GIRIH_NEW_PASSWORD", is_new=True)


def asked(prompt: str, otherwise: str, *, is_new: bool = False) -> str:
    """A secret typed blindly. Raises Failed where there is no terminal to type it on."""
    if not sys.stdin.isatty():
        message = f"there is no terminal to ask for it: {prompt.lower()}; {otherwise}"
        raise Failed(message, exit_codes.USAGE)
    secret = getpass.getpass(f"{prompt}: ", stream=sys.stderr)
    if is_new and getpass.getpass(f"{prompt}, again: ", stream=sys.stderr) != secret:
        raise Failed("the two are not the same", exit_codes.USAGE)
    return secret


def _first_line() -> str:
    line = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not line:
        raise Failed("stdin has an empty line where a secret should be", exit_codes.USAGE)
    return line
