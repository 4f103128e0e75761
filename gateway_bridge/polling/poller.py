"""Poller: reads the meters on one line, one request at a time.

A reading is published whole or not at all; a silent meter publishes no readings.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from gateway_bridge.meter.identity import identify
from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.modbus.connection import Connection
from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterRefusal, MeterTimeout
from gateway_bridge.modbus.frames import REFUSED
from gateway_bridge.modbus.transport import Late, Second
from gateway_bridge.polling.attribution import Attribution, Claim, Verdict
from gateway_bridge.polling.breaker import OFFLINE_AFTER_S, RETRY_S, Breaker, Step
from gateway_bridge.polling.events import Events, Listener
from gateway_bridge.polling.schedule import Job, MeterSchedule, Overload
from gateway_bridge.site.site import Gateway

RELEARN_S = 60.0
"""Seconds for which a meter may refuse what it answered before; then less is read from it."""
WHOLE_TIMEOUT_EVERY = 8
"""One probe of this many waits for the whole timeout: the network may have become slower."""
REPLACED_S = 30.0
"""Seconds without its gateway after which a meter is identified before its next reading."""
PATIENCE = 3.0
"""Times as long as usual for which a meter that has just failed is waited for."""
LATE_AFTER = 2.0
"""Times as long as usual after which a second request takes the place of one without an answer."""
LATE_AFTER_S = 0.1
"""The same in seconds, at least: a fast line has its hiccups, too."""
NEXT_S = 0.05
"""Seconds after a probe within which a request may still be delayed by it."""
AMBIGUOUS = "cannot tell our response from another client's"

Answers = list[tuple[Block, bytes]]


class Line:
    """A gateway, the meters on its line, the connection, and what the bridge reports of them."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.meters = {m.meter_id: PolledMeter(m, gateway.cost) for m in gateway.meters}
        self.connection = Connection(gateway)
        self.skipped = 0
        """Ticks that the line had no time for."""
        self.shared = False
        """Whether the gateway sends us another client's answers, too."""
        self.last_error: str | None = None

    def busy_share(self) -> float:
        """Return the share of the line's time that the plan takes; above 1 it cannot be kept."""
        return sum(meter.busy_share() for meter in self.meters.values())


@dataclass(slots=True)
class _Held:
    """Answers that are held until it is certain whose they are."""

    meter: PolledMeter
    claim: Claim
    take: Callable[[], None]
    timer: asyncio.TimerHandle


