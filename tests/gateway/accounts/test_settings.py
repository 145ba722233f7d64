"""Settings of accounts: a process does not start with a secret that is none."""

import os
from pathlib import Path

import pytest

from gateway.accounts.secrets.passwords import MEMORY_KIB
from gateway.accounts.settings import AccountSettings
from services.plumbing.settings import WrongSettings
from tests.authority import Authority


def problems(
    authority: Authority, secret: Path, environment: str = "development", **others: str
) -> list[str]:
    environ = {
        **others,
        "GIRIH_ENVIRONMENT": environment,
        "SIGNING_KEY": str(authority.gateway_key),
        "REFRESH_SECRET": str(secret),
    }
    try:
        AccountSettings.from_environ(environ)
    except WrongSettings as wrong:
        return wrong.problems
    return []


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "refresh.secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_random_secret_is_taken(authority: Authority, tmp_path: Path) -> None:
    assert not problems(authority, written(tmp_path, os.urandom(32).hex() + "\n"), "production")


@pytest.mark.parametrize("text", ["", "secret", "ab" * 31, "00" * 32, "abab" * 16, "xy" * 32])
def test_a_weak_secret_is_refused(authority: Authority, tmp_path: Path, text: str) -> None:
    assert problems(authority, written(tmp_path, text))


def test_a_missing_secret_is_refused(authority: Authority, tmp_path: Path) -> None:
    assert problems(authority, tmp_path / "nowhere")


def test_a_secret_that_others_read_is_refused_in_production(
    authority: Authority, tmp_path: Path
) -> None:
    path = written(tmp_path, os.urandom(32).hex(), mode=0o640)

    assert problems(authority, path, "production")
    assert not problems(authority, path, "development")


def test_in_production_no_password_is_hashed_with_little(
    authority: Authority, tmp_path: Path
) -> None:
    secret = written(tmp_path, os.urandom(32).hex())
    too_little = {"HASHING_MEMORY_KIB": str(MEMORY_KIB - 1)}

    assert problems(authority, secret, "production", **too_little)
    assert not problems(authority, secret, "development", **too_little)
    assert not problems(authority, secret, "production", HASHING_MEMORY_KIB=str(MEMORY_KIB))
