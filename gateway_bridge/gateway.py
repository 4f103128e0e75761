"""One gateway and the meters on its line, polled one request at a time.

All that the rest of the bridge hears goes through a `Sink`. A reading is whole, or it is not
given out; of a meter that does not answer nothing is given out at all.
"""

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from contract.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.blocks import REGISTERS_PER_VALUE, Block
from gateway_bridge.connection import NO_METER_ANSWERS, Connection
from gateway_bridge.identity import identify
from gateway_bridge.meter import PolledMeter
from gateway_bridge.schedule import Schedule
from gateway_bridge.site import Gateway

logger = logging.getLogger(__name__)

FAULTS_TO_OFFLINE = 3
OFFLINE_AFTER_S = 2.0
"""A gateway that has been away for so long takes its meters offline."""
SECOND_TRY_S = 1.0
"""After its first time-out a meter is asked again so soon, however long its interval."""
RUNS_TO_OVERLOAD = 4
"""When a job has skipped ticks so many times running, the line is said to be overloaded."""
REFUSED = frozenset({2, 3})


class Job(NamedTuple):
    """One thing to do on the line: a meter's live blocks, one of its slow ones, or a probe."""

    kind: str
    meter_id: str
    place: int = 0


class Sink(Protocol):
    """Who wants to know; nothing here may block."""

    def reading(self, meter: PolledMeter, ts: datetime, values: dict[str, float]) -> None:
        """Take a whole reading; `ts` is when its request went out."""

    def changed(self, meter: PolledMeter) -> None:
        """Note that a meter's state, identity, plan or events are not what they were."""


