"""Keys: made once, made by nobody in production, and replaced while tokens are under way."""

import json
import stat
import time
from pathlib import Path
from threading import Timer

import pytest

from cli.failure import Failed
from cli.local import rotation
from cli.local.keyfiles import VARIABLES, KeyFiles, for_up
from girih.ids import TenantId
from services.plumbing.auth.keys import SigningKey, SigningKeyFile, TrustedKeys
from services.plumbing.auth.tokens import Issuer, TokenInvalid, Verifier
from services.plumbing.identity import Principal
from services.policy import GATEWAY, LATTICE, POLICY, PROJECTIONS
from tests.cli.test_command import girih

DEVELOPMENT = {"GIRIH_ENVIRONMENT": "development"}


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    """The keys of a girih that has been up."""
    return for_up(tmp_path, DEVELOPMENT)


def verified(files: KeyFiles, token: str) -> Principal:
    """By a process that reads the trust store now."""
    return Verifier(TrustedKeys.load(files.trusted), GATEWAY, POLICY).verify(token)


def token_of(files: KeyFiles, issuer: str = GATEWAY) -> str:
    """Signed by a process that reads its key now."""
    key = SigningKeyFile(files.private[issuer])
    return Issuer(key, issuer).service_token(GATEWAY, TenantId("t"), ["events.read"])


def test_up_makes_keys_that_fit_each_other(files: KeyFiles) -> None:
    assert verified(files, token_of(files)).service == GATEWAY
    held = {key.issuer: key.signs for key in rotation.held(files)}
    assert held == {GATEWAY: True, LATTICE: True, PROJECTIONS: True}


def test_private_files_are_the_owners_alone(files: KeyFiles) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files.paths.values()}

    assert modes == {
        "gateway.pem": 0o600,
        "lattice.pem": 0o600,
        "projections.pem": 0o600,
        "refresh.secret": 0o600,
        "trusted.json": 0o644,
    }
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700


def test_what_is_there_is_never_overwritten(files: KeyFiles, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in files.paths.values()}

    for_up(tmp_path, DEVELOPMENT)

    assert {path: path.read_bytes() for path in files.paths.values()} == before


def test_a_key_that_was_lost_is_made_anew_and_trusted(files: KeyFiles, tmp_path: Path) -> None:
    files.private[GATEWAY].unlink()

    for_up(tmp_path, DEVELOPMENT)

    assert verified(files, token_of(files)).service == GATEWAY


