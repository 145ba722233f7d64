"""The lattice service as a process: how it refuses to start, counts, and ends."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import httpx
import pytest

from girih.lattice.v1 import lattice_pb2 as pb
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from girih.ops.v1 import ops_pb2
from girih.ops.v1.ops_pb2_grpc import MetricsServiceStub
from services.lattice.app import SERVICE, built
from services.lattice.settings import Settings
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.health import SERVING
from services.plumbing.grpc.server import Server, running
from services.plumbing.settings import WrongSettings
from services.plumbing.tls import channel_credentials
from tests.authority import Authority
from tests.lattice.serving import until
from tests.plumbing.certificates import CertificateAuthority
from tests.processes import PATIENT, ROOT, Process, ending, events_process, lattice_process

if TYPE_CHECKING:
    from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceAsyncStub

DEVELOPMENT = {"GIRIH_ENVIRONMENT": "development"}


def test_everything_wrong_with_the_settings_is_told_at_once() -> None:
    wrong = {
        "LATTICE_THREADS": "-1",
        "LATTICE_CACHE_BYTES": "lots",
        "LATTICE_ADDRESS": "nowhere",
        "LATTICE_COMPUTE_BYTES": "1",
        "LATTICE_TYPO": "1",
        "LATTICE_SIGNING_KEY": "/nowhere",
        "GIRIH_TRUSTED_KEYS": "/nowhere",
    }

    ended = subprocess.run(
        [sys.executable, "-m", "services.lattice"],
        cwd=ROOT,
        env=os.environ | wrong,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 78
    for name in wrong:
        assert name in ended.stderr


@pytest.mark.e2e
async def test_a_process_serves_counts_and_ends_when_asked(
    event_store: tuple[Process, str], authority: Authority, tmp_path: Path
) -> None:
    process, address = lattice_process(event_store[1], tmp_path, **authority.environ)
    with ending(process):
        process.start()
        process.wait_ready()
        async with grpc.aio.insecure_channel(address) as channel:
            names = await use(channel, authority.metadata())
        url = f"http://127.0.0.1:{process.environ['LATTICE_METRICS_PORT']}/metrics"
        metrics = await asyncio.to_thread(httpx.get, url, timeout=60)

        assert {"lattice_cache_bytes", "lattice_computations"} <= names
        assert 'lattice_computations_total{method="closed_form"} 1.0' in metrics.text
        assert 'lattice_sites_expanded_total{method="a_star"} 0.0' in metrics.text
        assert "lattice_compute_waiting 0.0" in metrics.text
        assert process.stop(within_s=60) == 0


@pytest.mark.e2e
async def test_a_lattice_deleted_through_one_replica_is_gone_on_another(
    event_store: tuple[Process, str], authority: Authority, tmp_path: Path, tenant: str
) -> None:
    """Prints how long that takes (`pytest -s`): from the answer of the delete on."""
    # The other replica would believe its memory for an hour if it did not follow.
    environ = authority.environ | {"LATTICE_FRESHNESS_S": "3600"}
    replicas = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        replicas.append(lattice_process(event_store[1], tmp_path / name, **PATIENT, **environ))
    (one, one_address), (other, other_address) = replicas
    metadata = authority.metadata(tenant)
    with ending(one, other):
        for process in (one, other):
            process.start()
        for process in (one, other):
            process.wait_ready()
        async with (
            grpc.aio.insecure_channel(one_address) as one_channel,
            grpc.aio.insecure_channel(other_address) as other_channel,
        ):
            here, there = LatticeServiceStub(one_channel), LatticeServiceStub(other_channel)

            async def is_followed() -> bool:
                """Following begins with the first call of a tenant, a moment later."""
                try:
                    await delete_and_wait(here, there, metadata, within_s=1)
                except TimeoutError:
                    return False
                return True

            await until(is_followed)
            delays_s = [await delete_and_wait(here, there, metadata) for _ in range(50)]

    delays_ms = sorted(1e3 * delay_s for delay_s in delays_s)
    print(f"gone after {statistics.median(delays_ms):.1f} ms, at most {delays_ms[-1]:.1f} ms")


async def delete_and_wait(
    here: "LatticeServiceAsyncStub",
    there: "LatticeServiceAsyncStub",
    metadata: list[tuple[str, str]],
    within_s: float = 60.0,
) -> float:
    """Delete a lattice that another replica has in memory; answers until when it answers it."""
    created = await here.CreateLattice(pb.CreateLatticeRequest(shape=[10]), metadata=metadata)
    lattice_id = created.lattice.lattice_id
    get = pb.GetLatticeRequest(lattice_id=lattice_id)
    for _ in range(2):
        await there.GetLattice(get, metadata=metadata)
    await here.DeleteLattice(pb.DeleteLatticeRequest(lattice_id=lattice_id), metadata=metadata)
    began_s = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            try:
                await there.GetLattice(get, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                assert error.code() == grpc.StatusCode.NOT_FOUND  # noqa: PT017
                return time.monotonic() - began_s


async def use(channel: grpc.aio.Channel, metadata: list[tuple[str, str]]) -> set[str]:
    """Create a lattice, find a path on it, and answer the names of what is counted."""
    lattices = LatticeServiceStub(channel)
    created = await lattices.CreateLattice(pb.CreateLatticeRequest(shape=[10]), metadata=metadata)
    await lattices.FindPath(
        pb.FindPathRequest(
            lattice_id=created.lattice.lattice_id,
            start=pb.Site(coordinates=[0]),
            goal=pb.Site(coordinates=[9]),
        ),
        metadata=metadata,
    )
    request = ops_pb2.GetMetricsRequest(name_prefix="lattice_")
    response = await MetricsServiceStub(channel).GetMetrics(request, metadata=metadata)
    return {family.name for family in response.families}


def test_a_signing_key_that_nobody_trusts_is_refused(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other")
    for key in (other.lattice_key, authority.gateway_key):
        with pytest.raises(WrongSettings) as wrong:
            Settings.from_environ(
                DEVELOPMENT | authority.environ | {"LATTICE_SIGNING_KEY": str(key)}
            )
        (problem,) = wrong.value.problems
        assert problem.startswith("LATTICE_SIGNING_KEY: must be among the keys")


@pytest.mark.e2e
async def test_lattice_and_events_prove_themselves_to_each_other(
    database_url: str, authority: Authority, tmp_path: Path
) -> None:
    ca = CertificateAuthority.create(tmp_path / "ca")
    environ = DEVELOPMENT | authority.environ | {"GIRIH_TRANSPORT": "mtls"}
    process, address = events_process(
        database_url, tmp_path, **(environ | ca.issue("events").environ)
    )
    process.is_ready = lambda: "serving" in process.log.read_text()
    settings = Settings.from_environ(
        environ | ca.issue("lattice").environ | {"LATTICE_EVENTS_ADDRESS": address}
    )
    with ending(process):
        process.start()
        process.wait_ready()
        async with built(settings) as server, running(server, "127.0.0.1:0") as port:
            await until(partial(is_serving, server))
            tls = channel_credentials(settings)
            async with open_channel(f"127.0.0.1:{port}", bearer=authority.bearer, tls=tls) as own:
                stub = LatticeServiceStub(own)
                created = await stub.CreateLattice(pb.CreateLatticeRequest(shape=[10]))

    assert created.lattice.vertices == 10


async def is_serving(server: Server) -> bool:
    return server.health.status(SERVICE.full_name) == SERVING


@pytest.mark.e2e
def test_a_process_that_still_compiles_ends_when_asked(
    authority: Authority, tmp_path: Path
) -> None:
    environ = authority.environ | {"LATTICE_KERNEL_CACHE_DIR": str(tmp_path / "empty")}
    process, _ = lattice_process("127.0.0.1:1", tmp_path, **environ)
    with ending(process):
        process.start()
        while "serving" not in process.log.read_text():
            assert process.is_running
            time.sleep(0.05)

        assert process.stop(within_s=60) == 0
