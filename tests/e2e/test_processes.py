"""Two processes on one port: what they share, what becomes of one that dies, and the end."""

import json
import os
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import PATIENT, System, gateway_process, own_postgres, running_system

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WITHIN_S = 60.0
PASSWORD = "girih-test-password-3141"
CALLS_MAX, REGISTRATIONS_MAX = 40, 8


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with (
        own_postgres() as (postgres, folder),
        running_system(
            postgres.url,
            folder,
            **PATIENT,
            GATEWAY_PROCESSES="2",
            GATEWAY_USER_CALLS_PER_MINUTE=str(CALLS_MAX),
            GATEWAY_REGISTRATION_COUNT_MAX=str(REGISTRATIONS_MAX),
        ) as made,
    ):
        until(lambda: len(serving(made)) == 2)
        for name in ("ada", "eve", "omar", "mia"):
            registered = {"email": f"{name}@girih.test", "password": PASSWORD, "name": name}
            once(made, "POST", "/auth/register", json=registered).raise_for_status()
        yield made


def until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def once(system: System, method: str, path: str, **options: Any) -> httpx.Response:
    """A request on a connection of its own, which any process may take."""
    return httpx.request(method, f"{system.url}{path}", timeout=30, **options)


def login(system: System, name: str, password: str = PASSWORD) -> httpx.Response:
    who = {"email": f"{name}@girih.test", "password": password}
    return once(system, "POST", "/auth/login", json=who)


def bearer(tokens: httpx.Response) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.json()['access_token']}"}


def lines(system: System, event: str) -> list[dict[str, Any]]:
    """What the log of all processes tells of this."""
    records = [json.loads(line) for line in system.gateway.log.read_text().splitlines()]
    return [line for line in records if line.get("event") == event]


def serving(system: System) -> dict[int, int]:
    """The processes that serve, or did last: their ids, by their numbers."""
    served = lines(system, "serving")
    return {line["process"]: line["pid"] for line in served if "process" in line}


def metrics(system: System) -> str:
    port = system.gateway.environ["GATEWAY_METRICS_PORT"]
    return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text


def values(system: System, name: str, label: str = "") -> dict[int, float]:
    """A metric of all processes, by their numbers."""
    values_by_process: defaultdict[int, float] = defaultdict(float)
    for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", metrics(system), re.MULTILINE):
        if label in labels:
            [number] = re.findall(r'process="(\d+)"', labels)
            values_by_process[int(number)] += float(value)
    return dict(values_by_process)


def test_both_serve_and_tell_their_numbers_at_one_place(system: System) -> None:
    name = "http_requests_total"
    until(
        lambda: (
            once(system, "GET", "/health/live").is_success
            and {1, 2} <= {number for number, count in values(system, name).items() if count}
        )
    )

    assert set(values(system, "process_resident_memory_bytes")) == {0, 1, 2}
    assert values(system, "gateway_processes_serving") == {0: 2.0}
    text = metrics(system)
    assert len(re.findall(rf"^# TYPE {name} ", text, re.MULTILINE)) == 1


def test_a_limit_of_calls_holds_over_both(system: System) -> None:
    answers = within_one_minute(system, bearer(login(system, "ada")), CALLS_MAX + 20)

    left = [int(answer.headers["ratelimit-remaining"]) for answer in answers]
    assert left == [max(0, left[0] - n) for n in range(len(left))]
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: left[0] + 1, 429: len(left) - left[0] - 1}


def within_one_minute(system: System, headers: dict[str, str], count: int) -> list[httpx.Response]:
    """So many calls that they come to both, none of them in the next minute."""
    while True:
        answers = [once(system, "GET", "/auth/whoami", headers=headers) for _ in range(count)]
        resets = [int(answer.headers["ratelimit-reset"]) for answer in answers]
        if resets == sorted(resets, reverse=True):
            return answers


def test_registrations_are_counted_over_both(system: System) -> None:
    answers = [
        once(
            system,
            "POST",
            "/auth/register",
            json={"email": f"many-{n}@girih.test", "password": PASSWORD, "name": "Many"},
        ).status_code
        for n in range(REGISTRATIONS_MAX)
    ]

    # Four were registered before.
    assert Counter(answers) == {201: REGISTRATIONS_MAX - 4, 429: 4}


def test_guesses_are_counted_over_both(system: System) -> None:
    answers = [login(system, "mia", password="not this one").status_code for _ in range(9)]

    assert Counter(answers) == {401: 5, 429: 4}


def test_a_session_that_has_ended_is_known_to_both(system: System) -> None:
    tokens = login(system, "eve")
    headers = bearer(tokens)
    body = {"refresh_token": tokens.json()["refresh_token"]}
    once(system, "POST", "/auth/logout", json=body).raise_for_status()

    def refused_count() -> int:
        answers = [once(system, "GET", "/v1/log", headers=headers) for _ in range(10)]
        return sum(answer.status_code == 401 for answer in answers)

    # The one that was asked knows at once, the other as soon as it has read of it.
    assert refused_count() > 0
    until(lambda: refused_count() == 10)


def test_a_process_that_is_killed_is_missed_and_replaced_while_the_other_serves(
    system: System,
) -> None:
    before = serving(system)
    os.kill(before[1], signal.SIGKILL)
    until(lambda: lines(system, "a process has died"))
    # On a connection that waits at the socket: the other one takes it.
    assert once(system, "GET", "/health/live").is_success

    until(lambda: serving(system)[1] != before[1])

    [died] = lines(system, "a process has died")
    assert (died["process"], died["code"]) == (1, -signal.SIGKILL)
    assert died["level"] == "error"
    assert values(system, "gateway_process_deaths_total") == {0: 1.0}
    until(lambda: 1 in values(system, "process_resident_memory_bytes"))
    assert serving(system)[2] == before[2]


def test_calls_of_both_are_counted_once_and_a_signal_drains_both(
    system: System, tmp_path: Path
) -> None:
    process, url = gateway_process(
        system.events_address,
        system.lattice_address,
        tmp_path,
        GATEWAY_PROCESSES="2",
        **system.authority.environ,
    )
    other = replace(system, gateway=process, url=url)
    process.start()
    process.wait_ready()
    until(lambda: len(serving(other)) == 2)
    headers = bearer(login(other, "omar"))
    for _ in range(25):
        once(other, "GET", "/v1/log", headers=headers).raise_for_status()

    assert process.stop() == 0
    assert not any(is_running(pid) for pid in serving(other).values())

    usage = once(system, "GET", "/v1/usage", headers=headers).json()
    assert usage["callCount"] == "25"


def test_with_the_parent_its_processes_end(system: System, tmp_path: Path) -> None:
    process, url = gateway_process(
        system.events_address,
        system.lattice_address,
        tmp_path,
        GATEWAY_PROCESSES="2",
        **system.authority.environ,
    )
    other = replace(system, gateway=process, url=url)
    process.start()
    process.wait_ready()
    until(lambda: len(serving(other)) == 2)

    process.kill()

    until(lambda: not any(is_running(pid) for pid in serving(other).values()))
    with pytest.raises(httpx.ConnectError):
        once(other, "GET", "/health/live")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
