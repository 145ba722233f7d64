"""What every process is told by its environment, and how it refuses to start on nonsense.

A process has one class, made of those below that fit what it does. Each field is
an environment variable: the class's prefix and the field's name in capitals, or the
`GIRIH_` name that all processes share. A secret may come from a file, which NAME_FILE names.
Nothing else reads the environment.
"""

import contextlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, get_args
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from services.plumbing.auth.keys import SigningKey, read_trusted
from services.plumbing.errors import CannotRun
from services.plumbing.logging import LogFormat, LogLevel
from services.plumbing.tls import read_certificates, read_key

EX_CONFIG = 78
"""The exit code of a process whose configuration is wrong, as in sysexits.h."""

MESSAGE_BYTES = 8 * 2**20 + 2**19
"""The 8 MiB of the contract's largest message, and room for what is around them."""

Environment = Literal["development", "production"]
Transport = Literal["tls", "mtls", "mesh", "plain"]

_PLACEHOLDER = re.compile(
    r"<[^>]*>|\$\{|change[-_]?me|your[-_]|placeholder|\bexample\.(com|org|net)\b"
    r"|//user(name)?:pass(word)?@|\bxxx+\b|\bsecret_here\b",
    re.IGNORECASE,
)
_userinfo = re.compile(r"://[^/@\s]*@")
_FILE = "_FILE"
"""Behind the name of a secret: the file that holds it."""
_POOL_LARGE = 100
_POOL_HUGE = 500


@dataclass(frozen=True, slots=True)
class InDevelopment:
    """Marks a field whose default is another one in development."""

    default: object


class SettingsConfig(ConfigDict, total=False):
    """What pydantic is told of a class of settings."""

    env_prefix: str
    """What the variables of the class begin with, those apart that all processes share."""


