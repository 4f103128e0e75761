"""Clients: pymodbus's, told to leave reconnects, retries and log to us."""

import asyncio
import logging
from functools import partial
from typing import Any, Literal, Protocol

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.framer import FramerType
from pymodbus.logging import Log

from gateway_bridge.address import Address, SerialLine, TcpAddress
from gateway_bridge.modbus.link import keep_alive, not_connected, not_opened, resolve

Framing = Literal["tcp", "rtu"]
Client = AsyncModbusTcpClient | AsyncModbusSerialClient

LARGEST_BUFFER = 4096
"""At its own 264 bytes pymodbus throws away an answer that comes twice."""
_FRAMERS = {"tcp": FramerType.SOCKET, "rtu": FramerType.RTU}

# Its log repeats the frames of every time-out: a dead meter would fill 100 MB a day.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)
# It keeps the frames of a while back all the same, to a twentieth of the cost of a reading.
Log.MAX_FRAMES = 0


class Listener(Protocol):
    """Who is told what happens on a connection."""

    def connection_changed(self, connected: bool) -> None:
        """Note that the connection came about, or is gone."""

    def sent(self, packet: bytes) -> None:
        """Note that a request goes out."""

    def received(self, client: Client, received: bytes) -> int:
        """Take what has come and was not taken yet; return how many bytes of it are done with."""


async def open_client(
    where: Address, framing: Framing, timeout_s: float, listener: Listener
) -> Client:
    """Return a connected client; raises NotReached saying in words why there is none."""
    options: dict[str, Any] = {
        # The listener fails what comes too late: pymodbus's own way takes the event loop one round
        # more for each request, and on Python 3.11 may swallow that a task is cancelled.
        "timeout": None,
        "retries": 0,
        "reconnect_delay": 0,
        "trace_connect": listener.connection_changed,
        "trace_packet": partial(_packet, listener),
    }
    if isinstance(where, SerialLine):
        return await _open(where, options, listener)
    return await _connect(where, framing, timeout_s, options, listener)


async def _connect(
    where: TcpAddress,
    framing: Framing,
    timeout_s: float,
    options: dict[str, Any],
    listener: Listener,
) -> Client:
    try:
        async with asyncio.timeout(timeout_s):
            host = await resolve(where)
            framer = _FRAMERS[framing]
            client = AsyncModbusTcpClient(host, port=where.port, framer=framer, **options)
            _tame(client, listener)
            client.ctx.transport, _ = await client.ctx.call_create()
    except OSError as error:
        raise not_connected(error, timeout_s) from error
    keep_alive(client.ctx.transport.get_extra_info("socket"))
    return client


async def _open(line: SerialLine, options: dict[str, Any], listener: Listener) -> Client:
    client = AsyncModbusSerialClient(
        line.path, baudrate=line.baud, parity=line.parity, stopbits=line.stop_bits, **options
    )
    _tame(client, listener)
    try:
        client.ctx.transport, _ = await client.ctx.call_create()
    except (OSError, ValueError) as error:
        raise not_opened(error, line) from error
    await asyncio.sleep(0)  # the device tells only in the next round that it is open
    return client


def _tame(client: Client, listener: Listener) -> None:
    client.set_max_no_responses(1_000_000)  # when to give up the connection is ours to say
    client.ctx.max_buffer_size = LARGEST_BUFFER

    def received(waiting: bytes, addr: Any = None) -> int:  # noqa: ARG001
        return listener.received(client, waiting)

    # pymodbus takes the first answer of this unit for the one that is awaited, whatever it answers;
    # loses one that follows stray bytes; lets what it cannot decode escape into asyncio while
    # the caller waits out the time-out; and takes each register out on its own.
    client.ctx.callback_data = received  # type: ignore[assignment]


def _packet(listener: Listener, sending: bool, packet: bytes) -> bytes:
    if sending:
        listener.sent(packet)
    return packet
