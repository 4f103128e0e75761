"""Probe: one question at a time, and exactly what came back for it.

The bridge's transport only has to know good answers. A person who looks for a fault needs the bad
ones too: silence, damaged bytes, an answer in the other framing, a connection that is closed.
"""

import asyncio
import os
import random
import struct
import time
from dataclasses import dataclass
from enum import StrEnum

import serial

from gateway_bridge.address import Address, SerialLine, TcpAddress
from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import (
    EXCEPTIONS,
    INPUT,
    NO_ANSWER,
    Frame,
    Framing,
    Request,
    encode,
    find,
    other,
)
from gateway_bridge.modbus.link import not_connected, not_opened, resolve

CONNECT_S = 3.0
SETTLE_S = 0.3


class Outcome(StrEnum):
    """What can come back."""

    ANSWER = "answer"
    EXCEPTION = "exception"
    SILENCE = "silence"
    DAMAGED = "damaged"
    OTHER_UNIT = "another unit"
    OTHER_FRAMING = "other framing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back for one request: the `data` of an answer, the `code` of an exception."""

    outcome: Outcome
    took_s: float
    data: bytes = b""
    code: int = 0

    @property
    def of_a_meter(self) -> bool:
        """Whether a meter has said something, be it that it refuses."""
        return self.outcome is Outcome.ANSWER or (
            self.outcome is Outcome.EXCEPTION and self.code not in NO_ANSWER
        )


class Probe:
    """A connection to a line, for one question after another."""

    def __init__(self, where: Address, framing: Framing, *, timeout_s: float = 1.0) -> None:
        self.where = where
        self.framing = framing
        self.timeout_s = timeout_s
        self.others: set[int] = set()
        """Units that answered while another one was asked: late, but there."""
        self.zero_ids = False
        """Whether answers bear transaction id 0 instead of the request's."""
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None
        self._device: serial.Serial | None = None
        self._transaction = random.randrange(1, 60_000)
        self._missed: int | None = None

    async def open(self) -> None:
        """Connect, or open the device; raises NotReached saying in words why not."""
        self.close()
        if isinstance(self.where, SerialLine):
            self._open_device(self.where)
        else:
            await self._connect(self.where)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._writer:
            self._writer.close()
        if self._device:
            asyncio.get_running_loop().remove_reader(self._device.fileno())
            self._device.close()
        self._writer = self._device = self._missed = None

    async def ask(self, unit: int, address: int, count: int, function: int = INPUT) -> Heard:
        """Ask a unit for registers and return what comes back in time."""
        await self._settle(unit)
        request = struct.pack(">BHH", function, address, count)
        began_s = time.monotonic()
        raw = bytearray()
        try:
            await self._send(unit, request)
            async with asyncio.timeout(self.timeout_s):
                while came := await self._reader.read(4096):
                    raw += came
                    answer = self._find(bytes(raw), unit, function)
                    if answer is not None:
                        asked = Request(unit, function, count)
                        return _judged(answer, asked, time.monotonic() - began_s)
            outcome = Outcome.CLOSED
        except TimeoutError:
            self._missed = unit
            outcome = self._without_answer(bytes(raw))
        except OSError:
            outcome = Outcome.CLOSED
        return Heard(outcome, time.monotonic() - began_s)

    async def read(self, unit: int, address: int, count: int, function: int = INPUT) -> bytes:
        """Return registers of a unit; raises as the bridge's transport does."""
        heard = await self.ask(unit, address, count, function)
        if heard.outcome is Outcome.ANSWER:
            return heard.data
        if heard.outcome is Outcome.EXCEPTION:
            text = f"exception {heard.code} ({EXCEPTIONS.get(heard.code, 'unknown')})"
            missing = heard.code in NO_ANSWER
            raise MeterTimeout(text) if missing else MeterFault(text, heard.code)
        if heard.outcome is Outcome.SILENCE:
            raise MeterTimeout(f"no answer within {self.timeout_s:g} s")
        if heard.outcome is Outcome.CLOSED:
            raise GatewayError("closed the connection")
        raise MeterFault("answered what is no right Modbus answer")

    async def _connect(self, where: TcpAddress) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                host = await resolve(where)
                self._reader, self._writer = await asyncio.open_connection(host, where.port)
        except OSError as error:
            raise not_connected(error, CONNECT_S) from error

    def _open_device(self, line: SerialLine) -> None:
        try:
            device = serial.Serial(
                line.path,
                line.baud,
                parity=line.parity,
                stopbits=line.stop_bits,
                timeout=0,
                exclusive=True,
            )
        except (OSError, ValueError) as error:
            raise not_opened(error, line) from error
        self._device, self._reader = device, asyncio.StreamReader()
        asyncio.get_running_loop().add_reader(device.fileno(), self._device_readable, device)

    def _device_readable(self, device: serial.Serial) -> None:
        try:
            came = os.read(device.fileno(), 4096)
        except OSError:  # the adapter has been unplugged
            came = b""
        if came:
            self._reader.feed_data(came)
        else:
            asyncio.get_running_loop().remove_reader(device.fileno())
            self._reader.feed_eof()

    async def _send(self, unit: int, request: bytes) -> None:
        self._transaction = self._transaction % 65_535 + 1
        frame = encode(self.framing, unit, request, self._transaction)
        if self._device:
            os.write(self._device.fileno(), frame)
        elif self._writer:
            self._writer.write(frame)
            await self._writer.drain()
        else:
            raise ConnectionError("not open")

    async def _settle(self, unit: int) -> None:
        """Throw away what nobody asked for: a late answer is not to be taken for the next one's."""
        if self._missed == unit:
            await asyncio.sleep(SETTLE_S)
        self._missed = None
        try:
            async with asyncio.timeout(0.001):
                while came := await self._reader.read(4096):
                    self.others.update(frame.unit for frame in find(self.framing, came))
        except (TimeoutError, OSError):
            return

    def _find(self, raw: bytes, unit: int, function: int) -> Frame | None:
        """Return the frame that answers; of other units that spoke take note."""
        for frame in find(self.framing, raw):
            if frame.unit != unit:
                self.others.add(frame.unit)
            elif frame.function == function and self._is_of_now(frame):
                return frame
        return None

    def _is_of_now(self, frame: Frame) -> bool:
        if self.framing == "rtu":
            return True
        self.zero_ids |= frame.transaction == 0
        return frame.transaction in (self._transaction, 0)

    def _without_answer(self, raw: bytes) -> Outcome:
        if not raw:
            return Outcome.SILENCE
        frames = list(find(self.framing, raw))
        if frames:  # right ones, but late, or of others
            late = any(frame.unit == self._missed for frame in frames)
            return Outcome.SILENCE if late else Outcome.OTHER_UNIT
        in_other = list(find(other(self.framing), raw))
        return Outcome.OTHER_FRAMING if in_other else Outcome.DAMAGED


def _judged(frame: Frame, asked: Request, took_s: float) -> Heard:
    if frame.exception is not None:
        return Heard(Outcome.EXCEPTION, took_s, code=frame.exception)
    if asked.misfit(frame):
        return Heard(Outcome.DAMAGED, took_s)
    return Heard(Outcome.ANSWER, took_s, data=frame.content)