class ProcessSettings(BaseModel):
    """What all processes are told."""

    model_config = SettingsConfig(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    environment: Environment = Field(default="production", validation_alias="GIRIH_ENVIRONMENT")
    """`development` is for one machine and says more than it should elsewhere; `production`
    refuses to start with what is only good for that. Unset means production."""
    log_level: LogLevel = Field(default="info", validation_alias="GIRIH_LOG_LEVEL")
    """The least important lines that are written. `debug` is refused in production."""
    log_format: LogFormat | None = Field(default=None, validation_alias="GIRIH_LOG_FORMAT")
    """`json` is one object per line, `console` is for people. Unset means console in development
    and json in production."""
    otlp_endpoint: str | None = Field(
        default=None, validation_alias="GIRIH_OTLP_ENDPOINT", pattern=r"^https?://[^\s/]+:\d{1,5}$"
    )
    """Where a collector takes traces by OTLP over gRPC, such as `http://127.0.0.1:4317`; https
    encrypts. Unset means that nothing is traced. Needs the extra `tracing`."""
    trace_ratio: float = Field(default=0.1, ge=0, le=1, validation_alias="GIRIH_TRACE_RATIO")
    """Of the traces that begin here, the part that is recorded."""
    metrics: bool = Field(default=True, validation_alias="GIRIH_METRICS")
    """Whether the process counts what it does. `false` opens no port for Prometheus, and
    `MetricsService` answers nothing."""
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

    @model_validator(mode="before")
    @classmethod
    def _with_defaults_of_development(cls, values: dict[str, Any]) -> dict[str, Any]:
        environment = values.get("GIRIH_ENVIRONMENT", values.get("environment"))
        if environment != "development":
            return values
        own = {
            name: marker.default
            for name, field in cls.model_fields.items()
            for marker in field.metadata
            if isinstance(marker, InDevelopment)
        }
        return own | values

    @field_validator("otlp_endpoint")
    @classmethod
    def _traced_with_what_is_installed(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not _can_trace():
            raise _wrong("needs OpenTelemetry: pip install 'girih-server[tracing]'")
        return endpoint

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
        environ, problems = _with_secrets_of_files(cls, environ)
        problems += _unknown_variables(cls, environ)
        try:
            settings = cls.model_validate(dict(_values(cls, environ)))
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


def _can_trace() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.grpc") is not None
    except ModuleNotFoundError:
        return False


class WrongSettings(Exception):
    """Everything that is wrong with an environment, one line per problem, no secrets in it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@contextlib.contextmanager
def _as_wrong_settings() -> Iterator[None]:
    try:
        yield
    except CannotRun as error:
        raise _wrong(str(error)) from None


def _trusted_keys(path: Path) -> Path:
    with _as_wrong_settings():
        read_trusted(path)
    return path


def _signing_key(path: Path, info: ValidationInfo) -> Path:
    with _as_wrong_settings():
        SigningKey.load(path, private=info.data.get("environment") != "development")
    return path


def _certificates(path: Path) -> Path:
    with _as_wrong_settings():
        read_certificates(path)
    return path


TrustedKeysPath = Annotated[Path, AfterValidator(_trusted_keys)]
"""The path of a trust store that can be read."""
SigningKeyPath = Annotated[Path, AfterValidator(_signing_key)]
"""The path of a signing key, which in production only its owner may read."""
CertificatesPath = Annotated[Path, AfterValidator(_certificates)]
"""The path of certificates that have not expired."""


class PeerSettings(ProcessSettings):
    """What a process is told beside that calls our other processes, or is called by them."""

    trusted_keys: TrustedKeysPath = Field(validation_alias="GIRIH_TRUSTED_KEYS")
    """Required. The file with the public keys whose tokens count: a JWKS in which each key has
    the issuer that signs with it as `iss`. It is read again when it changes."""
    transport: Transport = Field(
        default="plain", validation_alias="GIRIH_TRANSPORT", validate_default=True
    )
    """How calls between our processes are kept from others: `tls` encrypts them, `mtls` asks
    for the caller's certificate too, `mesh` says that something around the processes does it.
    `plain` does nothing, for development on one machine, and is refused in production."""
    tls_certificate: CertificatesPath | None = Field(
        default=None, validation_alias="GIRIH_TLS_CERTIFICATE", validate_default=True
    )
    """The file with this process's certificate, then those between it and the authority (PEM).
    Servers take a new one when the file changes."""
    tls_key: Path | None = Field(
        default=None, validation_alias="GIRIH_TLS_KEY", validate_default=True
    )
    """The file with the private key of that certificate (PEM, not encrypted)."""
    tls_ca: CertificatesPath | None = Field(
        default=None, validation_alias="GIRIH_TLS_CA", validate_default=True
    )
    """The file with the certificates of the authorities that vouch for the others (PEM).
    Required by `mtls`; otherwise unset means those that the machine trusts anyway."""

    @property
    def encrypts(self) -> bool:
        """Whether this process itself encrypts what it sends to the others."""
        return self.transport in ("tls", "mtls")

    @field_validator("transport")
    @classmethod
    def _not_plain_in_production(cls, transport: Transport, info: ValidationInfo) -> Transport:
        if transport == "plain" and info.data.get("environment") == "production":
            raise _wrong("must be tls, mtls or mesh in production")
        return transport

    @field_validator("tls_certificate", "tls_key", "tls_ca")
    @classmethod
    def _named_where_used(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        transport = str(info.data.get("transport", "plain"))
        if path is None and info.field_name in cls._files_of(transport):
            raise _wrong(f"is required when GIRIH_TRANSPORT is {transport}")
        return path

    @field_validator("tls_key")
    @classmethod
    def _fits_the_certificate(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None:
            private = info.data.get("environment") != "development"
            with _as_wrong_settings():
                read_key(path, info.data.get("tls_certificate"), private=private)
        return path

    @classmethod
    def _files_of(cls, transport: str) -> frozenset[str]:
        """The files without which this process cannot encrypt in this way."""
        return _ALL_TLS_FILES if transport == "mtls" else frozenset()


_ALL_TLS_FILES = frozenset({"tls_certificate", "tls_key", "tls_ca"})


class ServerSettings(PeerSettings):
    """What a process that serves gRPC is told beside."""

    address: str = Field(default="127.0.0.1:0", pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$")
    """Where to listen, as host:port. Anything but loopback wants `GIRIH_TRANSPORT`."""
    call_timeout_s: float = Field(default=30.0, gt=0, le=3_600)
    """The longest a unary call may take, in seconds. A caller's shorter deadline wins."""
    stream_timeout_s: float = Field(default=3_600.0, gt=0, le=86_400)
    """The longest a streaming call may take, in seconds. A caller's shorter deadline wins."""
    message_bytes_max: int = Field(default=MESSAGE_BYTES, ge=MESSAGE_BYTES, le=2**30)
    """The largest message taken or sent, in bytes. At least the most that the contract lets an
    rpc take, which bounds each."""
    concurrent_rpc_count_max: int = Field(default=6_000, ge=1, le=1_000_000)
    """Calls served at once; the next one is refused with RESOURCE_EXHAUSTED. One tenant may have
    so many that as many stay free for others. Each may send 16 KiB of a message before there is
    room for it."""
    requests_mib: int = Field(default=256, ge=32, le=65_536)
    """What the requests being received and served may hold together, in MiB. Calls wait for
    room up to five seconds before they are told to retry. A tenant may hold as much as stays
    free for all others: one alone half of it. A message that is under way holds room for the
    largest there is."""
    connection_age_max_s: float = Field(default=3_600.0, ge=1, le=86_400)
    """How long a connection is used before callers are asked to open another, in seconds, so
    that they find new replicas."""
    health_watch_count_max: int = Field(default=1_000, ge=1, le=100_000)
    """Health streams open at once; the next one is refused."""
    reflection: bool | None = None
    """Whether callers may ask for the contract. Unset means yes in development and no in
    production."""

    @classmethod
    def _files_of(cls, transport: str) -> frozenset[str]:
        own = frozenset({"tls_certificate", "tls_key"} if transport == "tls" else ())
        return super()._files_of(transport) | own


def refuse_placeholder(value: SecretStr) -> SecretStr:
    """For secrets and addresses: an example somebody forgot to replace is not a value."""
    if _PLACEHOLDER.search(value.get_secret_value()):
        raise _wrong("still holds a placeholder from an example")
    return value


def _postgres_url(value: SecretStr) -> SecretStr:
    try:
        url = urlsplit(value.get_secret_value())
        # Several servers of which one is the primary: libpq has them side by side.
        for host in url.netloc.rpartition("@")[2].split(","):
            urlsplit(f"//{host}").port  # noqa: B018 - reading it is what checks it
    except ValueError as error:
        raise _wrong("must be a URL") from error
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
    Unix socket. Of several servers, host:port,host:port, the one that is the primary is used."""
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
            raise _wrong("must not hold a password that everybody knows")
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


class MigratingSettings(PoolSettings):
    """What a process is told whose schema is its own."""

    migration_database_url: DatabaseUrl | None = None
    """The same database, as a login that may change its schema. Unset means that the process
    migrates as the login of `DATABASE_URL` in development, and does not in production: there
    `girih migrate`, which reads this too, has been run before."""

    @field_validator("migration_database_url")
    @classmethod
    def _no_default_password_of_the_migrating_login(
        cls, value: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        return value and cls._no_default_password_in_production(value, info)

    @property
    def migrating_url(self) -> str | None:
        """Where and as whom the process migrates; None when that is somebody else's task."""
        if self.migration_database_url is not None:
            return self.migration_database_url.get_secret_value()
        is_development = self.environment == "development"
        return self.database_url.get_secret_value() if is_development else None


_DEFAULT_PASSWORDS = frozenset({"postgres", "password", "admin", "root", "girih", "123456"})


def variable_name(cls: type[BaseModel], field_name: str) -> str:
    """The environment variable of a field."""
    alias = cls.model_fields[field_name].validation_alias
    prefix = str(cls.model_config.get("env_prefix", ""))
    return alias if isinstance(alias, str) else (prefix + field_name).upper()


def secret_of(environ: Mapping[str, str], name: str) -> str | None:
    """A secret that a variable has, or the file that NAME_FILE names; None without either.

    Raises ValueError when the file cannot be read, or both are given.
    """
    value, file = environ.get(name) or None, environ.get(f"{name}{_FILE}")
    if not file:
        return value
    if value is not None:
        raise ValueError(f"{name}{_FILE}: must not be given beside {name}")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text"
        raise ValueError(f"{name}{_FILE}: cannot be read: {reason.lower()}") from error


def named_urls(text: str) -> Iterator[tuple[str, str]]:
    """The pairs of name=url in a text, with spaces or in lines of their own."""
    for pair in text.split():
        name, _, url = pair.partition("=")
        yield name, url


def _with_secrets_of_files(
    cls: type[BaseModel], environ: Mapping[str, str]
) -> tuple[Mapping[str, str], list[str]]:
    """The environment with secrets in the place of the files that hold them, and what is wrong."""
    values, problems = dict(environ), []
    for field_name, field in cls.model_fields.items():
        if not is_secret(field.annotation):
            continue
        name = variable_name(cls, field_name)
        try:
            secret = secret_of(environ, name)
        except ValueError as error:
            problems.append(str(error))
            secret = None
        if values.pop(f"{name}{_FILE}", None) and secret is not None:
            values[name] = secret
    return values, problems


def is_secret(annotation: object) -> bool:
    """Whether a setting of that type is never shown."""
    return annotation is SecretStr or any(map(is_secret, get_args(annotation)))


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting as it may be shown to who operates the process."""

    variable: str
    value: str
    """As the variable would have it; empty where it is unset or secret."""
    is_secret: bool
    is_default: bool


def shown(settings: BaseModel) -> Iterator[ShownSetting]:
    """All settings of a process, in their order, without what is secret."""
    for name, field in type(settings).model_fields.items():
        value, hidden = getattr(settings, name), is_secret(field.annotation)
        yield ShownSetting(
            variable_name(type(settings), name),
            "" if hidden else _as_text(value),
            is_secret=hidden,
            is_default=value == field.default,
        )


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # A URL of a store may name who opens it.
    return _userinfo.sub("://…@", str(value))


def _values(cls: type[BaseModel], environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What an environment says of the fields, by the names that these are validated by. An empty
    variable says nothing, and names count in whichever case."""
    stated = {name.upper(): value for name, value in environ.items() if value}
    for field_name, field in cls.model_fields.items():
        value = stated.get(variable_name(cls, field_name))
        if value is not None:
            alias = field.validation_alias
            yield alias if isinstance(alias, str) else field_name, value


def _unknown_variables(cls: type[BaseModel], environ: Mapping[str, str]) -> Iterator[str]:
    prefix = str(cls.model_config.get("env_prefix", "")).upper()
    known = {variable_name(cls, name) for name in cls.model_fields}
    for name in environ:
        if prefix and name.upper().startswith(prefix) and name.upper() not in known:
            yield f"{name}: no such setting"


def _problem(cls: type[BaseModel], detail: ErrorDetails) -> str:
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
