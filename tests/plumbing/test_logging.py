"""The log: its lines, and that it never gets in the way."""

import errno
import json
import logging as standard_logging
import os
import warnings
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import pytest

from girih.ids import TenantId
from services.plumbing import correlation, logging
from services.plumbing.correlation import Call
from services.plumbing.logging import LineWriter
from services.plumbing.metrics import new_registry
from services.plumbing.settings import ProcessSettings
from services.plumbing.telemetry import lines
from tests.plumbing.conftest import Log

_log = logging.get_logger("tests")


class Pipe(NamedTuple):
    """Both ends."""

    reader: FileIO
    writer: FileIO


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe nobody reads unless the test does."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb", buffering=0) as end, os.fdopen(reader, "rb", buffering=0) as start:
        yield Pipe(start, end)
        start.close()  # whoever still writes learns that nobody will read
        logging.close()


def test_a_line_says_what_when_how_important_and_by_whom(log: Log) -> None:
    _log.info("knot tied", end_count=2)

    (line,) = log.lines()
    assert (line["event"], line["end_count"]) == ("knot tied", 2)
    assert (line["level"], line["component"]) == ("info", "tests")
    assert line["timestamp"].endswith("+00:00")


def test_lines_written_for_a_call_carry_its_id_and_tenant(log: Log) -> None:
    with correlation.bind(Call("c-1", tenant=TenantId("delft"))):
        _log.info("inside")
    _log.info("outside")

    inside, outside = log.lines()
    assert (inside["correlation_id"], inside["tenant"]) == ("c-1", "delft")
    assert "correlation_id" not in outside


def test_an_exception_is_logged_with_its_causes(log: Log) -> None:
    error = ValueError("second")
    error.__cause__ = KeyError("first")

    _log.error("it broke", exc_info=error)

    (line,) = log.lines()
    assert "KeyError: 'first'" in line["exception"]
    assert "ValueError: second" in line["exception"]


def test_lines_of_libraries_look_the_same(log: Log) -> None:
    standard_logging.getLogger("some.library").warning("careful: %s", "wet paint")

    (line,) = log.lines()
    assert (line["event"], line["level"]) == ("careful: wet paint", "warning")
    assert line["component"] == "some.library"


def test_warnings_are_lines_too(log: Log) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        standard_logging.captureWarnings(capture=True)
        warnings.warn("old knot", DeprecationWarning, stacklevel=1)
        standard_logging.captureWarnings(capture=False)

    assert "old knot" in log.lines()[0]["event"]


def test_text_from_outside_cannot_forge_lines(log: Log) -> None:
    _log.info("sent", text='x\n{"event":"forged"}\r\x1b[31m\x00')

    (line,) = log.lines()
    assert line["text"].startswith("x\n")
    assert "\x1b" not in log.text()


def test_what_json_cannot_hold_is_shown_in_words(log: Log) -> None:
    _log.info("odd", value=object, large=2**70, keyed={1: 2})

    (line,) = log.lines()
    assert line["value"] == "<class 'object'>"
    assert line["large"] == str(2**70)


def test_half_a_surrogate_does_not_lose_the_line(log: Log) -> None:
    _log.info("odd", text="\ud800")

    assert len(log.lines()) == 1


def test_an_endless_line_is_cut(log: Log) -> None:
    _log.info("long", text="x" * 1_000_000, end_count=2)

    (line,) = log.lines()
    assert (line["event"], line["end_count"], line["abridged"]) == ("long", 2, True)
    assert len(line["text"]) < 64 * 1024


def test_lines_below_the_level_are_not_written(pipe: Pipe) -> None:
    logging.configure(ProcessSettings(log_level="warning"), pipe.writer.fileno())
    _log.info("quiet")
    logging.write_line("info", {"event": "quiet"})
    _log.warning("loud")
    logging.close()

    lines = (pipe.reader.read(10_000) or b"").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["loud"]


def test_people_get_lines_they_can_read(pipe: Pipe) -> None:
    logging.configure(ProcessSettings(environment="development"), pipe.writer.fileno())
    _log.info("knot tied", end_count=2)
    logging.write_line("info", {"event": "call", "status": "OK"})
    logging.close()

    first, second = (pipe.reader.read(10_000) or b"").decode().splitlines()
    assert "knot tied" in first
    assert "end_count=2" in first
    assert "status=OK" in second


def test_writing_never_waits_for_a_reader(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer.fileno(), lines_max=100)
    line = b"x" * 8_192 + b"\n"

    for _ in range(10_000):
        writer.write(line)

    assert writer.dropped_count > 9_000
    assert not writer.flush(timeout_s=0.05)
    pipe.reader.close()
    writer.close()


def test_dropped_lines_are_counted_in_the_metrics(pipe: Pipe) -> None:
    logging.configure(ProcessSettings(), pipe.writer.fileno())
    registry = new_registry()
    assert registry.get_sample_value("girih_log_lines_dropped_total") == 0

    for _ in range(15_000):
        _log.info("nobody reads this", text="x" * 1_000)

    dropped = registry.get_sample_value("girih_log_lines_dropped_total") or 0
    assert dropped > 1_000


def test_lines_for_a_reader_that_is_gone_are_dropped() -> None:
    reader, descriptor = os.pipe()
    os.close(reader)
    writer = LineWriter(descriptor)

    writer.write(b"one\n")
    writer.close(timeout_s=1.0)

    assert writer.dropped_count == 1
    os.close(descriptor)


def test_a_pipe_made_non_blocking_by_others_gets_every_line(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer.fileno(), False)
    writer = LineWriter(pipe.writer.fileno())
    expected = b"".join(b"%06d" % number + b"x" * 1_000 + b"\n" for number in range(200))
    for line in expected.splitlines(keepends=True):
        writer.write(line)

    received = b""
    while len(received) < len(expected):
        received += pipe.reader.read(65_536) or b""

    assert received == expected
    assert writer.dropped_count == 0
    writer.close()


def test_a_line_that_a_full_disk_cuts_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, free_bytes = tmp_path / "log", 10
    write = os.write

    def write_what_fits(descriptor: int, data: memoryview) -> int:
        nonlocal free_bytes
        if free_bytes == 0:
            raise OSError(errno.ENOSPC, "no space")
        count = write(descriptor, data[:free_bytes])
        free_bytes -= count
        return count

    monkeypatch.setattr(os, "write", write_what_fits)
    with file.open("wb") as log:
        writer = LineWriter(log.fileno())
        writer.write(b"first\n")
        writer.write(b"second\n")
        assert writer.flush(timeout_s=60)
        free_bytes = 100
        writer.write(b"third\n")
        writer.close()

    assert file.read_bytes() == b"first\nseco\nthird\n"
    assert writer.dropped_count == 1


def test_what_happens_to_security_and_to_the_business_is_told_in_one_form(log: Log) -> None:
    with correlation.bind(Call("c-1", tenant=TenantId("delft"))):
        lines.business("a knot was sold", position=7)
        lines.security("key-created", subject="user:1")
        lines.refusal("a call was refused", reason="TOKEN_EXPIRED")
        lines.slow_dependency("/a.v1.Service/Do", 2.5, "OK")

    logged = [(line["component"], line["level"], line["event"]) for line in log.lines()]
    assert logged == [
        ("business", "info", "a knot was sold"),
        ("security", "info", "key-created"),
        ("security", "warning", "a call was refused"),
        ("dependency", "warning", "a call of another process was slow"),
    ]
    assert {(line["correlation_id"], line["tenant"]) for line in log.lines()} == {("c-1", "delft")}
    assert log.lines()[-1]["duration_ms"] == 2500.0
