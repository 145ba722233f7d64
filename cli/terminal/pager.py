"""Long answers page by page, on a terminal, with the program that PAGER names."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO

_LESS = "FRX"
"""End at once when everything fits, keep colours, and leave what was shown on the screen."""


@contextmanager
def paged(*, wanted: bool) -> Iterator[IO[str]]:
    """Where to print: a pager, or stdout where nobody looks or none is wanted.

    Who leaves the pager ends the block early, and has what was wanted.
    """
    command = _command(os.environ) if wanted and sys.stdout.isatty() else []
    if not command:
        yield sys.stdout
        return
    environ = {"LESS": _LESS, **os.environ}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environ, text=True) as pager:
        assert pager.stdin is not None
        try:
            yield pager.stdin
        except BrokenPipeError:
            pass
        finally:
            with suppress(BrokenPipeError):
                pager.stdin.close()
            _wait(pager)


def _wait(pager: "subprocess.Popen[str]") -> None:
    """Until it is left. Ctrl-C within a pager is the pager's."""
    while True:
        try:
            pager.wait()
        except KeyboardInterrupt:
            continue
        return


def _command(environ: Mapping[str, str]) -> list[str]:
    """The words of the pager; none where there is none, or it would do nothing."""
    if environ.get("TERM", "dumb") == "dumb":
        return []
    try:
        words = shlex.split(environ.get("PAGER", "less"))
    except ValueError:
        return []
    if not words or words == ["cat"] or shutil.which(words[0]) is None:
        return []
    return words
