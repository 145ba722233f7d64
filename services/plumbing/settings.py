"""What every process is told by its environment, and how it refuses to start on nonsense.

A process has one class, made of those below that fit what it does. Each field is
an environment variable: the class's prefix and the field's name in capitals, or the
`GIRIH_` name that all processes share. Nothing else reads the environment.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

EX_CONFIG = 78
"""The exit code of a process whose configuration is wrong, as in sysexits.h."""

MESSAGE_BYTES = 8 * 2**20 + 2**19
"""The 8 MiB of the contract's largest message, and room for what is around them."""

Environment = Literal["development", "production"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]
Transport = Literal["tls", "mtls", "mesh", "plain"]

_PLACEHOLDER = re.compile(
    r"<[^>]*>|\$\{|change[-_]?me|your[-_]|placeholder|\bexample\.(com|org|net)\b"
    r"|//user(name)?:pass(word)?@|\bxxx+\b|\bsecret_here\b",
    re.IGNORECASE,
)
_POOL_LARGE = 100
_POOL_HUGE = 500


class ProcessSettings(BaseSettings):
    """What all processes are told."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    environment: Environment = Field(default="production", validation_alias="GIRIH_ENVIRONMENT")
    """`development` trusts callers on the same machine; `production` trusts nobody. Unset means
    production."""
    log_level: LogLevel = Field(default="info", validation_alias="GIRIH_LOG_LEVEL")
    """The least important lines that are written. `debug` is refused in production."""
    log_format: LogFormat | None = Field(default=None, validation_alias="GIRIH_LOG_FORMAT")
    """`json` is one object per line, `console` is for people. Unset means console in development
    and json in production."""
    metrics_host: str = Field(default="127.0.0.1", min_length=1)
    """The address on which Prometheus finds the metrics. Never a public one."""
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """The port of the metrics; 0 lets the system choose one, which the log tells."""
    drain_s: float | None = Field(default=None, ge=0, le=600)
    """How long the process stays open after SIGTERM while it says that it is not serving, in
    seconds: at least what callers take to notice. Unset means 0 in development and 5 in
    production."""
    shutdown_grace_s: float = Field(default=10.0, ge=0, le=600)
    """How long running calls may still take once the process has drained, in seconds."""

    @field_validator("log_level")
    @classmethod
    def _no_debug_in_production(cls, level: LogLevel, info: ValidationInfo) -> LogLevel:
        if level == "debug" and info.data.get("environment") == "production":
            raise _wrong("debug is refused in production: it would log what callers send")
        return level

    @property
    def drain_duration_s(self) -> float:
        """`drain_s`, or what the environment makes of it."""
        if self.drain_s is not None:
            return self.drain_s
        return 0.0 if self.environment == "development" else 5.0

    @property
    def log_renderer(self) -> LogFormat:
        """`log_format`, or what the environment makes of it."""
        return self.log_format or ("console" if self.environment == "development" else "json")

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet likely a mistake, for the log."""
        yield from ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read `environ`; raises `WrongSettings` that lists everything wrong at once."""
        problems = list(_unknown_variables(cls, environ))
        try:
            settings = cls.model_validate(_EnvironSource(cls, environ)())
        except ValidationError as error:
            problems += [_problem(cls, detail) for detail in error.errors()]
        if problems:
            raise WrongSettings(sorted(problems))
        return settings

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read `environ`, or say everything that is wrong on stderr and exit with 78."""
        try:
            return cls.from_environ(environ)
        except WrongSettings as wrong:
            _exit(wrong)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed: the environment is read by `from_environ`, once, by name."""
        return (init_settings,)


class WrongSettings(Exception):
    """Everything that is wrong with an environment, one line per problem, no secrets in it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PeerSettings(ProcessSettings):
    """What a process is told beside that calls our other processes, or is called by them."""

    trusted_keys: Path | None = Field(default=None, validation_alias="GIRIH_TRUSTED_KEYS")
    """Required. The file with the public keys whose tokens count: a JWKS, each key with
    the issuer that signs with it as `iss`. It is read again when it changes."""
    transport: Transport | None = Field(default=None, validation_alias="GIRIH_TRANSPORT")
    """How calls between our processes are kept from others: `tls` encrypts them, `mtls` asks for
    the caller's certificate too, `mesh` says that something around the processes does it, and
    `plain` is for one machine. Required in production, where plain is refused. Unset means
    plain in development."""
    tls_certificate: Path | None = Field(default=None, validation_alias="GIRIH_TLS_CERTIFICATE")
    """The file with this process's certificate and those between it and the authority (PEM)."""
    tls_key: Path | None = Field(default=None, validation_alias="GIRIH_TLS_KEY")
    """The file with the private key of that certificate (PEM, not encrypted)."""
    tls_ca: Path | None = Field(default=None, validation_alias="GIRIH_TLS_CA")
    """The file with the certificates of the authorities that the others' come from (PEM). Unset
    means those that this machine trusts anyway, which mtls refuses."""