class GatewayPoller:
    """Polls the meters of one gateway for as long as `run` runs.

    `offset` (0 to 1) shifts the grid of this gateway against those of others, so that not all
    gateways of a process answer at the same moment.
    """

    def __init__(self, gateway: Gateway, sink: Sink, *, offset: float = 0.0) -> None:
        self.gateway = gateway
        self.meters = {m.meter_id: PolledMeter(m, gateway.cost) for m in gateway.meters}
        self.schedule = Schedule()
        self.connection = Connection(gateway)
        self.last_error: str | None = None
        self._sink = sink
        self._offset = offset
        self._silent = False
        self._last_count = 0
        self._late: dict[Job, int] = {}
        self._told_overload = self.busy_share() > 1

    def busy_share(self) -> float:
        """Return which share of the line's time the plan takes; more than 1 cannot be kept."""
        return sum(meter.busy_share() for meter in self.meters.values())

    async def run(self) -> None:
        """Poll until cancelled."""
        for meter in self.meters.values():
            self._start(meter)
        units = [meter.meter.unit for meter in self.meters.values()]
        try:
            while True:
                if self.connection.stands or await self.connection.establish(units):
                    await self._step()
                if self.connection.outage_s >= OFFLINE_AFTER_S:
                    self._all_offline()
        finally:
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
        self._notice_overload(job, skipped, done_s - now_s, clean=trouble is None)

    async def _do(self, job: Job, meter: PolledMeter) -> None:
        if job.kind == "probe":
            await self._probe(meter)
        elif job.kind == "slow":
            block = meter.slow[job.place]
            answer = await self._read(meter, block)
            self._tell(meter, meter.take_slow(block, answer, time.monotonic()))
        else:
            await self._read_live(meter)

    async def _read_live(self, meter: PolledMeter) -> None:
        if meter.identity is None:
            await self._identify(meter)
        ts: datetime | None = None
        answers = []
        for block in meter.live:
            answers.append((block, await self._read(meter, block)))
            ts = ts or self.connection.sent_at
        values, events = meter.take_live(answers, time.monotonic())
        self._tell(meter, events)
        meter.failures = 0
        if values:
            meter.tally.readings += 1
            self._sink.reading(meter, ts or datetime.now(UTC), values)
            self._set_online(meter)

    async def _identify(self, meter: PolledMeter) -> None:
        async def ask(address: int, count: int, function: int) -> bytes:
            return await self.connection.read(meter.meter.unit, address, count, function)

        before = meter.slow
        self._tell(meter, meter.introduce(await identify(meter.meter.model, ask)))
        self._replanned(meter, before)

    async def _read(self, meter: PolledMeter, block: Block) -> bytes:
        request = meter.request_for(block, unlike=self._last_count)
        self._last_count = request.count
        try:
            answer = await self.connection.read(meter.meter.unit, request.address, request.count)
        except MeterFault as error:
            if error.code in REFUSED:
                self._refused(meter, block, request, str(error))
            raise
        meter.limits.answered(block)
        meter.breaker.answered()
        self._no_more_silence()
        return answer[: 2 * block.count]

    def _refused(self, meter: PolledMeter, block: Block, request: Block, why: str) -> None:
        if request != block:
            meter.cannot_grow(block)
            return
        before = meter.slow
        self._tell(meter, meter.refused(block, why))
        self._replanned(meter, before)

    async def _probe(self, meter: PolledMeter) -> None:
        """Ask a dead meter for one value; it is read fully as soon as it answers."""
        if self._silent:
            await self.connection.renew()
        address = meter.live[0].address
        try:
            await self.connection.read(meter.meter.unit, address, REGISTERS_PER_VALUE)
        except MeterFault as error:
            if error.code is None:
                raise
        meter.breaker.answered()
        meter.identity = None
        self._no_more_silence()
        self._start(meter)

    def _failed(self, job: Job, meter: PolledMeter, error: GatewayError) -> None:
        self.last_error = f"meter {meter.meter.meter_id} at {self.gateway.address}: {error}"
        meter.missed()
        if isinstance(error, MeterTimeout):
            self._timed_out(job, meter, error)
        elif isinstance(error, MeterFault):
            self._faulted(job, meter, error)
        else:
            self.connection.lost(error)
            self.schedule.again(job, time.monotonic())
        if meter.breaker.opened:
            self._schedule_probe(meter)

    def _timed_out(self, job: Job, meter: PolledMeter, error: MeterTimeout) -> None:
        meter.tally.timeouts += 1
        if meter.breaker.timed_out():
            self._stop(meter)
            self._set_offline(meter, str(error))
            if all(other.breaker.opened for other in self.meters.values()):
                self._silent = True
                self.connection.tell(NO_METER_ANSWERS.format(framing="any more"))
        else:
            self.schedule.again(job, time.monotonic() + SECOND_TRY_S)

    def _faulted(self, job: Job, meter: PolledMeter, error: MeterFault) -> None:
        if not meter.registers:
            why = f"refuses every register of a {meter.meter.model.title}; is it one?"
            meter.start_over()
            meter.breaker.open()
            self._stop(meter)
            self._set_offline(meter, why)
            return
        if error.code in REFUSED:
            self.schedule.again(job, time.monotonic())
            return
        meter.tally.faults += 1
        meter.failures += 1
        if meter.failures == FAULTS_TO_OFFLINE:
            self._set_offline(meter, str(error))

    def _no_more_silence(self) -> None:
        """Try the other dead meters at once when the first of a silent line answers."""
        if not self._silent:
            return
        self._silent = False
        for meter in self.meters.values():
            if meter.breaker.opened:
                self._schedule_probe(meter, 0.0)

    def _start(self, meter: PolledMeter) -> None:
        """Read a meter at once and then on its grid, which is its own within the interval."""
        config, now_s = meter.meter, time.monotonic()
        place = list(self.meters).index(config.meter_id)
        phase = (place + self._offset) / len(self.meters)
        self.schedule.add(
            Job("live", config.meter_id),
            interval_s=config.interval_s,
            grid_s=phase * config.interval_s,
            first_s=now_s,
        )
        self._start_slow(meter)

    def _start_slow(self, meter: PolledMeter) -> None:
        """Read the slow blocks now and on their grid: just before a live tick, which sends them."""
        config, now_s = meter.meter, time.monotonic()
        place = list(self.meters).index(config.meter_id)
        phase_s = (place + self._offset) / len(self.meters) * config.interval_s
        before_s = meter.cost.total_ms(meter.slow) / 1000
        for n, _ in enumerate(meter.slow):
            self.schedule.add(
                Job("slow", config.meter_id, n),
                interval_s=config.slow_interval_s,
                grid_s=phase_s - before_s,
                first_s=now_s,
            )

    def _stop(self, meter: PolledMeter) -> None:
        self.schedule.remove(Job("live", meter.meter.meter_id))
        for n, _ in enumerate(meter.slow):
            self.schedule.remove(Job("slow", meter.meter.meter_id, n))

    def _replanned(self, meter: PolledMeter, slow_before: tuple[Block, ...]) -> None:
        if meter.slow != slow_before:
            for n, _ in enumerate(slow_before):
                self.schedule.remove(Job("slow", meter.meter.meter_id, n))
            self._start_slow(meter)
        self._sink.changed(meter)

    def _schedule_probe(self, meter: PolledMeter, delay_s: float | None = None) -> None:
        delay_s = meter.breaker.probe_delay_s() if delay_s is None else delay_s
        self.schedule.probe(
            Job("probe", meter.meter.meter_id),
            at_s=time.monotonic() + delay_s,
            lasts_s=self.connection.timeout_s,
        )

    def _set_online(self, meter: PolledMeter) -> None:
        if meter.online:
            return
        logger.info("meter %s: online%s", meter.meter.meter_id, meter.away_in_words())
        meter.set_online(True)
        self._sink.changed(meter)

    def _set_offline(self, meter: PolledMeter, why: str) -> None:
        if meter.online is False:
            return
        logger.warning("meter %s: offline: %s", meter.meter.meter_id, why)
        meter.set_online(False)
        self._sink.changed(meter)

    def _all_offline(self) -> None:
        for meter in self.meters.values():
            if meter.online is not False:
                meter.set_online(False)
                self._sink.changed(meter)
            if meter.breaker.opened:
                self._schedule_probe(meter, 0.0)
            else:
                self._start(meter)

    def _tell(self, meter: PolledMeter, events: tuple[str, ...]) -> None:
        for event in events:
            logger.warning("meter %s: %s", meter.meter.meter_id, event)
            meter.events.append(event)
        if events:
            self._sink.changed(meter)

    def _notice_overload(self, job: Job, skipped: int, took_s: float, *, clean: bool) -> None:
        """Say once that ticks are skipped, where it is the line's pace and not a fault's."""
        if not clean:
            self._late.clear()
            return
        self._late[job] = self._late.get(job, 0) + 1 if skipped else 0
        if self._told_overload or self._late[job] < RUNS_TO_OVERLOAD:
            return
        self._told_overload = True
        logger.warning(
            "gateway %s: the line cannot keep up: one meter takes %.2f s; they are read in turn as"
            " fast as it goes (longer POLL_INTERVAL, fewer QUANTITIES or more baud would do)",
            self.gateway.address,
            took_s,
        )
