"""gRPC ignores options it does not know, without a word; so their names are checked here."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from girih.client import channel
from services.plumbing.grpc import server
from services.plumbing.settings import ServerSettings

CORE_SPEC = find_spec("grpc._cython.cygrpc")
assert CORE_SPEC is not None
assert CORE_SPEC.origin is not None
CORE = Path(CORE_SPEC.origin).read_bytes()
SERVER_OPTIONS = server._options(ServerSettings.model_construct(trusted_keys=Path()))
CHANNEL_OPTIONS = channel.channel_options(2**20)


@pytest.mark.parametrize("name", [name for name, _ in [*SERVER_OPTIONS, *CHANNEL_OPTIONS]])
def test_grpc_knows_the_option(name: str) -> None:
    assert name.encode() in CORE


def test_channels_ping_less_often_than_servers_allow() -> None:
    least_ms = dict(SERVER_OPTIONS)["grpc.http2.min_ping_interval_without_data_ms"]

    assert int(dict(CHANNEL_OPTIONS)["grpc.keepalive_time_ms"]) > least_ms


def test_replicas_that_come_are_found_before_those_that_were_known_are_replaced() -> None:
    """A rolling restart takes seconds a replica; `python -m tests.chaos rolling` is the proof."""
    assert int(dict(CHANNEL_OPTIONS)["grpc.dns_min_time_between_resolutions_ms"]) <= 1_000
