"""Whether a process of girih is healthy, asked from outside. An answer is None or a problem."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cli.local import ports
from girih.servers import reachable, url_of_gateway

if TYPE_CHECKING:
    import ssl

# What asks is imported when it is asked: `girih up` has its processes started by then.
_TIMEOUT_S = 2.0
_BODY_BYTES_MAX = 2_000
_KERNELS = "kernels."
_NO_ANSWER = "does not answer"


def problem(service: str, settings: Mapping[str, str], environ: Mapping[str, str]) -> str | None:
    """Of events, lattice, projections or the gateway, where the settings say that it listens."""
    if service == "gateway":
        return http_problem(f"{url_of_gateway(settings)}/health/ready")
    return grpc_problem(reachable(settings[f"{service.upper()}_ADDRESS"]), environ)


def grpc_problem(
    address: str, environ: Mapping[str, str], *, timeout_s: float = _TIMEOUT_S
) -> str | None:
    """What grpc.health.v1 says of the whole process; None when it says SERVING."""
    # A connection costs a hundredth of a channel and its call, and whoever waits asks often.
    if not ports.listens(address, timeout_s):
        return _NO_ANSWER
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from cli.client.transport import open_channel

    # A channel of its own: one that has failed waits before it tries again.
    with open_channel(address, environ) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            status = check(health_pb2.HealthCheckRequest(), timeout=timeout_s).status
        except grpc.RpcError as error:
            return _reason(error)
    if status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return f"says {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}"


def compiling(address: str, environ: Mapping[str, str]) -> list[str]:
    """The kinds of kernels that the lattice service still compiles, as it says itself."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from cli.client.transport import open_channel

    with open_channel(reachable(address), environ) as channel:
        try:
            parts = health_pb2_grpc.HealthStub(channel).List(
                health_pb2.HealthListRequest(), timeout=_TIMEOUT_S
            )
        except grpc.RpcError:
            return []
    return [
        name.removeprefix(_KERNELS)
        for name, part in sorted(parts.statuses.items())
        if name.startswith(_KERNELS) and part.status != health_pb2.HealthCheckResponse.SERVING
    ]


def _reason(error: object) -> str:
    import grpc

    if isinstance(error, grpc.Call) and error.code() is not grpc.StatusCode.UNAVAILABLE:
        return f"answers {error.code().name}: {error.details()}"
    return _NO_ANSWER


def http_problem(url: str, *, timeout_s: float = _TIMEOUT_S) -> str | None:
    """Why a GET does not answer 200; None when it does."""
    import http.client
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=timeout_s, context=_context(url)):  # noqa: S310 - it is http
            return None
    except HTTPError as error:
        with error:
            body = error.read(_BODY_BYTES_MAX).decode(errors="replace")
        return f"answers {error.code}: {body}"
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or str(reason)
        return f"does not answer ({words.lower()})"


def _context(url: str) -> "ssl.SSLContext | None":
    """Whoever answers may prove nothing: it is asked how it is, and told no secret."""
    if not url.startswith("https:"):
        return None
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
