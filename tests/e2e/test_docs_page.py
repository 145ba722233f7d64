"""The documentation pages as people have them: in a real browser, on wide and narrow screens."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cli.local.addresses import DEFAULTS
from girih.errors.v1.reasons_pb2 import ErrorReason
from tests.e2e.chromium import Page, browser, in_full
from tests.processes import System

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    in_full,
]

WHO = {"email": "grace@girih.test", "password": "girih-test-password-2718"}
PAGES = ("/docs", "/docs/grpc", "/docs/errors")

WIDE = (1280, 900)
NARROW = (400, 860)

NOTE_PROBLEMS = """
window.problems = [];
document.addEventListener('securitypolicyviolation', (e) => problems.push(e.violatedDirective));
addEventListener('error', (e) => problems.push(e.message));
addEventListener('unhandledrejection', (e) => problems.push(String(e.reason)));
"""

APPEND = "EventStoreService_Append"
READ = "EventStoreService_Read"

KEY_SCOPES = ["events.append", "events.read", "lattices.read", "lattices.write"]
WITH_THE_CLIENT = (
    APPEND,
    "EventStoreService_AppendStream",
    READ,
    "EventStoreService_ReadByStream",
    "EventStoreService_GetStream",
    "EventStoreService_ListStreams",
    "EventStoreService_ReadTrace",
    "EventStoreService_GetLog",
    "LatticeService_ListLattices",
    "LatticeService_GetLattice",
    "LatticeService_FindPath",
    "LatticeService_FindPaths",
    "LatticeService_Distances",
    "LatticeService_DeleteLattice",
)
"""The calls that `girih.client` has, in an order in which they work."""

ALL_SAMPLES = """
(async () => {
  const samples = [];
  for (const route of document.querySelectorAll('main .route')) {
    route.open = true;
    await new Promise((done) => setTimeout(done));
    for (const tab of route.querySelectorAll('.samples [aria-pressed]')) {
      tab.click();
      samples.push([route.id, tab.textContent, route.querySelector('.samples pre').textContent]);
    }
  }
  return samples;
})()
"""


@pytest.fixture(scope="module")
def who(system: System) -> dict[str, str]:
    """A user with a tenant."""
    registered = {**WHO, "name": "Grace"}
    answer = httpx.post(f"{system.url}/auth/register", json=registered, timeout=30)
    assert answer.status_code in (201, 409)
    return WHO


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as made:
        made.before_each_page(NOTE_PROBLEMS)
        yield made


@pytest.fixture
def page(window: Page, system: System) -> Page:
    """The page of REST, with nobody logged in."""
    window.resize(*WIDE)
    show(window, system, "/docs")
    window.run(
        "[...document.querySelectorAll('#session')].find((b) => /out/.test(b.textContent))?.click()"
    )
    return window


def show(page: Page, system: System, path: str) -> None:
    # Another page first: the same one with another place in it is not loaded anew.
    page.open(f"{system.url}/health/live")
    page.open(f"{system.url}{path}")
    page.wait_for("!!document.querySelector('#links a')")


def send(page: Page, route: str) -> None:
    page.run(f"location.hash = '{route}'")
    page.wait_for(f"!!document.querySelector('#{route} form')")
    page.run(f"document.querySelector('#{route} form').requestSubmit()")


def log_in(page: Page, who: dict[str, str]) -> None:
    for name, value in who.items():
        page.run(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")
    page.run("document.querySelector('#login form').requestSubmit()")
    page.wait_for("document.querySelector('#session').textContent === 'Log out'")


def status_of(page: Page, route: str, status: int) -> None:
    shown = f"document.querySelector('#{route} .result .line b')?.textContent"
    page.wait_for(f"({shown} ?? '').startsWith('{status}')")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_its_policy_and_fits_the_screen(
    path: str, size: tuple[int, int], page: Page, system: System
) -> None:
    page.resize(*size)
    show(page, system, path)
    page.run("for (const one of document.querySelectorAll('main .route')) one.open = true")
    page.wait_for(
        "[...document.querySelectorAll('main .route')].every((one) => one.children.length > 1)"
    )

    assert page.run("problems") == []
    assert page.run("document.documentElement.scrollWidth") <= size[0]


def test_the_search_narrows_the_menu_and_enter_opens_the_first(page: Page) -> None:
    page.press("/")
    page.type("find path")

    shown = "[...document.querySelectorAll('#links a')].filter((a) => !a.hidden)"
    assert page.run(f"{shown}.map((a) => a.lastChild.textContent)") == [
        "find path",
        "find paths",
        "find route",
    ]

    page.press("Enter")
    page.wait_for("location.hash === '#LatticeService_FindPath'")
    page.wait_for("document.getElementById('LatticeService_FindPath').open")


def test_an_operation_shows_its_form_above_its_answers_and_keeps_its_summary(page: Page) -> None:
    page.run(f"location.hash = '{APPEND}'")
    page.wait_for(f"!!document.querySelector('#{APPEND} form')")

    top = "document.querySelector('#%s %s').getBoundingClientRect().top"
    assert page.run(f"{top % (APPEND, 'form')} < {top % (APPEND, 'table')}")
    assert page.run(f"document.querySelector('#{APPEND} .summary').checkVisibility()")
    assert "STREAM_OWNED" in page.run(f"document.querySelector('#{APPEND} table').textContent")
    examples = f"[...document.querySelectorAll('#{APPEND} > div > pre')].map((e) => e.textContent)"
    assert any("placements" in example for example in page.run(examples))


def test_a_refused_call_offers_the_login_and_a_login_outlives_a_reload(
    page: Page, who: dict[str, str]
) -> None:
    send(page, APPEND)
    status_of(page, APPEND, 401)

    page.run(f"document.querySelector('#{APPEND} .result button').click()")
    log_in(page, who)
    status_of(page, APPEND, 200)
    # A copy of the tab, which takes its storage along, has no token of this one.
    assert page.run("sessionStorage.length") == 0

    page.run("window.isOld = true; location.reload()")
    page.wait_for("!window.isOld && !!document.querySelector('#links a')")
    assert page.run("document.querySelector('#session').textContent") == "Log out"
    send(page, APPEND)
    status_of(page, APPEND, 200)


def test_lines_of_a_followed_stream_are_shown_as_they_come(
    page: Page, who: dict[str, str], system: System
) -> None:
    page.run("document.querySelector('#session').click()")
    log_in(page, who)
    send(page, APPEND)
    status_of(page, APPEND, 200)
    page.run(f"location.hash = '{READ}'")
    page.wait_for(f"!!document.querySelector('#{READ} form')")
    labels = f"[...document.querySelectorAll('#{READ} label')]"
    follow = f"{labels}.find((one) => one.textContent.startsWith('follow'))"
    page.run(f"{follow}.querySelector('select').value = 'true'")
    send(page, READ)
    lines = f"document.querySelectorAll('#{READ} .entry').length"
    page.wait_for(f"{lines} > 0")
    count = page.run(lines)

    page.run(f"document.querySelector('#{APPEND} form').requestSubmit()")

    page.wait_for(f"{lines} > {count}")
    last = f"[...document.querySelectorAll('#{READ} .gist')].at(-1).textContent"
    assert "stream permit-1  type submitted" in page.run(last)


def test_samples_say_what_is_missing_and_hold_nothing_empty(page: Page) -> None:
    samples: list[list[Any]] = page.run(ALL_SAMPLES)

    assert {language for _, language, _ in samples} == {"curl", "Python", "JavaScript"}
    assert len(samples) > 90
    for route, language, text in samples:
        assert '""' not in text, (route, language, text)
        assert "''" not in text.replace("'''", ""), (route, language, text)
        assert "undefined" not in text, (route, language, text)
        if language == "Python":
            compile(text, route, "exec")
    assert any("/v1/lattices/LATTICE_ID" in text for _, _, text in samples)


def test_an_rpc_is_called_where_girih_up_serves_it(page: Page, system: System) -> None:
    show(page, system, "/docs/grpc")
    samples: list[str] = page.run(
        """
        (async () => {
          const routes = [...document.querySelectorAll('main .route')];
          for (const one of routes) one.open = true;
          await new Promise((done) => setTimeout(done));
          return routes.map((one) => one.querySelector('pre.program')?.textContent ?? '');
        })()
        """
    )
    called = re.findall(r"(\S+:\d+) girih\.(\w+)\.v1\.\w+/", "\n".join(samples))

    assert {name for _, name in called} == {"events", "lattice", "ops", "projections"}
    for address, name in called:
        served_by = "events" if name == "ops" else name
        assert address == DEFAULTS[f"{served_by.upper()}_ADDRESS"]


def test_python_samples_do_what_the_calls_do(
    page: Page,
    who: dict[str, str],
    system: System,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environ_of(system, who).items():
        monkeypatch.setenv(name, value)
    programs = {
        route: text for route, language, text in page.run(ALL_SAMPLES) if language == "Python"
    }

    exec(programs["LatticeService_CreateLattice"], {})
    lattice_id = capsys.readouterr().out.strip()
    for route in WITH_THE_CLIENT:
        assert "from girih.client import" in programs[route]
        exec(programs[route].replace("LATTICE_ID", lattice_id), {})
    printed = capsys.readouterr().out

    assert "submitted {'by': 'Ada'}" in printed
    assert "StreamInfo(stream='permit-1'" in printed
    assert "Path(" in printed


def environ_of(system: System, who: dict[str, str]) -> dict[str, str]:
    """What tells the client where and who, as a program has it that runs for itself."""
    session = httpx.post(f"{system.url}/auth/login", json=who, timeout=30).raise_for_status()
    made = httpx.post(
        f"{system.url}/v1/keys",
        json={"name": "samples", "scopes": KEY_SCOPES},
        headers={"authorization": f"Bearer {session.json()['access_token']}"},
        timeout=30,
    )
    return {
        "GIRIH_API_KEY": made.raise_for_status().json()["secret"],
        "GIRIH_EVENTS_ADDRESS": system.events_address,
        "GIRIH_LATTICE_ADDRESS": system.lattice_address,
    }


def test_the_page_of_errors_explains_every_reason(page: Page, system: System) -> None:
    show(page, system, "/docs/errors#STREAM_OWNED")

    rows = page.run("[...document.querySelectorAll('tbody tr')].map((row) => row.id)")
    assert sorted(rows) == sorted(set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"})
    assert page.run("document.querySelector('tr.meant').textContent").startswith("STREAM_OWNED")


def test_on_a_narrow_screen_the_menu_folds_and_leads_everywhere(page: Page, system: System) -> None:
    page.resize(*NARROW)
    is_shown = "document.querySelector('#links').checkVisibility()"
    assert not page.run(is_shown)

    page.run("document.querySelector('#menu-button').click()")
    assert page.run(is_shown)
    page.run("document.querySelector('#links [href=\"#LatticeService_FindPath\"]').click()")

    page.wait_for("document.getElementById('LatticeService_FindPath').open")
    assert not page.run(is_shown)
