"""What this girih was told when it started: of the gateway, and of what is behind it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import grpc.aio
from pydantic import BaseModel

from girih.ops.v1 import ops_pb2 as pb
from girih.ops.v1.ops_pb2_grpc import SettingsServiceStub
from services.plumbing.grpc.ops import settings_to_proto
from services.plumbing.logging import get_logger

_TIMEOUT_S: Final = 3.0

_log = get_logger("gateway")


@dataclass(frozen=True, slots=True)
class ToldProcess:
    """A process, and its settings without what is secret; none where it did not answer."""

    process: str
    settings: Sequence[pb.Setting]


class ShownSettings:
    """Tells the settings of all processes."""

    def __init__(
        self,
        settings: BaseModel,
        channels: Mapping[str, grpc.aio.Channel],
        ops_token: Callable[[str], str],
    ) -> None:
        """`channels` lead to the services by their names; `ops_token` is the gateway's own, to
        ask the service of that domain."""
        self._own = settings_to_proto(settings)
        self._channels = channels
        self._ops_token = ops_token

    async def all(self) -> Sequence[ToldProcess]:
        """Those of the gateway first. Waits for nobody longer than three seconds."""
        asked = (self._of(name, channel) for name, channel in self._channels.items())
        return [ToldProcess("gateway", self._own), *await asyncio.gather(*asked)]

    async def _of(self, name: str, channel: grpc.aio.Channel) -> ToldProcess:
        token = self._ops_token(f"{name}.girih")
        try:
            answer = await SettingsServiceStub(channel).GetSettings(
                pb.GetSettingsRequest(),
                timeout=_TIMEOUT_S,
                metadata=[("authorization", f"Bearer {token}")],
            )
        except grpc.aio.AioRpcError as error:
            _log.warning("settings are not told", process=name, problem=error.code().name)
            return ToldProcess(name, ())
        return ToldProcess(name, answer.settings)
