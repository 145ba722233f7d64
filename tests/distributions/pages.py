"""Pages of the documentation, followed word by word: files are written, commands run."""

import re
import subprocess
from pathlib import Path

from tests.processes import ROOT

_BLOCK = re.compile(r"```(python|console)\n(.*?)```", re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")


def followed(page: str, folder: Path, environ: dict[str, str]) -> int:
    """How many commands a page has; each ended well, and printed what the page says.

    A program is written to the file that its first line names. "..." in a line of output stands
    for anything; a command whose output the page does not show may print what it likes.
    """
    count = 0
    for kind, text in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if kind == "python":
            named = _FILE.match(text)
            assert named, f"{page}: a program without the name of its file: {text[:40]}"
            (folder / named[1]).write_text(text, encoding="utf-8")
            continue
        for command, shown in _commands(text):
            printed = _run(command, folder, environ)
            pattern = ".*".join(map(re.escape, shown.split("...")))
            assert not shown or re.fullmatch(pattern, printed), f"{page}: {command}: {printed}"
            count += 1
    return count


def _commands(block: str) -> list[tuple[str, str]]:
    """Each with the output that is shown."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def _run(command: str, folder: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
