"""A headless Chromium that is told what to do through a pipe, and goes nowhere."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_TIMEOUT_S = 120
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9", "--remote-debugging-pipe"),
)


def find_chromium():
    """The path of a Chromium, or nothing."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def opened(program: str, home: Path):
    """Start the browser with a profile of its own."""
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    # It reads from descriptor 3 and writes to descriptor 4.
    command = ["bash", "-c", f'exec "$@" 3<&{their_in} 4>&{their_out}', "bash", program, *_OPTIONS]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={home}"],
        env=os.environ | {"HOME": str(home)},
        pass_fds=(their_in, their_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(their_in)
    os.close(their_out)
    browser = Browser(our_in, our_out)
    try:
        yield browser
        browser.call("Browser.close")
    finally:
        os.close(our_out)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        os.close(our_in)


class Browser:
    """Commands and events of the DevTools protocol.

    Attributes:
        events: What happened so far, in order.
    """

    def __init__(self, inward: int, outward: int) -> None:
        self._in, self._out = inward, outward
        self._number = 0
        self._waiting = b""
        self.events: list[dict] = []

    def call(self, method: str, session: str | None = None, **parameters):
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def wait(self, method: str) -> None:
        """Wait for an event."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def _next(self):
        deadline = time.monotonic() + _TIMEOUT_S
        while b"\0" not in self._waiting:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            read = os.read(self._in, 1 << 20)
            assert read, "the browser has ended"
            self._waiting += read
        message, _, self._waiting = self._waiting.partition(b"\0")
        return json.loads(message)


class Shown:
    """A page as the browser shows it, on a screen of some width."""

    def __init__(self, browser: Browser, path: Path, width: int) -> None:
        self._browser = browser
        browser.events.clear()
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Network", "Page", "Runtime"):
            browser.call(f"{domain}.enable", self._session)
        screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", self._session, **screen)
        browser.call("Page.navigate", self._session, url=path.resolve().as_uri())
        browser.wait("Page.loadEventFired")

    def evaluate(self, expression: str):
        """Ask the page, past its own rules about scripts."""
        found = self._browser.call("Runtime.evaluate", self._session, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def seen(self, method: str) -> list[dict]:
        """What events of a kind told since the page was opened."""
        return [event["params"] for event in self._browser.events if event.get("method") == method]
