"""How a command ends that could not do what it was asked: words for people, a code for scripts."""

from cli import exit_codes


class Failed(Exception):
    """Ends the command with its message on stderr, and its exit code."""

    def __init__(self, message: str, exit_code: int = exit_codes.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def as_json(self) -> dict[str, object]:
        """What programs read of it, under `error`."""
        code = exit_codes.name(self.exit_code)
        return {"code": code, "message": str(self), "exitCode": self.exit_code}

    @property
    def may_pass(self) -> bool:
        """The same may succeed later."""
        return self.exit_code in {exit_codes.UNAVAILABLE, exit_codes.TEMPFAIL}


class NotLoggedIn(Failed):
    """There is no session that calls could be made in."""

    def __init__(self, url: str, why: str = "nobody is logged in") -> None:
        message = f"{why} at {url}\nLog in first: girih register, or girih login."
        super().__init__(message, exit_codes.NOPERM)


class Away(Failed):
    """The server does not answer. When the call `was_sent`, it may have been done all the same;
    one that `hangs` takes calls and answers none: to ask again at once is to wait again."""

    def __init__(self, message: str, *, was_sent: bool, hangs: bool = False) -> None:
        super().__init__(message, exit_codes.UNAVAILABLE)
        self.was_sent = was_sent
        self.hangs = hangs
