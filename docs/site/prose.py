"""Words of the contract as Markdown: what is no markup there is none here."""

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"([\\*_<\[\]|#~])")


def inline(text: str) -> str:
    """One line, with `code` as it is and everything else as plain words."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        part.replace("|", "\\|") if _CODE.fullmatch(part) else _MARKUP.sub(r"\\\1", part)
        for part in parts
    )


def paragraphs(text: str) -> str:
    """A comment: paragraphs, and lists whose items begin with "- "."""
    blocks = (block for block in re.split(r"\n\s*\n", text.strip()) if block)
    return "\n\n".join("\n".join(_lines(block)) for block in blocks)


def _lines(block: str) -> Iterable[str]:
    lead, *items = re.split(r"(?:^|\n)\s*- ", block)
    if lead.strip():
        yield inline(lead) + ("\n" if items else "")
    for item in items:
        yield f"- {inline(item)}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown already. Empty without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines])


def joined(*parts: str) -> str:
    """A page of parts, of which those that are empty are left out."""
    return "\n\n".join(part for part in parts if part) + "\n"
