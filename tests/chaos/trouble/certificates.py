"""The certificate of every process runs out while they serve, and is renewed a while later.

Connections that were there go on; new ones are refused by whoever makes them. Processes take a new
certificate as they find it, so that nobody has to start any of them again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.local import ports
from tests.chaos.trouble.asking import Asker
from tests.chaos.trouble.girih import PROCESS, SETTINGS, Girih
from tests.chaos.trouble.ground import Ground
from tests.chaos.trouble.proxy import Proxy, to_port
from tests.plumbing.certificates import CertificateAuthority
from tests.processes import (
    Process,
    System,
    authority_of,
    ending,
    events_process,
    free_port,
    gateway_process,
    lattice_process,
    own_postgres,
    projections_process,
)


@asynccontextmanager
async def encrypted_girih(ground: Ground) -> AsyncIterator[Girih]:
    """One that is at rest, ended with the block."""
    async with AsyncExitStack() as stack:
        postgres, folder = await asyncio.to_thread(stack.enter_context, own_postgres())
        certificates = CertificateAuthority.create(folder / "certificates")
        environ = {
            **SETTINGS,
            "GIRIH_TRANSPORT": "tls",
            **certificates.issue(PROCESS).environ,
        }
        port_of_events, port_of_lattice = free_port(), free_port()
        events, lattice = [
            await stack.enter_async_context(Proxy(to_port(port), free_port()))
            for port in (port_of_events, port_of_lattice)
        ]
        environ |= {
            "EVENTS_ADDRESS": f"127.0.0.1:{port_of_events}",
            "LATTICE_ADDRESS": f"127.0.0.1:{port_of_lattice}",
        }
        made = _made(postgres.url, folder, environ, events.port, lattice.port)
        system = await asyncio.to_thread(stack.enter_context, _running(made, certificates))
        asker = await asyncio.to_thread(Asker.settle, system.url, ["stream", "lattice_id"])
        await asker.look_at_rest()
        through = {"events": (events, events), "lattice": (lattice, lattice)}
        target = f"127.0.0.1:{events.port}"
        yield Girih(system, postgres, through, target, asker, ground, certificates)


def _made(
    database_url: str, folder: Path, environ: Mapping[str, str], events_port: int, lattice_port: int
) -> System:
    def of(process: str) -> dict[str, str]:
        others = {"EVENTS_", "LATTICE_", "PROJECTIONS_", "GATEWAY_"} - {f"{process}_"}
        return {
            name: value for name, value in environ.items() if not name.startswith(tuple(others))
        }

    events_target, lattice_target = f"127.0.0.1:{events_port}", f"127.0.0.1:{lattice_port}"
    events, events_address = events_process(database_url, folder, **of("EVENTS"))
    lattice, lattice_address = lattice_process(events_target, folder, **of("LATTICE"))
    projections, projections_address = projections_process(
        database_url, events_target, folder, **of("PROJECTIONS")
    )
    settings = {**of("GATEWAY"), "GATEWAY_PROJECTIONS_ADDRESS": projections_address}
    gateway, url = gateway_process(events_target, lattice_target, folder, **settings)
    return System(
        *(events, events_address, lattice, lattice_address),
        *(projections, projections_address, gateway, url),
        authority_of(folder),
    )


@contextmanager
def _running(made: System, certificates: CertificateAuthority) -> Iterator[System]:
    ca = (certificates.directory / "ca.pem").read_bytes()

    def encrypted(process: Process, address: str) -> Process:
        return replace(process, is_ready=lambda: _is_serving(address, ca))

    system = replace(
        made,
        events=encrypted(made.events, made.events_address),
        lattice=encrypted(made.lattice, made.lattice_address),
        projections=encrypted(made.projections, made.projections_address),
    )
    with ending(*system.processes):
        for process in system.processes:
            process.start()
        for process in system.processes:
            process.wait_ready()
        yield system


def _is_serving(address: str, ca: bytes) -> bool:
    if not ports.listens(address, timeout_s=2):
        return False
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(ca)) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=5
            )
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
