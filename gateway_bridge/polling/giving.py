"""Giving: what a meter has answered is given out as soon as it is surely the answer to us.

Where answers bear no id and a gateway gives out each answer to all its clients, the first answer
of the right length may be the one to a client that asked a moment before. Then our own follows,
as long as the first and different: before the next request is answered, and within the time that
a request takes. So nothing waits for it but what has been read.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.modbus.connection import Connection
from gateway_bridge.modbus.errors import GatewayError, MeterFault
from gateway_bridge.polling.news import News
from gateway_bridge.polling.sink import Sink
from gateway_bridge.polling.turns import Job

LONGER = 1.5
"""After so many times what a request takes nothing follows an answer any more."""
Answers = list[tuple[Block, bytes]]


@dataclass(slots=True)
class _Held:
    meter: PolledMeter
    doubts: int
    timer: asyncio.TimerHandle
    take: Callable[[], None]


class Giving:
    """Gives out what is read on one line; `refused` is told what is not, and why."""

    def __init__(
        self,
        connection: Connection,
        sink: Sink,
        news: News,
        refused: Callable[[Job, PolledMeter, GatewayError], None],
    ) -> None:
        self._connection, self._sink, self._news = connection, sink, news
        self._refused = refused
        self._held: _Held | None = None

    def doubts(self, meter: PolledMeter) -> int:
        """Return what to hand over with the answers to what is asked from now on."""
        return self._connection.doubts[meter.meter.unit]

    def live(self, meter: PolledMeter, ts: datetime, answers: Answers, doubts: int) -> None:
        """Give out a reading, measured at `ts`, of a meter's live blocks."""
        take = partial(self._take_live, meter, ts, answers, time.monotonic())
        self._hold(meter, answers[-1][0], take, doubts)

    def slow(self, meter: PolledMeter, block: Block, answer: bytes, doubts: int) -> None:
        """Give out with the meter's next reading what a slow block of it says."""
        take = partial(self._take_slow, meter, block, answer, time.monotonic())
        self._hold(meter, block, take, doubts)

    def settle(self) -> None:
        """Give out what was held back, or refuse it: no other answer to us can come any more."""
        held, self._held = self._held, None
        if held is None:
            return
        held.timer.cancel()
        if self.doubts(held.meter) > held.doubts:
            fault = "another client's answer came, too; which one is ours cannot be told"
            self._refused(Job("live", held.meter.meter.meter_id), held.meter, MeterFault(fault))
        else:
            held.take()

    def _hold(self, meter: PolledMeter, last: Block, take: Callable[[], None], doubts: int) -> None:
        if not self._connection.mixes_answers:
            take()
            return
        request_s = max(meter.cost.request_ms(last.count) / 1000, self._connection.traffic.pace_s)
        timer = asyncio.get_running_loop().call_later(LONGER * request_s, self.settle)
        self._held = _Held(meter, doubts, timer, take)

    def _take_live(self, meter: PolledMeter, ts: datetime, answers: Answers, now_s: float) -> None:
        values, events = meter.take_live(answers, now_s)
        self._news.events(meter, events)
        meter.failures = 0
        meter.breaker.well()
        if values:
            meter.tally.readings += 1
            self._sink.reading(meter, ts, values)
            self._news.online(meter)

    def _take_slow(self, meter: PolledMeter, block: Block, answer: bytes, now_s: float) -> None:
        self._news.events(meter, meter.take_slow(block, answer, now_s))
