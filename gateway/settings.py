"""What the gateway is told by its environment."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.plumbing.settings import ProcessSettings

_ADDRESS = r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$"
_TARGET = r"^[A-Za-z0-9._:/\[\]-]+:\d{1,5}$"


class Settings(ProcessSettings):
    """The gateway's settings: each is `GATEWAY_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    address: str = Field(default="127.0.0.1:8000", pattern=_ADDRESS)
    """Where to listen for HTTP, as host:port. Port 0 lets the system choose one."""
    metrics_port: int = Field(default=9100, ge=0, le=65_535)
    """The port of the metrics; 0 lets the system choose one, which the log tells."""
    events_address: str = Field(default="127.0.0.1:50051", pattern=_TARGET)
    """Where the events service is, as host:port or dns:///name:port."""
    lattice_address: str = Field(default="127.0.0.1:50052", pattern=_TARGET)
    """Where the lattice service is, as host:port or dns:///name:port."""
    call_timeout_s: float = Field(default=30.0, gt=0, le=3_600)
    """The longest a call may take that is answered at once, in seconds. Clients may ask for
    less."""
    stream_timeout_s: float = Field(default=3_600.0, gt=0, le=86_400)
    """The longest a streamed answer may take, in seconds. Clients may ask for less."""
    body_bytes_max: int = Field(default=12 * 2**20, ge=1_024, le=2**30)
    """The largest request body, in bytes. JSON takes up to a third more than what it carries."""
    body_timeout_s: float = Field(default=30.0, gt=0, le=600)
    """How long a request body may take to arrive, in seconds."""
    header_bytes_max: int = Field(default=16 * 2**10, ge=1_024, le=2**20)
    """The largest request line and headers together, in bytes."""
    header_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """How long a connection may take to send the headers of a request, in seconds."""
    keep_alive_s: float = Field(default=75.0, gt=0, le=3_600)
    """How long an idle connection is kept open, in seconds. Longer than what a load balancer in
    front keeps, or it will use connections that are just closing."""
    connection_count_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """Connections open at once; further ones are closed unanswered."""
    request_count_max: int = Field(default=2_000, ge=1, le=100_000)
    """Requests served at once; the next one is answered with 503."""
    stream_count_max: int = Field(default=500, ge=1, le=100_000)
    """Streams open at once, of the requests served; the next one is answered with 503. Below what
    a service serves at once, so that streams leave it room for other calls."""
    stream_heartbeat_s: float = Field(default=15.0, gt=0, le=600)
    """How often a quiet event stream says that it is alive, in seconds."""
    stream_write_timeout_s: float = Field(default=30.0, gt=0, le=600)
    """How long a client may leave a stream unread, in seconds, before it is cut off."""
    health_timeout_s: float = Field(default=1.0, gt=0, le=60)
    """How long a service may take to say that it is healthy, in seconds."""
    docs: bool = True
    """Whether `/docs` and `/openapi.json` are served."""
