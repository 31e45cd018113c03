"""The TLS engine of one connection: ciphertext in, plaintext out, and back; no I/O.

It is the standard library's, ``ssl.SSLObject`` over two ``ssl.MemoryBIO``: whoever moves the
bytes feeds in what came, and sends what ``output`` gives. Plaintext goes in by slices, for the
ciphertext of all that goes in has to be kept until it is sent; it comes out for as long as
there is any, without an exception for each record that is not there.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

SLICE: Final = 65536
"""Bytes of plaintext that are encrypted at once, at the most."""

RECORD: Final = 16384
"""The largest record's plaintext, in bytes (RFC 8446, 5.1)."""

_SMALL_PIECE: Final = 2048
"""Bytes of ciphertext that OpenSSL is given at once, of a peer that sends anything but data.

OpenSSL returns only when it comes to data, or to the end of what it was given, and each record may
cost: 75 that want new keys, 27 bytes each, take 3 ms, in which nobody else has a turn.
"""

_LARGE_PIECE: Final = RECORD + 8192
"""The same of a peer that sends data; half of it are data even where two records are cut."""

_MOST_RECORDS: Final = 256
"""Records with data that are taken out at once; if they are full this is 4 MiB."""

_NO_RECORD: Final = b"\x00\x03\x03\x00\x01\x00"
"""A record of a type that there is not; the answer is an unexpected_message alert."""


class TLSEngine:
    """Encrypts and decrypts one connection.

    Args:
        context: with which certificates, versions and checks.
        server_side: whether the handshake is the server's.
        server_hostname: a client's: whom it wants to talk to.

    Attributes:
        ended: the peer has said that nothing more will come (close_notify).
        ready: ``decrypt`` may have something to tell without being fed before.

    Raises:
        ssl.SSLError, ValueError: context, side and name do not go together.
    """

    __slots__ = (
        "_failure",
        "_fed",
        "_held",
        "_incoming",
        "_object",
        "_outgoing",
        "_piece",
        "_stash",
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
        self._held = memoryview(b"")  # ciphertext that OpenSSL was not given yet
        self._piece = _SMALL_PIECE
        self._fed = 0  # bytes that it was given last
        self._stash = b""  # plaintext that had to be taken out before it was asked for
        self.ended = False
        self.ready = False

    # Ciphertext

    def feed(self, data: bytes) -> None:
        """Take in what came from the peer."""
        if self._held or len(data) > self._piece:
            self._held = memoryview(b"".join((self._held, data)) if self._held else data)
            if not self._incoming.pending:
                self._feed_piece()
        else:
            self._incoming.write(data)
        self.ready = True

    def _feed_piece(self) -> None:
        self._fed = self._incoming.write(self._held[: self._piece])
        self._held = self._held[self._fed :]

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
                self._feed_piece()
            else:
                self.ready = self._has_input()
                return True

    def refuse(self) -> None:
        """After the handshake: have nothing to do with this peer, and put an alert out.

        OpenSSL leaves the choice of alerts to nobody. So it is given a record that is none, and
        tells the peer of that.
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
            ``ready`` afterwards there is more to be taken out, or to be looked through.

        Raises:
            ssl.SSLError: what was fed is not in order; the alert for the peer is in ``output``.
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
        if self._held and not incoming.pending:
            self._feed_piece()
        got = 0  # since then
        while limit > 0 and len(pieces) < _MOST_RECORDS:
            try:
                piece = decrypted.read(min(RECORD, limit))
            except ssl.SSLWantReadError:  # the last record is not complete
                if not self._held:
                    return
            else:
                if not piece:
                    self.ended = True
                    break
                pieces.append(piece)
                limit -= len(piece)
                got += len(piece)
                if incoming.pending or decrypted.pending():
                    continue
                if not self._held:
                    if got > _SMALL_PIECE:
                        self._piece = _LARGE_PIECE
                    return
            if not self._is_data(got):  # that others may have their turn
                break
            self._feed_piece()
            got = 0
        self.ready = True

    def _is_data(self, got: int) -> bool:
        """Whether the last piece was mostly data; if not, the next one had better be small."""
        mostly = got > 0 and got * 2 >= self._fed
        self._piece = _LARGE_PIECE if mostly else _SMALL_PIECE
        return mostly

    def _take_stash(self, limit: int) -> bytes:
        data, self._stash = self._stash[:limit], self._stash[limit:]
        if not self._stash and self._failure is None and not self.ended:
            self.ready = self._has_input()
        return data

    def _has_input(self) -> bool:
        return bool(self._held) or self._incoming.pending > 0 or self._object.pending() > 0

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Take in plaintext.

        Args:
            data: at least one byte, and at most ``SLICE``.

        Returns:
            The ciphertext, and what else was to be sent.

        Raises:
            ssl.SSLError: the connection is over.
        """
        try:
            self._object.write(data)
        except ssl.SSLError:
            if self._failure is not None:  # why it is over is better known to who reads
                raise self._failure from None
            raise
        return self._outgoing.read()

    def end(self) -> None:
        """Say that nothing more will come from us (close_notify); reading goes on."""
        # OpenSSL looks for the peer's own end at once, and takes plaintext for an error then.
        pieces: list[bytes] = []
        try:
            while self.ready and (piece := self.decrypt(SLICE)):
                pieces.append(piece)
        except ssl.SSLError:
            pass
        if pieces:
            self._stash = b"".join(pieces)
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

    def peer_chain(self) -> list[bytes]:
        """The peer's certificate in DER, and those it came with as far as Python shows them."""
        leaf = self._object.getpeercert(binary_form=True)
        chain: list[bytes] = [] if leaf is None else [leaf]
        for name in ("get_unverified_chain", "get_verified_chain"):  # from Python 3.13 on
            get_chain = getattr(self._object, name, None)
            if get_chain is not None:
                chain += get_chain()
        return chain
