"""Draw ``docs/howto/pictures``: the commands at work on terminals of 100 and of 40 columns.

Run ``python docs/make_terminal_pictures.py`` after a change to what the commands show. They run on
real terminals (pseudo-terminals of that width); what is on the screen becomes an SVG.
"""

import contextlib
import fcntl
import html
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "howto" / "pictures"
WIDTHS = 100, 40
PATIENCE = 120.0

COLOURS = {30: "#11151c", 31: "#e06c75", 32: "#98c379", 33: "#e5c07b", 34: "#61afef", 35: "#c678dd"}
COLOURS |= {36: "#56b6c2", 37: "#dcdfe4", 90: "#4b5263"}
PAPER, INK = "#11151c", "#dcdfe4"
CHARACTER, LINE, EDGE = 8.4, 17, 12
ESCAPE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")


class Screen:
    """What a terminal shows of the little that the commands use."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[list[tuple[str, str]]] = [[]]
        self.row = self.column = 0
        self.colour = INK

    def feed(self, text: str) -> None:
        while text:
            if match := ESCAPE.match(text):
                self.obey(match[2], match[1])
                text = text[match.end() :]
            else:
                self.put(text[0])
                text = text[1:]

    def put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
        elif character.isprintable():
            if self.column == self.width:
                self.row, self.column = self.row + 1, 0
            cells = self.cells()
            cells += [(" ", INK)] * (self.column + 1 - len(cells))
            cells[self.column] = character, self.colour
            self.column += 1

    def cells(self) -> list[tuple[str, str]]:
        while len(self.rows) <= self.row:
            self.rows.append([])
        return self.rows[self.row]

    def obey(self, command: str, parameters: str) -> None:
        numbers = [int(number) for number in parameters.strip("?").split(";") if number]
        count = numbers[0] if numbers else 1
        if command == "A":
            self.row = max(0, self.row - count)
        elif command == "K":
            self.cells().clear()
        elif command == "m":
            for number in numbers or [0]:
                self.colour = COLOURS.get(number, self.colour) if number else INK

    def svg(self, prompt: str) -> str:
        """The rows that hold something, below the line that a person typed."""
        rows = [[(character, INK) for character in f"$ {prompt}"], *self.rows]
        starts = [(row, at) for row in rows for at in range(0, len(row) or 1, self.width)]
        wrapped = [row[at : at + self.width] for row, at in starts]
        while not wrapped[-1]:
            wrapped.pop()
        width = round(self.width * CHARACTER + 2 * EDGE)
        height = len(wrapped) * LINE + 2 * EDGE
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
            f' width="{width}" height="{height}" font-family="monospace" font-size="14">',
            f'<rect width="100%" height="100%" rx="6" fill="{PAPER}"/>',
        ]
        for number, row in enumerate(wrapped):
            lines += spans(row, EDGE + LINE * number + 14)
        return "\n".join([*lines, "</svg>", ""])


def spans(row: list[tuple[str, str]], y: int) -> Iterator[str]:
    """One text for each stretch of one colour."""
    at = 0
    while at < len(row):
        end = at
        while end < len(row) and row[end][1] == row[at][1]:
            end += 1
        text = "".join(character for character, _ in row[at:end])
        if text.strip():
            x, length = EDGE + at * CHARACTER, len(text) * CHARACTER
            yield (
                f'<text x="{x:.1f}" y="{y}" fill="{row[at][1]}" textLength="{length:.1f}" '
                f'xml:space="preserve">{html.escape(text)}</text>'
            )
        at = end


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, width: int, *words: object) -> None:
        self.screen = Screen(width)
        self.person, program = pty.openpty()
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trio_xsock", *map(str, words)],
            stdin=program,
            stdout=program,
            stderr=program,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "NO_COLOR": ""},
        )
        os.close(program)
        self.text = ""

    def read(self, seconds: float = 0.1) -> None:
        """Take what comes until nothing has come for so long."""
        while select.select([self.person], [], [], seconds)[0]:
            try:
                data = os.read(self.person, 65536)
            except OSError:  # the command has ended
                return
            self.text += data.decode(errors="replace")
            self.screen.feed(data.decode(errors="replace"))

    def until(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.text)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pattern!r} is not in {self.text!r}")
            self.read()
        return match

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.person)


@contextlib.contextmanager
def terminal(width: int, *words: object) -> Iterator[Terminal]:
    shown = Terminal(width, *words)
    try:
        yield shown
    finally:
        shown.close()


def make_files(folder: Path) -> None:
    """Three photos and a film, full of nothing."""
    (folder / "photos").mkdir()
    for number in range(3):
        (folder / "photos" / f"{number}.jpg").write_bytes(bytes(1_000_000))
    with (folder / "the whole conference, second day.mkv").open("wb") as file:
        file.truncate(300_000_000)
    (folder / "downloads").mkdir()


def growing(folder: Path) -> int:
    """Bytes of what is on its way."""
    return sum(path.stat().st_size for path in folder.glob(".xsock-*.part"))


def transfer(width: int) -> None:
    """Both ends, stopped half way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        film = folder / "the whole conference, second day.mkv"
        with terminal(width, "receive", "--bind", "127.0.0.1", 0, folder / "downloads") as theirs:
            port = theirs.until(r"listening on port (\d+)")[1]
            with terminal(width, "send", folder / "photos", film, f"127.0.0.1:{port}") as ours:
                deadline = time.monotonic() + PATIENCE
                while growing(folder / "downloads") < 120_000_000:
                    ours.read(0.01)
                    theirs.read(0.01)
                    if time.monotonic() > deadline:
                        raise TimeoutError("the film does not come")
                for end in (ours, theirs):
                    end.process.send_signal(signal.SIGSTOP)
                    end.read()
                for end in (ours, theirs):  # what a person would have typed, and seen
                    for row, cells in enumerate(end.screen.rows):
                        text = "".join(character for character, _ in cells)
                        if port in text and "listening" in text:
                            end.screen.rows[row] = [(c, INK) for c in "listening on port 7000"]
                save("send", width, ours, f"xsock send photos '{film.name}' somewhere:7000")
                save("receive", width, theirs, "xsock receive 7000 downloads")


def discover(width: int) -> None:
    """Three members of a group, one of which tells something."""
    with contextlib.ExitStack() as stack:
        common = "discover", "orchard", "--port", 45711, "--interface", "lo"
        shown = stack.enter_context(terminal(width, *common, "--name", "kitchen"))
        shown.until("1 member")
        stack.enter_context(terminal(80, *common, "--name", "living room"))
        shown.until("2 members")
        stack.enter_context(terminal(80, *common, "--name", "the laptop of a guest"))
        shown.until("3 members")
        shown.read()
        save("discover", width, shown, "xsock discover orchard --name kitchen")


def save(name: str, width: int, shown: Terminal, prompt: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / f"{name}-{width}.svg").write_text(shown.screen.svg(prompt), encoding="utf-8")


def main() -> None:
    for width in WIDTHS:
        transfer(width)
        discover(width)


if __name__ == "__main__":
    main()
