"""The pages as they are written, and those of the repository that they lead to.

A page below docs/ keeps its place. What else a link leads to becomes a page below source/: Markdown
as it is, a folder as a list, any other file as a block of code.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = "source"

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TITLE = re.compile(r"^# (.*)$", re.MULTILINE)
_LANGUAGES: Final = {"js": "javascript", "py": "python", "sh": "bash", "yaml": "yaml", "env": "ini"}
_UNSEARCHED: Final = "---\nsearch:\n  exclude: true\n---\n\n"


class Sources:
    """What git knows of a checkout. Costs a read of each file that is linked."""

    def __init__(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        self._tracked = sorted(name for name in listed.stdout.split("\0") if name)
        self._folders = {str(parent) for name in self._tracked for parent in Path(name).parents}

    def written(self) -> list[str]:
        """The Markdown below docs/, by its path in the repository."""
        return [name for name in self._tracked if name.startswith("docs/") and _is_page(name)]

    def pictures(self) -> list[str]:
        return [name for name in self._tracked if name.startswith("docs/pictures/")]

    def pages(self) -> Iterator[tuple[str, str]]:
        """Each with its place in the site."""
        waiting, seen = [*self.written(), *self._rooms()], set[str]()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                text, linked = self._page(name)
                waiting += linked
                yield self.place(name), text

    def place(self, name: str) -> str:
        """Where the page of a file or a folder is in the site."""
        if name.startswith("docs/pictures/"):
            return name.removeprefix("docs/")
        if name in self._folders:
            name = f"{name}/README.md".removeprefix("./")
        elif not _is_page(name):
            return f"{SOURCE}/{name}.md"
        inside = name.removeprefix("docs/")
        return inside if inside != name else f"{SOURCE}/{name}"

    def _rooms(self) -> set[str]:
        """The folders of pages."""
        return {str(Path(name).parent) for name in self.written()} - {"docs"}

    def _page(self, name: str) -> tuple[str, list[str]]:
        """Its text, and what of the repository it leads to."""
        if name in self._folders:
            return self._folder(name)
        if _is_page(name):
            return self._relinked(name, (ROOT / name).read_text(encoding="utf-8"))
        return f"{_UNSEARCHED}# {name}\n\n{_block(name)}\n", []

    def _folder(self, name: str) -> tuple[str, list[str]]:
        own = f"{name}/README.md"
        if own in self._tracked:
            return self._page(own)
        inside = [one for one in self._tracked if one.startswith(f"{name}/")]
        place = self.place(name)
        lines = [f"- [{_title(one)}]({_between(place, self.place(one))})" for one in inside]
        is_room = name.startswith("docs/")
        head = f"# {Path(name).name.capitalize()}" if is_room else f"{_UNSEARCHED}# {name}/"
        return f"{head}\n\n" + "\n".join(lines) + "\n", inside

    def _relinked(self, name: str, text: str) -> tuple[str, list[str]]:
        linked: list[str] = []

        def relinked(match: re.Match[str]) -> str:
            path, mark, heading = match[1].partition("#")
            target = os.path.normpath(Path(name).parent / path)
            if not path or (target not in self._folders and target not in self._tracked):
                return match[0]
            if not target.startswith("docs/pictures/"):
                linked.append(target)
            return f"]({_between(self.place(name), self.place(target))}{mark}{heading})"

        return _LINK.sub(relinked, text), linked


def _block(name: str) -> str:
    """A file as a block of code, when it is text."""
    content = (ROOT / name).read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return f"{len(content):,} bytes that are no text."
    kind = Path(name).suffix.removeprefix(".") or "text"
    return f"````{_LANGUAGES.get(kind, kind)}\n{text}\n````"


def _is_page(name: str) -> bool:
    return name.endswith(".md")


def _between(page: str, target: str) -> str:
    return os.path.relpath(target, Path(page).parent)


def _title(name: str) -> str:
    match = _TITLE.search((ROOT / name).read_text(encoding="utf-8")) if _is_page(name) else None
    return match[1] if match else name
