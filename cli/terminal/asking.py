"""Questions on the terminal, and things done to several ids, one after the other."""

import sys
from collections.abc import Callable, Sequence

from cli import exit_codes
from cli.failure import Failed
from cli.terminal import passwords


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone, unless `yes`. Raises Failed when it shall not be."""
    if yes:
        return
    if not sys.stdin.isatty():
        message = f"there is no terminal to ask on: {question} Say --yes"
        raise Failed(message, exit_codes.USAGE)
    answer = passwords.typed(f"{question} [y/N]")
    if answer.casefold() not in {"y", "yes"}:
        raise Failed("nothing was done", exit_codes.FAILED)


def each(names: Sequence[str], act: Callable[[str], None]) -> None:
    """Do it for each, those behind one that fails too. Raises the last failure at the end,
    and tells those before it.
    """
    failures = list[Failed]()
    for name in names:
        try:
            act(name)
        except Failed as failed:
            failures.append(failed)
    for failure in failures[:-1]:
        print(failure, file=sys.stderr)
    if failures:
        raise failures[-1]
