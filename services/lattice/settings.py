"""The settings of the lattice service, read from its environment."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from services.plumbing.auth.keys import SigningKey, read_trusted
from services.plumbing.settings import (
    ServerSettings,
    SettingsConfig,
    SigningKeyPath,
)
from services.policy import LATTICE

_MIB = 2**20
_GIB = 2**30


class Settings(ServerSettings):
    """Every field is an environment variable: LATTICE_ plus its name in capitals."""

    model_config = SettingsConfig(env_prefix="LATTICE_")

    address: str = Field(
        default="127.0.0.1:50052", pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$"
    )
    """Where to listen, as host:port. Anything but loopback belongs behind a firewall."""
    metrics_port: int = Field(default=9102, ge=0, le=65_535)
    """The port of the metrics; 0 lets the system choose one, which the log tells."""
    signing_key: SigningKeyPath
    """Required. The file with the private key (Ed25519, PEM) of the tokens that this service
    calls the event store with. Its public half stands in `GIRIH_TRUSTED_KEYS`. It is read
    again when it changes."""
    events_address: str = Field(default="127.0.0.1:50051", min_length=1)
    """Where the event store listens, as host:port or dns:///name:port."""
    events_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """How long one answer of the event store is waited for, in seconds."""
    events_down_timeout_s: float = Field(default=0.5, gt=0, le=60)
    """How long it is waited for while the event store is known not to serve, in seconds."""
    events_health_interval_s: float = Field(default=1.0, gt=0, le=60)
    """How often the event store is asked whether it serves, in seconds."""
    threads: int = Field(default=0, ge=0, le=256)
    """Threads that compute for one tenant. 0 means one per core that the process may use. There
    is one more, which only another tenant gets. What takes a moment has as many of its own."""
    compute_bytes: int = Field(default=2 * _GIB, ge=_GIB + _GIB // 4, le=2**40)
    """The memory that calls may compute in, all together, in bytes. The largest call alone
    takes 1.25 GiB. A tenant's calls take half of it at most, unless one alone takes more."""
    send_bytes: int = Field(default=512 * _MIB, ge=320 * _MIB, le=2**40)
    """The memory of answers that are computed and that their callers have not read yet, in
    bytes. One eighth is for small answers, and the largest, of 512 MiB, takes as much of the rest
    as there is. A tenant's answers take half of either at most, unless one alone takes more."""
    waiting_calls_max: int = Field(default=256, ge=0, le=100_000)
    """Calls that wait to be computed; the next one is refused with COMPUTE_BUSY. A tenant may
    have half as many. One whose turn does not come within half of its time, or 15 s, is refused
    too."""
    looks_max: int = Field(default=4_000_000_000, ge=1_000_000, le=2**62)
    """The most neighbours that one call may have looked at, each along every axis on Moore
    neighbourhoods: a minute or two of one core. A call whose time is too short for so many, at
    100,000,000 a second, may have fewer. What is estimated to take more is refused with
    WORK_TOO_LARGE, unless a small part of that is enough to find it."""
    part_timeout_s: float = Field(default=30.0, gt=0, le=3_600)
    """How long a part of a streamed answer, about 1 MiB, waits for its caller to take it, in
    seconds. Then the call ends with CONSUMER_TOO_SLOW."""
    searches_bytes: int = Field(default=512 * _MIB, ge=0, le=2**40)
    """The memory that is kept from one search to the next on the same lattice, in bytes."""
    components_bytes: int = Field(default=256 * _MIB, ge=0, le=2**40)
    """The memory that is kept to tell at once where no path leads, in bytes: some 4 a site of
    lattices with blocked sites that were searched for long."""
    cache_bytes: int = Field(default=256 * _MIB, ge=16 * _MIB, le=2**40)
    """The memory that lattices are kept in, in bytes. Those used longest ago leave first."""
    catalogue_bytes: int = Field(default=64 * _MIB, ge=_MIB, le=2**40)
    """The memory that lists of lattices are kept in, in bytes. Longer lists are read anew for
    every page."""
    followed_tenants_max: int = Field(default=1_000, ge=0, le=100_000)
    """Tenants whose changes through other replicas are followed, those who called last. Each
    holds a call to the event store open. 0 follows none."""
    freshness_s: float = Field(default=1.0, ge=0, le=3_600)
    """How long a lattice in memory is believed while its tenant is not followed, before the event
    store is asked whether it was deleted, in seconds."""
    confirm_timeout_s: float = Field(default=0.5, gt=0, le=60)
    """How long that question is waited for, in seconds, before memory is believed again."""
    storage: str = Field(default="", max_length=2_000)
    """Where arrays are kept that are too large for events: a folder, or the URL of an object
    store (`s3://bucket/prefix`, also `gs`, `az`), for which the package `obstore` is needed.
    Replicas must share it. Empty means a folder of the user's data directory."""
    field_bytes_max: int = Field(default=8 * _GIB, ge=1, le=2**50)
    """What one field may take, in bytes."""
    blocked_sites_max: int = Field(default=2**30, ge=1, le=2**30)
    """How many sites a lattice may have of which some are blocked; a bit of memory each."""
    fields_max: int = Field(default=64, ge=1, le=1_000)
    """How many fields one lattice may have."""
    uploads_max: int = Field(default=256, ge=1, le=100_000)
    """How many uploads of fields a tenant may have begun and not finished. One that is given up
    counts until it expires, or its lattice is deleted."""
    fields_bytes: int = Field(default=64 * _MIB, ge=_MIB, le=2**40)
    """The memory that is kept to tell which fields lattices have, in bytes."""
    transfer_bytes: int = Field(default=256 * _MIB, ge=64 * _MIB, le=2**40)
    """The memory of fields that are on their way into the storage, in bytes, some 20 MiB each, and
    of those that calls have as costs of sites. A tenant's take half of it at most; who finds no
    room waits, then gets COMPUTE_BUSY."""
    upload_s: float = Field(default=86_400.0, ge=1, le=31_536_000)
    """How long an upload that was cut off may be gone on with, in seconds."""
    replaced_s: float = Field(default=7_200.0, ge=1, le=31_536_000)
    """How long an array that was written over, or whose field was deleted, stays for those who
    began to read it before, in seconds. More than the longest call takes."""
    history_s: float = Field(default=2_592_000.0, ge=0, le=3_153_600_000)
    """How long numbers that callers sent are kept when they were written over, in seconds: 30 days.
    Changes that lead further back cannot be undone, and no earlier state be read."""
    collect_interval_s: float = Field(default=600.0, ge=0.1, le=86_400)
    """How often arrays are looked for that no event speaks of, in seconds. They are removed when
    they are twice as old as an upload may be."""
    dask_scheduler: str = Field(default="", max_length=2_000)
    """The address of a scheduler of Dask (`tls://host:8786`), whose workers transform fields that
    take more memory than a call may. They must reach what `LATTICE_STORAGE` names. Empty means
    workers of this machine, begun when they are needed first. Needs `girih-server[dask]`."""
    dask_workers: int = Field(default=2, ge=1, le=256)
    """How many workers of this machine there are then, each a process of one thread."""
    dask_worker_bytes: int = Field(default=2 * _GIB, ge=_GIB, le=2**40)
    """The memory of a worker, or of each of its threads, in bytes. A box of sites that it works on
    takes a quarter of that."""
    jobs_at_once: int = Field(default=4, ge=0, le=256)
    """Simulations that this process works on at once, each in a process of its own that stands
    back behind calls (`LATTICE_JOB_NICENESS`). 0 leaves them to other replicas."""
    job_threads: int = Field(default=0, ge=0, le=256)
    """Threads of each. 0 means one per core that the process may use. What comes out does not
    depend on it."""
    job_niceness: int = Field(default=10, ge=0, le=19)
    """How far simulations stand back behind everything else on the machine, as for `nice`. With 10
    they have what others leave of the cores, and on Linux a tenth of what others want, so that they
    go on where a machine is always busy. With 19 they get the cores when nothing else wants them
    (`SCHED_IDLE`), and may wait for ever."""
    jobs_bytes: int = Field(default=2 * _GIB, ge=64 * _MIB, le=2**40)
    """The memory of the simulations that this process works on, together, in bytes, as far as it is
    estimated. One that takes more than all of it is refused."""
    job_updates_max: int = Field(default=10**15, ge=1_000, le=2**62)
    """The most updates of sites that a simulation may take: some days of one core. What is
    estimated to take more is refused with WORK_TOO_LARGE."""
    job_turn_s: float = Field(default=30.0, ge=0.1, le=86_400)
    """How long a simulation runs before it makes room for one of a tenant that has fewer running,
    in seconds."""
    job_lease_s: float = Field(default=15.0, ge=0.5, le=3_600)
    """After how long without a word of the replica that works on a simulation another one goes on
    with it, in seconds. All replicas must have the same."""
    job_checkpoint_s: float = Field(default=10.0, ge=0.1, le=86_400)
    """How often the state of a running simulation is kept, or of a chain of transforms, in
    seconds."""
    jobs_interval_s: float = Field(default=1.0, ge=0.05, le=3_600)
    """How often simulations are looked for that wait, or whose replica has gone, in seconds."""
    kernel_cache_dir: Path | None = None
    """Where compiled kernels are kept. Unset means the user's cache directory. A directory
    that cannot be written is replaced by a temporary one."""

    @field_validator("signing_key")
    @classmethod
    def _is_trusted(cls, path: Path, info: ValidationInfo) -> Path:
        trusted = info.data.get("trusted_keys")
        if trusted is not None:
            key = read_trusted(trusted).get(SigningKey.load(path, private=False).kid)
            if key is None or key.issuer != LATTICE:
                raise PydanticCustomError(
                    "setting", f"must be among the keys that GIRIH_TRUSTED_KEYS has for {LATTICE}"
                )
        return path
