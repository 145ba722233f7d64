"""What the events process is told by its environment."""

from pydantic import Field

from services.plumbing.settings import (
    MigratingSettings,
    ServerSettings,
    SettingsConfig,
)


class Settings(ServerSettings, MigratingSettings):
    """Every field is an environment variable: EVENTS_ plus its name in capitals."""

    model_config = SettingsConfig(env_prefix="EVENTS_")

    address: str = Field(
        default="127.0.0.1:50051", pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$"
    )
    """Where to listen, as host:port. Anything but loopback belongs behind a firewall."""
    metrics_port: int = Field(default=9101, ge=0, le=65_535)
    """The port of the metrics; 0 lets the system choose one, which the log tells."""
    concurrent_rpc_count_max: int = Field(default=4_000, ge=1, le=1_000_000)
    """Calls served at once; a call that follows a log is one for as long as it does. Further
    ones are refused."""
    command_timeout_s: float = Field(default=10.0, gt=0, le=3_600)
    """How long the process waits for an answer to one statement, in seconds. Longer than the
    database works on one, so that a slow statement ends with a known outcome."""
    statement_timeout_s: float = Field(default=8.0, gt=0, le=3_600)
    """How long the database works on one statement, in seconds. All of ours are short."""
    lock_timeout_s: float = Field(default=3.0, gt=0, le=3_600)
    """How long an append waits for its turn at the log, in seconds, before it asks again."""
    idle_transaction_timeout_s: float = Field(default=3.0, gt=0, le=3_600)
    """How long a process that stopped in the middle of an append can hold up the others, in
    seconds."""
    append_retry_s: float = Field(default=5.0, ge=0, le=60)
    """How long an append is tried again while the database is away, in seconds, before its
    caller is told to."""
    append_queue_mib: int = Field(default=64, ge=8, le=4_096)
    """What may wait to be appended to one log, in MiB, before callers are told to retry."""
    append_queues_mib: int = Field(default=192, ge=8, le=65_536)
    """What may wait to be appended to all logs together, in MiB. What waits is part of what
    `requests_mib` bounds."""
    keeping_interval_s: float = Field(default=10.0, gt=0, le=3_600)
    """How often the process looks for payloads that the rules of streams have gone, to take them
    off the disk, in seconds. It reads none of them meanwhile."""
    responses_mib: int = Field(default=128, ge=16, le=65_536)
    """What large answers to reads may hold on their way to slow readers, in MiB. Readers wait for
    room half a minute before they are told to come back. A tenant's may hold as much as stays
    free for all others: one alone half of it."""

    snapshot_count_max: int = Field(default=2, ge=1, le=100)
    """How many snapshots of a stream are kept, the newest. More than one, so that there is another
    where the newest does not fit."""
