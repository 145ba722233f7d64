"""The settings of the process that runs projections, read from its environment."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from services.plumbing.auth.keys import SigningKey, read_trusted
from services.plumbing.settings import (
    MigratingSettings,
    ServerSettings,
    SettingsConfig,
    SigningKeyPath,
)
from services.policy import PROJECTIONS


class Settings(ServerSettings, MigratingSettings):
    """Every field is an environment variable: PROJECTIONS_ plus its name in capitals."""

    model_config = SettingsConfig(env_prefix="PROJECTIONS_")

    address: str = Field(
        default="127.0.0.1:50053", pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$"
    )
    """Where to listen, as host:port. Anything but loopback belongs behind a firewall."""
    metrics_port: int = Field(default=9103, ge=0, le=65_535)
    """The port of the metrics; 0 lets the system choose one, which the log tells."""
    signing_key: SigningKeyPath
    """Required. The file with the private key (Ed25519, PEM) of the tokens that this process
    reads the logs of tenants with. Its public half stands in `GIRIH_TRUSTED_KEYS`. It is read
    again when it changes."""
    events_address: str = Field(default="127.0.0.1:50051", min_length=1)
    """Where the event store listens, as host:port or dns:///name:port."""
    events_health_interval_s: float = Field(default=1.0, gt=0, le=60)
    """How often the event store is asked whether it serves, in seconds."""
    indicators_file: Path | None = None
    """A TOML file that declares indicators, see docs/how-to/projections.md. Unset means none."""
    tenants_interval_s: float = Field(default=1.0, gt=0, le=3_600)
    """How often the event store is asked for tenants that have begun, in seconds."""
    lease_s: float = Field(default=10.0, ge=1, le=600)
    """How long a process that died, or was cut off from the database, keeps its share of the
    projections from others, in seconds."""
    batch_event_count_max: int = Field(default=5_000, ge=1, le=50_000)
    """Events applied in one transaction at most; fewer while one takes long."""
    followed_logs_max: int = Field(default=500, ge=1, le=100_000)
    """Logs followed at once, each of which is a call that the event store holds open, and holds up
    to 4 MiB of events while it is behind; a tenant's log counts once for each projection. Beyond
    them places go round: each is given up at the end of its log, or after five seconds."""
    idle_s: float = Field(default=60.0, gt=0, le=3_600)
    """How long a log is followed in which nothing happens, in seconds. What happens later is
    noticed within `tenants_interval_s`."""
    waiting_calls_max: int = Field(default=1_000, ge=1, le=100_000)
    """Calls that wait for projections, a quarter of them of one tenant at most; the next one is
    refused with PROJECTION_WAITS_FULL."""
    attempt_count_max: int = Field(default=5, ge=1, le=100)
    """How often an event is tried that cannot be applied, before it is dealt with by the policy of
    its projection. One whose data the database refuses is tried once, and one that fails alike when
    it is tried again at once, twice: more often is for what is outside, such as the network."""
    retry_pause_s_max: float = Field(default=30.0, gt=0, le=3_600)
    """The longest pause between two attempts, in seconds; the first is a tenth of a second."""

    @field_validator("signing_key")
    @classmethod
    def _is_trusted(cls, path: Path, info: ValidationInfo) -> Path:
        trusted = info.data.get("trusted_keys")
        if trusted is not None:
            key = read_trusted(trusted).get(SigningKey.load(path, private=False).kid)
            if key is None or key.issuer != PROJECTIONS:
                raise PydanticCustomError(
                    "setting",
                    f"must be among the keys that GIRIH_TRUSTED_KEYS has for {PROJECTIONS}",
                )
        return path
