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
the transport waits until the line is quiet and connects again. Where they bear one, nothing is
waited out: a request whose answer is late can be sent a second time, and the first answer counts.
An answer after the timeout is discarded, because nobody knows when the meter measured; but it
shows that the meter responds.
"""

import asyncio
import logging
import random
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.framer import FramerType
from pymodbus.logging import Log

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
)
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
IDS_KEPT = 100
"""Ids of unanswered requests by which a late answer is known."""
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


class Late(NamedTuple):
    """An answer to an earlier request of ours arrived, by its id: the unit responds, but late."""

    frame: Frame
    ids: bool | None


class Unanswered(NamedTuple):
    """A request failed; it `timed_out`, or the connection was lost, or the answer was invalid."""

    request: Request
    timed_out: bool
    misfit: bool
    """Whether an answer arrived that did not fit."""
    ids: bool | None


LineEvent = Sent | Answered | Stray | Late | Unanswered


class Second(NamedTuple):
    """A second request, sent if the first is not answered `after_s`.

    `choose` returns its number of registers, or None where there should be none.
    """

    after_s: float
    choose: Callable[[], int | None]


@dataclass(slots=True)
class _Response:
    """An answer under the names that pymodbus uses; it compares no transaction id with 0."""

    frame: Frame
    dev_id: int
    transaction_id: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A second request on its way: its id, and when it was sent."""

    request: Request
    transaction: int
    sent_s: float
    sent_at: datetime


@dataclass(slots=True)
class _Pending:
    """The request that waits for its answer until `until_s`, or for that to a second one."""

    request: Request
    address: int
    sent_s: float
    until_s: float
    patience_s: float
    second_is_due: bool = False
    """Whether the timer is that of the second request."""
    second: _Sent | None = None
    misfit: str | None = None
    answered: int = 0
    """The id of its answer."""
    delayed: bool = False
    """Whether an earlier request was answered first, which the gateway may have waited for."""
    timer: asyncio.TimerHandle | None = None

    def second_of(self, frame: Frame) -> _Sent | None:
        """Return the second request if an answer is to it: by its id, else by its length."""
        if self.second is None:
            return None
        by_id = frame.transaction == self.second.transaction
        by_length = frame.count == self.second.request.count
        return self.second if (by_id if frame.transaction else by_length) else None


