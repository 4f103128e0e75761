"""The gateway between its clients and the line: connections, a queue, a memory, its faults."""

import asyncio
import contextlib
import os
import socket
import struct
import time
import tty
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from simulator.bus import Bus
from simulator.faults import SimulatorError
from simulator.frames import Answer, Framing, Request, exception, frame, split_rtu, split_tcp

NO_RESPONSE = 0x0B
BUSY = 0x06
SILENCE_S = 0.05
"""Silence that ends an unfinished RTU frame, in seconds; more than 3.5 bytes at 2400 baud."""

_HEARTBEAT = b"\x5a\x4c\x41\x4e\x21"
_FROM_MEMORY_S = 0.003
_REFRESH_PAUSE_S = 0.005
"""Pause between refreshes, so that a line that takes no time leaves others their turn."""

Absent = Literal["silent", "exception"]


@dataclass(frozen=True, slots=True)
class Job:
    """A request in the queue, and the client that waits for its answer."""

    client: "Client"
    request: Request


class Gateway:
    """Queues the requests of all clients and puts them on the line one by one."""

    def __init__(self, bus: Bus, absent: Absent) -> None:
        self.bus = bus
        self.faults = bus.faults
        self.clients: list[Client] = []
        self._absent = absent
        self._cache = Cache(bus)
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._previous: Answer | None = None

    def joined(self, client: "Client") -> None:
        """Accept a new connection, as far as the faults of the gateway allow."""
        statistics = self.bus.statistics
        statistics.connections += 1
        if self.faults.number("accept-reset") is not None:
            client.reset()
            return
        self.clients.append(client)
        limit, kick = self.faults.number("client-limit"), self.faults.number("kick")
        if limit is not None and len(self.clients) > limit:
            client.close()
        if kick is not None and len(self.clients) > kick:
            self.clients[0].close()
        statistics.most_clients = max(statistics.most_clients, len(self.clients))

    def left(self, client: "Client") -> None:
        """Forget a connection; its requests still go over the line."""
        with contextlib.suppress(ValueError):
            self.clients.remove(client)

    def asked(self, client: "Client", request: Request) -> None:
        """Queue a request, or answer it at once from memory or with 'busy'."""
        for held in client.held:
            client.hand(held)
        client.held.clear()
        if self.faults.number("silent") is not None:
            return
        full = self.faults.number("queue-full")
        remembered = self._cache.answer(request)
        if remembered is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(_FROM_MEMORY_S, self._deliver, Job(client, request), Answer(remembered))
        elif full is not None and self._jobs.qsize() >= full:
            self._refuse(Job(client, request), BUSY)
        else:
            self._jobs.put_nowait(Job(client, request))

    async def work(self) -> None:
        """Serve the queue forever; when it is empty, refresh the memory."""
        while True:
            if self._jobs.empty() and self._cache.active():
                await self._cache.refresh()
                continue
            job = await self._jobs.get()
            answer = await self.bus.exchange(job.request)
            if answer is None:
                self._refuse(job, NO_RESPONSE)
                continue
            self._cache.store(job.request, answer.pdu)
            self._deliver(job, answer)

    async def watch(self) -> None:
        """Do what goes by the clock: close idle connections, send unsolicited bytes."""
        sent_at = time.monotonic()
        while True:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            idle_s = self.faults.number("idle-close")
            for client in list(self.clients):
                if idle_s is not None and now - client.last_request_at > idle_s:
                    client.close()
            every_s = self.faults.number("unsolicited")
            if every_s is not None and now - sent_at >= every_s:
                sent_at = now
                for client in self.clients:
                    client.hand(_HEARTBEAT)

    def _refuse(self, job: Job, code: int) -> None:
        if job.client.framing == "tcp" and (code == BUSY or self._absent == "exception"):
            answer = Answer(exception(job.request.function, code))
            job.client.hand(frame(job.client.framing, job.request, answer, self.faults))

    def _deliver(self, job: Job, answer: Answer) -> None:
        unit = job.request.unit
        previous, self._previous = self._previous, answer
        if previous is not None and self.faults.strikes(unit, "stale") is not None:
            answer = previous
        if self.faults.strikes(unit, "close") is not None:
            job.client.close()
        elif self.faults.strikes(unit, "reset") is not None:
            job.client.reset()
        else:
            self._send(
                job.client, unit, frame(job.client.framing, job.request, answer, self.faults)
            )

    def _send(self, client: "Client", unit: int, sent: bytes) -> None:
        loop = asyncio.get_running_loop()
        late_s = self.faults.strikes(unit, "late")
        split_s = self.faults.strikes(unit, "split")
        if self.faults.strikes(unit, "late-after-next") is not None:
            client.held.append(sent)
        elif late_s is not None:
            loop.call_later(late_s, client.hand, sent)
        elif split_s is not None:
            client.hand_in_halves(sent, split_s)
        else:
            to_all = self.faults.number("to-all") is not None
            for receiver in list(self.clients) if to_all else [client]:
                receiver.hand(sent)


