"""What the processes of this girih tell of themselves: of the gateway, and of what is behind it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc.aio
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from girih.ops.v1 import ops_pb2 as pb
from girih.ops.v1.ops_pb2_grpc import MetricsServiceStub, SettingsServiceStub
from services.plumbing.grpc.ops import figures, settings_to_proto
from services.plumbing.logging import get_logger

_TIMEOUT_S: Final = 3.0

_log = get_logger("gateway")

Answer = TypeVar("Answer")
Metadata = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """A process, and its settings without what is secret; none where it did not answer."""

    process: str
    settings: Sequence[pb.Setting]


@dataclass(frozen=True, slots=True)
class BusyProcess:
    """A process, and how busy it is; None where it did not answer."""

    process: str
    figures: pb.Figures | None


class ShownProcesses:
    """Asks all processes. Waits for none of them longer than three seconds."""

    def __init__(
        self,
        settings: BaseModel,
        registry: CollectorRegistry,
        channels: Mapping[str, grpc.aio.Channel],
        ops_token: Callable[[str], str],
    ) -> None:
        """`channels` lead to the services by their names; `ops_token` is the gateway's own, to
        ask the service of that domain."""
        self._own = settings_to_proto(settings)
        self._registry = registry
        self._channels = channels
        self._ops_token = ops_token

    async def settings(self) -> Sequence[ProcessSettings]:
        """What each was told when it started, the gateway first."""

        async def ask(channel: grpc.aio.Channel, metadata: Metadata) -> Sequence[pb.Setting]:
            answer = await SettingsServiceStub(channel).GetSettings(
                pb.GetSettingsRequest(), timeout=_TIMEOUT_S, metadata=metadata
            )
            return answer.settings

        asked = await self._ask(ask)
        answers = [ProcessSettings(name, answer or ()) for name, answer in asked]
        return [ProcessSettings("gateway", self._own), *answers]

    async def figures(self) -> Sequence[BusyProcess]:
        """How busy each is, the gateway first."""

        async def ask(channel: grpc.aio.Channel, metadata: Metadata) -> pb.Figures:
            answer = await MetricsServiceStub(channel).GetFigures(
                pb.GetFiguresRequest(), timeout=_TIMEOUT_S, metadata=metadata
            )
            return answer.figures

        own, asked = await asyncio.gather(figures(self._registry), self._ask(ask))
        answers = [BusyProcess(name, answer) for name, answer in asked]
        return [BusyProcess("gateway", own), *answers]

    async def _ask(
        self, ask: Callable[[grpc.aio.Channel, Metadata], Awaitable[Answer]]
    ) -> list[tuple[str, Answer | None]]:
        """What each of the services answers, at the same time."""

        async def of(name: str, channel: grpc.aio.Channel) -> tuple[str, Answer | None]:
            token = self._ops_token(f"{name}.girih")
            try:
                return name, await ask(channel, [("authorization", f"Bearer {token}")])
            except grpc.aio.AioRpcError as error:
                _log.warning("a process tells nothing", process=name, problem=error.code().name)
                return name, None

        return await asyncio.gather(*(of(*each) for each in self._channels.items()))
