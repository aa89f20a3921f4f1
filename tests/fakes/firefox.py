"""A real Firefox without a window, asked by its own remote protocol, Marionette, over a socket."""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.browser import PICTURES

_NAMES = ("firefox-esr", "firefox")
_PATIENCE = 90  # seconds
_NARROWEST = 600  # pixels of a window
_DARK, _LIGHT = 0, 1  # as the preference has it
_SCHEME = "layout.css.prefers-color-scheme.content-override"


class Firefox:
    """One window of a running Firefox."""

    def __init__(self, port: int, folder: Path) -> None:
        self._socket, self._folder = _connect(port), folder
        self._number = 0
        self._receive()  # a greeting
        self._ask("WebDriver:NewSession")

    def open(self, address: str, width: int, dark: bool = False) -> None:
        """Open a page at some width; where no window can be that narrow, as a telephone's, in a frame of it."""
        self._ask("Marionette:SetContext", value="chrome")
        self.run("Services.prefs.setIntPref(arguments[0], arguments[1])", _SCHEME, _DARK if dark else _LIGHT)
        self._ask("Marionette:SetContext", value="content")
        self._ask("WebDriver:SetWindowRect", width=max(width, _NARROWEST), height=1000)
        if width >= _NARROWEST:
            self._ask("WebDriver:Navigate", url=address)
            return
        frame = self._folder / "frame.html"
        shown = f"<!DOCTYPE html><iframe src={json.dumps(address)} style='width: {width}px; height: 900px; border: 0'>"
        frame.write_text(shown, encoding="utf-8")
        self._ask("WebDriver:Navigate", url=frame.as_uri())
        self._ask("WebDriver:SwitchToFrame", id=0)

    def run(self, script: str, *arguments: object) -> Any:
        """What a script in the page returns."""
        return self._ask("WebDriver:ExecuteScript", script=script, args=list(arguments))["value"]

    def picture(self, name: str) -> None:
        """Keep what the window shows as ``build/pictures/<name>.png``."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        shown = self._ask("WebDriver:TakeScreenshot", full=False)["value"]
        (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shown))

    def printed(self) -> bytes:
        """The page on A4 sheets, as PDF."""
        margin = dict.fromkeys(("top", "bottom", "left", "right"), 1.2)
        sheet = {"width": 21.0, "height": 29.7}
        return base64.b64decode(self._ask("WebDriver:Print", page=sheet, margin=margin, background=True)["value"])

    def close(self) -> None:
        """End it."""
        self._ask("Marionette:Quit", flags=["eForceQuit"])
        self._socket.close()

    def _ask(self, command: str, **parameters: object) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(f"{len(message)}:".encode() + message)
        _, number, error, result = self._receive()
        assert number == self._number and error is None, error
        return result

    def _receive(self) -> Any:
        """A message: its length, a colon, JSON."""
        length = b""
        while not length.endswith(b":"):
            length += self._socket.recv(1)
        left, parts = int(length[:-1]), []
        while left:
            parts.append(self._socket.recv(left))
            assert parts[-1], "Firefox hung up"
            left -= len(parts[-1])
        return json.loads(b"".join(parts))


def _connect(port: int) -> socket.socket:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            found = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def firefox(profile: Path) -> Iterator[Firefox]:
    """Firefox without a window; the test is skipped where there is none.

    It is looked for on the path; the environment variable FIREFOX names another.

    Args:
        profile: An empty folder.
    """
    found = os.environ.get("FIREFOX") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no Firefox on the path; install it, or name it in the environment variable FIREFOX")
    port = _free_port()
    settings = {"marionette.port": port, "browser.shell.checkDefaultBrowser": False, "app.update.enabled": False}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in settings.items()]
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    asked = [
        found,
        "--headless",
        "--marionette",
        "--remote-allow-system-access",
        "--no-remote",
        "--profile",
        str(profile),
        "about:blank",
    ]
    with subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            window = Firefox(port, profile)
            yield window
            window.close()
            process.wait(timeout=_PATIENCE)
        finally:
            process.kill()
