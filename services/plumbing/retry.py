"""How long to pause before the next attempt: the pauses that the client makes too."""

from girih.backoff import Backoff

__all__ = ["Backoff"]
