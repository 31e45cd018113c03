"""Host names: what is refused, who is asked, and that nobody waits for others' name servers."""

from __future__ import annotations

import errno
import importlib.util
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from trio_xsock._machines.endpoint import ResolvedAddress, literal_address
from trio_xsock._network import resolve as _resolve
from trio_xsock._network.resolve import encode_hostname, resolve
from trio_xsock._values.errors import (
    ErrorCode,
    InvalidStateError,
    NameResolutionError,
    OpenDriverError,
    OutOfMemoryError,
    SocketError,
)

FOUR = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))
SIX = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 80, 0, 0))


class Resolver(trio.abc.HostnameResolver):
    """Answers what it is told, or raises it, and remembers the questions."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.questions: list[tuple[Any, ...]] = []

    async def getaddrinfo(self, *question: Any, **_: Any) -> Any:
        self.questions.append(question)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


def ask(answer: Any) -> Resolver:
    """Have all look-ups of this run answered so."""
    resolver = Resolver(answer)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[bytes, Any]]:
    """The system's resolver: name -> answer, exception, or an event to be stuck on."""
    answers: dict[bytes, Any] = {}

    def getaddrinfo(host: bytes, *_: object) -> Any:
        answer = answers[host]
        if isinstance(answer, threading.Event):
            answer.wait(10)
            return []
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield answers
    for answer in answers.values():
        if isinstance(answer, threading.Event):
            answer.set()


@pytest.mark.parametrize(
    "host", ["localhost", "EXAMPLE.org", "example.org.", "_sip._tcp.x", "a" * 63]
)
def test_ascii_names_stay_as_they_are(host: str) -> None:
    """Also with a trailing dot, underscores, or at the limits of length."""
    assert encode_hostname(host) == host.encode()


def test_the_longest_names_are_not_cut() -> None:
    """253 characters, and a trailing dot, are within the limit."""
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(longest) == 253
    assert encode_hostname(longest) == longest.encode()
    assert encode_hostname(longest + ".") == longest.encode() + b"."


@pytest.mark.parametrize(
    ("host", "encoded"),
    [
        ("bücher.example", b"xn--bcher-kva.example"),
        ("BÜCHER.example", b"xn--bcher-kva.example"),
        ("straße.example", b"xn--strae-oqa.example"),
        ("bücher。example", b"xn--bcher-kva.example"),
    ],
)
def test_other_names_are_encoded_as_trio_does(host: str, encoded: bytes) -> None:
    """IDNA 2008: the sharp s stays one, so that no other host is asked for."""
    assert encode_hostname(host) == encoded


