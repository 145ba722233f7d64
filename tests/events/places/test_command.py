"""`girih logs` as operators type it, on a service with two places."""

import asyncio
import json
import os
from pathlib import Path

import grpc.aio
import pytest
from click.testing import CliRunner

from cli import main
from cli.commands import doctor
from cli.failure import Failed
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from tests.authority import Authority
from tests.events.making import append_of
from tests.events.places.conftest import WEST


class Command:
    """The command, with the key of the gateway that the service trusts."""

    def __init__(self, address: str, authority: Authority) -> None:
        self._environ = {**os.environ, **authority.environ, "EVENTS_ADDRESS": address}
        self._environ["GATEWAY_SIGNING_KEY"] = str(authority.gateway_key)

    async def logs(self, *words: str) -> str:
        """What it prints. Raises what it ends with."""
        runner = CliRunner(env=self._environ)
        words = ("logs", *words)
        done = await asyncio.to_thread(runner.invoke, main.app.tree, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout


@pytest.fixture
def girih(address: str, authority: Authority) -> Command:
    return Command(address, authority)


async def test_operators_place_move_and_list_logs(
    girih: Command, channel: grpc.aio.Channel, authority: Authority
) -> None:
    assert "is at west" in await girih.logs("place", "acme", WEST)
    await EventStoreServiceStub(channel).Append(append_of("s"), metadata=authority.metadata("acme"))

    assert "is at default" in await girih.logs("move", "acme", "default", "--wait")
    [log] = [json.loads(line) for line in (await girih.logs("list", "-o", "jsonl")).splitlines()]
    assert log == {
        "tenant": "acme",
        "place": "default",
        "movingTo": "",
        "headPosition": 1,
        "copiedPosition": 0,
        "reachable": True,
    }
    with pytest.raises(Failed, match="PLACE_UNKNOWN"):
        await girih.logs("move", "acme", "nowhere")


async def test_the_doctor_sees_that_a_process_means_another_database_by_a_place(
    address: str,
    channel: grpc.aio.Channel,
    authority: Authority,
    database_url: str,
    other_url: str,
    tmp_path: Path,
) -> None:
    environ = {
        **authority.environ,
        **{f"{name}_ADDRESS": "127.0.0.1:9" for name in ("GATEWAY", "LATTICE", "PROJECTIONS")},
        "EVENTS_ADDRESS": address,
        "GATEWAY_SIGNING_KEY": str(authority.gateway_key),
        "DATABASE_URL": database_url,
    }

    async def findings_of(place: str, url: str) -> list[doctor.Finding]:
        around = doctor.Surroundings.of(tmp_path, {**environ, "EVENTS_PLACES": f"{place}={url}"})
        return await asyncio.to_thread(lambda: list(doctor._database(around)))

    def of_places(findings: list[doctor.Finding]) -> list[tuple[str, str]]:
        return [(one.grade, one.message) for one in findings if one.part == "places"]

    assert of_places(await findings_of(WEST, other_url)) == [
        ("well", f"logs are in default, west; so say {address}")
    ]
    both = of_places(await findings_of("east", database_url))
    assert [grade for grade, _ in both] == ["wrong", "wrong"]
    assert both[0][1] == "default and east lead to the same database"
    assert both[1][1].startswith(f"{address} has the places default, west")
