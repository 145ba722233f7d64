"""Whether the gateway is to be sent requests, and whether it is about to end."""

import asyncio


class Lifecycle:
    """First a gateway says that it drains; later it ends its streams and stops."""

    def __init__(self) -> None:
        self.is_draining = False
        """Not ready any more: nobody should send new requests. Those that come are served."""
        self.stopping = asyncio.Event()
        """Streams that would go on for ever end now."""