class GatewayPoller:
    """Reads the meters of one line while `run` runs.

    `offset` (0 to 1) shifts the grid of this line against those of others, so that not all
    gateways of a process answer at the same time.
    """

    def __init__(self, line: Line, listener: Listener, *, offset: float = 0.0) -> None:
        self.line = line
        self.meters = line.meters
        self.connection = line.connection
        self._transport = line.connection.transport
        self._listener = listener
        self._events = Events(line.gateway.address, listener)
        self._attribution = Attribution(exclusive=line.gateway.is_serial)
        self._breakers = {meter_id: Breaker() for meter_id in self.meters}
        self._schedule = MeterSchedule(
            self.meters, offset=offset, probe_s=self.connection.timeout_s
        )
        self._overload = Overload(known=line.busy_share() > 1)
        self._held: _Held | None = None
        self._is_silent = False
        self._unconfirmed: set[str] = set()
        """Meters to identify again after their next reading."""
        self._late_s: dict[str, float] = {}
        """When meters last responded after the timeout."""
        self._probed_s = -math.inf
        """Time at which the last job ended, if that was a probe."""

    async def run(self) -> None:
        """Read until cancelled."""
        for meter in self.meters.values():
            self._schedule.start(meter, time.monotonic())
        units = [meter.config.unit for meter in self.meters.values()]
        try:
            while True:
                if self.connection.connected or await self.connection.establish(units):
                    await self._step()
                if not self.connection.connected:
                    self._settle(math.inf)  # nothing more can come
                    if self.connection.outage_s >= OFFLINE_AFTER_S:
                        self._all_offline()
        finally:
            self._settle(math.inf)
            self.connection.close()

    async def _step(self) -> None:
        """Run the job that is due next, or wait for it."""
        now_s = time.monotonic()
        job = self._schedule.jobs.next(now_s)
        if job is None:
            await self._transport.rest(self._schedule.jobs.idle_until(now_s) - now_s)
            self._observe()
            return
        meter = self.meters[job.meter_id]
        trouble: GatewayError | None = None
        try:
            await self._run(job, meter)
        except GatewayError as error:
            trouble = error
        done_s = time.monotonic()
        self._pay_for_probes(job, meter, now_s, done_s)
        skipped = self._schedule.jobs.done(job, done_s)
        self.line.skipped += skipped
        if trouble:
            self._failed(job, meter, trouble)
        if self._overload.begins(job, skipped, clean=trouble is None):
            self._events.overloaded(done_s - now_s)

    async def _run(self, job: Job, meter: PolledMeter) -> None:
        if job.kind == "probe":
            await self._probe(meter)
            return
        if meter.state.identity is None:
            await self._identify(meter)
        if job.kind == "live":
            await self._read_live(meter)
            if job.meter_id in self._unconfirmed:
                self._unconfirmed.remove(job.meter_id)
                meter.state.identity = None
        elif job.place < len(meter.slow):  # the meter may just have reported that it has fewer
            await self._read_slow(meter, meter.slow[job.place])

    async def _read_live(self, meter: PolledMeter) -> None:
        claim = self._claim(meter)
        ts: datetime | None = None
        answers: Answers = []
        for block in meter.live:
            answers.append((block, await self._read(meter, block)))
            ts = ts or self._transport.sent_at
        take = partial(self._take_live, meter, ts or datetime.now(UTC), answers, time.monotonic())
        self._accept(meter, answers[-1][0], claim, take)

    async def _read_slow(self, meter: PolledMeter, block: Block) -> None:
        claim = self._claim(meter)
        answer = await self._read(meter, block)
        take = partial(self._take_slow, meter, block, answer, time.monotonic())
        self._accept(meter, block, claim, take)

    async def _read(self, meter: PolledMeter, block: Block) -> bytes:
        """Return the registers of a block; raises as Connection.read does, and MeterRefusal."""
        unit, function = meter.config.unit, meter.config.model.functions[0]
        self._observe()
        request = self._attribution.choose(unit, meter.requests_for(block), time.monotonic())
        if request is None:
            raise MeterFault(f"{AMBIGUOUS}: it requests the same number of registers")
        breaker = self._breakers[meter.config.meter_id]
        patience_s = self._patience_s(meter, request.count) if breaker.timeouts else None
        second = None if breaker.timeouts else self._second(meter, block)
        try:
            answer = await self.connection.read(
                unit,
                request.address,
                request.count,
                function,
                patience_s=patience_s,
                second=second,
            )
        except MeterFault as error:
            if error.code not in REFUSED or not meter.limits.learns_of(request):
                raise
            self._refused(meter, block, request, str(error))
            raise MeterRefusal(str(error), error.code) from error
        meter.answered(request)
        if not breaker.is_well:
            breaker.answered()
        if self._is_silent:
            self._end_silence()
        if self._held:
            self._settle(time.monotonic())
        return answer[: 2 * block.count]

    def _refused(self, meter: PolledMeter, block: Block, request: Block, why: str) -> None:
        """Request less from now on."""
        live, slow = meter.live, meter.slow
        if request == block:
            meter.refused(block, why)
        else:
            meter.cannot_grow(block, request)
        if (live, slow) != (meter.live, meter.slow):
            self._replanned(meter, slow)

    async def _identify(self, meter: PolledMeter) -> None:
        read, slow = partial(self.connection.read, meter.config.unit), meter.slow
        has_timed_out = self._breakers[meter.config.meter_id].timeouts > 0
        briefly = meter.state.serial is None and has_timed_out
        identity = await identify(meter.config.model, read, briefly=briefly)
        self._events.of_meter(meter, meter.introduce(identity))
        self._replanned(meter, slow)

    async def _probe(self, meter: PolledMeter) -> None:
        """Request one value of a silent meter; if it responds, it is read again."""
        if self._is_silent:
            await self.connection.renew(meter.config.unit)
        model = meter.config.model
        first = model.probe
        try:
            await self.connection.read(
                meter.config.unit,
                first.address,
                first.count,
                model.functions[0],
                patience_s=self._patience_s(meter, first.count),
            )
        except MeterFault as error:
            if error.code is None:
                raise
        meter_id = meter.config.meter_id
        self._breakers[meter_id].answered()
        if time.monotonic() - self._late_s.get(meter_id, -math.inf) < REPLACED_S:
            self._unconfirmed.add(meter_id)  # it was never away
        else:
            meter.state.identity = None  # it may be another meter now
        if self._is_silent:
            self._end_silence()
        self._schedule.start(meter, time.monotonic())

    def _second(self, meter: PolledMeter, block: Block) -> Second | None:
        """Return what to request if the answer for a block is late; None where none can be."""
        if self._transport.echoes_ids is None or self.line.gateway.is_serial:
            return None
        usual_s = max(self._transport.pace_s, self.connection.longest_s)
        choose = partial(self._alternative, meter, block)
        return Second(max(LATE_AFTER * usual_s, LATE_AFTER_S), choose)

    def _alternative(self, meter: PolledMeter, block: Block) -> int | None:
        unit, requests = meter.config.unit, meter.requests_for(block)
        second = self._attribution.alternative(unit, requests, time.monotonic())
        return second.count if second else None

    def _patience_s(self, meter: PolledMeter, count: int) -> float | None:
        """Return how long to wait for a meter that has just failed: three times the usual.

        None, the whole timeout, where that delays nobody, and now and then: the network may have
        become slower. What a longer block takes on the line is not part of the usual duration, the
        network is.
        """
        breaker = self._breakers[meter.config.meter_id]
        if self._is_silent or breaker.probes % WHOLE_TIMEOUT_EVERY == WHOLE_TIMEOUT_EVERY - 1:
            return None
        request_ms = meter.cost.request_ms(count)
        longest_ms = meter.cost.request_ms(max((block.count for block in meter.live), default=0))
        usual_ms = max(request_ms, 1000 * self._transport.pace_s - (longest_ms - request_ms))
        return PATIENCE * usual_ms / 1000

    def _pay_for_probes(self, job: Job, meter: PolledMeter, began_s: float, done_s: float) -> None:
        """Charge a probe for its time, and for the delay of the response after it.

        The gateway may wait for the silent meter for longer than we do.
        """
        took_s = done_s - began_s
        if job.kind == "probe":
            if not self._is_silent:  # otherwise it delays nobody
                self._schedule.probe_s = took_s
                self._schedule.jobs.budget.spend(took_s, done_s)
                self._probed_s = done_s
            return
        if began_s - self._probed_s < NEXT_S:
            blocks = meter.live if job.kind == "live" else meter.slow[job.place : job.place + 1]
            delay_s = max(took_s - meter.cost.total_ms(blocks) / 1000, 0.0)
            self._schedule.probe_s += delay_s
            self._schedule.jobs.budget.spend(delay_s, done_s)
        self._probed_s = -math.inf

    def _observe(self) -> None:
        """Take in what has happened on the line."""
        for event in self._transport.take_events():
            self._attribution.note(event)
            if isinstance(event, Late):
                self._responds_late(event.frame.unit)
        if self._attribution.shared and not self.line.shared:
            self.line.shared = True
            self._events.shared()

    def _responds_late(self, unit: int) -> None:
        """Read or probe a meter at once that has answered a request after the timeout."""
        now_s = time.monotonic()
        for meter_id, meter in self.meters.items():
            if meter.config.unit != unit or not self._breakers[meter_id].timeouts:
                continue
            is_first = now_s - self._late_s.get(meter_id, -math.inf) > meter.state.since_s()
            self._late_s[meter_id] = now_s
            if self._is_silent:
                self._schedule.probe_first(meter, now_s)
            elif self._breakers[meter_id].opened and is_first:
                self._schedule.probe(meter, now_s)
            elif not self._breakers[meter_id].opened:
                self._schedule.jobs.again(Job("live", meter_id), now_s)

    def _claim(self, meter: PolledMeter) -> Claim | None:
        self._observe()
        return self._attribution.claim(meter.config.unit)

    def _accept(
        self, meter: PolledMeter, last: Block, claim: Claim | None, take: Callable[[], None]
    ) -> None:
        """Take answers, the last of them to a request for `last`, or hold them for now."""
        if claim is None:
            take()
            return
        self._observe()
        now_s = time.monotonic()
        request_s = max(meter.cost.request_ms(last.count) / 1000, self._transport.pace_s)
        self._attribution.complete(claim, request_s, now_s)
        timer = asyncio.get_running_loop().call_later(
            claim.until_s - now_s, self._settle, claim.until_s
        )
        self._held = _Held(meter, claim, take, timer)
        self._settle(now_s)

    def _settle(self, now_s: float) -> None:
        """Take or reject the held answers, if it is certain by now whose they are."""
        held = self._held
        if held is None:
            return
        self._observe()
        verdict = self._attribution.verdict(held.claim, now_s)
        if verdict is Verdict.HOLD:
            return
        self._held = None
        held.timer.cancel()
        if verdict is Verdict.ACCEPT:
            held.take()
        else:
            job = Job("live", held.meter.config.meter_id)
            self._failed(job, held.meter, MeterFault(f"{AMBIGUOUS}: both arrived"))

    def _take_live(self, meter: PolledMeter, ts: datetime, answers: Answers, now_s: float) -> None:
        values, events = meter.take_live(answers, now_s)
        if events:
            self._events.of_meter(meter, events)
        breaker = self._breakers[meter.config.meter_id]
        if not breaker.is_well:
            breaker.read()
        if values:
            meter.state.readings += 1
            self._listener.reading(meter, ts, values)
            if not meter.state.online:
                self._events.online(meter)

    def _take_slow(self, meter: PolledMeter, block: Block, answer: bytes, now_s: float) -> None:
        self._events.of_meter(meter, meter.take_slow(block, answer, now_s))

    def _failed(self, job: Job, meter: PolledMeter, error: GatewayError) -> None:
        self.line.last_error = f"meter {job.meter_id} at {self.line.gateway.address}: {error}"
        breaker = self._breakers[job.meter_id]
        meter.missed()
        if job.kind != "slow":  # the live blocks show whether it is there
            breaker.failed()
        if isinstance(error, MeterTimeout):
            self._timed_out(job, meter, error)
        elif isinstance(error, MeterRefusal) and meter.registers:
            self._schedule.jobs.again(job, time.monotonic())
        elif isinstance(error, MeterFault):
            self._faulted(job, meter, error)
        else:
            self._cut_off(job, meter, error)
        if breaker.opened and self._is_silent:
            self._schedule.probe_first(meter, time.monotonic() + self.connection.delay_s())
        elif breaker.opened:
            self._schedule.probe(meter, time.monotonic() + breaker.probe_delay_s())
        self._observe()

    def _timed_out(self, job: Job, meter: PolledMeter, error: MeterTimeout) -> None:
        meter.state.timeouts += 1
        if job.kind == "slow":
            self._lacks(job, meter, error)
            self._schedule.jobs.again(Job("live", job.meter_id), time.monotonic())
            return
        step = self._breakers[job.meter_id].timed_out()
        self._follow(step, job, meter, str(error))
        if step is Step.OPEN and all(each.opened for each in self._breakers.values()):
            self._fell_silent()

    def _faulted(self, job: Job, meter: PolledMeter, error: MeterFault) -> None:
        breaker = self._breakers[job.meter_id]
        if not meter.registers:
            meter.start_over()
            title = meter.config.model.title
            why = f"refuses every register of a {title}; check the model in the settings"
            self._follow(breaker.open(), job, meter, why)
            return
        meter.state.faults += 1
        if job.kind == "slow":
            self._lacks(job, meter, error)
        step = breaker.faulted(exception=error.code is not None)
        is_offline = step is not Step.WAIT and meter.state.online is False
        if is_offline and meter.state.since_s() > RELEARN_S:
            meter.limits.forget_answers()
        self._follow(step, job, meter, str(error))

    def _cut_off(self, job: Job, meter: PolledMeter, error: GatewayError) -> None:
        self.connection.lost(error)
        others_are_well = any(
            each.state.online and not self._breakers[meter_id].failures
            for meter_id, each in self.meters.items()
        )
        step = self._breakers[job.meter_id].cut_off(others_are_well=others_are_well)
        self._follow(step, job, meter, f"the gateway {error} at every request to it")

    def _follow(self, step: Step, job: Job, meter: PolledMeter, why: str) -> None:
        match step:
            case Step.RETRY:
                self._schedule.jobs.again(job, time.monotonic())
            case Step.RETRY_SOON if self._transport.echoes_ids:
                self._schedule.jobs.move(job, time.monotonic() + RETRY_S)
            case Step.RETRY_SOON:
                self._schedule.jobs.again(job, time.monotonic() + RETRY_S)
            case Step.OFFLINE:
                self._events.offline(meter, why)
            case Step.OPEN:
                self._schedule.stop(meter)
                self._events.offline(meter, why)

    def _lacks(self, job: Job, meter: PolledMeter, error: GatewayError) -> None:
        if meter.state.online and job.place < len(meter.slow):
            self._events.of_meter(meter, meter.lacks(meter.slow[job.place], str(error)))

    def _fell_silent(self) -> None:
        """Probe all meters more often: none is left that a probe could hold up."""
        self._is_silent = True
        self.connection.fell_silent()
        for meter in self.meters.values():
            self._schedule.probe_first(meter, time.monotonic() + self.connection.delay_s())

    def _end_silence(self) -> None:
        """Probe the other silent meters at once: the first one of a silent line has answered."""
        self._is_silent = False
        for meter_id, meter in self.meters.items():
            if self._breakers[meter_id].opened:
                self._schedule.probe_first(meter, time.monotonic())

    def _replanned(self, meter: PolledMeter, slow_before: tuple[Block, ...]) -> None:
        self._schedule.replanned(meter, slow_before, time.monotonic())
        self._listener.changed(meter)

    def _all_offline(self) -> None:
        """Mark all meters offline with their gateway, and read them as soon as it is back."""
        now_s = time.monotonic()
        for meter_id, meter in self.meters.items():
            self._events.unreachable(meter)
            if self.connection.outage_s < REPLACED_S:
                self._unconfirmed.add(meter_id)
            else:
                meter.state.identity = None
            if self._breakers[meter_id].opened:
                self._breakers[meter_id].half_open()
            self._schedule.start(meter, now_s)
