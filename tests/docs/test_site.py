"""What the site of the documentation is built of: pages, links, and nothing from elsewhere."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from cli.main import app
from docs.site import prose
from docs.site.__main__ import SETTINGS, laid_out, navigation
from docs.site.checking import from_elsewhere
from docs.site.sources import Sources
from gateway.app import read_contract
from gateway.contract.rules import rules_of

_link = re.compile(r"\]\(([^)\s]+)\)")
_code = re.compile(r"(`{3,4}).*?\1|`[^`\n]+`", re.DOTALL)
_anchor = re.compile(r"^#.*\{#([^}]+)\}$", re.MULTILINE)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By their place in the site."""
    folder = tmp_path_factory.mktemp("site")
    laid_out(folder)
    inside = folder / "pages"
    return {
        str(path.relative_to(inside)): path.read_text(encoding="utf-8")
        for path in inside.rglob("*.*")
    }


def places(entries: list[object]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, dict):
            (inside,) = entry.values()
            yield from places(inside if isinstance(inside, list) else [inside])
        else:
            yield str(entry)


def verbs(command: click.Command, words: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield words
        return
    for name, one in command.commands.items():
        if not one.hidden:
            yield from verbs(one, f"{words} {name}")


def test_every_page_is_in_the_navigation(pages: dict[str, str]) -> None:
    settings = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    sources = Sources()
    listed = set(places(navigation(settings["nav"], pages)))

    assert {sources.place(name) for name in sources.written()} - listed == set()
    assert listed - set(pages) == set()


def test_every_link_leads_to_a_page_or_a_place_in_it(pages: dict[str, str]) -> None:
    links = [
        (name, link)
        for name, text in pages.items()
        for link in _link.findall(_code.sub("", text))
        if not link.startswith(("http:", "https:", "#")) and name.endswith(".md")
    ]

    assert len(links) > 1_000
    assert [(name, link) for name, link in links if not _leads(pages, name, link)] == []


def _leads(pages: dict[str, str], name: str, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = os.path.normpath(Path(name).parent / path)
    is_made = target.startswith(("reference/contract/", "reference/rest/"))
    return target in pages and (not is_made or not heading or f"{{#{heading}}}" in pages[target])


def test_every_rpc_route_and_verb_has_a_heading(pages: dict[str, str]) -> None:
    contract = read_contract()
    headings = {anchor for text in pages.values() for anchor in _anchor.findall(text)}
    lines = {line for text in pages.values() for line in text.splitlines()}

    rpcs = {method.full_name for service in contract.services for method in service.methods}
    routes = {f"## {one.http_method} " for one in rules_of(contract)}
    assert len(rpcs) > 100
    assert rpcs - headings == set()
    assert {one for one in routes if not any(line.startswith(one) for line in lines)} == set()
    assert {f"## {words}" for words in verbs(app.tree, "girih")} - lines == set()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://cdn.test/a.js"></script>'),
        ("a.html", '<link rel="preconnect" href="//fonts.test">'),
        ("a.html", '<img alt="" src="HTTP://pictures.test/a.png">'),
        ("a.html", '<p style="background: url(https://a.test/b.png)">'),
        ("a.html", '<style>@import "https://a.test/b.css";</style>'),
        ("a.html", '<pre class="mermaid"></pre>'),
        ("a.css", "@font-face { src: url('https://fonts.test/a.woff2') }"),
        ("a.svg", '<svg><image href="https://a.test/b.png"/></svg>'),
    ],
)
def test_what_a_page_fetches_from_another_host_is_found(name: str, text: str) -> None:
    assert from_elsewhere(name, text)


def test_links_of_readers_and_parts_of_the_site_are_fine() -> None:
    text = (
        '<a href="https://a.test/">a</a><link href="../site.css"><img src="data:image/png;base64,">'
    )

    assert from_elsewhere("a.html", text) == []


def test_words_of_the_contract_are_no_markup() -> None:
    assert prose.inline("a_b <c> [d] `e_f`") == "a\\_b \\<c> \\[d\\] `e_f`"
    assert prose.paragraphs("One:\n- a\n- b\n\nTwo.") == "One:\n\n- a\n- b\n\nTwo."
