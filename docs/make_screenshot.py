"""Draw ``docs/tutorial/desktop.png``: the desktop example's window, with three files on their way.

Run ``python docs/make_screenshot.py`` after a change to the example. It needs Xvfb, a screen in
memory; the picture is taken from there, and no window appears on yours.
"""

import contextlib
import functools
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import trio

from trio_xsock import ServerSocket, TCPSocket

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "tutorial" / "desktop.png"
sys.path.insert(0, str(ROOT / "examples"))

from desktop import Window, run_as_guest  # noqa: E402 - it is no package

WIDTH, HEIGHT = 1000, 400
FILES = {"report.pdf": 4_180_000, "holiday.mov": 96_500_000, "backup.tar": 61_200_000}
TAKEN = {"report.pdf": 1.0, "holiday.mov": 0.6, "backup.tar": 0.25}
"""The part of each file that the receiver takes before it pauses."""


@contextlib.contextmanager
def screen(folder: str) -> Iterator[Path]:
    """An X server; where its picture is while it runs. Sets ``DISPLAY``."""
    read, write = os.pipe()
    options = ["-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-fbdir", folder, "-nolisten", "tcp"]
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), *options], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    os.close(write)
    try:
        with open(read, encoding="ascii") as number:
            os.environ["DISPLAY"] = f":{number.readline().strip()}"
        yield Path(folder) / "Xvfb_screen0"
    finally:
        server.terminate()
        server.wait()


def png_of(screen: Path, width: int, height: int) -> bytes:
    """The left upper part of a screen, which is a file in the format of ``xwd``, as PNG."""
    with screen.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = struct.unpack(">25I", data[:100])
        start, line, colours = header[0], header[12], header[19]
        start += 12 * colours
        rows = bytearray()
        for at in range(start, start + height * line, line):
            row = data[at : at + 4 * width]  # blue, green, red and nothing
            rgb = bytearray(3 * width)
            rgb[0::3], rgb[1::3], rgb[2::3] = row[2::4], row[1::4], row[0::4]
            rows += b"\0" + rgb
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows, 9)),
            (b"IEND", b""),
        )
    )


async def receive_a_part(sock: TCPSocket) -> None:
    """The tutorial's receiver, but it pauses where the picture wants it to."""
    name = (await sock.receive_until(b"\n")).decode()
    left = int(int(await sock.receive_until(b"\n")) * TAKEN[name])
    while left:
        left -= len(await sock.receive_some(left))
    if TAKEN[name] < 1:
        await trio.sleep_forever()
    await sock.send_all(b"checksum\n")


def make_files(folder: str) -> None:
    """The files, full of nothing."""
    for name, size in FILES.items():
        with (Path(folder) / name).open("wb") as file:
            file.truncate(size)


async def pose(window: Window, folder: str, take_picture: Callable[[], None]) -> None:
    """Send the files, cancel the last, and wait until nothing moves any more."""
    async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
        port = await nursery.start(server.serve, receive_a_part)
        window.place.set(f"127.0.0.1:{port}")
        nursery.start_soon(window.main)
        await trio.sleep(0.3)
        make_files(folder)
        window.add(str(Path(folder) / name) for name in FILES)
        await trio.sleep(1.5)
        window.place.set("studio.example:7000")  # what a person would write there
        cancel = [child for child in window.rows.winfo_children() if "command" in child.keys()]  # noqa: SIM118
        window.root.tk.call(cancel[-1], "invoke")
        await trio.sleep(0.5)
        take_picture()
        nursery.cancel_scope.cancel()


def main() -> None:
    """Write the picture to the path that is given, or where it belongs."""
    target = Path(sys.argv[1]) if sys.argv[1:] else PICTURE
    with tempfile.TemporaryDirectory() as folder, screen(folder) as picture:
        window = Window("")

        def take_picture() -> None:
            size = window.root.winfo_width(), window.root.winfo_height()
            target.write_bytes(png_of(picture, *size))

        run_as_guest(window.root, functools.partial(pose, window, folder, take_picture))


if __name__ == "__main__":
    main()
