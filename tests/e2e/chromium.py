"""A real browser for the tests: Chromium without a window, driven over a pipe.

Speaks the DevTools protocol: JSON with a zero byte behind each message, on descriptors 3 and 4.
"""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATH = shutil.which("chromium") or shutil.which("google-chrome") or ""
"""Empty where there is none."""

IS_REQUIRED = os.environ.get("GIRIH_BROWSER") == "required"
"""As `make test-browser` says it: then a browser that is missing is a failure."""

needs_chromium = pytest.mark.skipif(
    not PATH and not IS_REQUIRED, reason="there is no Chromium here, see make test-browser"
)

in_full = pytest.mark.skipif(
    not IS_REQUIRED, reason="make test-browser does this; here the pages are walked through once"
)
"""What takes a browser for long."""

OTHER_HOST = "girih.test"
"""This machine, by a name that browsers trust less than that of the loopback."""

_TIMEOUT_S = 60.0

_KEY_CODES = {"Enter": 13, "Escape": 27, "Home": 36, "End": 35, "ArrowUp": 38, "ArrowDown": 40}


class PageGone(Exception):
    """The page went away while it was asked."""


class Page:
    """One page, as a user has it open."""

    def __init__(self, requests: int, responses: int) -> None:
        self._requests = requests
        self._responses = responses
        self._buffer = b""
        self._ids = itertools.count(1)
        self._session = ""
        self._in_front = ""
        self.problems: list[str] = []
        """What the browser complained of since `watch`: exceptions, errors in the console, among
        them every breach of a policy and every answer that is a failure."""
        self.requested: list[str] = []
        """The addresses that were asked for since `watch`."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def open(self, url: str) -> None:
        """Go there, and wait until the page is loaded."""
        self._call("Page.navigate", url=url)
        # Of the page before it may be said that it is loaded; its address tells.
        self.wait_for(f"document.readyState === 'complete' && location.href.startsWith({url!r})")

    def run(self, script: str) -> Any:
        """What a JavaScript expression comes to, once it does if it is a promise."""
        answer = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str, within_s: float = _TIMEOUT_S) -> None:
        """Wait until an expression is true, on whichever page there is by then."""
        deadline = time.monotonic() + within_s
        while not self._is_true(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.05)

    def _is_true(self, script: str) -> bool:
        try:
            return bool(self.run(script))
        except PageGone:
            return False

    def before_each_page(self, script: str) -> None:
        """Have every page that is opened run a script before its own."""
        self._call("Page.enable")
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def watch(self) -> None:
        """Note what goes wrong on pages, and what they ask for."""
        for domain in ("Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def put_aside(self) -> None:
        """Have another tab stand in front of it, as somebody who looks at something else."""
        self._in_front = self._call("Target.createTarget", url="about:blank")["targetId"]
        self.wait_for("document.hidden")

    def bring_back(self) -> None:
        """Have it stand in front again."""
        self._call("Page.bringToFront")
        self._call("Target.closeTarget", targetId=self._in_front)
        self.wait_for("!document.hidden")

    def hide_scrollbars(self) -> None:
        """As on a phone, where they take no room."""
        self._call("Emulation.setScrollbarsHidden", hidden=True)

    def prefer(self, **features: str) -> None:
        """What the user prefers, as `prefers_color_scheme="dark"`."""
        chosen = [{"name": name.replace("_", "-"), "value": features[name]} for name in features]
        self._call("Emulation.setEmulatedMedia", features=chosen)

    def screenshot(self, path: Path, *, is_whole: bool = False) -> None:
        """A PNG of what is seen, or of all of the page."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def click_at(self, x: float, y: float) -> None:
        """Press and let go the mouse at a place of the window."""
        self.drag([(x, y)])

    def drag(self, places: Sequence[tuple[float, float]]) -> None:
        """Press the mouse at the first place, lead it through all, and let it go at the last."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*places, places[-1]], strict=True):
            place = {"x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            self._call("Input.dispatchMouseEvent", type=kind, **place)

    def measure(self) -> None:
        """Count from now on what the page's main thread works."""
        self._call("Performance.enable", timeDomain="threadTicks")

    def worked_ms(self) -> dict[str, float]:
        """How long its main thread has worked since `measure`, in ms of CPU time, which other
        processes do not make longer by running meanwhile: in all, on scripts, and on layout."""
        metrics = self._call("Performance.getMetrics")["metrics"]
        seconds = {metric["name"]: metric["value"] for metric in metrics}
        names = {"all": "TaskDuration", "scripts": "ScriptDuration", "layout": "LayoutDuration"}
        return {kind: 1000 * seconds[name] for kind, name in names.items()}

    def collect_garbage(self) -> None:
        """Have the page hold no more than it needs."""
        self._call("HeapProfiler.collectGarbage")

    def resize(self, width: int, height: int) -> None:
        """Make its window so large, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def press(self, key: str) -> None:
        """Press and let go a key, by its name in the DOM; a single character is typed."""
        text = {"text": key} if len(key) == 1 else {"windowsVirtualKeyCode": _KEY_CODES[key]}
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self._call("Input.insertText", text=text)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        request = {"id": next(self._ids), "method": method, "params": params}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._requests, json.dumps(request).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == request["id"]:
                error = message.get("error", {})
                if "navigated" in error.get("message", ""):
                    raise PageGone
                assert not error, error
                result: dict[str, Any] = message["result"]
                return result
            if "method" in message:
                self._note(message["method"], message["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:2000])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(json.dumps(params["args"])[:2000])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._responses, 2**16)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with one page and a profile of its own, ended with the block."""
    assert PATH, "there is no chromium and no google-chrome on the PATH"
    child_reads, requests = os.pipe()
    responses, child_writes = os.pipe()
    command = [
        PATH, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", "--remote-debugging-pipe",
        f"--host-resolver-rules=MAP {OTHER_HOST} 127.0.0.1",
        f"--user-data-dir={folder}",
    ]  # fmt: skip
    # The shell puts the ends where the browser looks for them.
    moved = f'exec "$@" 3<&{child_reads} 4>&{child_writes}'
    with (folder / "chromium.log").open("wb") as log:
        child = subprocess.Popen(
            ["/bin/bash", "-c", moved, "chromium", *command],
            pass_fds=(child_reads, child_writes),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    os.close(child_reads)
    os.close(child_writes)
    try:
        yield Page(requests, responses)
    finally:
        os.close(requests)
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        os.close(responses)
