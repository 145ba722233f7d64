"""The console in a browser: logging in, going to its pages, and what must hold on each."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.people import PASSWORD, Furnished, Person
from tests.e2e.chromium import IS_REQUIRED, Page

SITE = Path(str(files("gateway.site").joinpath("console"))).parent
AXE = SITE / "node_modules" / "axe-core" / "axe.min.js"

NOTE_BREACHES = """
window.breaches = [];
document.addEventListener('securitypolicyviolation', (event) =>
  breaches.push(event.violatedDirective + ' ' + event.blockedURI + ' ' + event.sample));
"""

READY = (
    "!!document.querySelector('main h1, main .failure') && !document.querySelector('main .loading')"
    " && !/^Reading/.test(document.querySelector('main .state')?.textContent ?? '')"
    " && !/… $/.test(document.querySelector('main').textContent)"
)


class Console:
    """The console of one girih, in one window."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def enter(self, person: Person) -> None:
        """Log in by the form, whoever was there before."""
        self.page.run("document.querySelector('#log-out')?.click()")
        # Another page first: the same one with another place in it is not loaded anew.
        self.page.open("about:blank")
        self.page.open(f"{self.url}/console/")
        self.page.wait_for("!!document.querySelector('.login form')")
        for name, value in (("email", person.email), ("password", PASSWORD)):
            self.page.run(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")
        self.page.run("document.querySelector('.login form').requestSubmit()")
        self.page.wait_for("!!document.querySelector('nav a') && !!document.querySelector('.who')")

    def show(self, address: str) -> None:
        """Go to a page of it, and wait until it is drawn."""
        self.page.run(f"location.hash = {json.dumps(address)}")
        self.page.wait_for(f"location.hash === {json.dumps(address)}")
        self.page.wait_for(READY)

    def text(self, selector: str = "main") -> str:
        content: str = self.page.run(f"document.querySelector({json.dumps(selector)}).textContent")
        return content

    def buttons(self) -> set[str]:
        """What can be pressed, and where links lead to that are made to look so."""
        return set(
            self.page.run(
                "[...document.querySelectorAll('main button, main .button')]"
                ".map((one) => one.textContent.trim())"
            )
        )

    def press(self, text: str) -> None:
        """Press the first button with this text."""
        button = (
            "[...document.querySelectorAll('button, .button')]"
            f".find((one) => one.textContent.trim() === {json.dumps(text)})"
        )
        self.page.wait_for(f"!!{button} && !{button}.disabled")
        self.page.run(f"{button}.click()")

    def confirm(self) -> None:
        """Say yes to the question that is asked, and wait until that is done."""
        self.page.wait_for("!!document.querySelector('dialog form')")
        self.page.run("document.querySelector('dialog form').requestSubmit()")
        self.page.wait_for("!document.querySelector('dialog')")

    def fill(self, name: str, value: str) -> None:
        """Put a value into the field of this name, as typing does."""
        self.page.run(
            f"(() => {{ const field = document.querySelector('main [name={name}]');"
            f" field.value = {json.dumps(value)};"
            " for (const kind of ['input', 'change'])"
            " field.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    def heap_mib(self) -> float:
        """What the scripts of the page hold, garbage aside."""
        self.page.collect_garbage()
        used: float = self.page.run("performance.memory.usedJSHeapSize / 2 ** 20")
        return round(used, 1)

    def cut_words(self) -> list[str]:
        """What can be chosen, or stands in an empty field, and has no room there."""
        return list(
            self.page.run(
                "(() => { const pen = document.createElement('canvas').getContext('2d');"
                " return [...document.querySelectorAll('main select, main input[placeholder]')]"
                " .filter((one) => one.checkVisibility()).flatMap((one) => {"
                "  const style = getComputedStyle(one); pen.font = style.font;"
                "  const arrow = one.options ? 18 : 0;"
                "  const room = one.clientWidth - arrow"
                "   - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);"
                "  const texts = one.options ? [...one.options].map((option) => option.text)"
                "   : [one.placeholder];"
                "  return texts.filter((text) => pen.measureText(text).width > room); }); })()"
            )
        )

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        wider: int = self.page.run(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wider

    def accessibility_violations(self) -> list[str]:
        """What axe finds serious, or worse."""
        if not AXE.is_file():
            assert not IS_REQUIRED, "axe-core is not installed: make test-browser installs it"
            pytest.skip("axe-core is not installed")
        if not self.page.run("'axe' in window"):
            self.page.run(AXE.read_text(encoding="utf-8") + "\n;1")
        violations: dict[str, Any] = self.page.run(
            "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => ({all:"
            " violations.filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) =>"
            " `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 200)).join(' | ')}`)}))"
        )
        return list(violations["all"])

    def problems(self) -> list[str]:
        """Everything that went wrong since it was asked last, or asked for what is not ours."""
        breaches = self.page.run("window.breaches.splice(0)")
        foreign = [one for one in self.page.requested if not one.startswith(self.url)]
        wrong = [*self.page.problems, *breaches, *foreign]
        self.page.problems.clear()
        self.page.requested.clear()
        return [one for one in wrong if not one.startswith(("data:", "about:"))]


def patterns() -> set[str]:
    """The addresses of all pages, as pages.js has them: `events/:position`."""
    text = (SITE / "console" / "pages.js").read_text(encoding="utf-8")
    lists = re.findall(r"pattern: \[(.*?)\]", text)
    return {"/".join(re.findall(r'"([^"]+)"', one)) for one in lists}


def addresses(of: Furnished) -> dict[str, str]:
    """An address for each pattern, of what is in a tenant."""
    taken = {
        ":position": str(of.position),
        ":stream": of.stream,
        ":correlationId": of.correlation_id,
        ":type": of.event_type,
        ":latticeId": of.lattice_id,
        ":name": of.field,
        ":jobId": of.job_id,
        ":group": of.group,
        ":projection": "lattices",
    }
    return {
        pattern: "#/" + "/".join(_encoded(taken.get(part, part)) for part in pattern.split("/"))
        for pattern in patterns()
    }


def _encoded(part: str) -> str:
    """As `encodeURIComponent` has it."""
    return quote(part, safe="!*'()~-._")
