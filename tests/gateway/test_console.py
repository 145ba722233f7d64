"""What the console is made of: files of its own below a strict policy, few enough to be quick."""

import gzip
import re
from importlib.resources import files
from pathlib import Path

import httpx

from gateway.site.assets import STRICT_POLICY

SITE = Path(str(files("gateway.site").joinpath("console"))).parent
ASSETS = sorted(
    f"/{file.relative_to(SITE)}"
    for folder in ("console", "shared")
    for file in (SITE / folder).rglob("*")
    if file.suffix in (".css", ".js")
)
OWN = [path for path in ASSETS if "/vendor/" not in path]

FIRST_PAGE_BYTES_MAX = 300_000


def source(path: str) -> str:
    return (SITE / path[1:]).read_text(encoding="utf-8")


async def test_no_file_of_the_console_lets_text_become_markup(client: httpx.AsyncClient) -> None:
    answers = [await client.get(path) for path in ("/console/", *ASSETS)]

    policies = {answer.headers["content-security-policy"] for answer in answers}
    assert {answer.status_code for answer in answers} == {200}
    assert len(policies) == 1
    assert policies.pop() == STRICT_POLICY


def test_a_strict_policy_has_everything_from_here_and_nothing_from_text() -> None:
    assert STRICT_POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert STRICT_POLICY.endswith("require-trusted-types-for 'script'; trusted-types 'none'")


def test_every_module_that_is_imported_is_there() -> None:
    pattern = re.compile(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+\.js)["']""")
    named = {(path, name) for path in OWN for name in pattern.findall(source(path))}

    # The types of answers are for the type check alone.
    assert {
        (path, name)
        for path, name in named
        if not ((SITE / path[1:]).parent / name).is_file() and not name.endswith("/types.js")
    } == set()


def test_nothing_asks_another_host_or_makes_markup_of_text() -> None:
    bad = re.compile(
        r"(src|href|url|import|from)\W{1,3}(https?:)?//"
        r"|innerHTML|outerHTML|dangerously|insertAdjacentHTML|\beval\("
    )

    assert [path for path in OWN if bad.search(source(path))] == []


def test_everything_together_is_less_than_the_first_page_may_be() -> None:
    sizes = [len(gzip.compress((SITE / path[1:]).read_bytes())) for path in ASSETS]

    assert sum(sizes) < FIRST_PAGE_BYTES_MAX
