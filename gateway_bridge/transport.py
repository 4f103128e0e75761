"""Transport: one connection to a Modbus gateway, and answers that are surely those asked for.

Hides pymodbus, which looks after frames but not after whose answer it is: it checks neither
function nor register count, and where there is no transaction id (RTU over TCP, or a gateway that
answers with id 0) it returns a late answer for the next request, and so on from then. Whenever
that can have happened, the transport lets the line fall quiet and connects anew.
"""

import asyncio
import logging
import random
import time
from datetime import UTC, datetime
from typing import Any, Literal

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU

from contract.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.address import Address, SerialLine, TcpAddress
from gateway_bridge.answers import HoldingRegisters, InputRegisters
from gateway_bridge.link import keep_alive, not_connected, not_opened, resolve

Framing = Literal["tcp", "rtu"]
Client = AsyncModbusTcpClient | AsyncModbusSerialClient

INPUT, HOLDING = 4, 3
SETTLE_S = 0.3
"""An answer that comes later than the time-out and this is not expected any more."""
QUIET_S = 0.05
"""Bytes that nobody asked for are followed by this much silence before the next request."""
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal count",
    4: "device failure",
    5: "acknowledged, not answered",
    6: "busy",
    10: "gateway path unavailable",
    11: "gateway: the meter does not answer",
}
_NO_ANSWER = frozenset({10, 11})
_FRAMERS = {"tcp": FramerType.SOCKET, "rtu": FramerType.RTU}

# Its log repeats the frames of every time-out: a dead meter would fill 100 MB a day.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)