class ServerSettings(PeerSettings):
    """What a process that serves gRPC is told beside."""

    address: str = Field(default="127.0.0.1:0", pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$")
    """Where to listen, as host:port. Anything but loopback belongs behind a wall."""
    call_timeout_s: float = Field(default=30.0, gt=0, le=3_600)
    """The longest a unary call may take, in seconds. A caller's shorter deadline wins."""
    stream_timeout_s: float = Field(default=3_600.0, gt=0, le=86_400)
    """The longest a streaming call may take, in seconds. A caller's shorter deadline wins."""
    message_bytes_max: int = Field(default=MESSAGE_BYTES, ge=MESSAGE_BYTES, le=2**30)
    """The largest message taken or sent, in bytes. At least what the contract allows."""
    concurrent_rpc_count_max: int = Field(default=1_000, ge=1, le=1_000_000)
    """Calls served at once; the next one is refused with RESOURCE_EXHAUSTED. Each may hold a
    message of the largest size before it is looked at."""
    requests_mib: int = Field(default=256, ge=1, le=65_536)
    """What the requests being served may hold together, in MiB, before callers are told to
    retry."""
    connection_age_max_s: float = Field(default=3_600.0, ge=1, le=86_400)
    """How long a connection is used before callers are asked to open another, in seconds, so
    that they find new replicas."""
    health_watch_count_max: int = Field(default=1_000, ge=1, le=100_000)
    """Health streams open at once; the next one is refused."""
    reflection: bool | None = None
    """Whether callers may ask for the contract. Unset means yes in development and no in
    production."""


def refuse_placeholder(value: SecretStr) -> SecretStr:
    """For secrets and addresses: an example somebody forgot to replace is not a value."""
    if _PLACEHOLDER.search(value.get_secret_value()):
        raise _wrong("still holds a placeholder from an example")
    return value


def _postgres_url(value: SecretStr) -> SecretStr:
    try:
        url = urlsplit(value.get_secret_value())
        url.port  # noqa: B018 - reading it is what checks it
    except ValueError as error:
        raise _wrong("is not a URL") from error
    if url.scheme not in {"postgresql", "postgres"}:
        raise _wrong("must begin with postgresql://")
    if len(url.path) < 2:
        raise _wrong("must name a database, as in postgresql://host/database")
    return value


DatabaseUrl = Annotated[
    SecretStr, AfterValidator(refuse_placeholder), AfterValidator(_postgres_url)
]


class PoolSettings(ProcessSettings):
    """What a process with a database is told beside."""

    database_url: DatabaseUrl = Field(validation_alias="DATABASE_URL")
    """Required. postgresql://user:password@host:port/database, or with ?host=/directory for a
    Unix socket."""
    pool_size_min: int = Field(default=1, ge=1, le=1_000)
    """Connections kept open."""
    pool_size_max: int = Field(default=10, ge=1, le=1_000)
    """Connections opened at most. All replicas together must stay below the database's own
    limit."""
    pool_acquire_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """How long a call waits for a free connection, in seconds, before it is told to retry."""
    database_connect_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """How long opening one connection may take, in seconds."""
    database_start_timeout_s: float = Field(default=60.0, gt=0, le=3_600)
    """How long the process waits at its start for the database to answer, in seconds."""
    command_timeout_s: float = Field(default=30.0, gt=0, le=3_600)
    """How long the process waits for an answer to one statement, in seconds."""
    statement_timeout_s: float = Field(default=30.0, gt=0, le=3_600)
    """How long the database works on one statement, in seconds."""
    lock_timeout_s: float = Field(default=5.0, gt=0, le=3_600)
    """How long a statement waits for a lock, in seconds."""
    idle_transaction_timeout_s: float = Field(default=10.0, gt=0, le=3_600)
    """How long the database lets an open transaction do nothing, in seconds."""

    @field_validator("database_url")
    @classmethod
    def _no_default_password_in_production(
        cls, value: SecretStr, info: ValidationInfo
    ) -> SecretStr:
        password = unquote(urlsplit(value.get_secret_value()).password or "")
        if info.data.get("environment") == "production" and password in _DEFAULT_PASSWORDS:
            raise _wrong("holds a password that everybody knows")
        return value

    @field_validator("pool_size_max")
    @classmethod
    def _at_least_the_minimum(cls, size_max: int, info: ValidationInfo) -> int:
        size_min = info.data.get("pool_size_min")
        if size_min is not None and size_max < size_min:
            raise _wrong(f"must not be below the minimum pool size, {size_min}; it is {size_max}")
        return size_max

    def warnings(self) -> Iterator[str]:
        """Sizes that databases rarely stand."""
        yield from super().warnings()
        if self.pool_size_max > _POOL_HUGE:
            yield f"a pool of {self.pool_size_max} connections exceeds what PostgreSQL serves well"
        elif self.pool_size_max > _POOL_LARGE:
            yield f"a pool of {self.pool_size_max} connections exceeds PostgreSQL's default limit"


_DEFAULT_PASSWORDS = frozenset({"postgres", "password", "admin", "root", "girih", "123456"})


def variable_name(cls: type[BaseSettings], field_name: str) -> str:
    """The environment variable of a field."""
    alias = cls.model_fields[field_name].validation_alias
    prefix = str(cls.model_config.get("env_prefix", ""))
    return alias if isinstance(alias, str) else (prefix + field_name).upper()


class _EnvironSource(EnvSettingsSource):
    """Reads a mapping instead of the process's environment."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self.env_vars = {name.lower(): value for name, value in environ.items() if value}


def _unknown_variables(cls: type[BaseSettings], environ: Mapping[str, str]) -> Iterator[str]:
    prefix = str(cls.model_config.get("env_prefix", "")).upper()
    known = {variable_name(cls, name) for name in cls.model_fields}
    for name in environ:
        if prefix and name.upper().startswith(prefix) and name.upper() not in known:
            yield f"{name}: no such setting"


def _problem(cls: type[BaseSettings], detail: ErrorDetails) -> str:
    """One line; the value is told only where it can be no secret."""
    location = str(detail["loc"][0]) if detail["loc"] else ""
    field_name = next(
        (
            name
            for name in cls.model_fields
            if location.lower() in {name, variable_name(cls, name).lower()}
        ),
        None,
    )
    if field_name is None:
        return f"{location}: {detail['msg']}"
    message = "is required" if detail["type"] == "missing" else detail["msg"]
    return f"{variable_name(cls, field_name)}: {message}"


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("setting", message)


def _exit(wrong: WrongSettings) -> NoReturn:
    lines = "".join(f"  {problem}\n" for problem in wrong.problems)
    sys.stderr.write(f"The settings are wrong:\n{lines}")
    raise SystemExit(EX_CONFIG)
