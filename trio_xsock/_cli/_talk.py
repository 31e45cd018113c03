"""The common part of ``connect`` and ``listen``: conversations, and their messages."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable

import trio

from trio_xsock import SocketError, TCPSocket

from ._conversation import Conversation
from ._errors import CommandError, ExitCode, OutputFailedError, OutputGoneError, escape_error
from ._interrupt import until_interrupted
from ._report import Fact, Report
from ._stdin import Input
from ._stdio import standard_output
from ._text import both_ways, endpoint
from ._tls import is_alert, is_client_hello

_HINT = (
    "nothing came after the end of our input; if the server took that end for a good-bye, "
    "--no-shutdown helps"
)


class Talker:
    """One run of either command: one standard input for all its conversations.

    Args:
        options: as parsed.
        report: where to write messages.
        serves: this is the server.
        hands_over: one client after the other gets the rest of the input.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        report: Report,
        *,
        serves: bool,
        hands_over: bool = False,
    ) -> None:
        self._report = report
        self._input = Input(report, crlf=options.crlf)
        self._shutdown: bool = options.shutdown
        self._tls: bool = options.tls
        self._asks = not serves
        self._hands_over = hands_over
        self._conversation: Conversation | None = None

    async def run(self, work: Callable[[], Awaitable[ExitCode]]) -> ExitCode:
        """Run ``work``, which calls ``talk``, until it is done or a signal asks to end."""
        try:
            code = await until_interrupted(lambda: self._report.while_read(work))
        except OutputGoneError:  # as in "xsock connect ... | head -1"
            await trio.lowlevel.checkpoint()
            return ExitCode.DONE
        except OutputFailedError as exc:
            if self._conversation is not None:  # otherwise it was reported
                self._trouble("failed", str(exc))
            await trio.lowlevel.checkpoint()
            return ExitCode.FAILED
        if code is None:
            self._trouble("interrupted", "interrupted")
            return ExitCode.INTERRUPTED
        return code

    async def talk(self, sock: TCPSocket, greeting: str) -> ExitCode:
        """Run a conversation with the peer of ``sock``, and report how it ended.

        Raises:
            OutputGoneError: the reader of our output has closed it.
        """
        peer = endpoint(sock.remote_address, sock.remote_port)
        self._report.note("connected", f"{greeting} {peer}", peer=peer)
        talk = self._conversation = Conversation(
            sock,
            self._input,
            standard_output(self._report),
            shutdown=self._shutdown,
            hands_over=self._hands_over,
            judge=self._check_tls,
        )
        try:
            await talk.run()
        except (SocketError, CommandError) as exc:
            self._trouble("failed", escape_error(exc))
            code = ExitCode.FAILED
        else:
            self._report.note("closed", f"closed: {_counted(talk)}", **_counts(talk))
            code = ExitCode.DONE
        if talk.unanswered and self._asks and not self._report.out.why_failed():
            self._report.note("hint", _HINT, message=_HINT)
        self._conversation = None
        await trio.lowlevel.checkpoint()
        return code

    def _check_tls(self, talk: Conversation) -> None:
        """Raise if the input shows that the peer uses TLS, and this side does not."""
        if self._tls:
            return
        if is_alert(talk.first):
            raise CommandError("the other side speaks TLS; try --tls")
        if is_client_hello(talk.first) and not talk.sent:
            raise CommandError("the client speaks TLS; --tls and --certificate are missing here")

    def _trouble(self, event: str, why: str) -> None:
        """The last line of a failed conversation; it always has the counts."""
        talk = self._conversation
        if talk is None:
            self._report.trouble(event, f"{why}: there was no connection", message=why)
        else:
            self._report.trouble(event, f"{why}: {_counted(talk)}", message=why, **_counts(talk))


def _counted(talk: Conversation) -> str:
    return both_ways(talk.sent, talk.received)


def _counts(talk: Conversation) -> dict[str, Fact]:
    return {"bytes_sent": talk.sent, "bytes_received": talk.received}
