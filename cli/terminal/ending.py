"""How the command ends: what is told of a failure, to whom, and the exit code."""

import json
import os
import sys
from collections.abc import Sequence
from itertools import pairwise

import click
import typer

from cli import exit_codes
from cli.failure import Failed
from cli.terminal import completion, output
from cli.terminal.formats import Format, with_numbers
from cli.terminal.help import without_aliases


def run(app: typer.Typer, words: Sequence[str]) -> int:
    """Run a command line to its end, and answer its exit code. No exception leaves it."""
    if completion.is_asked(os.environ):
        return completion.answer(app)
    if sys.stdout is None:
        # Closed by who started us. No socket shall have its number, and printing shall fail.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    try:
        with output.printed():
            return int(app(list(words), prog_name=completion.NAME, standalone_mode=False) or 0)
    except Failed as failed:
        failure = failed
    except SystemExit as ended:
        # Of typer, whose help nobody reads.
        is_read = not isinstance(ended.__context__, BrokenPipeError)
        return int(ended.code or 0) if is_read else exit_codes.READER_GONE
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        failure = _Misused(error)
    except (click.Abort, KeyboardInterrupt):
        failure = Failed("interrupted", exit_codes.INTERRUPTED)
    _print(failure, is_json=_wants_json(words))
    return failure.exit_code


class _Misused(Failed):
    """The command line is none; `hint` says where to read on."""

    def __init__(self, error: click.ClickException) -> None:
        super().__init__(error.format_message(), error.exit_code)
        context = getattr(error, "ctx", None)
        self.hint = _hint(context) if context is not None else ""


def _hint(context: click.Context) -> str:
    return f"{context.get_usage()}\nTry `{context.command_path} --help`."


def _print(failure: Failed, *, is_json: bool) -> None:
    if failure.exit_code == exit_codes.READER_GONE:
        return
    if is_json:
        print(json.dumps({"error": with_numbers(failure.as_json())}), file=sys.stderr)
    elif failure.exit_code == exit_codes.INTERRUPTED and sys.stderr.isatty():
        print(file=sys.stderr)  # behind what was being typed
    else:
        print(failure, file=sys.stderr)
        if isinstance(failure, _Misused) and failure.hint:
            print(failure.hint, file=sys.stderr)


def _wants_json(words: Sequence[str]) -> bool:
    """Read from the words: what is wrong with them may be why nobody understood them."""
    formats = {Format.json, Format.jsonl}
    wanted = {f"{name}{one}" for name in ("--output=", "-o") for one in formats}
    given = without_aliases(list(words))
    apart = any(name in {"-o", "--output"} and one in formats for name, one in pairwise(given))
    return apart or not wanted.isdisjoint(given)
