"""How this command's gRPC calls are kept from others: as GIRIH_TRANSPORT says, like all calls."""

from collections.abc import Mapping
from pathlib import Path

import grpc

from cli import exit_codes
from cli.failure import Failed
from services.plumbing.tls import WrongCertificate, read_certificates, read_key


def open_channel(address: str, environ: Mapping[str, str], name: str = "") -> grpc.Channel:
    """A channel to `address`, encrypted where the environment says so. Raises Failed.

    The certificate is for `name`, or for the host of `address` when that is empty.
    """
    tls = credentials(environ)
    if tls is None:
        return grpc.insecure_channel(address)
    options = [("grpc.ssl_target_name_override", name)] if name else []
    return grpc.secure_channel(address, tls, options=options)


def credentials(environ: Mapping[str, str]) -> grpc.ChannelCredentials | None:
    """What encrypts calls; None where the environment says that nothing does. Raises Failed."""
    transport = environ.get("GIRIH_TRANSPORT") or "plain"
    if transport not in {"tls", "mtls"}:
        return None
    is_mutual = transport == "mtls"
    try:
        key = _named(environ, "GIRIH_TLS_KEY") if is_mutual else None
        certificate = _named(environ, "GIRIH_TLS_CERTIFICATE") if is_mutual else None
        authorities = _named(environ, "GIRIH_TLS_CA") if is_mutual else environ.get("GIRIH_TLS_CA")
        return grpc.ssl_channel_credentials(
            read_certificates(Path(authorities)) if authorities else None,
            read_key(Path(key)) if key else None,
            read_certificates(Path(certificate)) if certificate else None,
        )
    except WrongCertificate as error:
        raise Failed(str(error), exit_codes.CONFIG) from error


def _named(environ: Mapping[str, str], variable: str) -> str:
    if named := environ.get(variable):
        return named
    raise Failed(f"{variable}: is required when GIRIH_TRANSPORT is mtls", exit_codes.CONFIG)
