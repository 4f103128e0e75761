"""The RS485 line: meters that answer one request at a time, in the time it takes on the wire."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway_bridge.models.model import WordOrder
from simulator.device import ILLEGAL_ADDRESS, Image, Rules, SimulatedMeter, encoded, in_one_block
from simulator.faults import Faults
from simulator.frames import Answer, Request, exception

_TWIN_SEED = 977

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class LineTiming:
    """How fast a line and its gateway are; at baud 0 nothing takes time, for tests.

    `turnaround_s` passes before a meter answers, `pause_s` between an answer and the next request
    of the gateway, which waits `reply_timeout_s` for an answer.
    """

    baud: int = 9600
    bits_per_byte: int = 10
    turnaround_s: float = 0.040
    pause_s: float = 0.020
    reply_timeout_s: float = 0.600

    def bytes_s(self, count: float) -> float:
        """Return how long `count` bytes are on the wire."""
        return count * self.bits_per_byte / self.baud if self.baud else 0.0

    def answered_s(self, request: int, answer: int) -> float:
        """Return the time from the first byte of a request to the end of its answer."""
        if not self.baud:
            return 0.0
        return self.bytes_s(request + answer + 3.5) + self.turnaround_s

    def free_s(self) -> float:
        """Return how long the line rests after an exchange."""
        return self.pause_s if self.baud else 0.0

    def read_s(self, registers: int) -> float:
        """Return how long a read of `registers` occupies the line, from request to request."""
        return self.answered_s(8, 5 + 2 * registers) + self.free_s()


@dataclass(frozen=True, slots=True)
class Served:
    """One exchange that a meter answered: the request, and what was truly measured, and when."""

    at_s: float
    unit: int
    function: int
    address: int
    count: int
    data: bytes


@dataclass(slots=True)
class Statistics:
    """What passed on the line: requests and answers by unit id, and how long it was busy."""

    requests: dict[int, int] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=dict)
    exceptions: dict[int, int] = field(default_factory=dict)
    busy_s: float = 0.0
    connections: int = 0
    most_clients: int = 0
    served: deque[Served] = field(default_factory=lambda: deque(maxlen=1000))


class Bus:
    """Meters on one line. Exchanges start on an exact schedule, however long a sleep takes."""

    def __init__(
        self,
        meters: Mapping[int, SimulatedMeter],
        timing: LineTiming,
        faults: Faults,
        *,
        clock: Clock = time.time,
        word_order: WordOrder = "high-first",
    ) -> None:
        self.meters = meters
        self.timing = timing
        self.faults = faults
        self.statistics = Statistics()
        self._clock = clock
        self._word_order = word_order
        self._free_at = -math.inf

    async def exchange(self, request: Request) -> Answer | None:
        """Put a request on the line and return its answer, None when there is none in time.

        For one caller at a time: the worker of the gateway.
        """
        start = max(time.monotonic(), self._free_at)
        await self._sleep_until(start + self.timing.bytes_s(8) + self._turnaround_s())
        answer = self._respond(request)
        slow_s = self.faults.strikes(request.unit, "slow") or 0.0
        if answer is None or slow_s > self.timing.reply_timeout_s:
            end = start + self.timing.bytes_s(8) + self.timing.reply_timeout_s
            answer = None
        else:
            end = start + self.timing.answered_s(8, len(answer.pdu) + 3) + slow_s
        self._free_at = end + self.timing.free_s()
        self.statistics.busy_s += self._free_at - start
        await self._sleep_until(end)
        return answer

    def _turnaround_s(self) -> float:
        return self.timing.turnaround_s if self.timing.baud else 0.0

    async def _sleep_until(self, moment: float) -> None:
        remaining = moment - time.monotonic()
        if remaining > 0:
            await asyncio.sleep(remaining)

    def _respond(self, request: Request) -> Answer | None:
        _add(self.statistics.requests, request.unit)
        meter = self.meters.get(request.unit)
        if meter is None or self.faults.strikes(request.unit, "dead") is not None:
            return None
        if self.faults.strikes(request.unit, "twin") is not None:
            return self._both_respond(meter, request)
        return Answer(self._counted(request.unit, self._answer(meter, request)))

    def _both_respond(self, meter: SimulatedMeter, request: Request) -> Answer:
        twin = SimulatedMeter(meter.unit, meter.model, seed=_TWIN_SEED)
        first, second = self._answer(meter, request), self._answer(twin, request)
        if self.faults.dice.random() < 0.5:
            mixed = bytes(a & b for a, b in zip(first, second, strict=False))
            return Answer(mixed, collided=True)
        return Answer(self._counted(request.unit, self.faults.dice.choice((first, second))))

    def _counted(self, unit: int, pdu: bytes) -> bytes:
        _add(self.statistics.exceptions if pdu[0] & 0x80 else self.statistics.answers, unit)
        return pdu

    def _answer(self, meter: SimulatedMeter, request: Request) -> bytes:
        code = self.faults.strikes(request.unit, "exception")
        if code is not None:
            return exception(request.function, int(code))
        limit = self.faults.strikes(request.unit, "limit")
        rules = Rules(
            meter.model,
            limit=meter.model.limit if limit is None else int(limit),
            strict_holes=self.faults.strikes(request.unit, "strict-holes") is not None,
        )
        address, count = request.registers
        refusal = rules.refusal(request.function, address, count, len(request.pdu))
        if refusal is not None:
            return exception(request.function, refusal)
        if rules.asks_for_code(request.function, address, count):
            return self._encoded(meter, request, meter.code())
        if rules.reads_values(request.function, address, count):
            return self._measured(meter, request)
        holding = meter.holding(self.timing.baud)
        if rules.reads_holding(request.function) and in_one_block(holding, address, count):
            return self._encoded(meter, request, holding)
        return exception(request.function, ILLEGAL_ADDRESS)

    def _measured(self, meter: SimulatedMeter, request: Request) -> bytes:
        now_s = self._clock()
        pdu = self._encoded(meter, request, meter.image(now_s, self.faults))
        self.statistics.served.append(
            Served(now_s, request.unit, pdu[0], *request.registers, pdu[2:])
        )
        return pdu

    def _encoded(self, meter: SimulatedMeter, request: Request, image: Image) -> bytes:
        return encoded(meter.model, image, request, self._word_order)


def _add(counts: dict[int, int], unit: int) -> None:
    counts[unit] = counts.get(unit, 0) + 1
