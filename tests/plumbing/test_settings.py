"""Settings: what is refused, what is only warned about, and how it is told."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, SecretStr, ValidationError

from docs import settings_table
from services.plumbing.settings import (
    InDevelopment,
    PoolSettings,
    ServerSettings,
    SettingsConfig,
    WrongSettings,
    variable_name,
)
from tests.authority import Authority

GOOD = {
    "DATABASE_URL": "postgresql://girih:kN0tted-42@db.internal:5432/girih",
    "GIRIH_ENVIRONMENT": "production",
    "GIRIH_TRANSPORT": "mesh",
}


@pytest.fixture(autouse=True)
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every environment here names a trust store that is there."""
    monkeypatch.setitem(GOOD, "GIRIH_TRUSTED_KEYS", str(authority.trusted_keys))


class Settings(ServerSettings, PoolSettings):
    model_config = SettingsConfig(env_prefix="KNOTS_")

    signing_key: SecretStr = Field(default=SecretStr("x" * 32), min_length=32)
    """A secret of the service's own."""
    queue_max: Annotated[int, InDevelopment(1_000)] = 20
    """What has another default in development."""


def problems(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(WrongSettings) as caught:
        Settings.from_environ(environ)
    return caught.value.problems


def test_reads_its_own_and_the_shared_variables() -> None:
    environ = GOOD | {
        "KNOTS_POOL_SIZE_MAX": "20",
        "KNOTS_ADDRESS": "[::1]:50051",
        "GIRIH_LOG_LEVEL": "warning",
        "PATH": "/bin",
    }

    settings = Settings.from_environ(environ)

    assert (settings.pool_size_max, settings.address) == (20, "[::1]:50051")
    assert (settings.log_level, settings.environment) == ("warning", "production")


def test_an_unset_environment_means_production() -> None:
    unset = {name: value for name, value in GOOD.items() if name != "GIRIH_ENVIRONMENT"}
    settings = Settings.from_environ(unset)

    assert settings.environment == "production"
    assert (settings.drain_duration_s, settings.log_renderer) == (5.0, "json")


def test_development_starts_and_stops_at_once_and_logs_for_people() -> None:
    settings = Settings.from_environ(GOOD | {"GIRIH_ENVIRONMENT": "development"})

    assert (settings.drain_duration_s, settings.log_renderer) == (0.0, "console")


def test_development_has_defaults_of_its_own_and_what_is_set_counts_there_too() -> None:
    development = GOOD | {"GIRIH_ENVIRONMENT": "development"}
    sizes = [
        Settings.from_environ(environ).queue_max
        for environ in (GOOD, development, development | {"KNOTS_QUEUE_MAX": "7"})
    ]

    assert sizes == [20, 1_000, 7]


def test_an_empty_variable_is_an_unset_one() -> None:
    settings = Settings.from_environ(GOOD | {"KNOTS_POOL_SIZE_MAX": ""})

    assert settings.pool_size_max == 10


def test_a_database_may_have_several_servers() -> None:
    url = "postgresql://girih:kN0tted-42@db1:5432,db2:5433/girih"

    settings = Settings.from_environ(GOOD | {"DATABASE_URL": url})

    assert settings.database_url.get_secret_value() == url


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{GOOD['DATABASE_URL']}\n")
    environ = {name: value for name, value in GOOD.items() if name != "DATABASE_URL"}

    settings = Settings.from_environ(environ | {"DATABASE_URL_FILE": str(file)})

    assert settings.database_url.get_secret_value() == GOOD["DATABASE_URL"]


def test_a_secret_that_is_given_twice_or_not_there_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "url"

    missing = problems(GOOD | {"DATABASE_URL": "", "DATABASE_URL_FILE": str(file)})
    file.write_text("postgresql://girih@db/girih")
    twice = problems(GOOD | {"DATABASE_URL_FILE": str(file)})

    assert "DATABASE_URL_FILE: cannot be read: no such file or directory" in missing
    assert twice == ["DATABASE_URL_FILE: must not be given beside DATABASE_URL"]


def test_everything_wrong_is_told_at_once() -> None:
    result = problems(
        {
            "DATABASE_URL": "postgresql://user:password@localhost/girih",
            "GIRIH_ENVIRONMENT": "staging",
            "GIRIH_LOG_LEVEL": "loud",
            "KNOTS_ADDRESS": "nowhere",
            "KNOTS_POOL_SIZE_MIN": "0",
            "KNOTS_POOL_SIZE_MAX": "1001",
            "KNOTS_DRAIN_S": "-1",
            "KNOTS_POLL_SIZE_MAX": "20",
        }
    )

    assert [problem.partition(":")[0] for problem in result] == [
        "DATABASE_URL",
        "GIRIH_ENVIRONMENT",
        "GIRIH_LOG_LEVEL",
        "GIRIH_TRUSTED_KEYS",
        "KNOTS_ADDRESS",
        "KNOTS_DRAIN_S",
        "KNOTS_POLL_SIZE_MAX",
        "KNOTS_POOL_SIZE_MAX",
        "KNOTS_POOL_SIZE_MIN",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "answer"),
    [
        ("GIRIH_ENVIRONMENT", "prod", "'development' or 'production'"),
        ("GIRIH_LOG_LEVEL", "debug", "refused in production"),
        ("KNOTS_POOL_SIZE_MAX", "0", "greater than or equal to 1"),
        ("KNOTS_POOL_SIZE_MAX", "1001", "less than or equal to 1000"),
        ("KNOTS_POOL_SIZE_MAX", "many", "valid integer"),
        ("KNOTS_POOL_SIZE_MIN", "11", ""),
        ("KNOTS_POLL_SIZE_MAX", "20", "no such setting"),
        ("knots_poll_size_max", "20", "no such setting"),
        ("KNOTS_ADDRESS", "localhost", "match pattern"),
        ("KNOTS_METRICS_PORT", "65536", "less than or equal to 65535"),
        ("KNOTS_MESSAGE_BYTES_MAX", "65536", "greater than or equal to 8912896"),
        ("KNOTS_SIGNING_KEY", "short", "at least 32"),
        ("DATABASE_URL", "", "is required"),
        ("DATABASE_URL", "mysql://girih:a@db/girih", "postgresql://"),
        ("DATABASE_URL", "postgresql://girih@db", "name a database"),
        ("DATABASE_URL", "postgresql://girih@db:port/girih", "must be a URL"),
        ("DATABASE_URL", "postgresql://user:password@host/girih", "placeholder"),
        ("DATABASE_URL", "postgresql://girih:changeme@db/girih", "placeholder"),
        ("DATABASE_URL", "postgresql://girih:CHANGE_ME@db/girih", "placeholder"),
        ("DATABASE_URL", "postgresql://girih:<password>@db/girih", "placeholder"),
        ("DATABASE_URL", "postgresql://girih:your_password@db/girih", "placeholder"),
        ("DATABASE_URL", "postgresql://girih:${PASSWORD}@db/girih", "placeholder"),
        ("DATABASE_URL", "postgresql://girih:k@example.com/girih", "placeholder"),
        ("DATABASE_URL", "postgresql://postgres:postgres@db/girih", "everybody knows"),
    ],
)
def test_refuses(variable: str, value: str, answer: str) -> None:
    result = problems(GOOD | {variable: value})

    assert len(result) == 1
    assert answer in result[0]


