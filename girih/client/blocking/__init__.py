"""The client without asyncio: the same decisions over the other stack of gRPC, in threads."""
