"""The supervisor, with small commands in the place of services."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cli.exit_codes import CONFIG
from cli.local import process
from cli.local.postgres import EmbeddedPostgres
from cli.local.supervisor import (
    GaveUp,
    Member,
    PostgresMember,
    Program,
    Supervisor,
    SupervisorLimits,
)
from tests.conftest import FAST

ROOT = Path(__file__).resolve().parent.parent.parent

FOR_EVER = "import time; print('up', flush=True); time.sleep(600)"
QUICK = SupervisorLimits(start_timeout_s=60.0, backoff_min_s=0.01, backoff_max_s=0.05)


def program(
    name: str,
    code: str,
    tmp_path: Path,
    *,
    problem: Callable[[], str | None] = lambda: None,
    grace_s: float = 10.0,
) -> Program:
    return Program(
        name,
        [sys.executable, "-c", code, name, str(tmp_path)],
        directory=tmp_path,
        environ=os.environ,
        log_path=tmp_path / f"{name}.log",
        problem=problem,
        grace_s=grace_s,
    )


def supervise(
    *members: Member, limits: SupervisorLimits = QUICK, lines: list[str] | None = None
) -> Supervisor:
    return Supervisor(members, say=(lines if lines is not None else []).append, limits=limits)


def run_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    """Run; once all is ready, wait for the condition aside, and ask to stop."""

    came: list[bool] = []

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        else:
            came.append(True)
        supervisor.request_stop()

    def on_ready() -> bool:
        threading.Thread(target=wait).start()
        return True

    supervisor.run(on_ready)
    assert came, "it did not come about in time"


def test_all_members_run_when_it_says_ready_and_none_afterwards(tmp_path: Path) -> None:
    members = [program(name, FOR_EVER, tmp_path) for name in ("one", "two")]
    pids: list[int | None] = []

    def on_ready() -> bool:
        pids.extend(member.pid() for member in members)
        return False

    supervise(*members).run(on_ready)

    assert None not in pids
    assert not any(process.is_alive(pid) for pid in pids if pid)


def test_it_says_that_it_is_stopping_before_any_member_is_stopped(tmp_path: Path) -> None:
    member = program("one", FOR_EVER, tmp_path)
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        seen.append((supervisor.is_stopping, member.pid() is not None))

    supervisor = Supervisor([member], say=lambda _: None, on_change=look, limits=QUICK)
    supervisor.run(lambda: False)

    assert seen[-1] == (True, True)
    assert not any(is_stopping for is_stopping, _ in seen[:-1])


def test_members_are_stopped_although_nobody_can_be_told(tmp_path: Path) -> None:
    member = program("one", FOR_EVER, tmp_path)

    def look() -> None:
        if supervisor.is_stopping:
            raise OSError("no space left on device")

    supervisor = Supervisor([member], say=lambda _: None, on_change=look, limits=QUICK)
    with pytest.raises(OSError, match="no space"):
        supervisor.run(lambda: False)

    assert member.pid() is None


def test_it_is_ready_only_when_every_member_is_healthy(tmp_path: Path) -> None:
    answers = iter(["not yet", "not yet", None])
    member = program("one", FOR_EVER, tmp_path, problem=lambda: next(answers))

    supervise(member).run(lambda: False)

    assert next(answers, "all asked") == "all asked"


def test_a_member_that_is_killed_is_started_again(tmp_path: Path) -> None:
    member = program("one", FOR_EVER, tmp_path)
    lines: list[str] = []
    supervisor = supervise(member, lines=lines)
    first: list[int] = []

    def was_replaced() -> bool:
        pid = member.pid()
        if pid and not first:
            first.append(pid)
            os.kill(pid, signal.SIGKILL)
        return bool(first and pid not in (None, first[0]) and "one is back" in lines)

    run_until(supervisor, was_replaced)

    assert lines[0] == "one was ended by SIGKILL; starting it again in 0.01 s"


def test_it_gives_up_on_a_member_that_keeps_dying_and_stops_the_others(tmp_path: Path) -> None:
    dying = program("dying", "raise SystemExit('no luck today')", tmp_path, problem=lambda: "ill")
    other = program("other", FOR_EVER, tmp_path)
    lines: list[str] = []

    with pytest.raises(GaveUp, match=r"(?s)dying ended with exit code 1.*no luck today") as caught:
        supervise(dying, other, lines=lines).run(lambda: True)

    assert len(lines) == QUICK.restart_count_max
    assert caught.value.exit_code == 1
    assert other.pid() is None


def test_restarts_long_ago_are_forgiven(tmp_path: Path) -> None:
    member = program("one", "pass", tmp_path)
    lines: list[str] = []
    limits = SupervisorLimits(restart_count_max=2, restart_window_s=0.1, backoff_min_s=0.11)

    run_until(supervise(member, limits=limits, lines=lines), lambda: len(lines) > 6)


def test_a_member_that_is_asked_to_end_is_started_again_however_often(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit());"
        " open(sys.argv[2] + '/listens', 'w').close(); time.sleep(600)"
    )
    listens = tmp_path / "listens"
    member = program("one", code, tmp_path, problem=lambda: None if listens.exists() else "not yet")
    lines: list[str] = []
    limits = SupervisorLimits(start_timeout_s=60.0, restart_count_max=1)
    supervisor = supervise(member, limits=limits, lines=lines)
    asked: list[int] = []

    def has_come_back_often() -> bool:
        pid = member.pid()
        if supervisor.healthy and pid and pid not in asked:
            asked.append(pid)
            listens.unlink()
            os.kill(pid, signal.SIGTERM)
        return lines.count("one is back") == 3

    run_until(supervisor, has_come_back_often)

    assert lines.count("one was asked to end; starting it again") >= 3


def test_a_member_with_wrong_settings_is_not_started_again(tmp_path: Path) -> None:
    code = f"import sys; print('SETTING: is wrong'); sys.exit({CONFIG})"
    lines: list[str] = []

    member = program("one", code, tmp_path, problem=lambda: "not up")

    with pytest.raises(GaveUp, match="SETTING: is wrong") as caught:
        supervise(member, lines=lines).run(lambda: True)

    assert caught.value.exit_code == CONFIG
    assert lines == []


def test_the_others_start_while_postgres_still_does(tmp_path: Path) -> None:
    postgres = PostgresMember(EmbeddedPostgres(tmp_path / "data", options=FAST))
    seen: list[str | None] = []

    def problem() -> None:
        seen.append(postgres.problem())

    supervise(program("one", FOR_EVER, tmp_path, problem=problem), postgres).run(lambda: False)

    assert seen == ["still starting"]
    assert postgres.pid() is None


def test_a_postgres_that_cannot_start_ends_all_and_says_why(tmp_path: Path) -> None:
    wrong = EmbeddedPostgres(tmp_path / "data", options={**FAST, "no_such_setting": "on"})
    other = program("other", FOR_EVER, tmp_path)

    with pytest.raises(GaveUp, match=r"(?s)postgres: .*no_such_setting"):
        supervise(PostgresMember(wrong), other).run(lambda: True)

    assert other.pid() is None


@pytest.fixture(params=[False, True], ids=["", "in-the-background-of-a-script"])
def _signals(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a shell starts with `&` ignores what a terminal sends."""
    numbers = (signal.SIGINT, signal.SIGQUIT) if request.param else ()
    former = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    yield
    for number, handler in zip(numbers, former, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
def test_a_stop_while_postgres_starts_leaves_none_behind(tmp_path: Path) -> None:
    def stop() -> None:
        supervisor.request_stop()

    server = EmbeddedPostgres(tmp_path / "data", options=FAST)
    other = program("other", FOR_EVER, tmp_path, problem=stop)
    supervisor = supervise(PostgresMember(server), other)

    supervisor.run(lambda: True)

    assert not server.is_running()
    assert not (tmp_path / "data" / "postmaster.pid").exists()


def test_a_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    member = Program(
        "one",
        ["/no/such/program"],
        directory=tmp_path,
        environ=os.environ,
        log_path=tmp_path / "one.log",
        problem=lambda: "not up",
    )

    with pytest.raises(GaveUp, match="/no/such/program"):
        supervise(member).run(lambda: True)


def test_a_start_that_takes_too_long_says_what_is_missing_and_why(tmp_path: Path) -> None:
    log = tmp_path / "slow.log"

    def problem() -> str:
        while "up" not in log.read_text():
            time.sleep(0.01)
        return "says NOT_SERVING"

    slow = program("slow", FOR_EVER, tmp_path, problem=problem)
    limits = SupervisorLimits(start_timeout_s=0.5)

    with pytest.raises(GaveUp, match=r"(?s)not ready after 0.5 s.*slow: says NOT_SERVING\nup"):
        supervise(program("fine", FOR_EVER, tmp_path), slow, limits=limits).run(lambda: True)


def test_whoever_waits_is_told_the_last_of_the_log_of_the_first_that_is_missing(
    tmp_path: Path,
) -> None:
    lines, line = list[str](), "waiting for slow; slow: up"
    slow = program("slow", FOR_EVER, tmp_path, problem=lambda: None if line in lines else "not yet")
    limits = SupervisorLimits(start_timeout_s=60.0, report_interval_s=0.05)

    supervise(slow, limits=limits, lines=lines).run(lambda: False)

    assert line in lines


def test_members_are_stopped_in_reverse_order(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; from pathlib import Path\n"
        "def end(*_):\n"
        "    with (Path(sys.argv[2]) / 'order').open('a') as file: file.write(sys.argv[1] + ' ')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); Path(sys.argv[2], sys.argv[1]).touch()\n"
        "time.sleep(600)"
    )

    def is_set_up(name: str) -> str | None:
        return None if (tmp_path / name).exists() else "not up"

    members = [
        program(name, code, tmp_path, problem=partial(is_set_up, name))
        for name in ("events", "lattice", "gateway")
    ]

    supervise(*members).run(lambda: False)

    assert (tmp_path / "order").read_text() == "gateway lattice events "


def test_a_second_request_ends_what_does_not_want_to_end(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; from pathlib import Path\n"
        "signal.signal(signal.SIGTERM, lambda *_: Path(sys.argv[2], 'deaf').touch())\n"
        "Path(sys.argv[2], 'up').touch()\n"
        "while True: time.sleep(600)"
    )
    member = program(
        "one",
        code,
        tmp_path,
        problem=lambda: None if (tmp_path / "up").exists() else "not up",
        grace_s=600.0,
    )
    supervisor = supervise(member)

    def insist() -> None:
        while not (tmp_path / "deaf").exists():
            time.sleep(0.01)
        supervisor.request_stop()

    insisting = threading.Thread(target=insist)

    def on_ready() -> bool:
        insisting.start()
        supervisor.request_stop()
        return True

    supervisor.run(on_ready)
    insisting.join()

    assert member.ended() == "was ended by SIGKILL"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_it(tmp_path: Path, number: signal.Signals) -> None:
    supervisor = supervise(program("one", FOR_EVER, tmp_path))

    def on_ready() -> bool:
        os.kill(os.getpid(), number)
        return True

    with supervisor.stopped_by_signals():
        supervisor.run(on_ready)


def test_children_are_out_of_reach_of_the_terminals_interrupt(tmp_path: Path) -> None:
    member = program("one", FOR_EVER, tmp_path)
    groups: list[int] = []

    def on_ready() -> bool:
        pid = member.pid()
        assert pid is not None
        groups.append(os.getpgid(pid))
        return False

    supervise(member).run(on_ready)

    assert groups != [os.getpgid(0)]
