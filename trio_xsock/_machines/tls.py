"""The TLS engine of one connection: ciphertext in, plaintext out, and back; no I/O.

It is the standard library's ``ssl.SSLObject`` over two ``ssl.MemoryBIO``: the caller feeds in what
it received, and sends what ``output`` returns. Plaintext is encrypted by slices, because the
ciphertext has to be stored until it is sent. It is decrypted for as long as there is any, without
an exception for each incomplete record.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

SLICE: Final = 65536
"""Bytes of plaintext that are encrypted at once, at the most."""

RECORD: Final = 16384
"""The largest record's plaintext, in bytes (RFC 8446, 5.1)."""

_HEADER: Final = 5
"""Bytes of a record's header: its type, a version, and in the last two the length of the rest."""

_MOST_RECORDS: Final = 64
"""Records that OpenSSL is given at once.

It returns only when it comes to data, or to the end of what it was given, and a record without
data may cost much: one that asks for new keys takes 40 us, in which no other task runs.
"""

_PIECE: Final = 16384
"""Bytes after which it is given no further record at once; one full of tickets takes 20 ms."""

_NO_RECORD: Final = b"\x00\x03\x03\x00\x01\x00"
"""A record of an unknown type; the answer is an unexpected_message alert."""

_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST"})
_ALERT: Final = b"\x15\x03\x01\x00\x02\x02\x46"
"""Fatal, protocol_version: for a client that does not speak TLS; OpenSSL sends no alert then."""


