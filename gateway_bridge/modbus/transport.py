"""Transport: one connection to a Modbus gateway, and answers that are surely those asked for.

Hides pymodbus, which looks after frames but not after whose answer it is: it checks neither
function nor register count, and where there is no transaction id (RTU over TCP, or a gateway that
answers with id 0) it returns a late answer for the next request, and so on from then. Whenever
that can have happened, the transport lets the line fall quiet and connects anew.
"""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from pymodbus.exceptions import ConnectionException, ModbusException

from gateway_bridge.address import Address
from gateway_bridge.modbus.answers import Answer, Asked
from gateway_bridge.modbus.client import Client, open_client
from gateway_bridge.modbus.client import Framing as Framing
from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import rtu_frames, tcp_frames

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


class Transport:
    """A connection over which one task reads registers, one request at a time.

    A read must not be cancelled to go on reading afterwards; cancelling closes the connection.
    `overhear` is told unit and count of registers of each answer that nobody here asked for;
    `doubt` is told the unit where it may be the one to the last request, as the one taken may be.
    """

    def __init__(
        self,
        where: Address,
        framing: Framing,
        *,
        timeout_s: float,
        overhear: Callable[[int, int], None] = lambda _unit, _count: None,
        doubt: Callable[[int], None] = lambda _unit: None,
    ) -> None:
        self._where = where
        self.framing = framing
        self._timeout_s = timeout_s
        self._overhear, self._doubt_of = overhear, doubt
        self._client: Client | None = None
        self._asked: Asked | None = None
        self._misfit: str | None = None
        self._last = Answer(0, 0, b"\0\0")
        self._late: set[tuple[int, int]] = set()
        self.echoes_ids: bool | None = None if framing == "tcp" else False
        """Whether an answer bears the id of its request; None before the first."""
        self._doubtful = False
        self._silent_until_s = 0.0
        self.sent_at = datetime.now(UTC)
        """When the last request went out."""
        self.answers = 0
        """How many requests were answered as they should be, or with an exception."""

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as one can know without a request."""
        return self._client is not None and self._client.connected

    @property
    def awaits(self) -> bool:
        """Whether a request waits for its answer."""
        return self._asked is not None

    async def connect(self) -> None:
        """Connect; raises GatewayError saying in words why it does not come about."""
        self.close()
        client = await open_client(self._where, self.framing, self._timeout_s, self)
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
        self._asked, self._misfit = Asked(unit, function, count), None
        too_late = asyncio.get_running_loop().call_later(
            self._timeout_s, self._fail_pending, client, TimeoutError()
        )
        try:
            answer = await ask(address, count=count, device_id=unit)
        except ConnectionException as error:
            raise GatewayError("closed the connection") from error
        except ModbusException as error:
            # The rest of an answer that came in part would complete the next one.
            self._doubt(unless_ids=not client.ctx.recv_buffer)
            self._late.add((unit, count))
            if self._misfit:
                raise MeterFault(self._misfit) from error
            raise MeterTimeout(f"no answer within {self._timeout_s:.3g} s") from error
        except MeterFault:
            self._doubt()
            raise
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            too_late.cancel()
            self._asked = None
        return self._checked(cast(Answer, answer))

    def _checked(self, answer: Answer) -> bytes:
        self._check_id(answer)
        self.answers += 1
        if answer.exception is not None:
            text = f"exception {answer.exception} ({EXCEPTIONS.get(answer.exception, 'unknown')})"
            if answer.exception in _NO_ANSWER:
                raise MeterTimeout(text)
            raise MeterFault(text, answer.exception)
        return answer.content

    def _check_id(self, answer: Answer) -> None:
        if self.framing == "rtu":
            return
        echoed = answer.transaction_id != 0
        if self.echoes_ids and not echoed:
            self.echoes_ids = False
            self._doubt()
            raise MeterFault("answered with transaction id 0, which may be any request's")
        self.echoes_ids = echoed

    def _doubt(self, *, unless_ids: bool = False) -> None:
        """Note that a later answer may be taken for the next one's, unless ids tell them apart."""
        if unless_ids and self.echoes_ids:
            return
        self._doubtful = True
        self._silent_until_s = time.monotonic() + SETTLE_S

    async def _settle(self) -> None:
        silence_s = self._silent_until_s - time.monotonic()
        if silence_s > 0:
            await asyncio.sleep(silence_s)
        if self._doubtful:
            await self.connect()

    def received(self, client: Client, received: bytes) -> int:
        """Take the answers among the bytes; return how many bytes they were."""
        if self._asked is None and not self.echoes_ids:
            self._silent_until_s = max(self._silent_until_s, time.monotonic() + QUIET_S)
        frames = rtu_frames(received) if self.framing == "rtu" else tcp_frames(received)
        taken = 0
        for frame in frames:
            taken = frame.end
            self._take(client, Answer.of(frame))
        return taken

    def _take(self, client: Client, answer: Answer) -> None:
        """Give an answer to the request that waits, if it can be the one to it.

        One that cannot is another client's, or a late one: the right one may still come.
        """
        asked, waiting = self._asked, client.ctx.response_future
        if asked is None or waiting.done():
            self._not_ours(answer)
            return
        ours = answer.transaction_id in (0, client.ctx.request_transaction_id)
        misfit = asked.misfit(answer)
        if not ours or answer.dev_id != asked.unit:
            self._not_ours(answer)
        elif misfit is None:
            self._last = answer
            waiting.set_result(answer)
        elif self.echoes_ids:
            waiting.set_exception(MeterFault(misfit))
        else:
            self._misfit = misfit
            self._not_ours(answer)

    def _not_ours(self, answer: Answer) -> None:
        what = answer.dev_id, answer.count
        new = answer.pdu[0] == INPUT and answer.content != self._last.content
        if new and what == (self._last.dev_id, self._last.count):
            self._doubt_of(answer.dev_id)
        if what in self._late:
            self._late.remove(what)
        elif new:
            self._overhear(*what)

    def connection_changed(self, connected: bool) -> None:
        """Fail what waits for an answer when the connection is gone."""
        if not connected and self._client:
            self._fail_pending(self._client, GatewayError("closed the connection"))

    def _fail_pending(self, client: Client, error: Exception) -> None:
        if self._asked and not client.ctx.response_future.done():
            client.ctx.response_future.set_exception(error)

    def sent(self, packet: bytes) -> None:  # noqa: ARG002
        """Note when a request goes out."""
        self.sent_at = datetime.now(UTC)
