"""Who asks the meters: a TCP connection to the gateway, or a master on a serial line."""

import asyncio
import contextlib
import os
import socket
import struct
import time
import tty
from pathlib import Path
from typing import Protocol

from simulator.faults import SimulatorError
from simulator.frames import Framing, Request, split_rtu, split_tcp

SILENCE_S = 0.05
"""What ends an unfinished RTU frame; more than 3.5 bytes at 2400 baud."""


class Client:
    """One master: what it sends arrives as `received`, what it gets goes through `send`."""

    def __init__(self, host: "Host", framing: Framing) -> None:
        self.host = host
        self.framing = framing
        self.held: list[bytes] = []
        self.last_request_at = time.monotonic()
        self._buffer = b""
        self._rest: bytes | None = None

    def received(self, data: bytes) -> None:
        """Hand the complete requests among these bytes to the gateway."""
        now = time.monotonic()
        if self.framing == "rtu" and now - self.last_request_at > SILENCE_S:
            self._buffer = b""
        self.last_request_at = now
        split = split_tcp if self.framing == "tcp" else split_rtu
        requests, self._buffer = split(self._buffer + data)
        for request in requests:
            self.host.asked(self, request)

    def hand(self, sent: bytes) -> None:
        """Send an answer: after the rest of one that is only half sent yet."""
        if self._rest is None:
            self.send(sent)
        else:
            self._rest += sent

    def hand_in_halves(self, sent: bytes, apart_s: float) -> None:
        """Send half an answer now and the other half later."""
        half = len(sent) // 2
        self.hand(sent[:half])
        if self._rest is None:
            self._rest = b""
            asyncio.get_running_loop().call_later(apart_s, self._hand_rest)
        self._rest += sent[half:]

    def _hand_rest(self) -> None:
        rest, self._rest = self._rest or b"", None
        self.send(rest)

    def send(self, sent: bytes) -> None:
        """Write bytes, if somebody is there to read them."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection in order, where there is one."""

    def reset(self) -> None:
        """Break the connection, where there is one: the other side sees a reset."""


class Host(Protocol):
    """What a client needs of a gateway."""

    def joined(self, client: Client) -> None:
        """Take a new client in."""

    def left(self, client: Client) -> None:
        """Forget a client."""

    def asked(self, client: Client, request: Request) -> None:
        """Take a request."""


class TcpClient(Client, asyncio.Protocol):
    """A TCP connection to the gateway."""

    _transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the gateway's clients, if it lets us."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.host.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Leave the gateway's clients."""
        self._transport = None
        self.host.left(self)

    def data_received(self, data: bytes) -> None:
        """Pass on what came."""
        self.received(data)

    def send(self, sent: bytes) -> None:
        """Write bytes if the connection still stands."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(sent)

    def close(self) -> None:
        """Close the connection in order."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Break the connection: the other side sees a reset."""
        if self._transport is not None:
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


class SerialClient(Client):
    """A master on the line itself, through a pseudo-terminal that looks like an RS485 adapter."""

    def __init__(self, host: Host, path: Path) -> None:
        super().__init__(host, "rtu")
        self.path = path
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        try:
            path.symlink_to(os.ttyname(self._theirs))
        except OSError as error:
            os.close(self._ours)
            os.close(self._theirs)
            raise SimulatorError(
                f"cannot create {path}: {error.strerror}; choose another name"
            ) from error
        asyncio.get_running_loop().add_reader(self._ours, self._readable)
        host.joined(self)

    def send(self, sent: bytes) -> None:
        """Write bytes to the line; what nobody reads is lost, as on a real one."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._ours, sent)

    def end(self) -> None:
        """Take the pseudo-terminal away."""
        asyncio.get_running_loop().remove_reader(self._ours)
        self.host.left(self)
        self.path.unlink(missing_ok=True)
        os.close(self._ours)
        os.close(self._theirs)

    def _readable(self) -> None:
        self.received(os.read(self._ours, 1000))
