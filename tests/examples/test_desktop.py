"""The desktop example: its real window, on a screen of its own, used with mouse and keyboard."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.cli.support import PATIENCE, Lines

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIZE = 40_000_000
PAUSE_AFTER = 1_000_000

pytest.importorskip("tkinter", reason="this Python has no tkinter")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.peer,
    pytest.mark.skipif(
        not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="needs Xvfb and xdotool"
    ),
]

Shown = list[dict[str, Any]]


@pytest.fixture
def screen() -> Iterator[dict[str, str]]:
    """An X server of our own, as an environment for programs that draw on it."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1000x400x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with open(read, encoding="ascii") as number:
            yield {**os.environ, "DISPLAY": f":{number.readline().strip()}"}
    finally:
        server.terminate()
        server.wait(PATIENCE)


class Desktop:
    """The example, running; it is seen by what it tells and used with ``xdotool``."""

    def __init__(self, screen: dict[str, str], place: str, *dragged: Path) -> None:
        self._screen = screen
        arguments = [HERE / "watched_desktop.py", place, *dragged]
        self._process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", *arguments],
            env=screen,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._out = Lines(self._process.stdout)
        self._err = Lines(self._process.stderr)

    def until(self, condition: Callable[[Shown], bool]) -> Shown:
        """What the window shows as soon as the condition holds."""
        while (line := self._out.next()) is not None:
            shown: Shown = json.loads(line)
            if condition(shown):
                return shown
        raise AssertionError(f"it never came: {self._out.seen[-1:]} {self._err.rest()}")

    def do(self, *words: object) -> None:
        """Mouse and keyboard, in the words of ``xdotool``."""
        subprocess.run(
            ["xdotool", *map(str, words)], env=self._screen, check=True, timeout=PATIENCE
        )

    def click(self, widget: dict[str, Any]) -> None:
        self.do("mousemove", widget["x"], widget["y"], "click", 1)

    def end(self) -> tuple[int, list[str]]:
        """The exit code and standard error."""
        self._out.rest()
        return self._process.wait(PATIENCE), self._err.rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.end()


def of_kind(shown: Shown, kind: str) -> Shown:
    return [widget for widget in shown if widget["kind"] == kind]


def texts(shown: Shown) -> list[str]:
    return [widget["text"] for widget in shown]


