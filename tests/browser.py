"""A headless Chromium for tests of pages, driven by the DevTools protocol over a pipe; no network, no other package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 60
WHY_NOT = "no Chromium to open the page in"
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
           "--disable-background-networking", "--remote-debugging-pipe")
EXEC = """import fcntl, os, sys
ends = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]
for number, end in zip((3, 4), ends): os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])"""
"""The browser reads commands from 3 and writes events to 4, whatever numbers the pipes have here."""


class Tab:
    """One page: what it logged to the console, what it asked a network for, and hands and eyes on it."""

    def __init__(self, commands: int, events: int) -> None:
        self._commands, self._events, self._rest, self._last = commands, events, b"", 0
        self._session: str | None = None
        self._target: str | None = None
        self._loaded = False
        self.errors: list[str] = []
        self.requests: list[str] = []

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False, scale: float = 1) -> None:
        """Open a file in a new tab, in place of the one before, with a window of that size in CSS pixels."""
        if self._target:
            self.call("Target.closeTarget", targetId=self._target, session=False)
        self._target = self.call("Target.createTarget", url="about:blank", session=False)["targetId"]
        attached = self.call("Target.attachToTarget", targetId=self._target, flatten=True, session=False)
        self._session = attached["sessionId"]
        self.errors.clear()
        self.requests.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < 600)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self._loaded = False
        self.call("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._note(self._read())

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression is, promises waited for. An exception in it fails the test."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True,
                          userGesture=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, as a keyboard does: ``ArrowLeft``, ``n``, `` ``."""
        text = {"text": key} if len(key) == 1 else {}
        code = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "PageUp": 33, "PageDown": 34,
                "End": 35, "Home": 36, "Tab": 9}.get(key, ord(key.upper()) if len(key) == 1 else 0)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code,
                      **(text if kind == "keyDown" else {}))

    def click(self, selector: str, *, across: float = 0.5, down: float = 0.5) -> None:
        """Click into an element, at a share of its width and height, with real mouse events."""
        x, y = self.place(selector, across=across, down=down)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def wheel(self, selector: str, delta: float) -> None:
        x, y = self.place(selector)
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)

    def swipe(self, selector: str, across: float) -> None:
        """Touch an element and draw the finger sideways by so many pixels."""
        x, y = self.place(selector)
        steps = [("touchStart", x), *(("touchMove", x + across * part / 6) for part in range(1, 7))]
        for kind, at in steps:
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": at, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def place(self, selector: str, *, across: float = 0.5, down: float = 0.5) -> tuple[float, float]:
        """A point of an element in the window, which scrolls there first."""
        box = self.ask(f"(() => {{ const one = document.querySelector({json.dumps(selector)}); "
                       "one.scrollIntoView({block: 'center'}); const box = one.getBoundingClientRect(); "
                       "return [box.left, box.top, box.width, box.height]; })()")
        return box[0] + across * box[2], box[1] + down * box[3]

    def take(self, *, whole: bool = False) -> bytes:
        """A screenshot as a PNG file: of the window, or of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])

    def call(self, method: str, *, session: bool = True, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; what happens meanwhile is noted."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session and self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return dict(answer.get("result", {}))
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._events], [], [], PATIENCE_S)[0], "the browser says nothing more"
            piece = os.read(self._events, 1 << 20)
            assert piece, "the browser has gone"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        self._loaded = self._loaded or method == "Page.loadEventFired"
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(str(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not told["request"]["url"].startswith("data:"):
            self.requests.append(told["request"]["url"])


@contextmanager
def start_browser(profile: Path) -> Iterator[Tab]:
    """A browser that ends with the block."""
    commands_in, commands_out = os.pipe()
    events_in, events_out = os.pipe()
    started = subprocess.Popen(
        [sys.executable, "-c", EXEC, str(commands_in), str(events_out), str(BROWSER), *OPTIONS,
         f"--user-data-dir={profile}"],
        pass_fds=(commands_in, events_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(commands_in)
    os.close(events_out)
    try:
        yield Tab(commands_out, events_in)
    finally:
        os.close(commands_out)
        os.close(events_in)
        started.terminate()
        started.wait(timeout=20)
