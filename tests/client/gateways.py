"""A gateway that gives tokens, and fails as tests say."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeGateway:
    """Speaks what `/auth/token` and `/auth/refresh` of the contract speak."""

    url: str = ""
    token: str = "token"
    expires_in: float = 300
    answers: list[tuple[int, Any]] = field(default_factory=list)
    """Given first, one a request: status and JSON body, or text."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    breaks_off: bool = False
    """Answers end before they have come."""

    def answer(self, path: str, body: dict[str, str]) -> tuple[int, Any]:
        self.requests.append((path, body))
        if self.answers:
            return self.answers.pop(0)
        count = len(self.requests)
        tokens = {"access_token": f"{self.token}-{count}", "expires_in": self.expires_in}
        if path == "/auth/refresh":
            tokens["refresh_token"] = f"refresh-{count}"
        return 200, tokens


def refusal(code: str, reason: str, **details: object) -> dict[str, object]:
    error = {"code": code, "message": "no", "details": {"reason": reason, **details}}
    return {"error": error}


@contextmanager
def fake_gateway(context: ssl.SSLContext | None = None) -> Iterator[FakeGateway]:
    """One that serves, over HTTPS where a context is given."""
    gateway = FakeGateway()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: dict[str, str]) -> None:
            status, answer = gateway.answer(self.path, body)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/auth/token")
            if gateway.breaks_off:
                self.send_header("Transfer-Encoding", "chunked")
                text = f"{len(text) + 1:x}\r\n{text}"
            else:
                self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_args: object) -> None:
            """A client that hangs up, as one does that does not trust it."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    gateway.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
