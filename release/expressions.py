"""Licences by their SPDX names, and whether an expression of them is one that we take."""

import re
from typing import Final

ALLOWED: Final = frozenset({
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
    "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib",
    # Of files and not of what they are linked with: we change none of them.
    "MPL-2.0",
})  # fmt: skip

_SPELLINGS: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# Of packages that name no licence exactly: what the text says that comes with them.
_READ: Final = {"numba": "BSD-2-Clause"}

_TOKEN: Final = re.compile(r"[()]|[A-Za-z0-9.+-]+")


def spelled(package: str, text: str) -> str:
    """The SPDX expression for what a package says of its licence; what it says, when that is
    unknown; empty for a whole text."""
    first = text.strip()
    if "\n" in first:
        return ""
    return _READ.get(package, _SPELLINGS.get(first, first))


def is_allowed(expression: str) -> bool:
    """Whether ALLOWED has what an SPDX expression asks for. What is no expression is not."""
    tokens = _TOKEN.findall(expression)
    if not tokens or "".join(tokens) != re.sub(r"\s", "", expression):
        return False
    try:
        result = _either(tokens)
    except IndexError:
        return False
    return result and not tokens


def _either(tokens: list[str]) -> bool:
    result = _both(tokens)
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        other = _both(tokens)
        result = result or other
    return result


def _both(tokens: list[str]) -> bool:
    result = _one(tokens)
    while tokens and tokens[0] == "AND":
        tokens.pop(0)
        other = _one(tokens)
        result = result and other
    return result


def _one(tokens: list[str]) -> bool:
    name = tokens.pop(0)
    if name == "(":
        result = _either(tokens)
        return tokens.pop(0) == ")" and result
    if tokens and tokens[0] == "WITH":
        tokens.pop(0)
        name = f"{name} WITH {tokens.pop(0)}"
    return name in ALLOWED
