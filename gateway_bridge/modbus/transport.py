"""Transport: one connection to a Modbus gateway, and the answers that fit the requests.

Built on pymodbus 3.16.1, which provides the TCP and serial connections, the requests and the
checksum. What this module replaces in it, and why (test_pymodbus.py fails when a reason is gone):

- the matching of answers (`callback_data`): pymodbus accepts the first answer of the unit, with
  any function and any number of registers; what it cannot decode escapes into the event loop; an
  RTU answer after stray bytes is discarded;
- the limit of its buffer, 264 bytes: a long answer that arrives twice is discarded;
- its timeout: it takes one more round of the event loop for each request, and on Python 3.11 can
  swallow the cancellation of a task;
- its reconnects and retries: they would hide from the caller what happened on the line;
- its log, which repeats the frames of each timeout (100 MB a day for a silent meter), and the
  frames it keeps for that log (5 % of the CPU time of a reading).

Where answers bear no transaction id (RTU over TCP, or a gateway that answers with id 0), a late
answer could be taken for the next request's. After anything that can leave an answer on its way,
the transport waits until the line is quiet and connects again.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.framer import FramerType
from pymodbus.logging import Log

from gateway_bridge.address import Address, SerialLine, TcpAddress
from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import EXCEPTIONS, INPUT, NO_ANSWER, Frame, Framing, Request, find
from gateway_bridge.modbus.link import keep_alive, not_connected, not_opened, resolve

Client = AsyncModbusTcpClient | AsyncModbusSerialClient

SETTLE_S = 0.3
"""Seconds after a timeout during which a late answer may still arrive."""
QUIET_S = 0.05
"""Seconds of silence after unrequested bytes before the next request is sent."""
PACE_KEPT = 0.95
"""Share of its weight that a slow answer keeps with each later one."""
EVENTS_KEPT = 1000
"""Events that wait for the reader; another client can cause any number of them."""
LARGEST_BUFFER = 4096
_FRAMERS = {"tcp": FramerType.SOCKET, "rtu": FramerType.RTU}
_NEVER = 1_000_000

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)
Log.MAX_FRAMES = 0


class Sent(NamedTuple):
    """A request went out. `ids` is `Transport.echoes_ids` at that time, here and below."""

    request: Request
    ids: bool | None


class Answered(NamedTuple):
    """An answer arrived that fits the request, or an exception."""

    frame: Frame
    ids: bool | None


class Stray(NamedTuple):
    """An answer arrived that does not fit, or that was not requested."""

    frame: Frame
    at_s: float
    ids: bool | None


class Unanswered(NamedTuple):
    """A request failed; it `timed_out`, or the connection was lost, or the answer was invalid."""

    request: Request
    timed_out: bool
    misfit: bool
    """Whether an answer arrived that did not fit."""
    ids: bool | None


LineEvent = Sent | Answered | Stray | Unanswered


@dataclass(slots=True)
class _Response:
    """An answer under the names that pymodbus uses for its ids."""

    frame: Frame
    dev_id: int
    transaction_id: int
    retries: int = 0


class Transport:
    """A connection over which one task reads registers, one request at a time.

    A read must not be cancelled to read on afterwards: cancelling it closes the connection.
    """

    def __init__(self, where: Address, framing: Framing, *, timeout_s: float) -> None:
        self.framing = framing
        self.echoes_ids: bool | None = None if framing == "tcp" else False
        """Whether answers bear the id of their request; None before the first answer."""
        self.sent_at = datetime.now(UTC)
        """Time at which the latest request was sent."""
        self.requests = 0
        self.answers = 0
        """Requests answered with registers or an exception."""
        self.pace_s = 0.0
        """Seconds that the slowest of the latest answers took."""
        self._where = where
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._request: Request | None = None
        self._misfit: str | None = None
        self._reconnects = False
        self._quiet_until_s = 0.0
        self._gateway_waits_until_s = 0.0
        self._events: deque[LineEvent] = deque(maxlen=EVENTS_KEPT)

    @property
    def connected(self) -> bool:
        """Whether the connection is up, as far as that shows without a request."""
        return self._client is not None and self._client.connected

    async def connect(self, framing: Framing | None = None) -> None:
        """Connect, in another framing where one is given; raises NotReached with the reason."""
        self.close()
        if framing and framing != self.framing:
            self.framing, self.echoes_ids = framing, None if framing == "tcp" else False
            self._quiet_until_s = 0.0
        client = await self._open()
        # Two masters that both count from 1 would take each other's answers for their own.
        client.ctx.next_tid = random.randrange(1, 60_000)
        self._client, self._reconnects = client, False

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client:
            self._client.close()
        self._client = None

    def take_events(self) -> Iterator[LineEvent]:
        """Return what has happened since the last call, the oldest first."""
        while self._events:
            yield self._events.popleft()

    async def read(
        self,
        unit: int,
        address: int,
        count: int,
        function: int = INPUT,
        *,
        patience_s: float | None = None,
    ) -> bytes:
        """Return the bytes of `count` registers of a unit.

        Where responses bear the ids of their requests, `patience_s` may be shorter than the
        timeout: a late response harms nothing. The request after it waits for as much longer,
        because the gateway may still wait for the meter.

        Raises MeterTimeout where no answer came (or the gateway reports that), MeterFault where
        the answer is an exception or does not fit the request, GatewayError where the connection
        is lost.
        """
        began_s = time.monotonic()
        await self._settle()
        patience_s = (self.echoes_ids and patience_s) or self._timeout_s
        client = self._client
        if client is None or not client.connected:
            raise GatewayError("is not connected")
        read = client.read_input_registers if function == INPUT else client.read_holding_registers
        self._begin(Request(unit, function, count))
        longer_s = max(self._gateway_waits_until_s - time.monotonic(), 0.0)
        self._gateway_waits_until_s = time.monotonic() + self._timeout_s
        too_late = asyncio.get_running_loop().call_later(
            patience_s + longer_s, self._fail, client, TimeoutError()
        )
        timed_out = False
        try:
            response = await read(address, count=count, device_id=unit)
        except ConnectionException as error:
            raise GatewayError("closed the connection") from error
        except ModbusException as error:
            timed_out = True
            raise self._timed_out(client) from error
        except MeterFault:
            self._reconnect_when_quiet()
            raise
        except asyncio.CancelledError:
            self.close()
            raise
        else:
            took_s = 0.0 if longer_s else time.monotonic() - began_s
            return self._answered(cast(_Response, response).frame, took_s)
        finally:
            too_late.cancel()
            self._end(timed_out=timed_out)

    def _begin(self, request: Request) -> None:
        self._request, self._misfit = request, None
        self.requests += 1
        self.sent_at = datetime.now(UTC)
        self._events.append(Sent(request, self.echoes_ids))

    def _end(self, *, timed_out: bool) -> None:
        request, self._request = self._request, None
        if request:
            misfit = self._misfit is not None
            self._events.append(Unanswered(request, timed_out, misfit, self.echoes_ids))

    def _answered(self, frame: Frame, took_s: float) -> bytes:
        """Return the registers of an answer; raises MeterTimeout or MeterFault for an exception."""
        self._request = None
        self._gateway_waits_until_s = 0.0
        self.answers += 1
        self.pace_s = max(took_s, self.pace_s * PACE_KEPT)
        if frame.exception is None:
            return frame.content
        text = f"exception {frame.exception} ({EXCEPTIONS.get(frame.exception, 'unknown')})"
        if frame.exception in NO_ANSWER:
            raise MeterTimeout(text)
        raise MeterFault(text, frame.exception)

    def _timed_out(self, client: Client) -> GatewayError:
        # The rest of a partial answer would complete the next one, even where there are ids.
        if client.ctx.recv_buffer or not self.echoes_ids:
            self._reconnect_when_quiet()
        if self._misfit:
            return MeterFault(self._misfit)
        return MeterTimeout(f"no response within {self._timeout_s:.3g} s")

    def _reconnect_when_quiet(self) -> None:
        self._reconnects = True
        self._quiet_until_s = time.monotonic() + SETTLE_S

    async def _settle(self) -> None:
        silence_s = self._quiet_until_s - time.monotonic()
        if silence_s > 0:
            await asyncio.sleep(silence_s)
        if self._reconnects:
            await self.connect()

    def _received(self, client: Client, raw: bytes) -> int:
        """Handle the bytes not handled so far; return the number of those that are done with."""
        if self._request is None and not self.echoes_ids:
            self._quiet_until_s = max(self._quiet_until_s, time.monotonic() + QUIET_S)
        done = 0
        for frame in find(self.framing, raw):
            done = frame.end
            self._match(client, frame)
        return done

    def _match(self, client: Client, frame: Frame) -> None:
        """Give an answer to the pending request where it fits; the right one may still arrive."""
        request, waiting = self._request, client.ctx.response_future
        if (
            request is None
            or waiting.done()
            or frame.unit != request.unit
            or frame.transaction not in (0, client.ctx.request_transaction_id)
        ):
            self._stray(frame)
            return
        misfit = request.misfit(frame)
        if misfit is None and self.echoes_ids and not frame.transaction:
            self.echoes_ids = False
            text = "response with transaction id 0, which may belong to any request"
            waiting.set_exception(MeterFault(text))
        elif misfit is None:
            self.echoes_ids = frame.transaction != 0
            self._events.append(Answered(frame, self.echoes_ids))
            waiting.set_result(_Response(frame, frame.unit, frame.transaction))
        elif self.echoes_ids:
            waiting.set_exception(MeterFault(misfit))
        else:
            self._misfit = misfit
            self._stray(frame)

    def _stray(self, frame: Frame) -> None:
        self._events.append(Stray(frame, time.monotonic(), self.echoes_ids))

    def _fail(self, client: Client, error: Exception) -> None:
        if self._request and not client.ctx.response_future.done():
            client.ctx.response_future.set_exception(error)

    def _connection_changed(self, connected: bool) -> None:
        if not connected and self._client:
            self._fail(self._client, GatewayError("closed the connection"))

    async def _open(self) -> Client:
        options: dict[str, Any] = {
            "timeout": None,
            "retries": 0,
            "reconnect_delay": 0,
            "trace_connect": self._connection_changed,
        }
        if isinstance(self._where, SerialLine):
            return await self._open_serial(self._where, options)
        return await self._open_tcp(self._where, options)

    async def _open_tcp(self, where: TcpAddress, options: dict[str, Any]) -> Client:
        try:
            async with asyncio.timeout(self._timeout_s):
                host = await resolve(where)
                framer = _FRAMERS[self.framing]
                client = AsyncModbusTcpClient(host, port=where.port, framer=framer, **options)
                self._replace_in(client)
                client.ctx.transport, _ = await client.ctx.call_create()
        except OSError as error:
            raise not_connected(error, self._timeout_s) from error
        keep_alive(client.ctx.transport.get_extra_info("socket"))
        return client

    async def _open_serial(self, line: SerialLine, options: dict[str, Any]) -> Client:
        client = AsyncModbusSerialClient(
            line.path, baudrate=line.baud, parity=line.parity, stopbits=line.stop_bits, **options
        )
        self._replace_in(client)
        try:
            client.ctx.transport, _ = await client.ctx.call_create()
        except (OSError, ValueError) as error:
            raise not_opened(error, line) from error
        await asyncio.sleep(0)  # the device reports that it is open in the next round
        return client

    def _replace_in(self, client: Client) -> None:
        client.set_max_no_responses(_NEVER)
        client.ctx.max_buffer_size = LARGEST_BUFFER

        def received(raw: bytes, addr: Any = None) -> int:  # noqa: ARG001 - pymodbus's signature
            return self._received(client, raw)

        client.ctx.callback_data = received  # type: ignore[assignment]
