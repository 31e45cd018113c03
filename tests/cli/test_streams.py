"""The standard streams of the program as they are found: full, gone, stopped, unreadable.

The rows are those of the field reports: what other programs of this kind were seen to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.groups import free_port
from tests.support.tls import credentials
from trio_xsock._cli import main
from trio_xsock._cli._transfer import Reply, Status
from trio_xsock._platform.system import has_poll

from .support import (
    PATIENCE,
    Program,
    Raw,
    connect,
    environment,
    raw_receiver,
    receive_exactly,
    receive_header,
    reset,
)

LO = "127.0.0.1"
QUICK = 6.0
"""Seconds in which a signal, or a reader that has gone, has to show, however busy all is."""


@contextlib.contextmanager
def a_pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as reader, os.fdopen(write, "wb", 0) as writer:
        yield reader, writer


def fill(writer: IO[bytes]) -> None:
    """Leave no room in a pipe."""
    os.set_blocking(writer.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer.fileno(), bytes(4096)):
            pass
    os.set_blocking(writer.fileno(), True)


def ended(program: Raw | Program) -> float:
    """Seconds until the program ends, which it has to do soon."""
    started = time.monotonic()
    program.process.wait(PATIENCE)
    return time.monotonic() - started


def sends(data: bytes) -> Callable[[socket.socket], object]:
    """A server that sends and is silent then, until it sees the other end."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(data)
        with contextlib.suppress(ConnectionError):
            while sock.recv(1 << 16):
                pass

    return answer


@contextlib.contextmanager
def datagrams(port: int) -> Iterator[None]:
    """A thread that sends to a port all the time."""
    stop = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not stop.wait(0.001):
                for _ in range(20):
                    with contextlib.suppress(OSError):
                        sock.sendto(bytes(range(100)), (LO, port))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# Output


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_pipe_that_somebody_made_non_blocking(options: list[str]) -> None:
    size = 2**19

    def answer(sock: socket.socket) -> None:
        sock.sendall(b"z" * size)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            sock.recv(1)

    with raw_receiver(answer) as place, a_pipe() as (reader, writer):
        os.set_blocking(writer.fileno(), False)
        with Raw("connect", *options, place, stdin=subprocess.DEVNULL, stdout=writer) as program:
            writer.close()
            if not options:
                program.err.until("connected")
            select.select([reader], [], [], PATIENCE)
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            data = b""
            while piece := reader.read(4096):
                data += piece
            assert program.end()[0] == 0
            assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 8
    if options:
        facts = [json.loads(line) for line in data.splitlines()]
        data = "".join(fact.get("text", "") for fact in facts).encode()
    assert data == b"z" * size


