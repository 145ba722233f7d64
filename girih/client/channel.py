"""A gRPC channel to a service of girih, with the options that keep it alive. Knows no rpc."""

import json
from typing import Final

import grpc
import grpc.aio

MESSAGE_BYTES_MAX: Final = 8 * 2**20 + 2**19
"""The largest append with everything around it."""

_METADATA_BYTES_MAX = 64 * 2**10


def open_channel(
    address: str,
    *,
    tls: grpc.ChannelCredentials | None = None,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
) -> grpc.aio.Channel:
    """A channel to `address` (host:port or dns:///name:port). Connects when first used.

    Without `tls` nothing is encrypted. Close it, or use it as a context manager.
    """
    options = channel_options(message_bytes_max)
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, tls, options=options)


def open_blocking_channel(
    address: str, *, tls: grpc.ChannelCredentials | None = None
) -> grpc.Channel:
    """The same for calls without asyncio."""
    options = channel_options()
    if tls is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, tls, options=options)


def tls_credentials(
    *, ca: bytes | None = None, certificate: bytes | None = None, key: bytes | None = None
) -> grpc.ChannelCredentials:
    """For `open_channel`, all in PEM: whom to trust (None: whom the machine trusts), and who
    one is where the server asks for a certificate."""
    return grpc.ssl_channel_credentials(ca, key, certificate)


def channel_options(message_bytes_max: int = MESSAGE_BYTES_MAX) -> list[tuple[str, int | str]]:
    """What every channel of ours is opened with."""
    return [
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_send_message_length", message_bytes_max),
        # Space for errors with many details, which travel in trailers.
        ("grpc.max_metadata_size", _METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES_MAX),
        # Notices a server that vanished without a word, also between calls. Slower than the
        # least interval servers allow, or they would hang up on us.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Comes back within a second of the server, however long it was away.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # When a replica goes away, those that came since are looked for at once: gRPC would look
        # again after half a minute, in which those it knew may all have been replaced.
        ("grpc.dns_min_time_between_resolutions_ms", 500),
        # A connection per channel. Else channels to one address share one, and calls wait
        # behind the streams that another channel was opened for.
        ("grpc.use_local_subchannel_pool", 1),
        # Every address behind a name gets its share; a single one costs nothing more.
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ]
