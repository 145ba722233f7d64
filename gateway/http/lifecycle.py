"""Whether the gateway is to be sent requests, and whether it is about to end."""

from collections.abc import Callable


class Lifecycle:
    """First a gateway says that it drains; later it ends its streams and stops."""

    def __init__(self) -> None:
        self.is_draining = False
        """Not ready any more: nobody should send new requests. Those that come are served."""
        self.is_stopping = False
        """Streams that would go on for ever end now."""
        self._when_stopping: list[Callable[[], object]] = []

    def when_stopping(self, act: Callable[[], object]) -> None:
        """Call `act` once, when the gateway stops."""
        self._when_stopping.append(act)

    def stop(self) -> None:
        """End what would go on for ever."""
        self.is_stopping = True
        for act in self._when_stopping:
            act()
