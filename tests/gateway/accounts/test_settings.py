"""Settings of accounts: a process does not start with a secret that is none."""

import os
from pathlib import Path

import pytest

from gateway.accounts.settings import AccountSettings
from services.plumbing.settings import WrongSettings
from tests.authority import Authority


def problems(authority: Authority, secret: Path, environment: str = "development") -> list[str]:
    environ = {
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
