"""What reads our log, against the lines that processes write."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import yaml

from services.plumbing.telemetry import lines
from tests.plumbing.conftest import Log, MakeSettings, Served, log, make_settings, served, settings
from tests.processes import ROOT

__all__ = ["log", "make_settings", "served", "settings"]

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def collector() -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(Path(ROOT / "deploy/logs/collector.yaml").read_text())
    return settings


def test_the_collector_connects_what_it_has() -> None:
    settings = collector()

    for pipeline in settings["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= settings[kind].keys()


async def test_the_collector_and_the_page_know_the_fields_of_a_line(
    served: Served, log: Log, make_settings: MakeSettings
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await served.client.ask("Unary", "refuse", metadata=[("traceparent", TRACE)])
    lines.slow_statement("append_records", 2.5)

    written = {name for line in log.lines() for name in line}
    asked = set(re.findall(r"attributes\.(\w+)", str(collector())))
    page = (ROOT / "docs" / "operate" / "logs.md").read_text()
    assert asked <= written
    assert {name for line in log.lines("call") for name in line} <= set(
        re.findall(r"`(\w+)`", page)
    )
    (call,) = [line for line in log.lines("call") if line["method"].endswith("Unary")]
    assert datetime.strptime(call["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z").tzinfo is not None


def test_questions_ask_for_fields_that_the_page_lists() -> None:
    page = (ROOT / "docs" / "operate" / "logs.md").read_text()
    listed = set(re.findall(r"`(\w+)`", page.partition("## The first questions")[0]))

    for question in re.findall(r"```logql\n(.*?)```", page, re.DOTALL):
        fields = set(re.findall(r"\| *(\w+) *(?:=|!=|>|<)", question))
        for group in re.findall(r"by \(([^)]*)\)", question):
            fields |= set(re.findall(r"\w+", group))
        assert fields <= listed, question
