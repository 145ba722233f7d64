"""A few people use a girih for some seconds, as `python -m bench.load` has many do for longer."""

import time

import pytest

from bench.load.crowds import Load, crowds
from bench.load.figures import Figures
from bench.load.observing import Target, observed
from tests.processes import System

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
]

ENOUGH = {"find path", "append", "read", "follow", "seen live", "create lattice", "who am i"}


def test_a_few_people_are_refused_nothing_and_lose_nothing(system: System) -> None:
    load = Load(user_count=6, per_s=6.0, think_s=0.3, process_count=1)
    names = ("events", "lattice", "projections", "gateway")
    target = Target(
        int(system.url.rpartition(":")[2]),
        {
            "gateway": int(system.gateway.environ["GATEWAY_METRICS_PORT"]),
            "events": int(system.events.environ["EVENTS_METRICS_PORT"]),
        },
        {name: process.pid for name, process in zip(names, system.processes, strict=True)},
    )

    with crowds(system.url, load) as people, observed(target, people.pids) as take:
        people.all_do("prepare")
        people.all_do("arrive")
        people.all_do("hold")
        time.sleep(3.0)
        people.all_do("leave")
        seen = take()
        proven = people.prove()

    everything = Figures.sum(proven.phases.values())
    assert everything.failures() == {}
    assert everything.refusals() == {}
    assert proven.problems == []
    assert proven.phases["preparing"].answered == 6
    assert "register" not in proven.phases["arriving"].names()
    assert proven.event_count >= 6
    assert proven.lattice_count >= 6
    assert set(proven.phases["holding"].names()) <= ENOUGH
    assert seen.connections >= 6
    assert {"events", "lattice", "gateway", "load"} <= set(seen.by_name)
