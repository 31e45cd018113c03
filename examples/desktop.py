"""A window that sends files, each with a progress bar and a Cancel button: Trio and tkinter.

    python examples/desktop.py [HOST:PORT]

Trio runs as a guest of tkinter's main loop, in the same thread. So handlers and tasks may touch
the widgets, and nothing has to be locked. Files are chosen with a button, pasted as paths, or,
where the package tkinterdnd2 is installed, dropped. Without HOST:PORT there is a receiver here.
"""

import collections
import sys
import tempfile
import tkinter as tk
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tkinter import filedialog, ttk
from typing import Any
from urllib.parse import unquote, urlsplit

import trio
from file_transfer import receive  # the tutorial's

from trio_xsock import ServerSocket, SocketError, SocketHandler, TCPSocket

try:
    import tkinterdnd2 as dnd
except ImportError:
    dnd = None


class Transfer(SocketHandler):
    """The transfer of one file, and its row in the window; the handler of its socket."""

    def __init__(self, rows: ttk.Frame, path: Path) -> None:
        self.path = path
        self.header = b""
        self.scope = trio.CancelScope()
        at = rows.grid_size()[1]
        self.bar = ttk.Progressbar(rows, length=220)
        self.note = ttk.Label(rows, text="waiting", width=36)
        self.button = ttk.Button(rows, text="Cancel", command=self.scope.cancel)
        for column, widget in enumerate(
            (ttk.Label(rows, text=path.name, width=18), self.bar, self.note, self.button)
        ):
            widget.grid(row=at, column=column, padx=6, pady=3, sticky="w")

    def on_send_progress(self, socket: TCPSocket, bytes_sent: int, bytes_left: int) -> None:
        sent = self.sent(socket)
        self.bar["value"] = sent
        self.note["text"] = f"{sent:,} of {self.bar['maximum']:,} bytes"

    def sent(self, socket: TCPSocket) -> int:
        """Bytes of the file that the operating system took: exact, also after a cancellation."""
        return max(0, socket.bytes_sent - len(self.header))

    async def run(self, host: str, port: int) -> None:
        sock = TCPSocket(host, port, handler=self)
        try:
            async with sock:
                with self.scope:
                    self.note["text"] = await self.send(sock)
        except (SocketError, OSError) as error:
            self.note["text"] = str(error)
        if self.scope.cancelled_caught:
            self.note["text"] = f"cancelled: {self.sent(sock):,} bytes went out"
        self.button.state(["disabled"])

    async def send(self, sock: TCPSocket) -> str:
        size = (await trio.Path(self.path).stat()).st_size
        self.bar["maximum"] = size
        self.header = f"{self.path.name}\n{size}\n".encode()
        await sock.connect()
        await sock.send_all(self.header)
        await sock.send_file(self.path)
        await sock.receive_until(b"\n")  # the receiver's checksum
        return f"arrived: {size:,} bytes"


class Window:
    """Where to send, a place for files, and a row for each transfer."""

    def __init__(self, place: str) -> None:
        self.root = root = dnd.Tk() if dnd else tk.Tk()
        self.nursery: trio.Nursery | None = None
        self.place = tk.StringVar(value=place)
        self.paths = tk.StringVar()
        root.title("Send files")
        style = ttk.Style(root)
        style.theme_use("clam")
        style.configure("Horizontal.TProgressbar", background="#3b7dc4")
        form = ttk.Frame(root, padding=10)
        form.pack(fill="x")
        form.columnconfigure(1, weight=1)
        ttk.Label(form, text="To").grid(row=0, column=0, padx=6, sticky="w")
        ttk.Entry(form, textvariable=self.place).grid(row=0, column=1, columnspan=2, sticky="ew")
        ttk.Label(form, text="Files").grid(row=1, column=0, padx=6, pady=6, sticky="w")
        entry = ttk.Entry(form, textvariable=self.paths)
        entry.grid(row=1, column=1, sticky="ew")
        entry.bind("<Return>", self.take_pasted)
        ttk.Button(form, text="Choose…", command=self.choose).grid(row=1, column=2, padx=6)
        hint = "paste paths and press Return" + (", or drop files here" if dnd else "")
        ttk.Label(form, text=hint, foreground="gray").grid(row=2, column=1, sticky="w")
        self.rows = ttk.Frame(root, padding=10)
        self.rows.pack(fill="both", expand=True)
        if dnd:
            droppable: Any = root
            droppable.drop_target_register(dnd.DND_FILES)
            droppable.dnd_bind("<<Drop>>", lambda event: self.add(root.tk.splitlist(event.data)))

    def choose(self) -> None:
        self.add(filedialog.askopenfilenames(parent=self.root))

    def take_pasted(self, _event: object) -> None:
        self.add(pasted_paths(self.paths.get()))
        self.paths.set("")

    def add(self, names: Iterable[str]) -> None:
        """Begin to send these files, concurrently."""
        host, _, port = self.place.get().rpartition(":")
        for name in names:
            if self.nursery is not None and port.isdecimal():
                transfer = Transfer(self.rows, Path(name))
                self.nursery.start_soon(transfer.run, host.strip("[]"), int(port))

    async def main(self) -> None:
        """What Trio runs: it ends when the window is closed, and all transfers with it."""
        with tempfile.TemporaryDirectory() as folder:

            async def store(sock: TCPSocket) -> None:
                await receive(sock, Path(folder))

            async with ServerSocket(address="127.0.0.1") as server, trio.open_nursery() as nursery:
                self.nursery = nursery
                self.root.protocol("WM_DELETE_WINDOW", nursery.cancel_scope.cancel)
                self.root.bind("<Control-q>", lambda _event: nursery.cancel_scope.cancel())
                if not self.place.get():
                    port = await nursery.start(server.serve, store)
                    self.place.set(f"127.0.0.1:{port}")
                await trio.sleep_forever()


def pasted_paths(text: str) -> Iterator[str]:
    """Paths or ``file://`` addresses, one per line: what file managers copy."""
    for line in filter(None, map(str.strip, text.splitlines())):
        yield unquote(urlsplit(line).path) if line.startswith("file://") else line


def run_as_guest(root: tk.Tk, main: Callable[[], Any]) -> None:
    """Run ``main`` with Trio, and tkinter's main loop around it, until ``main`` has ended."""
    calls = collections.deque[Callable[[], object]]()
    outcomes: list[Any] = []

    def soon(call: Callable[[], object]) -> None:  # from this thread and from others
        calls.append(call)
        root.event_generate("<<Trio>>", when="tail")

    def done(outcome: Any) -> None:
        outcomes.append(outcome)
        root.destroy()

    root.bind("<<Trio>>", lambda _event: calls.popleft()())
    trio.lowlevel.start_guest_run(main, run_sync_soon_threadsafe=soon, done_callback=done)
    root.mainloop()
    outcomes[0].unwrap()


if __name__ == "__main__":
    window = Window("".join(sys.argv[1:2]))
    run_as_guest(window.root, window.main)
