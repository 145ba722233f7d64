"""Alerts, their runbooks and the dashboards, against each other and what processes tell."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from docs import dashboard_pictures, dashboards
from docs.dashboards import Panel
from tests.deploy.queries import OF_PROCESSES, RULES, alerts, all_queries, samples_on_the_page
from tests.processes import ROOT

PAGES = sorted((ROOT / "docs" / "runbooks").glob("*/*.md"))
UNIT_TESTS = Path(__file__).with_name("alerts.test.yaml")
HEADINGS = [
    "## What users feel",
    "## How to confirm",
    "## What to do",
    "## How to see that it is over",
]


@pytest.fixture
def promtool() -> str:
    executable = shutil.which("promtool")
    if executable is None:
        pytest.skip("no promtool here: it comes with Prometheus")
    return executable


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    runbooks = {rule["alert"]: rule["annotations"]["runbook"] for rule in alerts()}

    assert runbooks == {page.stem: str(page.relative_to(ROOT)) for page in PAGES}
    assert {rule["labels"]["severity"] for rule in alerts()} == {"page", "ticket"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_says_what_is_felt_what_to_do_and_when_it_is_over(page: Path) -> None:
    lines = page.read_text().splitlines()

    assert lines[0] == f"# {page.stem}"
    assert [line for line in lines if line.startswith("## ")] == HEADINGS
    for heading in HEADINGS:
        assert len(lines[lines.index(heading) + 2]) > 20, heading


def test_every_link_of_a_runbook_leads_somewhere() -> None:
    links = [
        (page, link) for page in PAGES for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text())
    ]

    assert len(links) > 5
    assert [(page.name, link) for page, link in links if not (page.parent / link).is_file()] == []


def test_alerts_and_dashboards_ask_for_what_there_is() -> None:
    there_is = samples_on_the_page() | OF_PROCESSES
    missing = [
        (one.who, name) for one in all_queries() for name in one.metrics if name not in there_is
    ]
    strange = [
        (one.who, label)
        for one in all_queries()
        for label in one.labels
        if not any(label in there_is.get(name, ()) for name in one.metrics)
    ]

    assert missing == []
    assert strange == []


def test_every_alert_is_tested_both_ways() -> None:
    tested = {test["name"] for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"]}

    assert tested == {
        f"{rule['alert']} {outcome}"
        for rule in alerts()
        for outcome in ("is told of", "is not told of")
    }


def test_alerts_are_told_when_they_must_be_and_not_otherwise(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", UNIT_TESTS], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_settings_and_every_query(promtool: str, tmp_path: Path) -> None:
    rules = tmp_path / "dashboards.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": list(_recorded())}]}))

    for kind, file in (("config", RULES.with_name("prometheus.yaml")), ("rules", rules)):
        done = subprocess.run(
            [promtool, "check", kind, file], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _recorded() -> Iterator[dict[str, str]]:
    """The queries of the dashboards, as rules that Prometheus can read."""
    for number, (_, query) in enumerate(dashboards.queries()):
        yield {"record": f"query:{number}", "expr": query.replace(dashboards.RATE, "5m")}


def test_the_dashboards_are_what_is_described() -> None:
    kept = {one.stem: one.read_text() for one in dashboards.FOLDER.glob("*.json")}

    assert kept == {name: dashboards.text(name) for name in dashboards.DASHBOARDS}, (
        "run `make docs`"
    )


def test_a_rate_is_told_as_one() -> None:
    """What grows by seconds in a second is cores, and a part of it a percentage."""
    for name, (_, rows) in dashboards.DASHBOARDS.items():
        for panel in (panel for row in rows for panel in row.panels):
            for metric in re.findall(r"rate\((\w+)_total", " ".join(q for q, _ in panel.queries)):
                unit = {"Bps"} if metric.endswith("_bytes") else {"reqps", "cps", "percentunit"}
                assert metric.endswith("_seconds") or panel.unit in unit, (name, panel.title)


def test_a_panel_is_drawn_with_its_unit_and_what_each_line_is_called() -> None:
    panel = Panel("Taken", "Bps", (("sum by (job) (rate(taken_bytes_total[1m]))", "{{job}}"),))
    line = dashboard_pictures.Line("girih-events", [(0.0, 0.0), (5.0, 1_500.0)])

    drawn = dashboard_pictures.figure(panel, [line])

    assert "1.5 kB/s" in drawn
    assert "girih-events</li>" in drawn
    assert 'points="0.0,180.0 560.0,0.0"' in drawn
    assert "No data" in dashboard_pictures.figure(panel, [])