class TLSEngine:
    """Encrypts and decrypts one connection.

    Args:
        context: with which certificates, versions and checks.
        server_side: whether the handshake is the server's.
        server_hostname: for a client, the name of the server.

    Attributes:
        ended: the peer has sent close_notify.
        ready: ``decrypt`` may return something without being fed before.

    Raises:
        ssl.SSLError, ValueError: context, side and name do not go together.
    """

    __slots__ = (
        "_begun",
        "_failure",
        "_given",
        "_held",
        "_incoming",
        "_object",
        "_outgoing",
        "_stash",
        "_unfinished",
        "ended",
        "ready",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side, server_hostname
        )
        self._failure: ssl.SSLError | None = None
        self._held: bytes | memoryview = b""  # ciphertext that OpenSSL was not given yet
        self._unfinished = 0  # bytes of the last record it was given that are still to come,
        self._begun = b""  # or as much of its header as it was given
        self._given = 0  # bytes that it was given last
        self._stash = memoryview(b"")  # plaintext that was taken out before it was asked for
        self.ended = False
        self.ready = False

    # Ciphertext

    def feed(self, data: bytes) -> None:
        """Pass what was received from the peer."""
        self._held = b"".join((self._held, data)) if self._held else data
        if not self._incoming.pending:
            self._give_records()
        self.ready = True

    def _give_records(self) -> None:
        """Give OpenSSL some of the records in ``_held``; the last one may be incomplete."""
        held = b"".join((self._begun, self._held)) if self._begun else self._held
        end, size = self._unfinished, len(held)
        for _ in range(_MOST_RECORDS):
            if end + _HEADER > size:
                given = size
                break
            if end >= _PIECE:
                given = end
                break
            end += _HEADER + (held[end + 3] << 8) + held[end + 4]
        else:
            given = min(end, size)
        self._given = self._incoming.write(held[len(self._begun) : given])
        self._begun = bytes(held[end:given])
        self._unfinished = max(0, end - given)
        self._held = memoryview(held)[given:] if given < size else b""

    def feed_end(self) -> None:
        """The peer's connection has ended in the handshake."""
        self._incoming.write_eof()

    @property
    def has_output(self) -> int:
        """How many bytes of ciphertext are to be sent."""
        return self._outgoing.pending

    def output(self) -> bytes:
        """Take out the ciphertext that is to be sent."""
        return self._outgoing.read()

    # The handshake

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done, or else needs more to be fed.

        Raises:
            ssl.SSLError: it failed; the alert for the peer is in ``output``.
        """
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                if not self._held:
                    return False
                self._give_records()
            except ssl.SSLError as exc:
                if self._object.server_side and exc.reason in _NOT_TLS and not self.has_output:
                    self._outgoing.write(_ALERT)
                raise
            else:
                self.ready = self._has_input()
                return True

    def refuse(self) -> None:
        """After the handshake: refuse the peer with an alert, which is in ``output`` then.

        OpenSSL has no call that sends an alert. So it is given an invalid record, and answers
        it with one.
        """
        self._incoming.read()
        self._incoming.write(_NO_RECORD)
        try:
            self._object.read(1)
        except ssl.SSLError:
            pass

    # Plaintext

    def decrypt(self, limit: int) -> bytes:
        """Take out plaintext, of as many records as were fed.

        Args:
            limit: how many bytes at the most, at least 1.

        Returns:
            The bytes; none if no record is complete, or the peer has ``ended``. If it is still
            ``ready`` afterwards there is more to be decrypted.

        Raises:
            ssl.SSLError: the input is invalid; the alert for the peer is in ``output``.
        """
        if self._stash:
            return self._take_stash(limit)
        if self._failure is not None:
            raise self._failure
        if self.ended:
            return b""
        self.ready = False
        pieces: list[bytes] = []
        try:
            self._read_records(limit, pieces)
        except ssl.SSLZeroReturnError:
            self.ended = self.ready = True
        except ssl.SSLError as exc:
            self._failure = exc
            self.ready = True
            if not pieces:
                raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_records(self, limit: int, pieces: list[bytes]) -> None:
        incoming, decrypted = self._incoming, self._object
        if not incoming.pending and self._held:
            self._give_records()
        got = 0  # since then
        while limit > 0:
            try:
                piece = decrypted.read(min(RECORD, limit))
            except ssl.SSLWantReadError:  # the last record is not complete
                break
            if not piece:
                self.ended = self.ready = True
                return
            pieces.append(piece)
            limit -= len(piece)
            got += len(piece)
            if not (incoming.pending or decrypted.pending()):
                if not self._held or got * 8 < self._given * 7:
                    break  # records without data continue after other tasks have run
                self._give_records()
                got = 0
        self.ready = self._has_input()

    def _take_stash(self, limit: int) -> bytes:
        data, self._stash = bytes(self._stash[:limit]), self._stash[limit:]
        if not self._stash and self._failure is None and not self.ended:
            self.ready = self._has_input()
        return data

    def _has_input(self) -> bool:
        return bool(self._held) or self._incoming.pending > 0 or self._object.pending() > 0

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Encrypt plaintext.

        Args:
            data: at least one byte, and at most ``SLICE``.

        Returns:
            The ciphertext, after any other output that waited.

        Raises:
            ssl.SSLError: the connection is over.
        """
        try:
            self._object.write(data)
        except ssl.SSLWantReadError:  # in the middle of a second handshake, of TLS 1.2
            error = ssl.SSLError(ssl.SSLErrorNumber.SSL_ERROR_SSL, "renegotiation")
            error.reason = "RENEGOTIATION_NOT_SUPPORTED"
            raise error from None
        except ssl.SSLError:
            if self._failure is not None:  # what reading found is more precise
                raise self._failure from None
            raise
        return self._outgoing.read()

    def end(self) -> None:
        """Say that nothing more will come from us (close_notify); reading goes on."""
        # OpenSSL looks for the peer's close_notify at once, and treats plaintext as an error.
        pieces: list[bytes] = []
        try:
            while self.ready and (piece := self.decrypt(SLICE)):
                pieces.append(piece)
        except ssl.SSLError:
            pass
        if pieces:
            self._stash = memoryview(b"".join(pieces))
            self.ready = True
        try:
            self._object.unwrap()
        except ssl.SSLError:  # mostly, that the peer has not ended yet
            pass

    # Facts

    @property
    def version(self) -> str | None:
        """The protocol, such as ``TLSv1.3``; ``None`` before the handshake."""
        return self._object.version()

    @property
    def expects_tickets(self) -> bool:
        """The peer is a server of TLS 1.3, which may send tickets after the handshake."""
        return not self._object.server_side and self.version == "TLSv1.3"

    @property
    def cipher(self) -> str | None:
        """The cipher suite's name; ``None`` before the handshake."""
        cipher = self._object.cipher()
        return None if cipher is None else cipher[0]

    @property
    def alpn_protocol(self) -> str | None:
        """The application protocol that was agreed on, if any."""
        return self._object.selected_alpn_protocol()

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The peer's certificate, as ``ssl`` describes it; empty if it was not verified."""
        try:
            return self._object.getpeercert()
        except ValueError:  # the handshake is not done
            return None

    @property
    def peer_certificate_der(self) -> bytes | None:
        """The peer's certificate in DER, verified or not; ``None`` if it has shown none."""
        try:
            return self._object.getpeercert(binary_form=True)
        except ValueError:  # the handshake is not done
            return None

    def peer_chain(self) -> list[bytes]:
        """The peer's certificate in DER, and those it came with as far as Python shows them."""
        leaf = self._object.getpeercert(binary_form=True)
        chain: list[bytes] = [] if leaf is None else [leaf]
        for name in ("get_unverified_chain", "get_verified_chain"):  # from Python 3.13 on
            get_chain = getattr(self._object, name, None)
            if get_chain is not None:
                chain += get_chain()
        return chain