@dataclass(slots=True)
class Remembered:
    """A command that the gateway knows: its last answer, and when a client last sent it."""

    answer: bytes
    asked_at: float


class Cache:
    """The memory of a gateway in "storage" mode, which answers repeats without the meter.

    It sends each known command to its meter in turn, and forgets those that no client sends.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[tuple[int, bytes], Remembered] = {}

    def active(self) -> bool:
        """Return whether there is a command to refresh; forget those not sent lately."""
        kept_s = self._bus.faults.number("cache")
        if kept_s is None:
            self._known.clear()
        else:
            oldest = time.monotonic() - kept_s
            self._known = {k: v for k, v in self._known.items() if v.asked_at >= oldest}
        return bool(self._known)

    def answer(self, request: Request) -> bytes | None:
        """Return the remembered PDU for a request, None when the meter must be asked."""
        remembered = self._known.get((request.unit, request.pdu)) if self.active() else None
        if remembered is None:
            return None
        remembered.asked_at = time.monotonic()
        return remembered.answer

    def store(self, request: Request, pdu: bytes) -> None:
        """Remember the answer to a client's request."""
        if self._bus.faults.number("cache") is not None:
            self._known[request.unit, request.pdu] = Remembered(pdu, time.monotonic())

    async def refresh(self) -> None:
        """Send the command whose turn it is to its meter."""
        key = next(iter(self._known))
        remembered = self._known[key] = self._known.pop(key)
        answer = await self._bus.exchange(Request(*key))
        if answer is not None and not answer.collided:
            remembered.answer = answer.pdu
        await asyncio.sleep(_REFRESH_PAUSE_S)


class Client:
    """One master: its bytes arrive at `received`, and answers go out through `send`."""

    def __init__(self, gateway: Gateway, framing: Framing) -> None:
        self.gateway = gateway
        self.framing = framing
        self.held: list[bytes] = []
        self.last_request_at = time.monotonic()
        self._buffer = b""
        self._rest: bytes | None = None

    def received(self, data: bytes) -> None:
        """Pass the complete requests among these bytes to the gateway."""
        now = time.monotonic()
        if self.framing == "rtu" and now - self.last_request_at > SILENCE_S:
            self._buffer = b""
        self.last_request_at = now
        split = split_tcp if self.framing == "tcp" else split_rtu
        requests, self._buffer = split(self._buffer + data)
        for request in requests:
            self.gateway.asked(self, request)

    def hand(self, sent: bytes) -> None:
        """Send an answer, after the rest of one that is half sent."""
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
        """Write bytes, if there is anyone to read them."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection in order, where there is one."""

    def reset(self) -> None:
        """Reset the connection, where there is one."""


class TcpClient(Client, asyncio.Protocol):
    """A TCP connection to the gateway."""

    _transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the clients of the gateway, if it accepts."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.gateway.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Leave the clients of the gateway."""
        self._transport = None
        self.gateway.left(self)

    def data_received(self, data: bytes) -> None:
        """Handle bytes of the client."""
        self.received(data)

    def send(self, sent: bytes) -> None:
        """Write bytes if the connection is open."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(sent)

    def close(self) -> None:
        """Close the connection in order."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Reset the connection."""
        if self._transport is not None:
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


class SerialClient(Client):
    """A master on the line itself, through a pseudo-terminal that looks like an RS485 adapter."""

    def __init__(self, gateway: Gateway, path: Path) -> None:
        super().__init__(gateway, "rtu")
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
        gateway.joined(self)

    def send(self, sent: bytes) -> None:
        """Write bytes to the line; bytes that nobody reads are lost, as on a real one."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._ours, sent)

    def end(self) -> None:
        """Remove the pseudo-terminal."""
        asyncio.get_running_loop().remove_reader(self._ours)
        self.gateway.left(self)
        self.path.unlink(missing_ok=True)
        os.close(self._ours)
        os.close(self._theirs)

    def _readable(self) -> None:
        self.received(os.read(self._ours, 1000))
