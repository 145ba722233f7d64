"""Pages of the documentation, followed word by word: files are written, commands run."""

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.processes import ROOT

_BLOCK: Final = re.compile(r"^```(python|console|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE: Final = re.compile(r"# (\w+\.py)\n")
_AT_A_PROMPT: Final = re.compile(r"^\$ ", re.MULTILINE)
_CONTINUED: Final = re.compile(r"(?<!\\)\n(?=\S)")


class Command(NamedTuple):
    text: str
    shown: str
    """What the page says that it prints; empty when it says nothing of it."""


def commands(page: str) -> list[Command]:
    """Those of a page, in their order: behind "$ " of a console, or the lines of a script."""
    blocks = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [
        command
        for kind, text in blocks
        if kind != "python"
        for command in (_typed(text) if kind == "console" else _scripted(text))
    ]


def _typed(block: str) -> list[Command]:
    lines = [part.split("\n") for part in _AT_A_PROMPT.split(block)[1:]]
    return [_split(one) for one in lines]


def _split(lines: Sequence[str]) -> Command:
    """A command goes on in lines that are indented, or behind a line that ends with a backslash."""
    end = 1
    while end < len(lines) and (lines[end].startswith("    ") or lines[end - 1].endswith("\\")):
        end += 1
    return Command("\n".join(lines[:end]), "\n".join(lines[end:]))


def _scripted(block: str) -> list[Command]:
    return [Command(line, "") for line in _CONTINUED.split(block.strip()) if line.strip()]


def programs(page: str) -> dict[str, str]:
    """Those that name their file in their first line, by that name."""
    blocks = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    named = ((_FILE.match(text), text) for kind, text in blocks if kind == "python")
    return {match[1]: text for match, text in named if match}


def followed(
    page: str,
    folder: Path,
    environ: Mapping[str, str],
    *,
    as_run: Callable[[str], str] = str,
    timeout_s: float = 60,
) -> int:
    """How many commands of a page were run; each ended well, and printed what the page says.

    All run in one shell, so that a variable set by one is there for the next. `as_run` tells what
    is run for the text of a command; nothing is, for empty text. "..." in a line of output stands
    for anything; a command whose output the page does not show may print what it likes.
    """
    for name, text in programs(page).items():
        (folder / name).write_text(text, encoding="utf-8")
    runs = [(one, run) for one in commands(page) if (run := as_run(one.text))]
    outputs = [folder / f".output-{number}" for number in range(len(runs))]
    lines = (
        f"{{\n{run}\n}} > {output.name}" for (_, run), output in zip(runs, outputs, strict=True)
    )
    done = subprocess.run(
        ["bash", "-c", "\n".join(("set -eu -o pipefail", *lines))],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    printed = [output.read_text(encoding="utf-8") for output in outputs if output.exists()]
    if done.returncode != 0:
        failed, output = runs[len(printed) - 1][0], printed[-1]
        raise AssertionError(f"{page}: {failed.text}: {output}{done.stderr}")
    for (command, _), output in zip(runs, printed, strict=True):
        pattern = ".*".join(map(re.escape, command.shown.split("...")))
        assert not command.shown or re.fullmatch(pattern, output), f"{page}: {command}: {output}"
    for one in outputs:
        one.unlink()
    return len(runs)