def test_names_are_encoded_alike_without_trios_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio before 0.35 has none; the names must not lead to other hosts there."""
    monkeypatch.delattr(trio.lowlevel, "encode_hostname", raising=False)
    spec = importlib.util.spec_from_file_location("trio_xsock._again", _resolve.__file__)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    for host in ("bücher.example", "STRAßE.example", "faß。de"):
        assert again.encode_hostname(host) == encode_hostname(host)
    with pytest.raises(NameResolutionError, match="no international domain name"):
        again.encode_hostname("ü" * 63)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("", "the host name is empty"),
        (".", "a part between its dots is empty"),
        ("a..b", "a part between its dots is empty"),
        (".a", "a part between its dots is empty"),
        ("a..", "a part between its dots is empty"),
        ("a\0.example", "blanks or control"),
        ("a b", "blanks or control"),
        (" a", "blanks or control"),
        ("a\n", "blanks or control"),
        ("a\x7f", "blanks or control"),
        ("a\N{NO-BREAK SPACE}b", "blanks or control"),
        ("a" * 64, "a part is longer than 63"),
        ("a." * 126 + "bc", "longer than 253"),
        ("a." * 127 + "b", "longer than 253"),
        ("a" * 10_000_000, "longer than 253"),
        ("ü" * 63, "no international domain name"),
        ("ü." * 40 + "example", "no international domain name"),
        ("\udcff", "no international domain name"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}ü", "no international domain name"),
        ("[::1]", "no IPv6 address either"),
        ("localhost:80", "no IPv6 address either"),
        ("fe80::zz", "no IPv6 address either"),
    ],
)
async def test_malformed_names_are_refused_at_once(host: str, why: str) -> None:
    """Without asking anybody, with a short printable text, and as error 103."""
    resolver = ask([FOUR])
    with pytest.raises(NameResolutionError, match=why) as caught:
        encode_hostname(host)
    with pytest.raises(NameResolutionError, match=why):
        await resolve(host, 80)
    assert resolver.questions == []
    assert caught.value.error_number == ErrorCode.NAME_RESOLUTION_ERROR
    assert len(str(caught.value).encode()) < 500
    assert isinstance(caught.value, OSError)


async def test_a_host_of_another_type_is_a_type_error() -> None:
    """Bytes are no host."""
    with pytest.raises(TypeError, match="address must be a str"):
        await resolve(b"localhost", 80)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "fe80::1%1", "::ffff:192.0.2.1", "255.255.255.255"]
)
async def test_addresses_are_not_looked_up(host: str, system: dict[bytes, Any]) -> None:
    """Neither a thread nor a custom resolver sees them; it is a checkpoint all the same."""
    assert system == {}
    resolver = ask([])
    with trio.testing.assert_checkpoints():
        assert await resolve(host, 80) == [literal_address(host, 80)]
    assert resolver.questions == []


async def test_an_address_of_the_other_family_is_refused() -> None:
    """The text names the family that was asked for."""
    with pytest.raises(NameResolutionError, match=r"host '127\.0\.0\.1' has no IPv6 address"):
        await resolve("127.0.0.1", 80, family=socket.AF_INET6)
    with pytest.raises(NameResolutionError, match="host '::1' has no IPv4 address"):
        await resolve("::1", 80, family=socket.AF_INET)


async def test_a_custom_resolver_is_asked_and_stays_set() -> None:
    """It gets the name as bytes, encoded, and all that getaddrinfo gets."""
    resolver = ask([SIX, FOUR])
    with trio.testing.assert_checkpoints():
        found = await resolve("bücher.example", 80)
    await resolve("x", 53, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    assert found == [ResolvedAddress(SIX[0], SIX[4]), ResolvedAddress(FOUR[0], FOUR[4])]
    assert resolver.questions == [
        (b"xn--bcher-kva.example", 80, 0, socket.SOCK_STREAM, 0, 0),
        (b"x", 53, socket.AF_INET, socket.SOCK_DGRAM, 0, 0),
    ]
    assert trio.socket.set_custom_hostname_resolver(None) is resolver


async def test_only_numeric_answers_count_and_each_once() -> None:
    """What ``connect`` would look up again, and what Python gives without IPv6, is left out."""
    zoned = (socket.AF_INET6, 1, 6, "", ("fe80::1", 80, 0, 7))
    answer = [
        FOUR,
        FOUR,
        (socket.AF_INET, 1, 6, "", ("localhost", 80)),
        (socket.AF_INET6, 1, 6, "", (10, b"\0\0")),
        (socket.AF_INET6, 1, 6, "", ("::1", 80)),
        (socket.AF_INET6, 1, 6, "", ("fe80::1%7", 80, 0, 0)),
        zoned,
        (socket.AF_INET6, 1, 6, "", ("::ffff:192.0.2.1", 80, 0, 0)),
    ]
    ask(answer)
    assert await resolve("x", 80) == [
        literal_address("192.0.2.1", 80),
        literal_address("::1", 80),
        literal_address("fe80::1%7", 80),
    ]


async def test_answers_of_another_family_are_left_out() -> None:
    """A resolver need not honour the family that it was asked for."""
    ask([SIX, FOUR])
    assert await resolve("x", 80, family=socket.AF_INET) == [literal_address("192.0.2.1", 80)]


async def test_no_address_is_a_resolution_error() -> None:
    """An empty answer is none."""
    ask([])
    with pytest.raises(NameResolutionError, match="host 'x' has no address"):
        await resolve("x", 80)


@pytest.mark.parametrize(
    ("failure", "cure"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "check its spelling"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "try again later"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "try again later"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "try again later"),
        (TimeoutError("too late"), "try again later"),
    ],
)
async def test_failures_are_resolution_errors(failure: OSError, cure: str) -> None:
    """They name the host and the cure, and keep the resolver's own error as the cause."""
    ask(failure)
    with pytest.raises(NameResolutionError, match=f"cannot resolve host 'x' .*{cure}") as caught:
        await resolve("x", 80)
    assert caught.value.__cause__ is failure
    assert caught.value.errno == failure.errno


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OSError(errno.EMFILE, "Too many open files"), OpenDriverError),
        (OSError(errno.ENOMEM, "Out of memory"), OutOfMemoryError),
        (socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), OutOfMemoryError),
    ],
)
async def test_our_own_shortages_are_not_blamed_on_the_name(
    failure: OSError, expected: type[SocketError]
) -> None:
    """Want of descriptors or memory says nothing about the name."""
    ask(failure)
    with pytest.raises(expected, match="cannot resolve host 'x'") as caught:
        await resolve("x", 80)
    assert type(caught.value) is expected
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize(
    "mistake", [KeyError("x"), InvalidStateError("ours"), NameResolutionError("x")]
)
async def test_other_exceptions_of_a_resolver_pass_untouched(mistake: Exception) -> None:
    """Bugs stay visible, and errors that are ours already are not wrapped again."""
    ask(mistake)
    with pytest.raises(type(mistake)) as caught:
        await resolve("x", 80)
    assert caught.value is mistake