class Transport:
    """A connection over which one task reads registers, one request at a time.

    A read must not be cancelled to read on afterwards: cancelling it closes the connection.
    """

    def __init__(self, where: Address, framing: Framing, *, timeout_s: float) -> None:
        self.framing = framing
        self.echoes_ids: bool | None = None if framing == "tcp" else False
        """Whether answers bear the id of their request; None before the first answer."""
        self.sent_at = datetime.now(UTC)
        """Time at which the latest request was sent; after an answer, the request that it is to."""
        self.requests = 0
        self.answers = 0
        """Requests answered with registers or an exception."""
        self.pace_s = 0.0
        """Seconds that the slowest of the latest answers took."""
        self._where = where
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._pending: _Pending | None = None
        self._late: dict[int, int] = {}
        """Unit ids by the transaction ids of requests that have not been answered in time."""
        self._reconnects = False
        self._quiet_until_s = 0.0
        self._gateway_waits_until_s = 0.0
        self._rest: asyncio.Future[None] | None = None
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
        self._late.clear()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client:
            self._client.close()
        self._client = None

    async def rest(self, seconds: float) -> None:
        """Wait, but no longer than until a late answer arrives."""
        loop = asyncio.get_running_loop()
        self._rest = loop.create_future()
        timer = loop.call_later(seconds, self._end_rest)
        try:
            await self._rest
        finally:
            timer.cancel()

    def _end_rest(self) -> None:
        if self._rest and not self._rest.done():
            self._rest.set_result(None)

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
        second: Second | None = None,
    ) -> bytes:
        """Return the bytes of `count` registers of a unit.

        Where responses bear the ids of their requests, `patience_s` may be shorter than the
        timeout: a late response harms nothing. The request after it waits for as much longer,
        because the gateway may still wait for the meter. A `second` request is sent if the first
        is not answered soon, and the first response to either counts; `sent_at` shows to which.

        Raises MeterTimeout where no answer came (or the gateway reports that), MeterFault where
        the answer is an exception or does not fit the request, GatewayError where the connection
        is lost.
        """
        await self._settle()
        client = self._client
        if client is None or not client.connected:
            raise GatewayError("is not connected")
        read = client.read_input_registers if function == INPUT else client.read_holding_registers
        began_s = time.monotonic()
        longer_s = max(self._gateway_waits_until_s - began_s, 0.0)
        self._gateway_waits_until_s = began_s + self._timeout_s
        waits_s = min((self.echoes_ids and patience_s) or self._timeout_s, self._timeout_s)
        until_s = began_s + longer_s + waits_s
        pending = _Pending(Request(unit, function, count), address, began_s, until_s, waits_s)
        self._begin(client, pending, second, longer_s)
        timed_out = False
        try:
            response = await read(address, count=count, device_id=unit)
        except ConnectionException as error:
            raise GatewayError("closed the connection") from error
        except ModbusException as error:
            timed_out = True
            raise self._timed_out(client, pending) from error
        except MeterFault:
            self._reconnect_when_quiet()
            raise
        except asyncio.CancelledError:
            self.close()
            raise
        else:
            took_s = time.monotonic() - pending.sent_s
            took_s = 0.0 if longer_s or pending.delayed else took_s
            return self._answered(cast(_Response, response).frame, took_s)
        finally:
            self._end(client, pending, timed_out=timed_out)

    def _begin(
        self, client: Client, pending: _Pending, second: Second | None, longer_s: float
    ) -> None:
        self._pending = pending
        self.requests += 1
        self.sent_at = datetime.now(UTC)
        self._events.append(Sent(pending.request, self.echoes_ids))
        waits_s = pending.until_s - pending.sent_s
        pending.second_is_due = second is not None and second.after_s + longer_s < waits_s
        if second and pending.second_is_due:
            self._call_later(second.after_s + longer_s, self._send_second, client, second)
        else:
            self._call_later(waits_s, self._fail, client, TimeoutError())

    def _call_later(self, delay_s: float, do: Callable[..., None], *arguments: Any) -> None:
        """Set the only timer of the pending request."""
        if self._pending:
            loop = asyncio.get_running_loop()
            self._pending.timer = loop.call_later(delay_s, do, *arguments)

    def _send_second(self, client: Client, second: Second) -> None:
        """Send a second request, unless the answer to the first has begun to arrive."""
        pending = self._pending
        if pending is None or client.ctx.response_future.done():
            return
        now_s, pending.second_is_due = time.monotonic(), False
        # Without an id, a cut response to the second could fit the first.
        count = None if pending.misfit else second.choose()
        if count and client.connected and not client.ctx.recv_buffer:
            request = replace(pending.request, count=count)
            sent_id = client.ctx.getNextTID()
            pdu = struct.pack(">B2H", request.function, pending.address, count)
            client.ctx.send(encode(self.framing, request.unit, pdu, sent_id))
            pending.second = _Sent(request, sent_id, now_s, datetime.now(UTC))
            self.requests += 1
            self._events.append(Sent(request, self.echoes_ids))
        self._call_later(pending.until_s - now_s, self._fail, client, TimeoutError())

    def _end(self, client: Client, pending: _Pending, *, timed_out: bool) -> None:
        """Forget the pending request, but for the ids of answers that may still arrive."""
        if pending.timer:
            pending.timer.cancel()
        was_answered, self._pending = self._pending is None, None
        if not was_answered:
            misfit = pending.misfit is not None
            self._events.append(Unanswered(pending.request, timed_out, misfit, self.echoes_ids))
        if self.echoes_ids and (timed_out or pending.second):
            second_id = pending.second.transaction if pending.second else 0
            missing = {client.ctx.request_transaction_id, second_id} - {pending.answered, 0}
            self._late |= dict.fromkeys(missing, pending.request.unit)
            while len(self._late) > IDS_KEPT:
                del self._late[next(iter(self._late))]

    def _answered(self, frame: Frame, took_s: float) -> bytes:
        """Return the registers of an answer; raises MeterTimeout or MeterFault for an exception."""
        self._pending = None
        self._gateway_waits_until_s = 0.0
        self.answers += 1
        self.pace_s = max(took_s, self.pace_s * PACE_KEPT)
        if frame.exception is None:
            return frame.content
        text = f"exception {frame.exception} ({EXCEPTIONS.get(frame.exception, 'unknown')})"
        if frame.exception in NO_ANSWER:
            raise MeterTimeout(text)
        raise MeterFault(text, frame.exception)

    def _timed_out(self, client: Client, pending: _Pending) -> GatewayError:
        # The rest of a partial answer would complete the next one, even where there are ids.
        if client.ctx.recv_buffer or not self.echoes_ids:
            self._reconnect_when_quiet()
        if pending.misfit:
            return MeterFault(pending.misfit)
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
        if self._pending is None and not self.echoes_ids:
            self._quiet_until_s = max(self._quiet_until_s, time.monotonic() + QUIET_S)
        done = 0
        for frame in find(self.framing, raw):
            done = frame.end
            self._match(client, frame)
        return done

    def _match(self, client: Client, frame: Frame) -> None:
        """Give an answer to the pending request where it fits; the right one may still arrive."""
        pending, waiting = self._pending, client.ctx.response_future
        second = pending and pending.second_of(frame)
        ids = (0, client.ctx.request_transaction_id)
        if (
            pending is None
            or waiting.done()
            or frame.unit != pending.request.unit
            or (frame.transaction not in ids and not second)
        ):
            self._unmatched(client, frame)
            return
        if second and frame.exception is not None:
            return  # some gateways refuse a request while they wait for the first answer
        misfit = (second or pending).request.misfit(frame)
        if misfit is None and self.echoes_ids and not frame.transaction:
            self.echoes_ids = False
            text = "response with transaction id 0, which may belong to any request"
            waiting.set_exception(MeterFault(text))
        elif misfit is None:
            if second:
                pending.sent_s, self.sent_at = second.sent_s, second.sent_at
            self.echoes_ids = frame.transaction != 0
            self._events.append(Answered(frame, self.echoes_ids))
            pending.answered = frame.transaction
            waiting.set_result(_Response(frame, frame.unit))
        elif self.echoes_ids:
            waiting.set_exception(MeterFault(misfit))
        else:
            pending.misfit = misfit
            self._stray(frame)

    def _unmatched(self, client: Client, frame: Frame) -> None:
        """Handle an answer to no pending request: a late one of ours is known by its id."""
        if self._late.get(frame.transaction) != frame.unit:
            self._stray(frame)
            return
        del self._late[frame.transaction]
        if frame.exception not in NO_ANSWER:
            self._events.append(Late(frame, self.echoes_ids))
            self._end_rest()
            if self._pending:
                self._delayed(client, self._pending)

    def _delayed(self, client: Client, pending: _Pending) -> None:
        """Wait for an answer as long as if its request were sent now, up to the timeout.

        The gateway may have begun with it only after the late answer to an earlier one.
        """
        pending.delayed = True
        now_s, latest_s = time.monotonic(), pending.sent_s + self._timeout_s
        pending.until_s = max(pending.until_s, min(now_s + pending.patience_s, latest_s))
        if pending.timer and not pending.second_is_due:
            pending.timer.cancel()
            self._call_later(pending.until_s - now_s, self._fail, client, TimeoutError())

    def _stray(self, frame: Frame) -> None:
        self._events.append(Stray(frame, time.monotonic(), self.echoes_ids))

    def _fail(self, client: Client, error: Exception) -> None:
        if self._pending and not client.ctx.response_future.done():
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
