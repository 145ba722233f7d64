"""What the events process is told by its environment."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, Self

from pydantic import Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from services.plumbing.settings import (
    DatabaseUrl,
    MigratingSettings,
    ServerSettings,
    SettingsConfig,
    named_urls,
)

DEFAULT_PLACE: Final = "default"
"""What the database of `DATABASE_URL` is called among the places."""
_PLACE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")


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
    ones are refused. One tenant may have so many that as many stay free for others."""
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
    places: SecretStr = SecretStr("")
    """Further databases for logs, as name=url, several with spaces or in lines of their own. What
    `DATABASE_URL` names is called `default` among them, and knows where each log is. A name
    stays: logs remember it."""
    migration_places: SecretStr = SecretStr("")
    """The same databases, as logins that may change their schema. A place that is not named here
    is migrated as `DATABASE_URL` is without `EVENTS_MIGRATION_DATABASE_URL`."""
    moving_interval_s: float = Field(default=1.0, gt=0, le=3_600)
    """How often the process looks for logs that are to be moved from place to place, in seconds.
    With one place it does not."""
    append_queue_mib: int = Field(default=64, ge=8, le=4_096)
    """What may wait to be appended to one log, in MiB, before callers are told to retry."""
    append_queues_mib: int = Field(default=192, ge=8, le=65_536)
    """What may wait to be appended to all logs together, in MiB. What waits is part of what
    `requests_mib` bounds."""
    keeping_interval_s: float = Field(default=10.0, gt=0, le=3_600)
    """How often the process looks for payloads that the rules of streams have gone, to take them
    off the disk, in seconds. It reads none of them meanwhile."""
    compacting_interval_s: float = Field(default=600.0, gt=0, le=86_400)
    """How often the process looks whether payloads have left so much room in the file of events
    that its end can be moved into it and given back to the disk, in seconds."""
    schema_check_s: float = Field(default=2.0, gt=0, le=10)
    """How much of a core a check by schemas may take, or a change of events to another version
    of theirs, in seconds, before it is refused."""
    responses_mib: int = Field(default=128, ge=16, le=65_536)
    """What large answers to reads, and large events that wait for consumers of groups, may hold on
    their way, in MiB. Readers wait for room half a minute before they are told to come back. A
    tenant's may hold as much as stays free for all others: one alone half of it."""

    snapshot_count_max: int = Field(default=2, ge=1, le=100)
    """How many snapshots of a stream are kept, the newest. More than one, so that there is another
    where the newest does not fit."""

    @field_validator("places", "migration_places")
    @classmethod
    def _of_places(cls, value: SecretStr) -> SecretStr:
        for name, url in _pairs(value):
            if not _PLACE_NAME.fullmatch(name) or name == DEFAULT_PLACE:
                raise _wrong(
                    "must be name=url with names of a-z, 0-9 and -, and none called default"
                )
            try:
                _url.validate_python(url)
            except ValidationError as error:
                raise _wrong(f"{name}: {error.errors()[0]['msg']}") from None
        names = [name for name, _ in _pairs(value)]
        if len(set(names)) < len(names):
            raise _wrong("must name each place once")
        return value

    def at_places(self) -> Mapping[str, Self]:
        """What each place is used with, `default` first: the same, but for its database."""
        migrating = dict(_pairs(self.migration_places))
        others = {
            name: self.model_copy(
                update={
                    "database_url": SecretStr(url),
                    "migration_database_url": (
                        SecretStr(migrating[name]) if name in migrating else None
                    ),
                }
            )
            for name, url in _pairs(self.places)
        }
        return {DEFAULT_PLACE: self} | others


_url: Final[TypeAdapter[SecretStr]] = TypeAdapter(DatabaseUrl)


def _pairs(value: SecretStr) -> Iterator[tuple[str, str]]:
    return named_urls(value.get_secret_value())


def _wrong(message: str) -> PydanticCustomError:
    # Not as a template: what is wrong may have braces.
    return PydanticCustomError("setting", "{problem}", {"problem": message})
