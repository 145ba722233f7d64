"""`girih logs` as operators type it, on a service with two places."""

import asyncio
import json
import os

import grpc.aio
import pytest
from click.testing import CliRunner

from cli import main
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
