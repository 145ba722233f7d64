"""What program a request comes from, as it says itself: good to recognise, and no proof."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

AGENT_CHARS_MAX: Final = 200

_agent: ContextVar[str] = ContextVar("girih_caller_agent", default="")


def caller_agent() -> str:
    """What the program calls itself that the request being served comes from; may be empty."""
    return _agent.get()


def enter_agent(headers: Mapping[bytes, bytes]) -> None:
    """Make the program that these headers name this task's, for the rest of it."""
    text = headers.get(b"user-agent", b"").decode("latin-1")
    if not text.isprintable():
        text = "".join(one for one in text if one.isprintable())
    _agent.set(text[:AGENT_CHARS_MAX])
