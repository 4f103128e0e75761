"""One gateway and the meters on its line, polled one request at a time.

All that the rest of the bridge hears goes through a `Sink`. A reading is whole, or it is not
given out; of a meter that does not answer nothing is given out at all.
"""

import asyncio
import time
from datetime import UTC, datetime
from functools import partial

from gateway_bridge.meter.identity import identify
from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.modbus.connection import Connection
from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterRefusal, MeterTimeout
from gateway_bridge.polling.asking import read_block
from gateway_bridge.polling.giving import Giving
from gateway_bridge.polling.news import News
from gateway_bridge.polling.sink import Sink
from gateway_bridge.polling.turns import Job, Overload, Turns
from gateway_bridge.site.site import Gateway

FAULTS_TO_OFFLINE = 3
OFFLINE_AFTER_S = 2.0
"""A gateway that has been away for so long takes its meters offline."""
SECOND_TRY_S = 1.0
"""After its first time-out a meter is asked again so soon, however long its interval."""
RELEARN_S = 60.0
"""For so long a meter may refuse what it answered before; then it is asked for less."""


class GatewayPoller:
    """Polls the meters of one gateway for as long as `run` runs.

    `offset` (0 to 1) shifts the grid of this gateway against those of others, so that not all
    gateways of a process answer at the same moment.
    """

    def __init__(self, gateway: Gateway, sink: Sink, *, offset: float = 0.0) -> None:
        self.gateway = gateway
        self.meters = {m.meter_id: PolledMeter(m, gateway.cost) for m in gateway.meters}
        self.connection = Connection(gateway)
        self._turns = Turns(self.meters, offset=offset, probe_s=self.connection.timeout_s)
        self.schedule = self._turns.schedule
        self.last_error: str | None = None
        self._sink = sink
        self._news = News(gateway.address, sink)
        self._giving = Giving(self.connection, sink, self._news, self._failed)
        self._silent = False
        self._overload = Overload(known=self.busy_share() > 1)

    def busy_share(self) -> float:
        """Return which share of the line's time the plan takes; more than 1 cannot be kept."""
        return sum(meter.busy_share() for meter in self.meters.values())

    async def run(self) -> None:
        """Poll until cancelled."""
        for meter in self.meters.values():
            self._turns.start(meter)
        units = [meter.meter.unit for meter in self.meters.values()]
        try:
            while True:
                if self.connection.stands or await self.connection.establish(units):
                    await self._step()
                if not self.connection.stands:
                    self._giving.settle()  # nothing more can come
                    if self.connection.outage_s >= OFFLINE_AFTER_S:
                        self._all_offline()
        finally:
            self._giving.settle()
            self.connection.close()

    async def _step(self) -> None:
        """Do what is due next, or wait for it."""
        now_s = time.monotonic()
        job = self.schedule.next(now_s)
        if not isinstance(job, Job):
            await asyncio.sleep(self.schedule.idle_until(now_s) - now_s)
            return
        meter = self.meters[job.meter_id]
        trouble: GatewayError | None = None
        try:
            await self._do(job, meter)
        except GatewayError as error:
            trouble = error
        done_s = time.monotonic()
        skipped = self.schedule.done(job, done_s)
        if trouble:
            self._failed(job, meter, trouble)
        if self._overload.begins(job, skipped, clean=trouble is None):
            self._news.overload(done_s - now_s)

    async def _do(self, job: Job, meter: PolledMeter) -> None:
        if job.kind == "probe":
            await self._probe(meter)
            return
        if meter.identity is None:
            await self._identify(meter)
        if job.kind == "live":
            await self._read_live(meter)
        elif job.place < len(meter.slow):  # the meter may just have said that it has fewer
            block, doubts = meter.slow[job.place], self._giving.doubts(meter)
            self._giving.slow(meter, block, await self._read(meter, block), doubts)

    async def _read_live(self, meter: PolledMeter) -> None:
        doubts = self._giving.doubts(meter)
        ts: datetime | None = None
        answers = []
        for block in meter.live:
            answers.append((block, await self._read(meter, block)))
            ts = ts or self.connection.sent_at
        self._giving.live(meter, ts or datetime.now(UTC), answers, doubts)

    async def _identify(self, meter: PolledMeter) -> None:
        ask, before = partial(self.connection.read, meter.meter.unit), meter.slow
        briefly = meter.serial is None and meter.breaker.timeouts > 0
        identity = await identify(meter.meter.model, ask, briefly=briefly)
        self._news.events(meter, meter.introduce(identity))
        self._replanned(meter, before)

    async def _read(self, meter: PolledMeter, block: Block) -> bytes:
        before = meter.live, meter.slow
        try:
            answer = await read_block(self.connection, meter, block)
        except MeterRefusal:
            if before != (meter.live, meter.slow):
                self._replanned(meter, before[1])
            raise
        meter.breaker.answered()
        self._no_more_silence()
        self._giving.settle()
        return answer

    async def _probe(self, meter: PolledMeter) -> None:
        """Ask a dead meter for one value; it is read fully as soon as it answers."""
        if self._silent:
            await self.connection.renew(meter.meter.unit)
        model = meter.meter.model
        first = model.probe
        try:
            await self.connection.read(
                meter.meter.unit, first.address, first.count, model.functions[0]
            )
        except MeterFault as error:
            if error.code is None:
                raise
        meter.breaker.answered()
        meter.identity = None
        self._no_more_silence()
        self._turns.start(meter)

    def _failed(self, job: Job, meter: PolledMeter, error: GatewayError) -> None:
        self.last_error = f"meter {meter.meter.meter_id} at {self.gateway.address}: {error}"
        meter.missed(live=job.kind != "slow")
        if isinstance(error, MeterTimeout):
            self._timed_out(job, meter, error)
        elif isinstance(error, MeterRefusal) and meter.registers:
            self.schedule.again(job, time.monotonic())
        elif isinstance(error, MeterFault):
            self._faulted(job, meter, error)
        else:
            self._cut_off(job, meter, error)
        if meter.breaker.opened:
            self._turns.probe(meter, self._probe_delay_s(meter))

    def _timed_out(self, job: Job, meter: PolledMeter, error: MeterTimeout) -> None:
        meter.tally.timeouts += 1
        if job.kind == "slow":  # whether it lives is for its live blocks to show
            self._lacks(job, meter, error)
            self.schedule.again(Job("live", job.meter_id), time.monotonic())
        elif meter.breaker.timed_out():
            self._give_up(meter, str(error))
            if all(other.breaker.opened for other in self.meters.values()):
                self._falls_silent()
        else:
            self.schedule.again(job, time.monotonic() + SECOND_TRY_S)

    def _lacks(self, job: Job, meter: PolledMeter, error: GatewayError) -> None:
        if meter.online and job.place < len(meter.slow):
            self._news.events(meter, meter.lacks(meter.slow[job.place], str(error)))

    def _faulted(self, job: Job, meter: PolledMeter, error: MeterFault) -> None:
        if not meter.registers:
            meter.start_over()
            self._give_up(
                meter, f"refuses every register of a {meter.meter.model.title}; is it one?"
            )
            return
        meter.tally.faults += 1
        if job.kind == "slow":
            self._lacks(job, meter, error)
        if meter.failures < FAULTS_TO_OFFLINE:
            return
        if meter.online is False and meter.since_s() > RELEARN_S:
            meter.limits.forget_answers()
        if error.code is None:  # each such answer costs its neighbours as much as a time-out
            self._give_up(meter, str(error))
        else:
            self._news.offline(meter, str(error))

    def _cut_off(self, job: Job, meter: PolledMeter, error: GatewayError) -> None:
        """Take note of a lost connection: it may be this meter's request that ends it each time."""
        self.connection.lost(error)
        others_are_well = any(m.online and not m.failures for m in self.meters.values())
        if meter.failures == 1:
            self.schedule.again(job, time.monotonic())
        elif meter.failures >= FAULTS_TO_OFFLINE and others_are_well:
            self._give_up(meter, f"the gateway {error} whenever it is asked")

    def _give_up(self, meter: PolledMeter, why: str) -> None:
        meter.breaker.open()
        self._turns.stop(meter)
        self._news.offline(meter, why)

    def _probe_delay_s(self, meter: PolledMeter) -> float:
        """Return when to try a dead meter again: sooner where it would hold up no other one."""
        return self.connection.delay_s() if self._silent else meter.breaker.probe_delay_s()

    def _falls_silent(self) -> None:
        """Try all meters more often when none is left that a probe could hold up."""
        self._silent = True
        self.connection.falls_silent()
        for meter in self.meters.values():
            self._turns.probe(meter, self.connection.delay_s())

    def _no_more_silence(self) -> None:
        """Try the other dead meters at once when the first of a silent line answers."""
        if not self._silent:
            return
        self._silent = False
        for meter in self.meters.values():
            if meter.breaker.opened:
                self._turns.probe_first(meter)

    def _replanned(self, meter: PolledMeter, slow_before: tuple[Block, ...]) -> None:
        self._turns.replanned(meter, slow_before)
        self._sink.changed(meter)

    def _all_offline(self) -> None:
        for meter in self.meters.values():
            self._news.away(meter)
            meter.identity = None  # it may come back as another meter
            if meter.breaker.opened:
                self._turns.probe(meter, 0.0)
            else:
                self._turns.start(meter)