@pytest.mark.skipif(not has_poll(), reason="noticed only at the next write here")
@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("listens", [False, True])
def test_a_reader_that_goes_while_all_is_silent(listens: bool, options: list[str]) -> None:
    """The input goes on, the peer is silent: nothing but the reader tells."""
    with contextlib.ExitStack() as stack:
        if listens:
            program = stack.enter_context(Raw("listen", "--bind", LO, *options, 0))
            assert program.process.stdout is not None
            if options:
                port = json.loads(program.process.stdout.readline())["port"]
            else:
                port = program.port()
            sock = stack.enter_context(connect(port))
        else:
            server = stack.enter_context(socket.create_server((LO, 0)))
            place = f"{LO}:{server.getsockname()[1]}"
            program = stack.enter_context(Raw("connect", *options, place))
            sock = stack.enter_context(server.accept()[0])
        sock.settimeout(PATIENCE)
        sock.sendall(b"first\n")
        assert program.process.stdout is not None
        while b"first" not in program.process.stdout.readline():
            pass
        program.process.stdout.close()
        program.process.stdout = None
        assert ended(program) < QUICK
        assert program.end()[0] == 0
        assert sock.recv(1) == b""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_goes_beside_a_peer_that_talks(options: list[str]) -> None:
    def answer(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(b"line\n" * 1000)

    with raw_receiver(answer) as place, Raw("connect", *options, place) as program:
        assert program.process.stdout is not None
        program.process.stdout.readline()
        program.process.stdout.close()
        program.process.stdout = None
        assert ended(program) < QUICK
        assert program.end()[0] == 0


@pytest.mark.skipif(not has_poll(), reason="noticed only at the next write here")
@pytest.mark.parametrize("command", ["udp", "discover", "demo"])
def test_commands_that_show_end_with_their_reader(command: str) -> None:
    arguments: dict[str, list[Any]] = {
        "udp": ["udp", "--bind", LO, "0", "--json"],
        "discover": ["discover", "g", "--interface", "lo", "--port", free_port(), "--json"],
        "demo": ["demo", "--size", "32M", "--json"],
    }
    with Raw(*arguments[command]) as program:
        assert program.process.stdout is not None
        program.process.stdout.readline()
        program.process.stdout.close()
        program.process.stdout = None
        assert ended(program) < QUICK
        code, _, lines = program.end()
    assert (code, lines) == (0, [])


@pytest.mark.parametrize(("options", "number"), [([], signal.SIGTERM), (["--json"], signal.SIGINT)])
def test_signals_while_nobody_drains_the_pipe(number: signal.Signals, options: list[str]) -> None:
    """Datagrams come faster than they are read, which is never."""
    port = free_port()
    with Raw("udp", *options, "--bind", LO, port) as program, datagrams(port):
        assert program.process.stdout is not None
        program.process.stdout.readline()
        out = program.process.stdout.fileno()
        assert select.select([out], [], [], PATIENCE)[0]
        deadline = time.monotonic() + PATIENCE
        while True:
            held = struct.unpack("i", fcntl.ioctl(out, termios.FIONREAD, b"    "))[0]
            if held > 60_000:
                break
            assert time.monotonic() < deadline
        program.process.send_signal(number)
        assert ended(program) < QUICK
        code, _, lines = program.end()
    assert code == 130
    if not options:
        assert lines[-1].startswith("xsock: interrupted: 0 datagrams went out, ")


ALL: dict[str, list[Any]] = {
    "connect": ["connect", "PLACE"],
    "listen": ["listen", "--bind", LO, "0"],
    "udp": ["udp", "--bind", LO, "0"],
    "discover": ["discover", "g", "--interface", "lo", "--port", "PORT"],
    "interfaces": ["interfaces"],
    "demo": ["demo", "--size", "32M"],
    "receive": ["receive", "--bind", LO, "0"],
    "--help": ["--help"],
}


@pytest.mark.parametrize("command", ALL)
def test_signals_decide_while_both_streams_are_stuck(command: str, tmp_path: Path) -> None:
    """Whatever the command had to say, and however often it is asked to end."""
    with contextlib.ExitStack() as stack:
        place = (
            stack.enter_context(raw_receiver(sends(bytes(300_000)))) if command == "connect" else ""
        )
        _, writer = stack.enter_context(a_pipe())
        fill(writer)
        values = {"PLACE": place, "PORT": str(free_port())}
        arguments = [values.get(word, word) for word in ALL[command]]
        code = (
            "import sys, threading, os; from trio_xsock._cli import program\n"
            "from trio_xsock._cli import _sink; put = _sink.ThreadSink.put\n"
            "def tell(*a): os.path.exists('said') or open('said', 'x').close(); return put(*a)\n"
            "_sink.ThreadSink.put = tell; program()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            cwd=tmp_path,
            env=environment(),
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "said").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.wait(PATIENCE) == 130
        assert time.monotonic() - started < QUICK


def test_a_bar_on_a_stopped_terminal(tmp_path: Path) -> None:
    """The transfer goes on, and a signal ends it."""
    took = threading.Semaphore(0)

    def answer(sock: socket.socket) -> None:
        receive_header(sock)
        sock.sendall(Reply(Status.GO_AHEAD).encode())
        with contextlib.suppress(ConnectionError):
            while sock.recv(1 << 20):
                took.release()

    (tmp_path / "big").touch()
    os.truncate(tmp_path / "big", 2_000_000_000)
    person, ours = pty.openpty()
    try:
        with os.fdopen(os.dup(ours), "wb", 0) as terminal:
            fill(terminal)
        with raw_receiver(answer) as place:
            process = subprocess.Popen(
                [sys.executable, "-m", "trio_xsock._cli", "send", tmp_path / "big", place],
                stdout=subprocess.DEVNULL,
                stderr=ours,
                env=environment(TERM="xterm"),
            )
            for _ in range(100):
                assert took.acquire(timeout=PATIENCE)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
    finally:
        os.close(person)
        os.close(ours)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("interfaces", []),
        ("interfaces", ["--json"]),
        ("demo", []),
        ("udp", []),
        ("udp", ["--json"]),
        ("discover", []),
        ("--help", []),
    ],
)
def test_a_full_disk_is_one_line_where_output_is_the_point(
    command: str, options: list[str]
) -> None:
    values = {"PORT": str(free_port())}
    arguments = [values.get(word, word) for word in ALL[command]]
    if command != "--help":
        arguments += options
    with open("/dev/full", "wb") as full, contextlib.ExitStack() as stack:
        if command == "udp":
            port = free_port()
            arguments[-1 - len(options)] = str(port)
            stack.enter_context(datagrams(port))
        program = stack.enter_context(Raw(*arguments, stdout=full))
        code, _, lines = program.end()
    assert code == 1
    failure = "xsock: cannot write to standard output: No space left on device"
    assert [line for line in lines if not line.startswith("xsock: receiving at")] == [failure]


