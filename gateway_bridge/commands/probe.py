"""Probe: one Modbus request at a time, and exactly what arrives in response.

The transport of the bridge needs valid responses only. Diagnostics need the others too: silence,
damaged bytes, a response in the other framing, a connection that the gateway closes.
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
from gateway_bridge.modbus.connection import CLOSED_AT_ONCE, FRAMING_NAMES, SLACK_S
from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import (
    EXCEPTIONS,
    INPUT,
    NO_ANSWER,
    SMALLEST_READ,
    Frame,
    Framing,
    Request,
    encode,
    find,
    other,
)
from gateway_bridge.modbus.link import not_connected, not_opened, resolve
from gateway_bridge.site.site import Gateway

CONNECT_S = 3.0
SETTLE_S = 0.3
RUN_DOCTOR = "run `meterflow doctor` to find the cause"


class Outcome(StrEnum):
    """What can arrive in response to a request."""

    ANSWER = "answer"
    EXCEPTION = "exception"
    SILENCE = "silence"
    DAMAGED = "damaged"
    OTHER_UNIT = "another unit"
    OTHER_FRAMING = "other framing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Response:
    """What arrived for one request: the `data` of an answer or the `code` of an exception."""

    outcome: Outcome
    took_s: float
    data: bytes = b""
    code: int = 0

    @property
    def from_meter(self) -> bool:
        """Whether a meter responded, with values or with an exception of its own."""
        return self.outcome is Outcome.ANSWER or (
            self.outcome is Outcome.EXCEPTION and self.code not in NO_ANSWER
        )


class Probe:
    """A connection to a line that sends one request after another."""

    def __init__(self, where: Address, framing: Framing, *, timeout_s: float = 1.0) -> None:
        self.where = where
        self.framing = framing
        self.timeout_s = timeout_s
        self.other_units: set[int] = set()
        """Unit ids that responded to a request to another one: late, but present."""
        self.zero_ids = False
        """Whether responses have transaction id 0 instead of that of the request."""
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None
        self._device: serial.Serial | None = None
        self._transaction = random.randrange(1, 60_000)
        self._missed: int | None = None

    async def open(self) -> None:
        """Connect, or open the device. Raises NotReached with the reason if that fails."""
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

    async def request(self, unit: int, address: int, count: int, function: int = INPUT) -> Response:
        """Request registers of a unit and return what arrives before the timeout."""
        await self._settle(unit)
        pdu = struct.pack(">BHH", function, address, count)
        began_s = time.monotonic()
        raw = bytearray()
        try:
            await self._send(unit, pdu)
            async with asyncio.timeout(self.timeout_s):
                while received := await self._reader.read(4096):
                    raw += received
                    answer = self._find(bytes(raw), unit, function)
                    if answer is not None:
                        wanted = Request(unit, function, count)
                        return _response(answer, wanted, time.monotonic() - began_s)
            outcome = Outcome.CLOSED
        except TimeoutError:
            self._missed = unit
            outcome = self._without_answer(bytes(raw))
        except OSError:
            outcome = Outcome.CLOSED
        return Response(outcome, time.monotonic() - began_s)

    async def read(self, unit: int, address: int, count: int, function: int = INPUT) -> bytes:
        """Return registers of a unit. Raises the errors of the bridge's transport."""
        response = await self.request(unit, address, count, function)
        if response.outcome is Outcome.ANSWER:
            return response.data
        if response.outcome is Outcome.EXCEPTION:
            text = f"exception {response.code} ({EXCEPTIONS.get(response.code, 'unknown')})"
            missing = response.code in NO_ANSWER
            raise MeterTimeout(text) if missing else MeterFault(text, response.code)
        if response.outcome is Outcome.SILENCE:
            raise MeterTimeout(f"no response within {self.timeout_s:g} s")
        if response.outcome is Outcome.CLOSED:
            raise GatewayError("closed the connection")
        raise MeterFault("invalid Modbus response")

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
            received = os.read(device.fileno(), 4096)
        except OSError:  # the adapter was unplugged
            received = b""
        if received:
            self._reader.feed_data(received)
        else:
            asyncio.get_running_loop().remove_reader(device.fileno())
            self._reader.feed_eof()

    async def _send(self, unit: int, pdu: bytes) -> None:
        self._transaction = self._transaction % 65_535 + 1
        frame = encode(self.framing, unit, pdu, self._transaction)
        if self._device:
            os.write(self._device.fileno(), frame)
        elif self._writer:
            self._writer.write(frame)
            await self._writer.drain()
        else:
            raise ConnectionError("not open")

    async def _settle(self, unit: int) -> None:
        """Discard what arrived unrequested, so that no late response passes for the next one."""
        if self._missed == unit:
            await asyncio.sleep(SETTLE_S)
        self._missed = None
        try:
            async with asyncio.timeout(0.001):
                while received := await self._reader.read(4096):
                    self.other_units.update(frame.unit for frame in find(self.framing, received))
        except (TimeoutError, OSError):
            return

    def _find(self, raw: bytes, unit: int, function: int) -> Frame | None:
        """Return the response among the bytes. Record the other units that responded."""
        for frame in find(self.framing, raw):
            if frame.unit != unit:
                self.other_units.add(frame.unit)
            elif frame.function == function and self._is_current(frame):
                return frame
        return None

    def _is_current(self, frame: Frame) -> bool:
        if self.framing == "rtu":
            return True
        self.zero_ids |= frame.transaction == 0
        return frame.transaction in (self._transaction, 0)

    def _without_answer(self, raw: bytes) -> Outcome:
        if not raw:
            return Outcome.SILENCE
        frames = list(find(self.framing, raw))
        if frames:  # valid ones, but late or from other units
            late = any(frame.unit == self._missed for frame in frames)
            return Outcome.SILENCE if late else Outcome.OTHER_UNIT
        in_other = list(find(other(self.framing), raw))
        return Outcome.OTHER_FRAMING if in_other else Outcome.DAMAGED


