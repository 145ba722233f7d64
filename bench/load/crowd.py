"""A load process: a part of the people, until whoever started it says that they leave.

    python -m bench.load.crowd URL USERS PER_S THINK_S

It is told what happens by lines on its standard input, and answers each by a line of JSON once
that is done: at `prepare` all are registered, a few at a time, as fast as that goes; to `arrive`
when all have come, or have had three times as long as that takes; at `hold` it begins to count
anew; at `leave` all go at once, in the middle of whatever they do; at `prove` it reads back what
was acknowledged, and says what became of it. It ends when its standard input does, and after an
hour.
"""

import json
import logging
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.fileobject import FileObject
from gevent.pool import Pool
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment

from bench.load.figures import Figures, Outcome
from bench.load.ledger import Ledger
from bench.load.people import ANSWER_TIMEOUT_S, Caller, GaveUp, Person

_HOUR_S: Final = 3_600
_ARRIVAL_SLACK: Final = 3.0
_ARRIVAL_S_MIN: Final = 60.0
_PREPARED_AT_ONCE: Final = 8
_PROVEN_AT_ONCE: Final = 8
_PAGE: Final = 1_000
_SHOWN_MAX: Final = 20


@dataclass
class LoadCrowd:
    """See `people.Crowd`."""

    user_count: int
    think_s: float
    figures: Figures = field(default_factory=Figures)
    people: list[tuple[Caller, Ledger]] = field(default_factory=list)
    prepared: list[Caller] = field(default_factory=list)
    """Registered, and not come yet."""
    all_arrived: Event = field(default_factory=Event)
    arrived_count: int = 0

    def comes(self, session: FastHttpSession) -> Caller:
        if not self.prepared:
            return Caller(self, session)
        caller = self.prepared.pop()
        caller.session = session
        return caller

    def joined(self, caller: Caller, ledger: Ledger) -> None:
        self.people.append((caller, ledger))

    def surprised(self, exception: Exception, **_where: object) -> None:
        """Somebody met what this program did not expect: a mistake, of whichever side."""
        self.figures.add("surprise", Outcome("failed", repr(exception)[:200]), 0.0)

    def arrived(self) -> None:
        self.arrived_count += 1
        if self.arrived_count >= self.user_count:
            self.all_arrived.set()


def main(url: str, user_count: int, per_s: float, think_s: float) -> None:
    logging.disable(logging.INFO)
    environment = Environment(user_classes=[Person], host=url)
    environment.crowd = crowd = LoadCrowd(user_count, think_s)
    environment.events.user_error.add_listener(crowd.surprised)
    runner = environment.create_local_runner()
    _open_as_many_files_as_may_be()
    phases: dict[str, Figures] = {}

    def ended(name: str) -> None:
        phases[name], crowd.figures = crowd.figures, Figures()

    for line in FileObject(sys.stdin, "r"):
        result: dict[str, Any] = {}
        match line.strip():
            case "prepare":
                _prepare(environment, crowd)
                ended("preparing")
            case "arrive":
                runner.start(user_count, spawn_rate=per_s)
                crowd.all_arrived.wait(_ARRIVAL_S_MIN + _ARRIVAL_SLACK * user_count / per_s)
            case "hold":
                ended("arriving")
            case "leave":
                runner.stop()
                ended("holding")
            case "prove":
                problems = _prove(environment, crowd)
                ended("proving")
                result = _result(crowd, phases, problems)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def _open_as_many_files_as_may_be() -> None:
    """Everybody has two connections, and the system gives 1,024 to who asks for no more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _prepare(environment: Environment, crowd: LoadCrowd) -> None:
    """Register everybody. Who gave up registers once more on coming."""

    def register(_: int) -> None:
        with _session(environment) as session:
            caller = Caller(crowd, session)
            with suppress(GaveUp):
                caller.register()
                crowd.prepared.append(caller)

    Pool(_PREPARED_AT_ONCE).map(register, range(crowd.user_count))


@contextmanager
def _session(environment: Environment) -> Iterator[FastHttpSession]:
    """Connections of somebody who is not at work, closed with the block."""
    session = FastHttpSession(
        environment.host,
        environment.events.request,
        None,
        network_timeout=ANSWER_TIMEOUT_S,
        connection_timeout=ANSWER_TIMEOUT_S,
    )
    try:
        yield session
    finally:
        session.client.close()


def _prove(environment: Environment, crowd: LoadCrowd) -> list[str]:
    """Read back what was acknowledged; answers what is not as it should be."""

    def one(person: tuple[Caller, Ledger]) -> list[str]:
        caller, ledger = person
        with _session(environment) as caller.session:
            try:
                return list(ledger.problems(*_stored(caller, ledger)))
            except GaveUp:
                return [f"what {caller.email} has stored could not be read"]

    # Who was never told of anything has nothing to lose.
    appended = [one for one in crowd.people if one[1].positions or one[1].lattices]
    return [
        problem for problems in Pool(_PROVEN_AT_ONCE).imap(one, appended) for problem in problems
    ]


def _stored(caller: Caller, ledger: Ledger) -> tuple[list[dict[str, Any]], set[str]]:
    """The events of a person's stream, and the ids of the lattices."""
    caller.stay_logged_in()
    events = caller.ask("read back", "GET", f"/v1/streams/{ledger.stream}/events")
    lattices: set[str] = set()
    token = ""
    while True:
        path = f"/v1/lattices?pageSize={_PAGE}&pageToken={token}"
        page = caller.ask("read back", "GET", path)
        lattices.update(one["latticeId"] for one in page.get("lattices", ()))
        token = page.get("nextPageToken", "")
        if not token:
            return events, lattices


def _result(crowd: LoadCrowd, phases: dict[str, Figures], problems: list[str]) -> dict[str, Any]:
    ledgers = [ledger for _, ledger in crowd.people]
    return {
        "arrived_count": crowd.arrived_count,
        "phases": {name: figures.to_json() for name, figures in phases.items()},
        "event_count": sum(len(ledger.positions) for ledger in ledgers),
        "lattice_count": sum(len(ledger.lattices) for ledger in ledgers),
        "problem_count": len(problems),
        "problems": problems[:_SHOWN_MAX],
    }


if __name__ == "__main__":
    with gevent.Timeout(_HOUR_S):
        main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
