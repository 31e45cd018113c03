"""TLS records of one's own making: of whatever kind and length, as many as one likes.

OpenSSL never sends an empty record, nor a warning that nobody asked for. So the handshake is
OpenSSL's, and so is the log of its keys; what is then sent with them is made here.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.hmac import HMAC

from .peers import RawPeer
from .tls import TLSPeer

ALERT = 21
HANDSHAKE = 22
DATA = 23


class RecordPeer(TLSPeer):
    """A peer that makes its records by itself, once the handshake is done.

    Args:
        raw: the connection.
        context: how; for this peer alone, and so that both ends like AES-256-GCM best.
        keys: where to log the keys; a file that there is not yet.
    """

    def __init__(self, raw: RawPeer, context: ssl.SSLContext, keys: Path) -> None:
        context.keylog_filename = str(keys)
        super().__init__(raw, context)
        self._keys = keys
        self._cipher: AESGCM
        self._iv = b""
        self._secret = b""  # of TLS 1.3
        self._sequence = 0
        self._heard = b""

    async def handshake(self) -> None:
        """Do it, and take the keys over; ``send`` is not to be used any more."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                data = await self.raw.recv_some()
                self._heard += data
                self.incoming.write(data)
            else:
                break
        await self.flush()
        logged = [line.split() for line in self._keys.read_text().splitlines()]
        secrets = {words[0]: words[1:] for words in logged}
        if self.tls.version() == "TLSv1.3":
            side = "SERVER" if self.tls.server_side else "CLIENT"
            self._use(bytes.fromhex(secrets[f"{side}_TRAFFIC_SECRET_0"][1]))
        else:
            self._use_master_secret(*map(bytes.fromhex, secrets["CLIENT_RANDOM"]))

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._sequence = 0
        self._cipher = AESGCM(expand_label(secret, b"key", 32))
        self._iv = expand_label(secret, b"iv", 12)

    def _use_master_secret(self, client_random: bytes, secret: bytes) -> None:
        """The keys of a client, by RFC 5246, 6.3."""
        assert not self.tls.server_side
        server_random = self._heard[11:43]  # it is in the first message of the first record
        keys = expand(secret, b"key expansion" + server_random + client_random, 72)
        self._cipher = AESGCM(keys[:32])
        self._iv = keys[64:68]
        self._sequence = 1  # after Finished

    def seal(self, kind: int, content: bytes) -> bytes:
        """The next record that is to be sent."""
        sequence = self._sequence.to_bytes(8)
        self._sequence += 1
        if not self._secret:  # RFC 5288, 3
            start = bytes([kind, 3, 3])
            seen = sequence + start + len(content).to_bytes(2)
            sealed = sequence + self._cipher.encrypt(self._iv + sequence, content, seen)
            return start + len(sealed).to_bytes(2) + sealed
        header = bytes([DATA, 3, 3]) + (len(content) + 17).to_bytes(2)  # RFC 8446, 5.2
        nonce = int.from_bytes(self._iv) ^ int.from_bytes(sequence)
        return header + self._cipher.encrypt(nonce.to_bytes(12), content + bytes([kind]), header)

    def seal_key_update(self) -> bytes:
        """The next record: new keys, and the wish that the other end may take new ones, too."""
        record = self.seal(HANDSHAKE, b"\x18\x00\x00\x01\x01")
        self._use(expand_label(self._secret, b"traffic upd", 48))
        return record


def expand_label(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446, 7.1), of up to 48 bytes."""
    label = b"tls13 " + label
    info = length.to_bytes(2) + bytes([len(label)]) + label + b"\0"
    return hmac(secret, info + b"\1")[:length]


def expand(secret: bytes, seed: bytes, length: int) -> bytes:
    """The PRF of TLS 1.2 (RFC 5246, 5); ``seed`` with its label."""
    output, link = b"", seed
    while len(output) < length:
        link = hmac(secret, link)
        output += hmac(secret, link + seed)
    return output[:length]


def hmac(secret: bytes, data: bytes) -> bytes:
    mac = HMAC(secret, SHA384())
    mac.update(data)
    return mac.finalize()