def small_files() -> None:
    """No file of the child's grows beyond this."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1100, 1100))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_a_full_log_loses_lines_and_no_transfers(tmp_path: Path) -> None:
    (tmp_path / "f1").write_bytes(bytes(1000))
    (tmp_path / "f2").write_bytes(bytes(1000))
    (tmp_path / "in").mkdir()
    log = tmp_path / "log"
    log.write_bytes(b"#" * 1000)
    with log.open("ab") as file:
        arguments = ("receive", "--json", "--keep-open", "--bind", LO, 0, tmp_path / "in")
        with Raw(*arguments, stdout=file, preexec_fn=small_files) as receiver:
            deadline = time.monotonic() + PATIENCE
            while b"listening" not in log.read_bytes():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            port = json.loads(log.read_bytes()[1000:].splitlines()[0])["port"]
            for name in ("f1", "f2"):
                with Program("send", tmp_path / name, f"{LO}:{port}") as sender:
                    assert sender.end() == 0
            receiver.process.send_signal(signal.SIGTERM)
            code, _, lines = receiver.end()
    assert code == 130
    assert lines == ["xsock: cannot write to standard output: File too large"]
    assert sorted(os.listdir(tmp_path / "in")) == ["f1", "f2"]


def test_progress_lines_of_a_full_disk_end_nothing(tmp_path: Path) -> None:
    """Nor does the last line, on standard output; it is said, and the exit code is the same."""
    (tmp_path / "f").write_bytes(bytes(1000))
    (tmp_path / "in").mkdir()
    code = "from trio_xsock._cli import _progress, program; _progress._LINE_EVERY = 0.0; program()"
    with Program("receive", "--bind", LO, 0, tmp_path / "in") as receiver:
        place = f"{LO}:{receiver.port()}"
        with open("/dev/full", "wb") as full:
            sender = subprocess.run(
                [sys.executable, "-c", code, "send", tmp_path / "f", place],
                stdout=full,
                stderr=full,
                env=environment(),
                timeout=PATIENCE,
                check=False,
            )
        assert sender.returncode == 0
        assert receiver.end() == 0


def test_a_name_that_the_terminal_cannot_show() -> None:
    """The table goes on, and the cursor comes back."""
    port = free_port()
    person, ours = pty.openpty()
    common = ["discover", "g", "--port", port, "--interface", "lo"]
    try:
        with Raw(
            *common,
            stdout=ours,
            variables={"TERM": "xterm", "PYTHONIOENCODING": "latin-1", "COLUMNS": "100"},
        ) as viewer:
            with Program(*common, "--name", "\u65e5\u672c", env=environment(PYTHONUTF8="1")):
                shown = b""
                while b"\\u65e5\\u672c" not in shown:
                    assert select.select([person], [], [], PATIENCE)[0]
                    shown += os.read(person, 65536)
            viewer.process.send_signal(signal.SIGINT)
            while shown.rfind(b"\x1b[?25h") < shown.rfind(b"\x1b[?25l"):
                assert select.select([person], [], [], PATIENCE)[0]
                shown += os.read(person, 65536)
            assert viewer.end()[0] == 130
    finally:
        os.close(person)
        os.close(ours)


def test_help_for_a_reader_that_goes() -> None:
    with a_pipe() as (reader, writer), Raw("--help", stdout=writer) as program:
        reader.close()
        code, _, lines = program.end()
    assert (code, lines) == (0, [])


@pytest.mark.parametrize(
    "arguments",
    [["connect"], ["connect", "--json"], ["send", __file__], ["send", "--json", __file__]],
)
def test_what_the_library_raises_is_one_line(arguments: list[str]) -> None:
    """Such as a file that SSLKEYLOGFILE names and that cannot be written."""
    code = (
        "from trio_xsock._cli import program; from trio_xsock import SSLSocket\n"
        "async def connect(self): raise FileNotFoundError(2, 'No such file', '/no\\x1b/k')\n"
        "SSLSocket.connect = connect; program()"
    )
    with Program(*arguments, "--tls", f"{LO}:1", code=code) as program:
        assert program.end() == 1
    if "--json" in arguments:
        assert [fact["event"] for fact in program.facts()] == ["failed"]
        assert program.err.seen == []
    else:
        assert len(program.err.seen) == 1
        assert "No such file: '/no\\\\x1b/k'" in program.trouble


# Input


@pytest.mark.parametrize("kind", ["write-only", "pipe", "closed"])
def test_input_that_cannot_be_read_has_ended(kind: str) -> None:
    """What comes in is received all the same, and the peer is told of the end."""

    def answer(sock: socket.socket) -> None:
        assert sock.recv(1) == b""
        sock.sendall(b"z" * 100_000)

    with contextlib.ExitStack() as stack:
        opened: Any = None
        if kind == "write-only":
            opened = stack.enter_context(open("/dev/null", "wb"))
        elif kind == "pipe":
            opened = stack.enter_context(a_pipe())[1]
        close = (lambda: os.close(0)) if kind == "closed" else None
        place = stack.enter_context(raw_receiver(answer))
        program = stack.enter_context(Raw("connect", place, stdin=opened, preexec_fn=close))
        code, output, lines = program.end()
    assert (code, output) == (0, b"z" * 100_000)
    assert lines[-1] == "xsock: closed: 0 bytes went out, 100 kB came in"
    assert [line for line in lines if "counts as ended" in line] == lines[1:-1]


def test_udp_with_input_that_cannot_be_read() -> None:
    with open("/dev/null", "wb") as write_only:
        with Program("udp", "--to", f"{LO}:9", "--wait", "0.1", stdin=write_only) as program:
            assert program.end() == 0
    assert program.trouble == "xsock: closed: 0 datagrams went out, 0 came in"


@pytest.mark.parametrize("leaves", [socket.socket.close, reset])
def test_the_next_client_is_served_while_input_is_silent(
    leaves: Callable[[socket.socket], None],
) -> None:
    with Raw("listen", "--keep-open", "--bind", LO, 0) as program:
        port = program.port()
        with connect(port) as one:
            one.sendall(b"one")
            assert program.process.stdout is not None
            assert program.process.stdout.read(3) == b"one"
            leaves(one)
        with connect(port) as two:
            started = time.monotonic()
            two.sendall(b"two")
            assert program.process.stdout.read(3) == b"two"
            assert time.monotonic() - started < QUICK
            program.type(b"x\n")
            assert two.recv(9) == b"x\n"
        program.process.send_signal(signal.SIGTERM)
        assert program.end()[0] == 130


@pytest.mark.parametrize("crossing", [True, False])
def test_a_line_that_met_a_client_that_had_left_goes_to_the_next(crossing: bool) -> None:
    """Typed when the client has closed, or at the same time: a reset says that it was not read."""
    with Raw("listen", "--keep-open", "--bind", LO, 0) as program:
        port = program.port()
        one = connect(port)
        program.err.until("connection from")
        if not crossing:
            one.sendall(b"one")
        one.close()
        if not crossing:
            assert program.process.stdout is not None
            assert program.process.stdout.read(3) == b"one"
        program.type(b"x\n")
        with connect(port) as two:
            assert two.recv(9) == b"x\n"
        program.process.send_signal(signal.SIGTERM)
        assert program.end()[0] == 130


def test_a_client_that_ended_its_side_gets_the_answer() -> None:
    """The input is not silent: a client that still reads is not left for its end."""
    with Raw("listen", "--keep-open", "--bind", LO, 0) as program:
        with connect(program.port()) as sock:
            sock.sendall(b"question")
            sock.shutdown(socket.SHUT_WR)
            assert program.process.stdout is not None
            assert program.process.stdout.read(8) == b"question"
            program.type(b"answer")
            assert receive_exactly(sock, 6) == b"answer"
            assert sock.recv(1) == b""
        program.process.send_signal(signal.SIGTERM)
        assert program.end()[0] == 130


def test_a_file_goes_on_where_a_client_has_left_it(tmp_path: Path) -> None:
    """What was read and not sent is not lost."""
    size = 30_000_000
    data = b"".join(index.to_bytes(4, "big") for index in range(size // 4))
    (tmp_path / "f").write_bytes(data)
    with (tmp_path / "f").open("rb") as file:
        with Raw("listen", "--keep-open", "--json", "--bind", LO, 0, stdin=file) as program:
            assert program.process.stdout is not None
            facts = map(json.loads, program.process.stdout)
            port = next(facts)["port"]
            with connect(port) as one:
                receive_exactly(one, 1000)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            count = next(fact["bytes_sent"] for fact in facts if "bytes_sent" in fact)
            with connect(port) as two:
                rest = receive_exactly(two, size)
            program.process.send_signal(signal.SIGTERM)
            program.end()
    assert rest == data[count:]


@pytest.mark.parametrize("count", ["-1", "x", "1.5"])
def test_counts_that_are_none(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["udp", "7", f"--count={count}"]) == 2
    assert main(["bench", f"--rounds={count}"]) == 2
    assert main(["bench", "--rounds=0"]) == 2
    err = capsys.readouterr().err
    assert "is not a number, 0 or more" in err
    assert "at least 1" in err


# Plain against TLS, and servers that take our end for a good-bye


def test_a_server_that_hangs_up_at_our_end() -> None:
    def answer(sock: socket.socket) -> None:
        assert receive_exactly(sock, 4) == b"GET\n"
        if sock.recv(1):
            raise AssertionError("more than was sent")

    with raw_receiver(answer) as place, Raw("connect", place) as program:
        program.type(b"GET\n")
        program.close_input()
        code, _, lines = program.end()
    assert code == 0
    assert "--no-shutdown" in lines[-1]
    assert lines[-2] == "xsock: closed: 4 bytes went out, 0 came in"


def test_a_tls_server_that_resets_the_connection_at_our_end() -> None:
    """TLS has told it of our end before the OS does, which then finds the reset."""
    code = (
        "import select, sys; from trio_xsock._cli import main\n"
        "from trio_xsock._network.transport import PlainTransport\n"
        "real = PlainTransport.shutdown\n"
        "def shutdown(self, how):\n"
        "    poll = select.poll(); poll.register(self, 0); poll.poll(10_000); real(self, how)\n"
        "PlainTransport.shutdown = shutdown; sys.exit(main())"
    )
    issued = credentials()

    def answer(sock: socket.socket) -> None:
        with issued.server_context().wrap_socket(sock, server_side=True) as secured:
            assert secured.recv(4) == b"GET\n"
            assert secured.recv(1) == b""
            reset(secured)

    with raw_receiver(answer) as place, contextlib.ExitStack() as stack:
        arguments = ["connect", "--tls", "--ca", issued.ca, place.replace(LO, "localhost")]
        program = stack.enter_context(Program(*arguments, stdin=subprocess.PIPE, code=code))
        assert program.process.stdin is not None
        program.process.stdin.write(b"GET\n")
        program.process.stdin.close()
        assert program.end() == 1
    assert "Connection reset by peer: 4 bytes went out, 0 came in" in program.err.seen[-2]
    assert "--no-shutdown" in program.err.seen[-1]


@pytest.mark.parametrize(
    ("wrong", "options"),
    [("plain", []), ("plain", ["--json"]), ("untrusting", []), ("without certificate", [])],
)
def test_both_ends_of_a_failed_handshake_say_so(
    wrong: str, options: list[str], tmp_path: Path
) -> None:
    issued = credentials()
    (tmp_path / "f").write_bytes(b"hello")
    (tmp_path / "in").mkdir()
    theirs: list[Any] = ["--tls", "--certificate", issued.server]
    ours: list[Any] = []
    if wrong == "untrusting":
        ours = ["--tls"]
    elif wrong == "without certificate":
        theirs += ["--ca", issued.ca]
        ours = ["--tls", "--ca", issued.ca]
    with Program("receive", *theirs, *options, 0, tmp_path / "in") as receiver:
        place = f"localhost:{receiver.port()}"
        with Program("send", *ours, tmp_path / "f", place) as sender:
            assert sender.end() == 1
        assert receiver.end() == 1
    texts = {
        "plain": ("the peer does not speak TLS", "--tls is missing here"),
        "untrusting": (
            "does not trust the authority of our certificate",
            "unable to get local issuer certificate",
        ),
        "without certificate": ("the client sent no certificate", "wants a certificate of ours"),
    }
    if options:
        told = receiver.facts()[-1]["message"]
        assert receiver.err.seen == []
    else:
        (told,) = receiver.err.seen
    assert texts[wrong][0] in told
    assert texts[wrong][1] in sender.trouble
    assert os.listdir(tmp_path / "in") == []


def test_probes_of_a_tls_receiver_do_not_count(tmp_path: Path) -> None:
    issued = credentials()
    (tmp_path / "f").write_bytes(b"hello")
    (tmp_path / "in").mkdir()
    with Program(
        "receive", "--tls", "--certificate", issued.server, 0, tmp_path / "in"
    ) as receiver:
        port = receiver.port()
        connect(port).close()
        with Program(
            "send", "--tls", "--ca", issued.ca, tmp_path / "f", f"localhost:{port}"
        ) as ours:
            assert ours.end() == 0
        assert receiver.end() == 0


def test_keep_open_names_each_refusal_and_goes_on(tmp_path: Path) -> None:
    issued = credentials()
    (tmp_path / "f").write_bytes(b"hello")
    (tmp_path / "in").mkdir()
    theirs = ("--tls", "--certificate", issued.server, "--keep-open")
    with Program("receive", *theirs, 0, tmp_path / "in") as receiver:
        port = receiver.port()
        for _ in range(2):
            with connect(port) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                receiver.err.until("a connection was refused: .*plain HTTP")
        with Program(
            "send", "--tls", "--ca", issued.ca, tmp_path / "f", f"localhost:{port}"
        ) as ours:
            assert ours.end() == 0
        receiver.interrupt()
        assert receiver.end() == 130


def test_plain_connect_to_tls() -> None:
    """Although the input goes on."""
    with Raw("listen", "--tls", "--certificate", credentials().server, 0) as server:
        with Raw("connect", f"{LO}:{server.port()}") as client:
            client.type(b"hello\n")
            assert client.err.until("the other side speaks TLS; try --tls")
            assert client.end()[0] == 1
        server.err.until("a connection was refused: .*does not speak TLS")


def test_tls_against_a_plain_listener(tmp_path: Path) -> None:
    with Raw("listen", "--bind", LO, 0, stdin=subprocess.DEVNULL) as server:
        with Program("connect", "--tls", "--insecure", f"{LO}:{server.port()}") as client:
            assert client.end() == 1
        code, _, lines = server.end()
    assert code == 1
    assert "the client speaks TLS; --tls and --certificate are missing here" in lines[-1]