class Receiver:
    """Takes files as the tutorial's receiver does; in the midst of the large one it pauses."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.place = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.go_on = threading.Event()
        self.counts: dict[str, int] = {}
        self._threads = [threading.Thread(target=self._accept) for _ in range(2)]

    def _accept(self) -> None:
        sock, _ = self.listener.accept()
        with sock, sock.makefile("rb") as stream:
            sock.settimeout(PATIENCE)
            name, size = stream.readline().decode().strip(), int(stream.readline())
            data = stream.read(min(size, PAUSE_AFTER))
            if size > PAUSE_AFTER:
                self.go_on.wait(PATIENCE)
                data += stream.read()
            self.counts[name] = len(data)
            if len(data) == size:
                sock.sendall(f"{hashlib.sha256(data).hexdigest()}\n".encode())

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.go_on.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        self.listener.close()


def test_two_files_one_of_them_cancelled(tmp_path: Path, screen: dict[str, str]) -> None:
    (tmp_path / "large").write_bytes(bytes(SIZE))
    (tmp_path / "small").write_bytes(b"data" * 1000)
    with Receiver() as receiver, Desktop(screen, receiver.place) as desktop:
        shown = desktop.until(lambda shown: receiver.place in texts(shown))
        paths = of_kind(shown, "TEntry")[1]
        desktop.click(paths)
        desktop.do("type", f"{tmp_path}/large")
        desktop.do("key", "Return")
        shown = desktop.until(
            lambda shown: any(bar["value"] for bar in of_kind(shown, "TProgressbar"))
        )
        assert 0 < of_kind(shown, "TProgressbar")[0]["value"] < SIZE
        assert any(text.endswith(f" of {SIZE:,} bytes") for text in texts(shown))

        desktop.do("type", f"file://{tmp_path}/small")  # while the other one is under way
        desktop.do("key", "Return")
        desktop.until(lambda shown: "arrived: 4,000 bytes" in texts(shown))

        cancel = next(button for button in of_kind(shown, "TButton") if button["text"] == "Cancel")
        desktop.click(cancel)
        shown = desktop.until(
            lambda shown: any(text.startswith("cancelled: ") for text in texts(shown))
        )
        desktop.do("key", "ctrl+q")
        assert desktop.end() == (0, [])
        receiver.go_on.set()

    said = next(text for text in texts(shown) if text.startswith("cancelled: "))
    buttons = [button for button in of_kind(shown, "TButton") if button["text"] == "Cancel"]
    assert said == f"cancelled: {receiver.counts['large']:,} bytes went out"
    assert receiver.counts == {"large": receiver.counts["large"], "small": 4000}
    assert PAUSE_AFTER <= receiver.counts["large"] < SIZE
    assert [button["disabled"] for button in buttons] == [True, True]


def test_with_a_receiver_of_its_own_and_nobody_there(
    tmp_path: Path, screen: dict[str, str]
) -> None:
    (tmp_path / "small").write_bytes(b"data")
    with Desktop(screen, "") as desktop:
        shown = desktop.until(lambda shown: any("127.0.0.1:" in text for text in texts(shown)))
        place, paths = of_kind(shown, "TEntry")
        desktop.click(paths)
        desktop.do("type", f"{tmp_path}/small")
        desktop.do("key", "Return")
        desktop.until(lambda shown: "arrived: 4 bytes" in texts(shown))
        desktop.do("type", f"{tmp_path}/missing")
        desktop.do("key", "Return")
        desktop.until(lambda shown: any("No such file" in text for text in texts(shown)))
        desktop.do("mousemove", place["x"], place["y"], "click", "--repeat", 3, 1)  # marks all
        desktop.do("type", "127.0.0.1:9")
        desktop.click(paths)
        desktop.do("type", f"{tmp_path}/small")
        desktop.do("key", "Return")
        desktop.until(lambda shown: any("127.0.0.1:9 (check" in text for text in texts(shown)))
        desktop.do("key", "ctrl+q")
        assert desktop.end() == (0, [])


@pytest.mark.skipif(not importlib.util.find_spec("tkinterdnd2"), reason="needs tkinterdnd2")
def test_dropped_file(tmp_path: Path, screen: dict[str, str]) -> None:
    (tmp_path / "dropped").write_bytes(b"data")
    with Desktop(screen, "", tmp_path / "dropped") as desktop:
        shown = desktop.until(lambda shown: {"drag me", "Files"} <= set(texts(shown)))
        source = next(widget for widget in shown if widget["text"] == "drag me")
        desktop.do("mousemove", source["x"], source["y"], "mousedown", 1)
        for x in range(source["x"], 100, -50):
            desktop.do("mousemove", x, source["y"], "sleep", 0.02)
        desktop.do("mouseup", 1)
        desktop.until(lambda shown: "arrived: 4 bytes" in texts(shown))
        desktop.do("key", "ctrl+q")
        assert desktop.end() == (0, [])


def test_the_picture_in_the_tutorial_can_be_made(tmp_path: Path) -> None:
    """It shows the window at its full width."""
    picture = tmp_path / "picture.png"
    subprocess.run(
        [sys.executable, ROOT / "docs" / "make_screenshot.py", picture],
        check=True,
        timeout=PATIENCE,
    )
    made, committed = picture.read_bytes(), (ROOT / "docs/tutorial/desktop.png").read_bytes()
    for data in (made, committed):
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(b"\x89PNG")
        assert width > 600
        assert height > 150
        assert len(data) > 5000  # an empty window is much less
