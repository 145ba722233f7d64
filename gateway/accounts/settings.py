"""What the gateway is told about accounts."""

import re
import stat
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from gateway.accounts.secrets.passwords import MEMORY_KIB
from services.plumbing.auth.tokens import LIFETIME_S_MAX
from services.plumbing.errors import CannotRun
from services.plumbing.settings import InDevelopment, ProcessSettings, SigningKeyPath

_DAY_S: Final = 24 * 3_600

_secret = re.compile(rb"\s*([0-9a-fA-F]{64,1024})\s*").fullmatch


class WrongRefreshSecret(CannotRun):
    """The file cannot be read, or holds no secret that is worth the name."""

    exit_code = 78


def read_refresh_secret(path: Path) -> bytes:
    """The secret in the file: 32 bytes or more in hexadecimal; raises WrongRefreshSecret."""
    try:
        match = _secret(path.read_bytes())
    except OSError as error:
        raise WrongRefreshSecret(f"{path}: {error.strerror}") from error
    if not match:
        raise WrongRefreshSecret(f"{path}: must hold 64 or more hexadecimal digits")
    if len(set(match[1].lower())) < 8:
        raise WrongRefreshSecret(f"{path}: is no random secret")
    return bytes.fromhex(match[1].decode())


def _readable(path: Path) -> Path:
    try:
        read_refresh_secret(path)
    except WrongRefreshSecret as error:
        raise PydanticCustomError("setting", "{problem}", {"problem": str(error)}) from error
    return path


DefaultPlan = Literal["free", "professional", "unlimited"]

RefreshSecretPath = Annotated[Path, AfterValidator(_readable)]


class AccountSettings(ProcessSettings):
    """Sessions, passwords, and what tokens are made with."""

    owners_see_settings: Annotated[bool, InDevelopment(True)] = False
    """Whether owners of tenants may see the settings of the server, without what is secret
    (`GET /v1/settings`), and how busy its processes are (`GET /v1/figures`): for a girih of one's
    own. Unset means yes in development and no in production."""
    signing_key: SigningKeyPath
    """Required. The file with the Ed25519 key that access tokens are signed with (PEM, PKCS8).
    Its public half stands in the trust store. It is read again when it changes."""
    refresh_secret: RefreshSecretPath
    """Required. The file with the secret that refresh tokens are derived with: 64 or more
    hexadecimal digits, the same for all replicas. With another one, sessions go on; only an
    answer that got lost in that moment cannot be repeated."""
    access_token_s: int = Field(default=300, ge=30, le=LIFETIME_S_MAX)
    """How long an access token is valid, in seconds. Services that are called without the
    gateway believe it for so long after its session has ended."""
    session_idle_s: int = Field(default=14 * _DAY_S, ge=60, le=365 * _DAY_S)
    """How long a session lasts in which nothing is refreshed, in seconds."""
    session_s: int = Field(default=90 * _DAY_S, ge=60, le=365 * _DAY_S)
    """How long a session lasts at most, in seconds. Then the user logs in again."""
    default_plan: Annotated[DefaultPlan, InDevelopment("unlimited")] = "free"
    """The plan of tenants that no operator has put on one. All gateways must be told the same."""
    hashing_threads: int = Field(default=1, ge=1, le=64)
    """Threads that hash passwords, each on a core when it is busy, in a process beside the
    gateway that runs when nothing else wants the core."""
    hashing_queue_max: Annotated[int, InDevelopment(1_000)] = Field(default=20, ge=0, le=1_000)
    """Passwords that wait to be hashed; the next call is refused with HASHING_BUSY."""

    hashing_memory_kib: int = Field(default=MEMORY_KIB, ge=8, le=4 * 2**20)
    """Memory that hashing a password takes, in KiB, and with it time: 19,456 or more, unless in
    development. A password is hashed anew at its user's next login when that has changed."""

    @field_validator("hashing_memory_kib")
    @classmethod
    def _costly_in_production(cls, memory_kib: int, info: ValidationInfo) -> int:
        if memory_kib < MEMORY_KIB and info.data.get("environment") != "development":
            raise PydanticCustomError(
                "setting", "at least {least} in production", {"least": f"{MEMORY_KIB:,}"}
            )
        return memory_kib

    @field_validator("refresh_secret")
    @classmethod
    def _for_its_owner_alone(cls, path: Path, info: ValidationInfo) -> Path:
        is_shared = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if is_shared and info.data.get("environment") != "development":
            raise PydanticCustomError("setting", "others than its owner can read it (mode 0600)")
        return path
