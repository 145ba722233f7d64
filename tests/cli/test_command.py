"""The `girih` command's words: help, exit codes, and what goes to which stream."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli import exit_codes
from tests import forked
from tests.authority import Authority
from tests.processes import free_port, signed_in

ROOT = Path(__file__).resolve().parent.parent.parent


def girih(*words: str, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    return forked.run(words, {**os.environ, "COLUMNS": "120", **environ}, stdin=stdin)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"stream":"s","type":"T"}\n')
    return path


@pytest.fixture
def session(authority: Authority, tmp_path: Path) -> dict[str, str]:
    """An environment in which somebody is logged in."""
    return signed_in(authority, "somebody", tmp_path / "credentials.json")


def test_help_names_the_commands() -> None:
    done = girih("--help")

    assert done.returncode == 0
    assert all(word in done.stdout for word in ("up", "import", "doctor", "login", "events"))
    assert all(f"{code} " in done.stdout for code in exit_codes.MEANINGS)


def test_help_breaks_lines_where_the_terminal_ends() -> None:
    shown = girih("import", "--help", COLUMNS="80").stdout.split("Arguments")[0]

    paragraph = shown.split("Each line", 1)[1].split("Ends with", 1)[0].strip().splitlines()
    assert all(len(line.strip()) > 60 for line in paragraph[:-1])


def test_arguments_are_in_capitals() -> None:
    usage = girih("events", "append", "--help").stdout.splitlines()[0]

    assert usage.split("append", 1)[1].split() == ["[OPTIONS]", "STREAM", "TYPE", "[JSON]"]


HEAVY = {
    *("asyncpg", "cryptography", "google.protobuf.message", "grpc", "numba", "numpy", "orjson"),
    *("pydantic", "pygments", "rich"),
}


@pytest.mark.parametrize(
    ("words", "also"),
    [(("--help",), ("girih", "httpx")), (("whoami",), ()), (("events", "list"), ())],
    ids=str,
)
def test_nothing_is_imported_that_is_not_needed(
    words: tuple[str, ...], also: tuple[str, ...], session: dict[str, str]
) -> None:
    code = (
        "import atexit, sys; from cli.main import main; sys.argv = ['girih', *sys.argv[1:]];"
        " atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env={**os.environ, **session},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    imported = set(done.stderr.split())
    assert "cli.main" in imported
    assert ("httpx" in imported) is ("httpx" not in also)
    assert not imported & (HEAVY | set(also))


def test_version_can_be_read_by_programs() -> None:
    result = json.loads(girih("version", "--json").stdout)

    assert {"girih", "python", "grpcio"} <= result.keys()


@pytest.mark.parametrize(
    "words",
    [
        ("dance",),
        ("import",),
        ("import", "/no/such/file"),
        ("import", "-"),
        ("import", "--batch", "0", "pyproject.toml"),
        ("up", "--gateway-address", "nonsense"),
        ("whoami", "--url", "nonsense"),
        ("lattices", "create"),
        ("lattices", "create", "--shape", "3", "--size", "3"),
        ("lattices", "create", "--shape", "three"),
        ("paths", "find", "x", "--from", "0,0"),
        ("events", "append", "s", "t", "--expect", "nonsense"),
        ("tenants", "set-plan", "x", "custom", "--axes", "3"),
        ("tenants", "set-plan", "x", "free", "--axes", "3"),
        ("register", "ada@girih.dev", "--password", "plain"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(words: tuple[str, ...]) -> None:
    done = girih(*words, GIRIH_URL="http://127.0.0.1:1")

    assert done.returncode == 2
    assert done.stdout == ""


def test_a_service_that_is_away_is_69_and_says_how_to_go_on(
    file: Path, session: dict[str, str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = girih("import", str(file), "--retry-for", "0.2", "--events-address", address, **session)

    assert done.returncode == 69
    assert f"events at {address} is away" in done.stderr
    assert "Import again to go on" in done.stderr


def test_stdin_can_be_imported_under_a_name(session: dict[str, str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = girih(
        *("import", "-", "--source", "cases", "--retry-for", "0", "--events-address", address),
        stdin='{"stream":"s","type":"T"}\n',
        **session,
    )

    # It was read: what ends it is the service that is away.
    assert done.returncode == 69
    assert f"events at {address} is away" in done.stderr


def test_the_outcome_of_an_import_can_be_read_by_programs(
    file: Path, session: dict[str, str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    words = ("--retry-for", "0", "--events-address", address, "--json")
    done = girih("import", str(file), *words, **session)

    answer = json.loads(done.stdout)
    assert answer["source"] == "cases.jsonl"
    assert answer["appended"] == 0
    assert "UNAVAILABLE" in answer["error"]


@pytest.mark.parametrize("how", [(), ("--detach",)], ids=["in a terminal", "in the background"])
def test_a_port_that_is_taken_is_explained_before_anything_starts(
    tmp_path: Path, how: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        address = f"127.0.0.1:{squatter.getsockname()[1]}"
        done = girih("up", "--data", str(tmp_path), "--gateway-address", address, *how)

    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert f"{address} is taken by " in output
    assert "choose another: girih up --gateway-address " in output
    assert not (tmp_path / "postgres").exists()


def test_a_data_directory_that_cannot_be_made_is_explained(file: Path) -> None:
    done = girih("up", "--data", str(file))

    assert done.returncode == 1
    assert done.stderr == (
        f"{file} cannot be written: not a directory; choose another folder with --data\n"
    )


def test_migrating_a_database_that_is_away_is_69(tmp_path: Path) -> None:
    url = f"postgresql://x@127.0.0.1:{free_port()}/x"
    done = girih("migrate", "--data", str(tmp_path), "--timeout-s", "1", DATABASE_URL=url)

    assert done.returncode == 69
    assert "Traceback" not in done.stderr


COMMANDS = [
    *(("whoami",), ("token",), ("logout",), ("usage",), ("keys", "list"), ("members", "list")),
    *(("lattices", "list"), ("events", "list"), ("events", "tail")),
    ("import", "pyproject.toml", "--events-address", "127.0.0.1:1"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_who_is_not_logged_in_is_told_how_to_and_77(words: tuple[str, ...], tmp_path: Path) -> None:
    done = girih(*words, GIRIH_CREDENTIALS=str(tmp_path / "none.json"), GIRIH_URL="http://[::1]:1")

    assert (done.returncode, done.stdout) == (77, "")
    assert "Log in first: girih register, or girih login." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gateway_that_is_away_is_69(session: dict[str, str]) -> None:
    done = girih("whoami", **session)

    assert done.returncode == 69
    assert done.stderr.startswith("http://127.0.0.1:1 does not answer")
    assert "Traceback" not in done.stderr


def test_a_password_is_never_asked_of_a_program() -> None:
    done = girih("login", "ada@girih.dev", GIRIH_URL="http://127.0.0.1:1", GIRIH_PASSWORD="")

    assert done.returncode == 2
    assert "--password-stdin" in done.stderr


def test_a_payload_that_is_no_json_is_65(session: dict[str, str]) -> None:
    done = girih("events", "append", "s", "t", "{}, {}", **session)

    assert done.returncode == 65
    assert "the payload is not JSON" in done.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("lattises", "list"), "lattices"),
        (("events", "lost"), "list"),
        (("lattices", "create", "--shpe", "3"), "--shape"),
    ],
    ids=str,
)
def test_what_is_misspelled_is_answered_with_what_could_be_meant(
    words: tuple[str, ...], meant: str
) -> None:
    done = girih(*words)

    assert done.returncode == 2
    assert "Did you mean" in done.stderr
    assert meant in done.stderr.splitlines()[0]


def test_programs_get_failures_as_json(session: dict[str, str]) -> None:
    away = girih("whoami", "-o", "json", **session)
    misspelled = girih("lattices", "list", "--json", "--nonsense")

    assert json.loads(away.stderr)["error"]["code"] == "UNAVAILABLE"
    assert json.loads(away.stderr)["error"]["exitCode"] == away.returncode == 69
    error = json.loads(misspelled.stderr)["error"]
    assert (error["code"], error["message"]) == ("USAGE", "No such option '--nonsense'.")


@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
def test_what_cannot_be_printed_is_74(stdout: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m cli version {stdout}', sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 74
    assert done.stderr.startswith("stdout: ")
    assert len(done.stderr.splitlines()) == 1