def test_the_least_pool_must_not_exceed_the_largest() -> None:
    (problem,) = problems(GOOD | {"KNOTS_POOL_SIZE_MIN": "11", "KNOTS_POOL_SIZE_MAX": "10"})

    assert problem == ("KNOTS_POOL_SIZE_MAX: must not be below the minimum pool size, 11; it is 10")


def test_a_known_password_is_fine_on_the_developers_machine() -> None:
    url = "postgresql://postgres:postgres@localhost/girih"

    Settings.from_environ(GOOD | {"DATABASE_URL": url, "GIRIH_ENVIRONMENT": "development"})


def test_a_unix_socket_is_a_fine_address() -> None:
    url = "postgresql://girih@/girih?host=/var/run/postgresql"

    assert Settings.from_environ(GOOD | {"DATABASE_URL": url})


@pytest.mark.parametrize(("size", "count"), [(100, 0), (101, 1), (500, 1), (501, 1)])
def test_large_pools_are_allowed_with_a_warning(size: int, count: int) -> None:
    settings = Settings.from_environ(GOOD | {"KNOTS_POOL_SIZE_MAX": str(size)})

    assert len(list(settings.warnings())) == count


def test_huge_pools_are_warned_about_in_other_words() -> None:
    large, huge = (
        list(Settings.from_environ(GOOD | {"KNOTS_POOL_SIZE_MAX": size}).warnings())
        for size in ("500", "501")
    )

    assert large[0].partition("exceeds")[2] != huge[0].partition("exceeds")[2]


def test_secrets_show_nowhere() -> None:
    environ = GOOD | {"KNOTS_SIGNING_KEY": "canary-" * 9}
    settings = Settings.from_environ(environ)

    shown = f"{settings!r} {settings} {settings.model_dump_json()}"

    assert "canary" not in shown
    assert "kN0tted" not in shown


@pytest.mark.parametrize(
    "environ",
    [
        {"KNOTS_SIGNING_KEY": "canary"},
        {"DATABASE_URL": "postgresql://user:password@canary/girih"},
        {"DATABASE_URL": "mysql://girih:canary@db/girih"},
        {"DATABASE_URL": "postgresql://girih:canary@db:port/girih"},
    ],
)
def test_problems_do_not_repeat_secrets(environ: dict[str, str]) -> None:
    assert "canary" not in " ".join(problems(GOOD | environ))


def test_a_value_given_by_name_is_not_repeated_either() -> None:
    with pytest.raises(ValidationError) as caught:
        PoolSettings(database_url="mysql://girih:canary@db/girih")

    assert "canary" not in str(caught.value)


def test_says_what_is_wrong_on_stderr_and_exits_with_78(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        Settings.load({"KNOTS_POOL_SIZE_MAX": "0"})

    assert caught.value.code == 78
    answer = capsys.readouterr().err
    assert "DATABASE_URL: is required" in answer
    assert "KNOTS_POOL_SIZE_MAX: " in answer


def test_every_field_is_documented_and_has_a_variable() -> None:
    meanings = settings_table.meanings_of(Settings)

    for name in Settings.model_fields:
        assert meanings[name], name
        assert variable_name(Settings, name).isupper()


def test_values_given_by_name_ignore_the_environment(
    monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    monkeypatch.setenv("GIRIH_LOG_LEVEL", "error")

    settings = ServerSettings(trusted_keys=authority.trusted_keys, transport="mesh")
    assert settings.log_level == "info"
