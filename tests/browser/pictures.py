"""Pictures of the console, to be looked at: `python -m tests.browser.pictures FOLDER`.

Each page of `pages.js` with something in it, what somebody sees who has nothing yet, the ways in,
and the documentation of the API; at three widths, light and dark. Needs a Chromium.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.browser.console import Console, addresses
from tests.browser.people import Person, furnish, invite, register
from tests.e2e.chromium import browser
from tests.processes import WITHOUT_LIMITS, own_postgres, running_system

WIDTHS = {360: 740, 1280: 900, 2560: 1440}
"""And how high a window of it is."""

THEMES = ("light", "dark")
WAYS_IN = ("", "register", "invited", "token")
DRAWN = "new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn, 300)))"
"""Charts and pictures are in the colours that hold."""

DOCS = ("", "/grpc", "/errors")

EMPTY = ("events", "streams", "lattices", "groups", "schemas", "keys", "jobs", "traces")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to put them")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with (
        own_postgres() as (postgres, files),
        running_system(postgres.url, files, **WITHOUT_LIMITS) as system,
        tempfile.TemporaryDirectory(prefix="girih-") as profile,
        browser(Path(profile)) as page,
    ):
        page.hide_scrollbars()
        for path in drawn(Console(page, system.url), folder):
            print(path)


def drawn(console: Console, folder: Path) -> Iterator[Path]:
    """All of them, one after the other."""
    yield from ways_in(console, folder)
    with closing(register(console.url, "Ada Lovelace", "Analytical Works")) as owner:
        furnished = furnish(owner, "by Ada")
        fill(owner, console.url)
        console.enter(owner)
        pages = {
            name.replace("/", " ").replace(":", "") or "overview": address
            for name, address in addresses(furnished).items()
        }
        pages["events with one"] = f"#/events?event={furnished.position}"
        pages["lattices field"] = f"#/lattices/{furnished.lattice_id}?field={furnished.field}"
        pages["nowhere"] = "#/nowhere"
        pages["missing"] = "#/lattices/01890000-0000-7000-8000-000000000001"
        yield from each(console, folder, pages)
    with closing(register(console.url, "Mallory Strange", "Elsewhere")) as stranger:
        console.enter(stranger)
        yield from each(console, folder, {f"empty {name}": f"#/{name}" for name in EMPTY})
    yield from documentation(console, folder)


def ways_in(console: Console, folder: Path) -> Iterator[Path]:
    console.page.open(f"{console.url}/console/")
    console.page.wait_for("!!document.querySelector('.login form')")
    yield from each(console, folder, {f"in {way}": f"#/?way={way}" for way in WAYS_IN})


def each(console: Console, folder: Path, pages: dict[str, str]) -> Iterator[Path]:
    for name, address in pages.items():
        for width, height in WIDTHS.items():
            console.page.resize(width, height)
            console.show(address)
            yield from themed(console, folder, f"{name}-{width}", is_whole=True)


def documentation(console: Console, folder: Path) -> Iterator[Path]:
    """As it is opened: the whole of a page is tens of thousands of pixels high."""
    for page in DOCS:
        console.page.open(f"{console.url}/docs{page}")
        console.page.wait_for("!!document.querySelector('#links a')")
        for width, height in WIDTHS.items():
            console.page.resize(width, height)
            name = f"docs {page.removeprefix('/')}"
            yield from themed(console, folder, f"{name.strip()}-{width}", is_whole=False)


def themed(console: Console, folder: Path, name: str, *, is_whole: bool) -> Iterator[Path]:
    for theme in THEMES:
        console.page.prefer(prefers_color_scheme=theme)
        console.page.run(DRAWN)
        path = folder / f"{name.strip().replace(' ', '-')}-{theme}.png"
        console.page.screenshot(path, is_whole=is_whole)
        yield path


def fill(owner: Person, url: str) -> None:
    """More than one of what pages list."""
    invite(owner, url, "Grace Hopper").close()
    owner.post("/v1/invitations", {"email": "joan@girih.test", "role": "ROLE_MEMBER"})
    for number in range(60):
        event = {"stream": f"order-{number % 7}", "type": "placed", "json": {"number": number}}
        owner.append(event)
    for shape in ([40, 64], [20, 20, 20], [1000, 1000, 1000]):
        owner.post("/v1/lattices", {"shape": shape})


if __name__ == "__main__":
    main()
