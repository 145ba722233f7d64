"""What the gateway is told by its environment."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from gateway.accounts.settings import AccountSettings
from gateway.admission.limit_settings import LimitSettings
from gateway.http.cors import ANY
from services.plumbing.settings import (
    CertificatesPath,
    PeerSettings,
    SettingsConfig,
)
from services.plumbing.tls import WrongCertificate, read_key

_ADDRESS = r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$"
_TARGET = r"^[A-Za-z0-9._:/\[\]-]+:\d{1,5}$"


HttpTransport = Literal["tls", "proxy", "plain"]

_is_origin = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|\*", re.ASCII).fullmatch


def _origins(text: str) -> str:
    wrong = [origin for origin in _listed(text) if not _is_origin(origin)]
    if wrong:
        raise _wrong("must be origins such as https://girih.dev, with commas between them")
    return text


class Settings(LimitSettings, AccountSettings, PeerSettings):
    """The gateway's settings: each is `GATEWAY_` and its name in capitals."""

    model_config = SettingsConfig(env_prefix="GATEWAY_")

    address: str = Field(default="127.0.0.1:8000", pattern=_ADDRESS)
    """Where to listen for HTTP, as host:port. Port 0 lets the system choose one."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that serve this address together, to use several cores. Limits and throttles count
    for all of them, in memory or in GATEWAY_REDIS_URL; bounds on connections, requests, streams and
    hashing are each one's own. Each takes about the memory of a gateway."""
    http_transport: HttpTransport = Field(default="plain", validate_default=True)
    """How clients are kept from being overheard: `tls` encrypts here, `proxy` says that a proxy
    in front does it, and that nobody else can reach this port. `plain` does nothing, for
    development, and is refused in production."""
    http_tls_certificate: CertificatesPath | None = Field(
        default=None, validation_alias="GATEWAY_TLS_CERTIFICATE"
    )
    """The file with the certificate that clients are shown, then those between it and the
    authority (PEM). Required for tls."""
    http_tls_key: Path | None = Field(
        default=None, validation_alias="GATEWAY_TLS_KEY", validate_default=True
    )
    """The file with the private key of that certificate (PEM, not encrypted)."""
    cors_origins: Annotated[str, AfterValidator(_origins)] = ""
    """The origins of web pages that may use the API from a browser, such as
    `https://app.girih.dev,https://girih.dev`. Empty means none but our own. `*` means all, and is
    refused in production."""
    metrics_port: int = Field(default=9100, ge=0, le=65_535)
    """The port of the metrics; 0 lets the system choose one, which the log tells."""
    events_address: str = Field(default="127.0.0.1:50051", pattern=_TARGET)
    """Where the events service is, as host:port or dns:///name:port."""
    lattice_address: str = Field(default="127.0.0.1:50052", pattern=_TARGET)
    """Where the lattice service is, as host:port or dns:///name:port."""
    projections_address: str = Field(default="127.0.0.1:50053", pattern=_TARGET)
    """Where the process is that runs projections, as host:port or dns:///name:port. The gateway is
    ready without it: calls about projections and what they hold are answered with 503 then."""
    call_timeout_s: float = Field(default=30.0, gt=0, le=3_600)
    """The longest a call may take that is answered at once, in seconds. Clients may ask for
    less."""
    stream_timeout_s: float = Field(default=3_600.0, gt=0, le=86_400)
    """The longest a streamed answer may take, in seconds. Clients may ask for less."""
    body_bytes_max: int = Field(default=12 * 2**20, ge=1_024, le=2**30)
    """The largest request body, in bytes. JSON takes up to a third more than what it carries."""
    public_body_bytes_max: int = Field(default=16 * 2**10, ge=1_024, le=2**30)
    """The largest body of a request that anybody may make without a token, in bytes."""
    body_timeout_s: float = Field(default=30.0, gt=0, le=600)
    """How long a request body may take to arrive, in seconds."""
    header_bytes_max: int = Field(default=16 * 2**10, ge=1_024, le=2**20)
    """The largest request line and headers together, in bytes; and what a body in chunks may hold
    beside them, such as trailers, which are thrown away."""
    header_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """How long a connection may take to send the headers of a request, in seconds. Bytes that
    arrive do not put it off."""
    keep_alive_s: float = Field(default=75.0, gt=0, le=3_600)
    """How long an idle connection is kept open, in seconds. Longer than what a load balancer in
    front keeps, or it will use connections that are just closing."""
    connection_count_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """Connections open at once; further ones are answered with 503 and closed, or closed unanswered
    where very many come at a time."""
    line_bytes_max: int = Field(default=12 * 2**20, ge=1_024, le=2**30)
    """The largest line of a body that is a stream of lines, in bytes. The body may be as long as
    it likes."""
    line_timeout_s: float = Field(default=60.0, gt=0, le=3_600)
    """How long the next line of such a body may take to arrive, in seconds."""
    large_answer_bytes_max: int = Field(default=128 * 2**20, ge=32 * 2**20, le=2**40)
    """What answers of more than 16 KiB may hold together until their clients have taken them, in
    bytes as they come from the services; the next one is answered with 503. The answers of one
    tenant may hold half of it."""
    bodies_mib: int = Field(default=256, ge=1, le=2**20, validate_default=True)
    """The memory for request bodies, whole ones and what has come of others, all together, in MiB
    of each process.
    What is beyond that is answered with 503, and so is what a tenant sends beyond half of it. At
    least twice the largest body or line."""
    request_count_max: int = Field(default=6_000, ge=1, le=100_000)
    """Requests served at once; the next one is answered with 503."""
    stream_count_max: int = Field(default=4_000, ge=1, le=100_000)
    """Streams open at once, of the requests served; the next one is answered with 503. Below what
    a service serves at once, so that streams leave it room for other calls."""
    tenant_stream_count_max: int = Field(default=1_000, ge=1, le=100_000)
    """Streams that all callers of a tenant have open at once; the next one is answered with
    429."""
    user_stream_count_max: int = Field(default=100, ge=1, le=100_000)
    """Streams that one user or API key has open at once; the next one is answered with 429."""
    stream_heartbeat_s: float = Field(default=15.0, gt=0, le=600)
    """How often a quiet event stream says that it is alive, in seconds."""
    stream_write_timeout_s: float = Field(default=30.0, gt=0, le=600)
    """How long a client may leave an answer unread, in seconds, before it is cut off."""
    health_timeout_s: float = Field(default=1.0, gt=0, le=60)
    """How long a service may take to say that it is healthy, in seconds."""
    down_timeout_s: float = Field(default=2.0, gt=0, le=60)
    """How long a call may take to a service that does not even say how it is, in seconds."""
    docs: bool = True
    """Whether `/docs` and `/openapi.json` are served."""
    console: bool = True
    """Whether `/console` is served."""

    @field_validator("bodies_mib")
    @classmethod
    def _fits_the_largest(cls, value: int, info: ValidationInfo) -> int:
        largest = max(info.data.get("body_bytes_max", 0), info.data.get("line_bytes_max", 0))
        if value * 2**20 < 2 * largest:
            raise _wrong("must be at least twice GATEWAY_BODY_BYTES_MAX and GATEWAY_LINE_BYTES_MAX")
        return value

    @field_validator("http_transport")
    @classmethod
    def _encrypted_in_production(cls, value: str, info: ValidationInfo) -> str:
        if value == "plain" and info.data.get("environment") == "production":
            raise _wrong("must be tls or proxy in production: tokens would be there for all to see")
        return value

    @field_validator("http_tls_key")
    @classmethod
    def _both_files_for_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("http_transport") != "tls":
            return value
        certificate = info.data.get("http_tls_certificate")
        if value is None or certificate is None:
            raise _wrong("and GATEWAY_TLS_CERTIFICATE are required for GATEWAY_HTTP_TRANSPORT tls")
        try:
            read_key(value, certificate, private=info.data.get("environment") != "development")
        except WrongCertificate as error:
            raise _wrong(str(error)) from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _no_wildcard_in_production(cls, value: str, info: ValidationInfo) -> str:
        if ANY in _listed(value) and info.data.get("environment") == "production":
            raise _wrong("must name the origins in production: * lets any page call")
        return value

    @property
    def allowed_origins(self) -> frozenset[str]:
        """`cors_origins`, one by one."""
        return frozenset(_listed(self.cors_origins))


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("setting", message)
