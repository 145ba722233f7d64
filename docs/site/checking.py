"""Finds what pages of the built site fetch elsewhere: `python -m docs.site.checking FOLDER`.

Readers follow links to other hosts when they want to; a page itself asks none for anything.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

_FETCHED: Final = ("src", "srcset", "data", "poster", "action", "background")
_ELSEWHERE: Final = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_IN_STYLES: Final = re.compile(r"""(?:url\(|@import)\s*["']?([^"')\s;]+)""", re.IGNORECASE)
# What the script of the theme fetches from another host once a page has it.
_ASKS_OTHERS: Final = frozenset({"mermaid"})


class _Page(HTMLParser):
    """What a page fetches to be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._is_style = tag == "style"
        self.fetched += [values[name] for name in _FETCHED if name in values]
        self.fetched += _IN_STYLES.findall(values.get("style", ""))
        if tag in {"link", "image", "use"}:
            self.fetched += [values[name] for name in ("href", "xlink:href") if name in values]
        self.fetched += [
            f"//{name}" for name in _ASKS_OTHERS & set(values.get("class", "").split())
        ]

    def handle_data(self, data: str) -> None:
        if self._is_style:
            self.fetched += _IN_STYLES.findall(data)

    def handle_endtag(self, tag: str) -> None:
        self._is_style &= tag != "style"


def from_elsewhere(name: str, text: str) -> list[str]:
    """What a page, a picture or a style sheet fetches from other hosts."""
    if name.endswith(".css"):
        fetched = _IN_STYLES.findall(text)
    else:
        page = _Page()
        page.feed(text)
        page.close()
        fetched = page.fetched
    return [one for one in fetched if _ELSEWHERE.match(one)]


def _problems(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".html", ".css", ".svg"}:
            for one in from_elsewhere(path.name, path.read_text(encoding="utf-8")):
                yield f"{path.relative_to(folder)} fetches {one}"


def main(folder: Path) -> int:
    if not (folder / "index.html").is_file():
        sys.stderr.write(f"there is no site in {folder}: `make docs` builds it\n")
        return 1
    problems = list(_problems(folder))
    sys.stderr.writelines(f"{line}\n" for line in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