def _response(frame: Frame, request: Request, took_s: float) -> Response:
    if frame.exception is not None:
        return Response(Outcome.EXCEPTION, took_s, code=frame.exception)
    if request.misfit(frame):
        return Response(Outcome.DAMAGED, took_s)
    return Response(Outcome.ANSWER, took_s, data=frame.content)


async def open_probe(gateway: Gateway, unit: int) -> Probe:
    """Return an open probe in the framing in which a unit responds.

    Raises GatewayError if the gateway cannot be reached, MeterTimeout if the unit is silent.
    """
    tried, closed = [], True
    for framing in framings(gateway):
        probe = Probe(gateway.where, framing, timeout_s=timeout_s(gateway))
        try:
            await probe.open()
        except GatewayError as error:
            raise GatewayError(f"{gateway.address}: {error}") from error
        response = await probe.request(unit, 0, SMALLEST_READ)
        if response.from_meter or response.outcome is Outcome.EXCEPTION:
            return probe
        probe.close()
        closed = closed and response.outcome is Outcome.CLOSED
        tried.append(framing_name(gateway, framing))
    if closed:
        raise GatewayError(f"{gateway.address}: {CLOSED_AT_ONCE}")
    raise MeterTimeout(
        f"unit {unit} at {gateway.address}: no response in {' or '.join(tried)}; {RUN_DOCTOR}"
    )


def framings(gateway: Gateway) -> tuple[Framing, ...]:
    """Return the framings that the settings allow."""
    if gateway.is_serial:
        return ("rtu",)
    return ("tcp", "rtu") if gateway.framing == "auto" else (gateway.framing,)


def framing_name(gateway: Gateway, framing: Framing) -> str:
    """Return the name of a framing as shown to people."""
    return "RTU" if gateway.is_serial else FRAMING_NAMES[framing]


def timeout_s(gateway: Gateway) -> float:
    """Return the timeout of a request: as configured, but enough for the longest response."""
    longest = max((meter.model.limit for meter in gateway.meters), default=80)
    return max(gateway.timeout_s, gateway.cost.request_ms(longest) / 1000 + SLACK_S)