async def test_the_systems_resolver_is_asked_in_a_thread(system: dict[bytes, Any]) -> None:
    """Its answers and its failures are treated as those of a custom one."""
    failure = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    system[b"good"] = [FOUR]
    system[b"bad"] = failure
    with trio.testing.assert_checkpoints():
        assert await resolve("good", 80) == [literal_address("192.0.2.1", 80)]
    with pytest.raises(NameResolutionError) as caught:
        await resolve("bad", 80)
    assert caught.value.__cause__ is failure


async def test_the_real_resolver_knows_localhost() -> None:
    """Nothing is patched here."""
    assert {each.address[0] for each in await resolve("localhost", 80)} <= {"127.0.0.1", "::1"}


async def test_stuck_look_ups_delay_nobody_else(system: dict[bytes, Any]) -> None:
    """A hundred of them hold up neither another look-up nor other work in threads."""
    stuck = system[b"stuck"] = threading.Event()
    system[b"good"] = [FOUR]
    default = trio.to_thread.current_default_thread_limiter()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(resolve, "stuck", 80)
        await trio.testing.wait_all_tasks_blocked()
        assert default.borrowed_tokens == 0
        assert await resolve("good", 80) == [literal_address("192.0.2.1", 80)]
        assert await trio.to_thread.run_sync(int) == 0
        nursery.cancel_scope.cancel()
    assert not stuck.is_set()
    assert await resolve("good", 80) == [literal_address("192.0.2.1", 80)]


async def test_a_look_up_is_cancelled_at_once(system: dict[bytes, Any]) -> None:
    """The thread goes on for a while, without anybody waiting for it."""
    system[b"stuck"] = threading.Event()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolve, "stuck", 80)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert not system[b"stuck"].is_set()


async def test_a_cancelled_look_up_asks_nobody() -> None:
    """Under a cancelled scope nothing is done."""
    resolver = ask([FOUR])
    with trio.CancelScope() as scope:
        scope.cancel()
        await resolve("x", 80)
    assert scope.cancelled_caught
    assert resolver.questions == []


async def test_no_thread_left_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that gives no more threads is a shortage of ours."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.lowlevel, "start_thread_soon", refuse)
    monkeypatch.setattr("trio._threads.start_thread_soon", refuse)
    with pytest.raises(OutOfMemoryError, match="no thread to resolve host 'x': can't start"):
        await resolve("x", 80)
