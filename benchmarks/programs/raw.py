"""Bare sockets, the limit: blocking on one connection, epoll on many; no library at all."""

from __future__ import annotations

import socket

from benchmarks import linux
from benchmarks.control import Control

HOST = "127.0.0.1"
CHUNK = bytes(65536)
RECEIVE = 65536
BULK = 2**18


def _prepare(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _listen(control: Control) -> socket.socket:
    server = socket.create_server((HOST, 0), backlog=1024)
    control.ready(server.getsockname()[1])
    return server


def _accept_one(control: Control) -> socket.socket:
    with _listen(control) as server:
        return _prepare(server.accept()[0])


def echo(control: Control) -> None:
    if control.params.get("connections") == 1:
        with _accept_one(control) as sock:
            while data := sock.recv(RECEIVE):
                sock.sendall(data)
        return
    with _listen(control) as server:
        _echo_many(server)


def _echo_many(server: socket.socket) -> None:
    server.setblocking(False)
    epoll = linux.epoll()
    epoll.register(server, linux.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    listening = server.fileno()
    while True:
        for descriptor, _ in epoll.poll(-1, 1024):
            if descriptor == listening:
                try:
                    while True:
                        sock = _prepare(server.accept()[0])
                        connections[sock.fileno()] = sock
                        epoll.register(sock, linux.EPOLLIN)
                except BlockingIOError:
                    continue
            sock = connections[descriptor]
            try:
                data = sock.recv(RECEIVE)
                if data:
                    sock.sendall(data)
                    continue
            except ConnectionError:
                pass
            del connections[descriptor]
            epoll.unregister(descriptor)
            sock.close()


def sink(control: Control) -> None:
    unit, got = control["unit"], 0
    buffer = bytearray(BULK)
    with _accept_one(control) as sock:
        while count := sock.recv_into(buffer):
            got += count
            while got >= unit:
                got -= unit
                sock.send(b".")


def _send(sock: socket.socket, count: int) -> None:
    for _ in range(count // len(CHUNK)):
        sock.sendall(CHUNK)


def _receive(sock: socket.socket, count: int) -> None:
    buffer = bytearray(BULK)
    while count:
        count -= sock.recv_into(buffer)


def source(control: Control) -> None:
    with _accept_one(control) as sock:
        while request := sock.recv(1):
            _send(sock, request[0] * control["unit"])


def lines(control: Control) -> None:
    batch, count = control["batch"], 0
    with _accept_one(control) as sock, sock.makefile("rb") as file:
        for _ in file:
            count += 1
            if count == batch:
                count = 0
                sock.send(b".")


def _connect(control: Control) -> socket.socket:
    return _prepare(socket.create_connection((HOST, control["port"])))


def client_send(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    with _connect(control) as sock:
        _send(sock, unit)
        _receive(sock, 1)
        control.begin()
        _send(sock, unit * units)
        _receive(sock, units)
        control.end()


def client_receive(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    with _connect(control) as sock:
        sock.send(b"\1")
        _receive(sock, unit)
        control.begin()
        sock.send(bytes([units]))
        _receive(sock, unit * units)
        control.end()


def client_ping(control: Control) -> None:
    message = bytes(control["size"])
    sockets = {}
    epoll = linux.epoll()
    for _ in range(control["connections"]):
        sock = _connect(control)
        sockets[sock.fileno()] = sock
        epoll.register(sock, linux.EPOLLIN)

    def play(count: int) -> None:
        if len(sockets) == 1:
            (sock,) = sockets.values()
            for _ in range(count):
                sock.sendall(message)
                sock.recv(RECEIVE)
            return
        left = dict.fromkeys(sockets, count)
        for sock in sockets.values():
            sock.sendall(message)
        while left:
            for descriptor, _ in epoll.poll(-1, len(sockets)):
                sock = sockets[descriptor]
                sock.recv(RECEIVE)
                left[descriptor] -= 1
                if left[descriptor]:
                    sock.sendall(message)
                else:
                    del left[descriptor]

    play(control["warm"])
    control.begin()
    play(control["messages"] // len(sockets))
    control.end()
    for sock in sockets.values():
        sock.close()


def client_connect(control: Control) -> None:
    def visits(count: int) -> None:
        for _ in range(count):
            with _connect(control) as sock:
                sock.send(b"?")
                sock.recv(1)

    visits(control["warm"])
    control.begin()
    visits(control["count"])
    control.end()
