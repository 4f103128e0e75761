"""Lines on which faults come and go at random, and every value against what its meter measured.

Each exchange of a simulated meter has a moment of its own, at which it measures other values
than at any other: so an answer taken for another's shows, even for a later one to the same request.
"""

import asyncio
import random
import struct
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from contract.quantities import BY_NAME
from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import Layout, PolledMeter
from simulator.bus import Served
from simulator.simulator import Simulator
from tests.support.polling import FAST, MODEL, gateway_at, polling_into, until

METER_FAULTS: dict[str, tuple[float, ...]] = {
    "dead": (), "slow": (0.02, 0.4), "exception": (1, 2, 3, 4, 5, 6, 10, 11),
    "limit": (20, 50), "strict-holes": (),
    "nan": (), "inf": (), "zero": (), "counter-zero": (), "counter-back": (), "jump": (),
    "late": (0.02, 0.35, 0.5), "late-after-next": (), "stale": (),
    "wrong-function": (), "wrong-unit": (), "fewer": (2, 4), "more": (2, 4), "byte-count": (2, 4),
    "wrong-transaction": (), "transaction-0": (), "protocol": (7,), "bad-crc": (),
    "split": (0.02, 0.4), "duplicate": (), "garbage": (1, 5, 300), "close": (), "reset": (),
}  # fmt: skip
GATEWAY_FAULTS: dict[str, tuple[float, ...]] = {
    "refuse": (), "accept-reset": (), "silent": (), "idle-close": (0.05,), "queue-full": (0,),
    "unsolicited": (0.05, 0.3), "transaction-0": (), "late-after-next": (), "to-all": (),
}  # fmt: skip
REFUSALS = ("limit", "strict-holes", "exception")
ONCE_TOO_OFTEN = ("stale", "duplicate")
"""Not on one line with refusals: if a meter refuses longer requests, nothing distinguishes the
answer to the previous request; its value is then one poll old."""
FIRST_S = 1_790_000_000


@dataclass
class Truth:
    """A listener that compares each reading with what the meter sent in its exchanges."""

    simulator: Simulator
    asked_at_s: list[float]
    readings: int = 0
    values: int = 0
    polls: int = 0
    wrong: list[str] = field(default_factory=list)
    known: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    _last_s: dict[int, float] = field(default_factory=lambda: defaultdict(float))

    def reading(self, meter: PolledMeter, ts: datetime, values: dict[str, float]) -> None:
        unit, sent_s = meter.config.unit, ts.timestamp()
        fresh = [self._sent(served) for served in self._served(unit, sent_s)]
        since = [self._sent(served) for served in self._served(unit, self._last_s[unit])]
        for block in meter.live:
            part = {n: v for n, v in values.items() if block.holds(meter.registers[n])}
            if not any(part.items() <= moment.items() for moment in fresh):
                self.wrong.append(f"meter {unit} at {ts}: {part} was of no one moment")
        self.wrong += [
            f"meter {unit} at {ts}: {name} was never {value}"
            for name, value in values.items()
            if not any(moment.get(name) == value for moment in since)
        ]
        self.readings += 1
        self.values += len(values)
        self.known[unit] |= values.keys()
        self._last_s[unit] = sent_s

    def changed(self, meter: PolledMeter) -> None:
        pass

    def _served(self, unit: int, since_s: float) -> Iterator[Served]:
        """The exchanges of a unit since then, the newest first."""
        for served in reversed(self.simulator.statistics.served):
            if self.asked_at_s[int(served.at_s) - FIRST_S] < since_s:
                return
            if served.unit == unit:
                yield served

    def _sent(self, served: Served) -> dict[str, float]:
        """What the meter sent then; for counters, their true values."""
        block = Block(served.address, served.count)
        sent = Layout(block, MODEL.registers).decode(served.data)
        measured = self.simulator.meters[served.unit].measure(served.at_s)
        true = {name: measured[name] for name in sent if BY_NAME[name].kind.counter}
        return {name: rounded(value) for name, value in (sent | true).items()}


def rounded(value: float) -> float:
    """As the wire carries a value, and the bridge publishes it."""
    return round(struct.unpack(">f", struct.pack(">f", value))[0], 3) + 0.0


async def suffer(framing: str, dice: random.Random, polls: int) -> Truth:
    """Poll a line of two meters under changing faults; return the result."""
    asked_at_s: list[float] = []

    def clock() -> float:
        asked_at_s.append(time.time())
        return FIRST_S + len(asked_at_s) - 1

    simulator = Simulator((1, 2), timing=FAST, framing=framing, clock=clock)  # type: ignore[arg-type]
    simulator.statistics.served = deque(maxlen=50_000)
    truth = Truth(simulator, asked_at_s)
    everything = tuple(MODEL.registers)
    async with simulator:
        gateway = gateway_at(
            simulator,
            framing=framing,
            interval_s=0.01,
            slow_interval_s=0.05,
            quantities=everything,
        )
        async with polling_into(gateway, truth) as poller:
            await until(lambda: min(len(truth.known[unit]) for unit in (1, 2)) > 80, timeout_s=60)
            left_out = dice.choice((REFUSALS, ONCE_TOO_OFTEN))
            last = poller.connection.transport.requests + polls
            while poller.connection.transport.requests < last:
                strike(simulator, dice, left_out)
                await asyncio.sleep(dice.uniform(0.05, 0.4))
    truth.polls = polls
    return truth


def strike(simulator: Simulator, dice: random.Random, left_out: tuple[str, ...]) -> None:
    """Switch what is on off, and another fault on for each meter, sometimes for the gateway."""
    simulator.mend(None)
    for unit in simulator.meters:
        simulator.mend(unit)
        fault, numbers = dice.choice([("", ()), *METER_FAULTS.items()])
        number = dice.choice(numbers) if numbers else None
        if fault in ("counter-back", "jump"):  # never twice the same: that would be a true reset
            number = dice.uniform(5, 10_000)
        if fault and fault not in left_out:
            simulator.fault(unit, fault, number, share=dice.choice((0.02, 0.1, 0.3, 1.0)))
    if dice.random() < 0.15:
        fault, numbers = dice.choice([*GATEWAY_FAULTS.items()])
        simulator.fault(None, fault, dice.choice(numbers) if numbers else None)


async def suffer_all(seed: int, polls: int, lines: int) -> list[Truth]:
    """Let several lines suffer at the same time, half of them in each framing."""
    return await asyncio.gather(
        *(
            suffer(("tcp", "rtu")[line % 2], random.Random(f"{seed} {line}"), polls // lines)
            for line in range(lines)
        )
    )
