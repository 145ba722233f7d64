"""Makes the client without asyncio of the one with it, so that each is written once.

python -m release.blocking_client

Calls over the two stacks of gRPC, what is followed and what is consumed are written twice, since
they wait in other ways. What is asked is the same but for some words, which are changed here. What
is made is committed, to be read and checked as everything is.
"""

import ast
import re
import subprocess
import sys
from typing import Final

from release.components import ROOT

CLIENT: Final = ROOT / "girih/client"

MADE: Final = {
    "aggregates/repository": "repository",
    "event_store": "event_store",
    "groups/client": "groups",
    "lattices/asking": "asking",
    "lattices/changing": "changing",
    "lattices/client": "lattices",
}
"""The modules with asyncio, and what those in `blocking` are called that are made of them."""

ONLY_WITH_ASYNCIO: Final = frozenset({"append_stream", "connect"})

_COUNTERPARTS: Final = {"calls": "calls", "groups/consuming": "consuming", "reading": "reading"}
"""The same for modules that are written twice."""

_WORDS: Final = (
    *(
        (rf"client\.{with_asyncio.replace('/', '.')} import", f"client.blocking.{name} import")
        for with_asyncio, name in (MADE | _COUNTERPARTS).items()
    ),
    (r"AsyncStub\b", "Stub"),
    (r"\b(?:async|await) ", ""),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\ba(closing|next)\b", r"\1"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bimport asyncio\b", "import time"),
    (r"\bgrpc\.aio\b", "grpc"),
    (r"\bAsync(?=[A-Z])", ""),
    (r" `\w+` is the same without asyncio\.", ""),
    (r"\bEventStoreClient\.connect\([^)]*\)", "Client()"),
    (r"\bEventStoreClient\b", "BlockingEventStoreClient"),
    (r"\bwith asyncio\b", "without asyncio"),
    (r"\bis awaited\b", "is called"),
    (r"\btasks\b", "threads"),
)


def made_of(with_asyncio: str) -> str:
    """The module without asyncio that is made of one, such as `event_store`."""
    path = CLIENT / f"{with_asyncio}.py"
    text = _without(ONLY_WITH_ASYNCIO, path.read_text(encoding="utf-8"))
    for pattern, word in _WORDS:
        text = re.sub(pattern, word, text)
    source = path.relative_to(ROOT).as_posix()
    return _formatted(f"# Made of {source} by `python -m {__spec__.name}`: change that.\n{text}")


def _without(names: frozenset[str], text: str) -> str:
    lines = text.splitlines(keepends=True)
    for node in reversed(list(ast.walk(ast.parse(text)))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in names:
            begin = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            # With the empty line behind it.
            del lines[begin - 1 : (node.end_lineno or begin) + 1]
    return "".join(lines)


def _formatted(text: str) -> str:
    ruff = [sys.executable, "-m", "ruff"]
    name = ["--stdin-filename", str(CLIENT / "blocking/made.py")]
    for command in (["check", "--fix-only", "--quiet", "--unsafe-fixes"], ["format", "--quiet"]):
        done = subprocess.run(
            [*ruff, *command, *name, "-"], input=text, capture_output=True, text=True, check=True
        )
        text = done.stdout
    return text


if __name__ == "__main__":
    for _with_asyncio, _name in MADE.items():
        (CLIENT / f"blocking/{_name}.py").write_text(made_of(_with_asyncio), encoding="utf-8")
