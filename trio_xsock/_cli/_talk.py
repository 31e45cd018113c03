"""What ``connect`` and ``listen`` have in common: conversations, and what is said of them."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable

import trio

from trio_xsock import SocketError, TCPSocket

from ._conversation import Conversation
from ._errors import CommandError, ExitCode, escape_error
from ._interrupt import until_interrupted
from ._report import Fact, Report
from ._stdio import Input, OutputGoneError, standard_output
from ._text import endpoint


class Talker:
    """One run of either command: one standard input for all its conversations."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        self._report = report
        self._input = Input()
        self._shutdown: bool = options.shutdown
        self._conversation: Conversation | None = None

    async def run(self, work: Callable[[], Awaitable[ExitCode]]) -> ExitCode:
        """Do ``work``, which calls ``talk``, until it is done or a signal asks to end."""
        try:
            code = await until_interrupted(work)
        except OutputGoneError:  # as in "xsock connect ... | head -1"
            await trio.lowlevel.checkpoint()
            return ExitCode.DONE
        if code is None:
            self._trouble("interrupted", "interrupted")
            return ExitCode.INTERRUPTED
        return code

    async def talk(self, sock: TCPSocket, greeting: str) -> ExitCode:
        """Talk with the peer of ``sock`` until both have ended, and say how it went.

        Raises:
            OutputGoneError: nobody reads our output any more.
        """
        peer = endpoint(sock.remote_address, sock.remote_port)
        self._report.note("connected", f"{greeting} {peer}", peer=peer)
        output = standard_output(self._report)
        talk = self._conversation = Conversation(sock, self._input, output, shutdown=self._shutdown)
        try:
            await talk.run()
        except (SocketError, CommandError) as exc:
            self._trouble("failed", escape_error(exc))
            code = ExitCode.FAILED
        else:
            self._report.note("closed", f"closed: {_counted(talk)}", **_counts(talk))
            code = ExitCode.DONE
        self._conversation = None
        await trio.lowlevel.checkpoint()
        return code

    def _trouble(self, event: str, why: str) -> None:
        """The last line of what did not end by itself: always with what was moved."""
        talk = self._conversation
        if talk is None:
            self._report.trouble(event, f"{why}: there was no connection", message=why)
        else:
            self._report.trouble(event, f"{why}: {_counted(talk)}", message=why, **_counts(talk))


def _counted(talk: Conversation) -> str:
    return f"{talk.sent} bytes went out, {talk.received} came in"


def _counts(talk: Conversation) -> dict[str, Fact]:
    return {"bytes_sent": talk.sent, "bytes_received": talk.received}