def test_what_the_environment_names_is_taken_and_not_made(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    SigningKey.generate().save(own)

    files = for_up(tmp_path, {**DEVELOPMENT, "GATEWAY_SIGNING_KEY": str(own)})

    assert files.environ["GATEWAY_SIGNING_KEY"] == str(own)
    assert not (files.directory / "gateway.pem").exists()
    assert verified(files, token_of(files)).service == GATEWAY


def test_no_key_is_made_up_in_production(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        for_up(tmp_path, {"GIRIH_ENVIRONMENT": "production", "GATEWAY_SIGNING_KEY": "/mine"})

    missing = "LATTICE_SIGNING_KEY, PROJECTIONS_SIGNING_KEY, GIRIH_TRUSTED_KEYS"
    assert f"set {missing}, GATEWAY_REFRESH_SECRET" in str(caught.value)
    assert caught.value.exit_code == 78
    assert not (tmp_path / "keys").exists()


def test_production_takes_keys_that_were_made_on_purpose(tmp_path: Path) -> None:
    made = girih("signing-keys", "create", "--data", str(tmp_path))

    assert len(made.stdout.splitlines()) == 5
    assert for_up(tmp_path, {"GIRIH_ENVIRONMENT": "production"}).missing() == []


def test_create_makes_what_the_environment_names_and_nobody_has_made(tmp_path: Path) -> None:
    named = {name: str(tmp_path / "mine" / file) for name, file in VARIABLES.items()}

    done = girih("signing-keys", "create", GIRIH_DATA=str(tmp_path), **named)
    again = girih("signing-keys", "create", GIRIH_DATA=str(tmp_path), **named)

    files = KeyFiles.of(tmp_path, named)
    assert done.stdout.split() == list(named.values())
    assert verified(files, token_of(files)).service == GATEWAY
    assert (again.returncode, again.stdout) == (0, "")


def test_no_token_is_refused_while_keys_rotate(files: KeyFiles) -> None:
    # A process that has read the trust store before the rotation, and not again yet.
    before = Verifier(TrustedKeys.load(files.trusted), GATEWAY, POLICY)
    old = token_of(files)
    during: list[Principal] = []

    def look() -> None:
        during.append(before.verify(token_of(files)))
        during.append(verified(files, token_of(files)))

    timer = Timer(0.2, look)
    timer.start()
    rotation.rotate(files, [GATEWAY, LATTICE], wait_s=0.6, say=lambda _line: None)
    timer.join()

    assert len(during) == 2
    new = token_of(files)
    assert new.split(".")[0] != old.split(".")[0]
    assert verified(files, old) == verified(files, old)
    assert verified(files, new).service == GATEWAY


def test_old_keys_retire_when_their_last_token_has_expired(files: KeyFiles) -> None:
    old = {key.kid for key in rotation.held(files)}

    rotation.rotate(files, [GATEWAY, LATTICE, PROJECTIONS], wait_s=0, say=lambda _line: None)

    keys = rotation.held(files)
    assert {key.kid for key in keys if key.state == "retiring"} == old
    assert all(900 < (key.retire_at_s or 0) - time.time() <= 1_200 for key in keys if not key.signs)
    assert sorted(key.issuer for key in keys if key.signs) == [GATEWAY, LATTICE, PROJECTIONS]


def test_one_issuer_can_rotate_alone(files: KeyFiles) -> None:
    before = files.private[LATTICE].read_bytes()

    rotation.rotate(files, [GATEWAY], wait_s=0, say=lambda _line: None)

    assert files.private[LATTICE].read_bytes() == before
    assert len(rotation.held(files)) == 4


def test_a_rotation_that_is_interrupted_changes_nothing(files: KeyFiles) -> None:
    before = {path: path.read_bytes() for path in files.paths.values()}

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotation.rotate(files, [GATEWAY], wait_s=0, say=interrupt)

    assert {path: path.read_bytes() for path in files.paths.values()} == before


def test_a_stolen_key_counts_for_nothing_at_once(files: KeyFiles) -> None:
    old = token_of(files)
    kid = SigningKey.load(files.private[GATEWAY]).kid
    rotation.rotate(files, [GATEWAY], wait_s=0, say=lambda _line: None)

    rotation.retire(files, kid, after_s=0)

    with pytest.raises(TokenInvalid):
        verified(files, old)


def test_the_key_that_signs_cannot_be_retired(files: KeyFiles) -> None:
    kid = SigningKey.load(files.private[GATEWAY]).kid

    with pytest.raises(Failed, match="rotate first"):
        rotation.retire(files, kid, after_s=0)


def test_retired_keys_are_left_out_by_the_next_rotation(files: KeyFiles) -> None:
    old = SigningKey.load(files.private[GATEWAY]).kid
    rotation.rotate(files, [GATEWAY], wait_s=0, say=lambda _line: None)
    rotation.retire(files, old, after_s=0)

    rotation.rotate(files, [GATEWAY], wait_s=0, say=lambda _line: None)

    assert old not in {key.kid for key in rotation.held(files)}


def test_the_list_tells_programs_and_people(files: KeyFiles, tmp_path: Path) -> None:
    for_people = girih("signing-keys", "list", "--data", str(tmp_path))
    for_programs = girih("signing-keys", "list", "--data", str(tmp_path), "--json")

    keys = json.loads(for_programs.stdout)
    assert [key["state"] for key in keys] == ["signs", "signs", "signs"]
    assert all(key["kid"] in for_people.stdout for key in keys)
    secret = files.paths["GATEWAY_REFRESH_SECRET"].read_text().strip()
    assert secret not in for_people.stdout + for_programs.stdout


def test_rotating_keys_that_are_not_there_says_which_file_is_missing(tmp_path: Path) -> None:
    done = girih("signing-keys", "rotate", "--data", str(tmp_path))

    assert done.returncode == 78
    assert f"{tmp_path}/keys/gateway.pem" in done.stderr
    assert "Traceback" not in done.stderr