class Transport:
    """A connection over which one task reads registers, one request at a time.

    A read must not be cancelled to go on reading afterwards; cancelling closes the connection.
    """

    def __init__(self, where: Address, framing: Framing, *, timeout_s: float) -> None:
        self._where = where
        self.framing = framing
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._pending = False
        self._echoes_ids: bool | None = None if framing == "tcp" else False
        self._doubtful = False
        self._silent_until_s = 0.0
        self.sent_at = datetime.now(UTC)
        """When the last request went out."""
        self.answers = 0
        """How many requests were answered as they should be, or with an exception."""
        self.strays = 0
        """How many times bytes came that no request was waiting for."""

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as one can know without a request."""
        return self._client is not None and self._client.connected

    async def connect(self) -> None:
        """Connect; raises GatewayError saying in words why it does not come about."""
        self.close()
        if isinstance(self._where, SerialLine):
            client = await self._open(self._where)
        else:
            client = await self._connect(self._where)
        # Two masters that both count from 1 would take one another's answers for theirs.
        client.ctx.next_tid = random.randrange(1, 60_000)
        self._client, self._doubtful = client, False

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client:
            self._client.close()
        self._client = None

    async def read(self, unit: int, address: int, count: int, function: int = INPUT) -> bytes:
        """Return the bytes of `count` registers of a unit.

        Raises MeterTimeout where no answer came (or the gateway says so), MeterFault where the
        answer is an exception or not the one asked for, GatewayError where the connection is gone.
        """
        await self._settle()
        client = self._client
        if client is None or not client.connected:
            raise GatewayError("is not connected")
        ask = client.read_input_registers if function == INPUT else client.read_holding_registers
        self._pending = True
        try:
            answer = await ask(address, count=count, device_id=unit)
        except ConnectionException as error:
            raise GatewayError("closed the connection") from error
        except ModbusException as error:
            # The rest of an answer that came in part would complete the next one.
            self._doubt(unless_ids=not client.ctx.recv_buffer)
            raise MeterTimeout(f"no answer within {self._timeout_s:g} s") from error
        except MeterFault:
            self._doubt()
            raise
        finally:
            self._pending = False
            self._cancel_if_asked()
        return self._checked(answer, function, count)

    def _cancel_if_asked(self) -> None:
        """Be cancelled even where the `wait_for` of Python 3.11 has swallowed it."""
        task = asyncio.current_task()
        if task and task.cancelling():
            self.close()
            raise asyncio.CancelledError

    def _checked(self, answer: ModbusPDU, function: int, count: int) -> bytes:
        self._check_id(answer)
        if answer.function_code & 0x7F != function:
            raise self._bad(f"answered function {answer.function_code}, asked for {function}")
        if answer.isError():
            self.answers += 1
            code = int(answer.exception_code)
            text = f"exception {code} ({EXCEPTIONS.get(code, 'unknown')})"
            raise MeterTimeout(text) if code in _NO_ANSWER else MeterFault(text, code)
        content: bytes = getattr(answer, "content", b"")
        if len(content) != 2 * count:
            raise self._bad(f"answered {len(content) // 2} registers, asked for {count}")
        self.answers += 1
        return content

    def _check_id(self, answer: ModbusPDU) -> None:
        if self.framing == "rtu":
            return
        echoed = answer.transaction_id != 0
        if self._echoes_ids and not echoed:
            self._echoes_ids = False
            raise self._bad("answered with transaction id 0, which may be any request's")
        self._echoes_ids = echoed

    def _bad(self, text: str) -> MeterFault:
        self._doubt()
        return MeterFault(text)

    def _doubt(self, *, unless_ids: bool = False) -> None:
        """Note that a later answer may be taken for the next one's, unless ids tell them apart."""
        if unless_ids and self._echoes_ids:
            return
        self._doubtful = True
        self._silent_until_s = time.monotonic() + SETTLE_S

    async def _settle(self) -> None:
        silence_s = self._silent_until_s - time.monotonic()
        if silence_s > 0:
            await asyncio.sleep(silence_s)
        if self._doubtful:
            await self.connect()

    async def _connect(self, where: TcpAddress) -> Client:
        try:
            async with asyncio.timeout(self._timeout_s):
                host = await resolve(where)
                client = self._tamed(
                    AsyncModbusTcpClient(
                        host, port=where.port, framer=_FRAMERS[self.framing], **self._options()
                    )
                )
                client.ctx.transport, _ = await client.ctx.call_create()
        except OSError as error:
            raise not_connected(error, self._timeout_s) from error
        keep_alive(client.ctx.transport.get_extra_info("socket"))
        return client

    async def _open(self, line: SerialLine) -> Client:
        client = self._tamed(
            AsyncModbusSerialClient(
                line.path,
                baudrate=line.baud,
                parity=line.parity,
                stopbits=line.stop_bits,
                **self._options(),
            )
        )
        try:
            client.ctx.transport, _ = await client.ctx.call_create()
        except (OSError, ValueError) as error:
            raise not_opened(error, line) from error
        await asyncio.sleep(0)  # the device tells only in the next round that it is open
        return client

    def _options(self) -> dict[str, Any]:
        return {
            "timeout": self._timeout_s,
            "retries": 0,
            "reconnect_delay": 0,
            "trace_connect": self._connection_changed,
            "trace_packet": self._packet,
        }

    def _tamed(self, client: Client) -> Client:
        client.set_max_no_responses(1_000_000)  # when to give up the connection is ours to say
        client.ctx.max_buffer_size = 4096  # at 264 it throws away an answer that comes twice
        client.register(InputRegisters)
        client.register(HoldingRegisters)
        decode = client.ctx.callback_data

        def decode_or_fail(data: bytes, addr: Any = None) -> int:
            try:
                return decode(data, addr)
            except ModbusException:
                self._fail_pending(client, MeterFault("answered what is no Modbus answer"))
                return len(data)

        # pymodbus lets an undecodable answer escape into asyncio, which then drops the connection
        # while the caller waits out the time-out.
        client.ctx.callback_data = decode_or_fail  # type: ignore[method-assign]
        return client

    def _connection_changed(self, connected: bool) -> None:
        if not connected and self._client:
            self._fail_pending(self._client, GatewayError("closed the connection"))

    def _fail_pending(self, client: Client, error: Exception) -> None:
        if self._pending and not client.ctx.response_future.done():
            client.ctx.response_future.set_exception(error)

    def _packet(self, sending: bool, packet: bytes) -> bytes:
        if sending:
            self.sent_at = datetime.now(UTC)
        elif not self._pending:
            self.strays += 1
            if not self._echoes_ids:
                self._silent_until_s = max(self._silent_until_s, time.monotonic() + QUIET_S)
        return packet
