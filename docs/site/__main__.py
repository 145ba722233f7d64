"""Lays out what MkDocs makes the site of: `python -m docs.site`, then `mkdocs build`.

The pages of docs/, those of the repository that they lead to, and the references, which are made of
the contract, the OpenAPI document and the command. All of it lands in build/docs.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

import yaml

from docs.site import commands, contract, rest
from docs.site.sources import ROOT, Sources
from gateway.app import read_contract

FOLDER: Final = ROOT / "build" / "docs"
SETTINGS: Final = Path(__file__).with_name("mkdocs.yaml")
_STYLE: Final = Path(__file__).with_name("site.css")


def laid_out(folder: Path) -> None:
    """Write all pages below a folder, and beside it what MkDocs is told. Takes some seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    sources, promised = Sources(), read_contract()
    pages = dict(
        chain(sources.pages(), contract.pages(promised), rest.pages(promised), commands.pages())
    )
    files = {name: text.encode() for name, text in pages.items()}
    files |= {sources.place(name): (ROOT / name).read_bytes() for name in sources.pictures()}
    files[_STYLE.name] = _STYLE.read_bytes()
    for name, content in files.items():
        target = folder / "pages" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    settings = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    settings["nav"] = navigation(settings["nav"], pages)
    (folder / "mkdocs.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def navigation(entries: list[Any], pages: Mapping[str, str]) -> list[Any]:
    """The same, with each folder as what is in it: `Title: folder/`, the page README first."""
    return [_expanded(entry, pages) for entry in entries]


def _expanded(entry: Any, pages: Mapping[str, str]) -> Any:  # noqa: ANN401 - as YAML has it
    if isinstance(entry, str):
        return entry
    ((title, inside),) = entry.items()
    if isinstance(inside, list):
        return {title: navigation(inside, pages)}
    return {title: list(_inside(inside, pages)) if inside.endswith("/") else inside}


def _inside(folder: str, pages: Mapping[str, str]) -> Iterator[str]:
    those = [name for name in pages if name.startswith(folder)]
    return iter(sorted(those, key=lambda name: (not name.endswith("README.md"), name.lower())))


if __name__ == "__main__":
    laid_out(FOLDER)
    sys.exit(0)
