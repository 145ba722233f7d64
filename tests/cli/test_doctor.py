"""The doctor, with nothing to look at and with something wrong to find."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.client.credentials import Credential, CredentialsFile
from cli.commands import doctor
from cli.commands.doctor import Finding, Surroundings, examine
from cli.local import state
from cli.local.postgres import EmbeddedPostgres
from services.plumbing.auth.keys import SigningKey, write_jwks
from services.policy import GATEWAY
from tests import forked
from tests.authority import Authority
from tests.cli import terminal
from tests.conftest import FAST
from tests.processes import ending, events_process, free_port

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """How busy the machine of a test is must not show."""
    monkeypatch.setattr(doctor, "_ROUND_TRIP_SLOW_S", math.inf)
    monkeypatch.setattr(doctor, "_CLOCK_OFFSET_MAX_S", 60.0)


@pytest.fixture
def nowhere() -> dict[str, str]:
    """An environment in which nothing runs."""
    names = ("EVENTS", "LATTICE", "PROJECTIONS", "GATEWAY")
    ours = ("DATABASE_URL", "GIRIH_", *(f"{name}_" for name in names))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        **{f"{name}_ADDRESS": f"127.0.0.1:{free_port()}" for name in names},
        **{f"{name}_METRICS_PORT": str(free_port()) for name in names},
    }


def look(tmp_path: Path, environ: Mapping[str, str]) -> dict[str, list[Finding]]:
    """The findings, by part."""
    result: dict[str, list[Finding]] = {}
    for finding in examine(Surroundings.of(tmp_path, environ)):
        result.setdefault(finding.part, []).append(finding)
    return result


def run_doctor(
    tmp_path: Path, environ: Mapping[str, str], *options: str
) -> "subprocess.CompletedProcess[str]":
    words = ("doctor", "--data", str(tmp_path), *options)
    return forked.run(words, {**environ, "COLUMNS": "200"})


def test_says_kindly_that_nothing_runs(tmp_path: Path, nowhere: dict[str, str]) -> None:
    done = run_doctor(tmp_path, nowhere)

    assert done.returncode == 1
    assert "Nothing is broken: girih just does not run here." in done.stdout
    assert "A note is worth knowing, and nothing to be mended." in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Next: girih up")
    assert done.stderr == ""


def test_stubs_that_are_missing_are_wrong(
    tmp_path: Path, nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "girih.lattice.v1.lattice_pb2_grpc", None)

    (contract,) = look(tmp_path, nowhere)["contract"]

    assert contract.grade == "wrong"
    assert "girih.lattice.v1.lattice_pb2_grpc" in contract.message


@pytest.fixture
def untold(nowhere: dict[str, str]) -> dict[str, str]:
    """An environment in which nothing says where anything listens."""
    return {name: value for name, value in nowhere.items() if not name.endswith("_ADDRESS")}


def test_without_girih_up_nobody_else_is_looked_at(tmp_path: Path, untold: dict[str, str]) -> None:
    done = run_doctor(tmp_path / "nonexistent", untold, "--json")

    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 1
    assert answer["next"] == f"girih up --data {tmp_path / 'nonexistent'}"
    wrong = [one["message"] for one in answer["findings"] if one["grade"] == "wrong"]
    assert wrong == [f"has never run here: there is no {tmp_path / 'nonexistent'}"]
    assert "gateway" not in {one["part"] for one in answer["findings"]}
    assert not (tmp_path / "nonexistent").exists()


def test_a_shell_that_calls_another_address_is_told(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    (tmp_path / "lock").touch()
    with state.claimed(tmp_path):
        own = state.Started.of("up", os.getpid())
        state.write(tmp_path, state.State(own, {**nowhere, "GATEWAY_ADDRESS": "127.0.0.1:1"}))
        finding = look(tmp_path, nowhere)["address"][0]

    assert (finding.grade, finding.mend) == ("wrong", "unset GATEWAY_ADDRESS")


def test_tells_programs_the_same(
    tmp_path: Path, nowhere: dict[str, str], authority: Authority
) -> None:
    done = run_doctor(tmp_path, nowhere | authority.environ, "--json")

    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["well"] is False
    grades = {finding["part"]: finding["grade"] for finding in answer["findings"]}
    assert grades["girih up"] == "note"
    assert grades["events"] == "wrong"
    assert grades["settings of gateway"] == "well"


def test_names_every_wrong_setting_and_no_secret(tmp_path: Path, nowhere: dict[str, str]) -> None:
    environ = {
        **nowhere,
        "DATABASE_URL": "postgresql://who:s3cr3t@127.0.0.1:1/x",
        "EVENTS_POOL_SIZE_MAX": "0",
        "EVENTS_NO_SUCH_THING": "1",
    }

    result = look(tmp_path, environ)

    answer = [finding.message for finding in result["settings of events"]]
    assert any(line.startswith("EVENTS_POOL_SIZE_MAX: ") for line in answer)
    assert "EVENTS_NO_SUCH_THING: no such setting" in answer
    assert "s3cr3t" not in str(result)


def test_says_which_settings_are_set_and_where(
    tmp_path: Path, nowhere: dict[str, str], authority: Authority
) -> None:
    answer = look(tmp_path, nowhere | authority.environ)["settings of gateway"][0].message

    assert f"GATEWAY_ADDRESS={nowhere['GATEWAY_ADDRESS']} (environment)" in answer
    assert answer.endswith("by default")


def test_a_database_that_is_away_is_wrong(tmp_path: Path, nowhere: dict[str, str]) -> None:
    environ = {**nowhere, "DATABASE_URL": f"postgresql://x@127.0.0.1:{free_port()}/x"}

    finding = look(tmp_path, environ)["database"][0]

    assert finding.grade == "wrong"
    assert "DATABASE_URL" in finding.mend


def test_a_database_that_is_not_migrated_is_wrong(
    tmp_path: Path, nowhere: dict[str, str], database_url: str
) -> None:
    result = look(tmp_path, {**nowhere, "DATABASE_URL": database_url})

    assert result["database"][0].grade == "well"
    assert result["clock"][0].grade == "well"
    assert result["migrations"][0].grade == "wrong"
    assert "girih migrate" in result["migrations"][0].mend


def test_a_slow_round_trip_is_told(
    tmp_path: Path,
    nowhere: dict[str, str],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_ROUND_TRIP_SLOW_S", 0.0)

    finding = look(tmp_path, {**nowhere, "DATABASE_URL": database_url})["database"][0]

    assert finding.grade == "note"
    assert "slow" in finding.mend


def test_every_place_of_logs_is_looked_at(
    tmp_path: Path, nowhere: dict[str, str], database_url: str
) -> None:
    places = f"west={database_url} east=postgresql:///nowhere?host={tmp_path}"
    result = look(tmp_path, {**nowhere, "DATABASE_URL": database_url, "EVENTS_PLACES": places})

    assert result["database of west"][0].grade == "well"
    assert result["migrations of west"][0].grade == "wrong"
    assert result["database of east"][0].grade == "wrong"
    assert "EVENTS_PLACES" in result["database of east"][0].mend


def test_a_database_that_forgets_in_a_power_cut_is_wrong(
    tmp_path: Path, nowhere: dict[str, str], postgres: EmbeddedPostgres
) -> None:
    finding = look(tmp_path, {**nowhere, "DATABASE_URL": postgres.url})["durability"][0]

    assert finding.grade == "wrong"
    assert finding.message == ", ".join(f"{name} off" for name in FAST)


def test_migrate_mends_what_doctor_finds(
    tmp_path: Path, nowhere: dict[str, str], database_url: str
) -> None:
    environ = {**nowhere, "DATABASE_URL": database_url}
    migrate = ("migrate", "--data", str(tmp_path))

    first, second = (forked.run(migrate, environ) for _ in range(2))

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.startswith("applied 0001")
    assert second.stdout == "nothing to apply\n"
    assert look(tmp_path, environ)["migrations"][0].grade == "well"


def test_a_service_that_runs_is_well(
    tmp_path: Path, nowhere: dict[str, str], database_url: str
) -> None:
    process, address = events_process(database_url, tmp_path)
    with ending(process):
        process.start()
        process.wait_ready()

        result = look(
            tmp_path, {**nowhere, "DATABASE_URL": database_url, "EVENTS_ADDRESS": address}
        )

    assert result["events"][0].grade == "well"
    assert result["migrations"][0].grade == "well"
    assert [finding.grade for finding in result["isolation"]][-1] == "well"
    assert result["lattice"][0].grade == "wrong"


def test_a_port_held_by_another_program_is_told(tmp_path: Path, nowhere: dict[str, str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        finding = look(tmp_path, {**nowhere, "GATEWAY_ADDRESS": f"127.0.0.1:{port}"})["gateway"][0]

    assert finding.grade == "wrong"
    assert f"port {port} is held by " in finding.mend


def test_a_full_disk_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_DISK_BYTES_MIN", 2**80)

    assert doctor._disk(tmp_path / "not" / "there").grade == "wrong"


def test_a_folder_that_cannot_be_made_is_wrong_and_the_first_to_be_mended(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    (tmp_path / "file").touch()

    done = run_doctor(tmp_path / "file", nowhere)

    assert f"WRONG\tdisk\t{tmp_path / 'file'} is no folder that can be written" in done.stdout
    assert done.stdout.splitlines()[-1] == "Next: choose another folder with --data"


def test_for_programs_a_finding_is_a_line_that_is_neither_cut_nor_padded(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    folder = tmp_path / ("long" * 50)

    lines = run_doctor(folder, nowhere).stdout.splitlines()

    assert any(line.startswith("WRONG\tgirih up\t") and str(folder) in line for line in lines)
    assert [line for line in lines if line.endswith(" ")] == []


def test_on_a_terminal_no_line_is_longer_than_it_is_wide(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    words = [sys.executable, "-m", "cli", "doctor", "--data", str(tmp_path)]
    with terminal.running(words, {**nowhere, "TERM": "dumb"}, columns=60) as shown:
        shown.read_all()

    # The last is a command to be copied, whole.
    lines = shown.shown.splitlines()[:-1]
    assert any(line.startswith("WRONG") for line in lines)
    assert [line for line in lines if len(line) > 60 or line.endswith(" ")] == []


def test_on_a_terminal_all_findings_begin_in_one_column(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    words = [sys.executable, "-m", "cli", "doctor", "--data", str(tmp_path)]
    with terminal.running(words, {**nowhere, "TERM": "dumb"}, columns=80) as shown:
        shown.read_all()

    assert "settings of projections" in shown.shown
    begun = re.compile(r"(?:ok|note|WRONG) +(.+?)  +").match
    columns = {match.end() for line in shown.shown.splitlines() if (match := begun(line))}
    assert len(columns) == 1


def test_who_is_logged_in_is_told_what_comes_after_that(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    sessions = {**nowhere, "GIRIH_CREDENTIALS": str(tmp_path / "credentials.json")}
    before = look(tmp_path, sessions)["login"][0]
    url = f"http://{nowhere['GATEWAY_ADDRESS']}"
    with CredentialsFile(tmp_path / "credentials.json").locked() as held:
        held["work"] = Credential(access_token="", refresh_token="", expires_at_s=0.0, url=url)
    after = look(tmp_path, sessions)["login"][0]

    assert (before.grade, before.message) == ("note", "nobody is logged in")
    assert (after.grade, after.message) == ("well", "profile work is who calls")
    begin = doctor._conclusion([after], Surroundings.of(tmp_path, sessions))[1]
    assert begin.startswith("girih events list")


def test_sessions_that_cannot_be_kept_are_wrong(tmp_path: Path, nowhere: dict[str, str]) -> None:
    (tmp_path / "file").touch()
    sessions = {**nowhere, "GIRIH_CREDENTIALS": str(tmp_path / "file" / "credentials.json")}

    finding = look(tmp_path, sessions)["login"][0]

    assert finding.grade == "wrong"
    assert "name another with GIRIH_CREDENTIALS" in finding.mend


def test_a_process_of_ours_that_hangs_is_to_be_restarted(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    own = state.Started.of("gateway", os.getpid())
    running = state.State(own, nowhere, (own,))
    around = Surroundings(tmp_path, nowhere, running)

    finding = doctor._probe(
        "gateway", "", lambda: "does not answer", doctor._restart(around, "gateway")
    )

    assert finding.mend == "girih restart gateway"


@pytest.fixture
def keys(tmp_path: Path, nowhere: dict[str, str]) -> Authority:
    """Keys where `girih up` makes them."""
    return Authority.create(tmp_path / "keys")


def test_keys_that_fit_are_well(tmp_path: Path, nowhere: dict[str, str], keys: Authority) -> None:
    assert [finding.grade for finding in look(tmp_path, nowhere)["keys"]] == ["well"]


def test_a_key_that_others_can_read_is_wrong(
    tmp_path: Path, nowhere: dict[str, str], keys: Authority
) -> None:
    keys.refresh_secret.chmod(0o644)

    finding = look(tmp_path, nowhere)["keys"][-1]

    assert (finding.grade, finding.mend) == ("wrong", f"chmod 600 {keys.refresh_secret}")


def test_a_key_that_signs_and_nobody_trusts_is_wrong(
    tmp_path: Path, nowhere: dict[str, str], keys: Authority
) -> None:
    SigningKey.generate().save(keys.gateway_key)

    findings = look(tmp_path, nowhere)["keys"]

    assert findings[0].grade == "wrong"
    assert "nobody trusts the key that gateway.girih signs with" in findings[0].message


def test_a_key_that_signs_and_retires_is_wrong(
    tmp_path: Path, nowhere: dict[str, str], keys: Authority
) -> None:
    gateway = {**keys.gateway.public_jwk(GATEWAY), "retire_at": 2**40}
    others = [
        keys.lattice.public_jwk("lattice.girih"),
        keys.projections.public_jwk("projections.girih"),
    ]
    write_jwks(keys.trusted_keys, [gateway, *others])

    finding = look(tmp_path, nowhere)["keys"][0]

    assert (finding.grade, "retires all the same" in finding.message) == ("wrong", True)


def test_a_trust_store_that_cannot_be_read_is_wrong(
    tmp_path: Path, nowhere: dict[str, str], keys: Authority
) -> None:
    keys.trusted_keys.write_text("nonsense")

    finding = look(tmp_path, nowhere)["keys"][0]

    assert (finding.grade, str(keys.trusted_keys) in finding.message) == ("wrong", True)


def test_plain_calls_from_outside_are_wrong(tmp_path: Path, nowhere: dict[str, str]) -> None:
    outside = {**nowhere, "EVENTS_ADDRESS": "0.0.0.0:50051"}

    assert look(tmp_path, nowhere)["transport"][0].grade == "well"
    assert look(tmp_path, outside)["transport"][0].grade == "wrong"
