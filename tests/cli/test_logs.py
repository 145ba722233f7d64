"""Logs stay readable and small while somebody writes them."""

from pathlib import Path

from cli.local.logs import Follower, bound, merged, tail


def test_a_log_that_has_grown_is_moved_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        bound(path, bytes_max=100)
        writer.write(b"new\n")

    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "events.log.1").read_bytes() == b"old\n" * 100


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"line\n")

    bound(path, bytes_max=5)
    bound(tmp_path / "missing.log")

    assert list(tmp_path.iterdir()) == [path]


def test_the_tail_is_the_end_and_only_what_was_said_since(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"before\n" + b"x" * 50 + b"\nlast\n")

    assert tail(path, bytes_max=5) == "last"
    assert tail(path, len(b"before\n"), bytes_max=1_000).startswith("xxx")
    assert tail(tmp_path / "missing.log") == "(it has no log)"


def test_a_follower_gives_whole_lines_once_and_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"before\n")
    follower = Follower(path)

    with path.open("ab", buffering=0) as writer:
        writer.write(b"one\ntw")
        first = list(follower.new_lines())
        writer.write(b"o\n")
        second = list(follower.new_lines())

    assert (first, second, list(follower.new_lines())) == (["one"], ["two"], [])


def test_a_follower_starts_over_in_a_log_that_was_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"before\n" * 10)
    follower = Follower(path)

    path.write_bytes(b"after\n")

    assert list(follower.new_lines()) == ["after"]


def test_a_follower_misses_nothing_of_what_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"before\n")
    follower = Follower(path)

    with path.open("ab", buffering=0) as writer:
        writer.write(b"last\n")
        bound(path, bytes_max=5)
        writer.write(b"new\n")

    assert list(follower.new_lines()) == ["last", "new"]


def test_it_goes_on_behind_the_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.with_name("events.log.1").write_bytes(b"one\ntwo\n")
    path.write_bytes(b"three\nhal")
    follower = Follower(path)

    before = follower.last_lines(2)
    with path.open("ab") as writer:
        writer.write(b"f\n")

    assert (before, list(follower.new_lines())) == (["two", "three"], ["half"])


def test_logs_are_merged_in_the_order_of_their_times_also_over_midnight() -> None:
    lines = {
        "events": ["23:59:59.100 a", "  more of a", "00:00:00.300 d"],
        "postgres": ["2026-11-28 23:59:59.200 UTC b"],
        "gateway": ['{"timestamp":"2026-11-29T00:00:00.100Z","event":"c"}'],
    }
    # The last day of each log is the same: postgres has written nothing since midnight.
    lines["postgres"].append("2026-11-29 00:00:01.000 UTC e")

    answer = [(name, line[-1]) for name, line in merged(lines)]

    assert "".join(last for _, last in answer if last != "}") == "aabde"
    assert [name for name, _ in answer] == [
        *("events", "events", "postgres", "gateway", "events", "postgres")
    ]
