"""Chaos: parts die in random order, and no reading is lost, stored twice or changed.

    python -m tests.system.chaos --seconds 120 --broker mosquitto --seed 7
    python -m tests.system.chaos --seconds 450 --broker mosquitto --database postgresql --group

Three sources show what the history should contain: the bridge's journal, an independent
subscriber, and the responses of the simulated meters.
"""

import argparse
import json
import random
import sqlite3
import struct
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from contract.times import epoch_ms, parse_time
from gateway_bridge.models import MODELS
from tests.support.journals import journaled
from tests.support.parts import wait_until
from tests.support.pipeline import JOURNAL_S, RATE, Pipeline
from tests.support.postgresql import server

SETTLE_S = 90.0
NEAR_S = JOURNAL_S + 3
BACK_S = 30.0
"""Seconds that the clock is set back."""
BROKERS = ("mosquitto", "embedded")
DATABASES = ("sqlite", "postgresql")

Key = tuple[str, int]
"""A meter and epoch ms."""
Values = tuple[int | None, int | None]
"""Power and energy in thousandths."""


@dataclass
class Outcome:
    """The result, and the faults that were injected."""

    seed: int
    actions: list[str] = field(default_factory=list)
    expected: int = 0
    stored: int = 0
    lost: list[Key] = field(default_factory=list)
    changed: list[Key] = field(default_factory=list)
    invented: list[Key] = field(default_factory=list)
    never_served: list[Key] = field(default_factory=list)
    unread: list[Key] = field(default_factory=list)
    died_with_two: int = 0
    same_moment: int = 0
    served: int = 0
    settled_s: float = 0.0

    @property
    def good(self) -> bool:
        return not (self.lost or self.changed or self.invented or self.never_served or self.unread)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {len(self.actions)} faults ({_counts(self.actions)}); "
            f"{self.served} different answers of meters, {self.expected} readings, "
            f"{self.stored} stored, "
            f"lost {len(self.lost) + len(self.unread)}, changed {len(self.changed)}, "
            f"from nowhere {len(self.invented) + len(self.never_served)}; "
            f"{self.died_with_two} died with the bridge and either the broker or the history, "
            f"{self.same_moment} of a moment that was taken; settled after {self.settled_s:.1f} s"
        )


class Chaos:
    """Injects faults into a pipeline, then compares the readings."""

    def __init__(self, pipeline: Pipeline, seed: int) -> None:
        self._pipeline = pipeline
        self._parts = ("gateway_bridge", "broker", *pipeline.recorders)
        self._dice = random.Random(seed)
        self._outcome = Outcome(seed)
        self._killed_s: dict[str, list[float]] = defaultdict(list)
        self._restored_s: list[float] = []
        self._disturbances: list[tuple[float, float]] = []
        self._clock_s = 0.0

    def inject(self, seconds: float) -> None:
        """Inject one fault after the other, each kind at least once if time allows."""
        faults = [self._kill] * 3 + [self._freeze, self._rob_broker]
        if self._pipeline.has_file:
            faults.append(self._restore)
        if self._pipeline.disk:
            faults.append(self._fill_disk)
        if self._pipeline.has_clock:
            faults.append(self._set_clock_back)
        wait_until(self._has_begun, what="the first rows")
        if self._pipeline.has_file:
            self._pipeline.back_up()
        ends_s = time.monotonic() + seconds
        left: list[object] = []
        while time.monotonic() < ends_s:
            left = left or self._dice.sample(faults, len(faults))
            fault = left.pop()
            assert callable(fault)
            fault()
            time.sleep(self._dice.uniform(0.3, 2))
            for name in self._parts:
                self._pipeline.start(name)
            time.sleep(self._dice.uniform(0.2, 1.5))

    def compare(self) -> Outcome:
        """Wait until the history contains the whole journal, then compare every row."""
        began_s, written = time.time(), self._journal_size()
        wait_until(lambda: self._journal_size() > written, what="the journal to be written")
        expected = self._journal()
        _patiently(lambda: expected.keys() <= self._rows().keys())
        self._outcome.settled_s = time.time() - began_s
        rows = self._rows()
        _patiently(lambda: not rows.keys() - self._journal().keys() - self._unjournalled(rows))
        journal, received, served = self._journal(), self._received(), self._served()
        self._judge(rows, expected, journal, received)
        self._outcome.never_served = [
            key for key, values in rows.items() if values not in served[key[0]]
        ]
        stored = {(meter, values) for (meter, _), values in rows.items()}
        # With the clock set back, a reading may have a moment that an earlier one has taken.
        stored |= {(key[0], each) for key in journal.keys() & rows.keys() for each in journal[key]}
        self._outcome.unread = [
            (meter, round(at_s * 1000))
            for meter, answers in served.items()
            for values, at_s in answers.items()
            if (meter, values) not in stored and began_s > at_s and not self._disturbed(at_s)
        ]
        self._outcome.served = sum(map(len, served.values()))
        return self._outcome

    def _judge(
        self,
        rows: dict[Key, Values],
        expected: dict[Key, set[Values]],
        journal: dict[Key, set[Values]],
        received: dict[Key, set[Values]],
    ) -> None:
        outcome = self._outcome
        outcome.expected = len(expected.keys() | received.keys())
        outcome.stored = len(rows)
        outcome.same_moment = sum(len(values) - 1 for values in journal.values())
        outcome.lost = [key for key in expected if key not in rows]
        # Received, but not in the journal: the bridge was killed before it wrote. If the broker
        # also died before the recorder had it, or the history that had it was replaced by an older
        # one, that is one loss more than is guaranteed.
        for key in received.keys() - journal.keys() - rows.keys():
            if self._two_died(key[1] / 1000):
                outcome.died_with_two += 1
            elif key[1] / 1000 < time.time() - NEAR_S - self._clock_s:
                outcome.lost.append(key)
        known = {
            key: journal.get(key, set()) | received.get(key, set())
            for key in journal.keys() | received.keys()
        }
        outcome.changed = [k for k, values in rows.items() if k in known and values not in known[k]]
        outcome.invented = list(rows.keys() - known.keys() - self._unjournalled(rows))

    def _two_died(self, at_s: float) -> bool:
        return self._killed_soon("gateway_bridge", at_s) and (
            self._killed_soon("broker", at_s)
            or any(restored_s - at_s > -1 for restored_s in self._restored_s)
        )

    def _killed_soon(self, name: str, at_s: float) -> bool:
        """Return whether a part was killed before the journal had a reading of that time."""
        return any(
            -1 < killed_s - at_s < NEAR_S + self._clock_s for killed_s in self._killed_s[name]
        )

    def _unjournalled(self, rows: Iterable[Key]) -> set[Key]:
        """Return what a bridge may have read shortly before it died, without writing it."""
        return {key for key in rows if self._killed_soon("gateway_bridge", key[1] / 1000)}

    def _disturbed(self, at_s: float) -> bool:
        """Return whether a bridge that died or was frozen may have missed a response."""
        return any(begin_s - NEAR_S < at_s < end_s + 2 for begin_s, end_s in self._disturbances)

    def _kill(self) -> None:
        names = self._dice.sample(self._parts, self._dice.choice((1, 1, 1, 2, 3)))
        self._note("kill " + "+".join(names))
        for name in names:
            self._die(name)

    def _die(self, name: str) -> None:
        self._killed_s[name].append(time.time())
        if name == "gateway_bridge":
            self._disturbances.append((time.time(), time.time()))
        self._pipeline.kill(name)

    def _freeze(self) -> None:
        name = self._dice.choice(self._parts)
        self._note(f"stop {name}")
        began_s = time.time()
        self._pipeline.freeze(name, self._dice.uniform(0.5, 4))
        if name == "gateway_bridge":
            self._disturbances.append((began_s, time.time()))

    def _rob_broker(self) -> None:
        self._note("broker state deleted")
        self._die("broker")
        self._pipeline.forget_broker_state()

    def _restore(self) -> None:
        self._note("history restored")
        for name in self._pipeline.recorders:
            self._die(name)
        self._restored_s.append(time.time())
        self._pipeline.restore()

    def _fill_disk(self) -> None:
        self._note("disk full")
        self._pipeline.fill_disk(self._dice.uniform(1, 4))

    def _set_clock_back(self) -> None:
        if not self._clock_s:
            self._note("clock set back")
            self._clock_s = BACK_S
            self._pipeline.set_clock(-BACK_S)

    def _note(self, action: str) -> None:
        self._outcome.actions.append(action)

    def _journal(self) -> dict[Key, set[Values]]:
        found: dict[Key, set[Values]] = defaultdict(set)
        for kept in journaled(self._pipeline.journal):
            found[kept.meter, kept.ts].add(_values(json.loads(kept.reading)))
        return found

    def _journal_size(self) -> int:
        return len(journaled(self._pipeline.journal))

    def _has_begun(self) -> bool:
        with suppress(sqlite3.OperationalError):
            return bool(self._rows())
        return False

    def _received(self) -> dict[Key, set[Values]]:
        found: dict[Key, set[Values]] = defaultdict(set)
        for line in self._pipeline.log.output.splitlines():
            if line.startswith("{") and line.endswith("}"):
                payload = json.loads(line)
                ts = parse_time(payload["ts"])
                assert ts
                found[payload["meter_id"], epoch_ms(ts)].add(_values(payload))
        return found

    def _rows(self) -> dict[Key, Values]:
        query = "SELECT name, ts, power, energy FROM readings_raw JOIN meters ON id = meter"
        rows = self._pipeline.rows(query)
        return {(meter, ts): (power, energy) for meter, ts, power, energy in rows}

    def _served(self) -> dict[str, dict[Values, float]]:
        """Return what each meter has answered, and when it did so last."""
        registers = MODELS["sdm630"].registers
        found: dict[str, dict[Values, float]] = defaultdict(dict)
        for served in list(self._pipeline.meters.simulator.statistics.served):
            places = [(registers[n].address - served.address) * 2 for n in ("power", "energy")]
            if all(0 <= place <= len(served.data) - 4 for place in places):
                power, energy = (
                    struct.unpack_from(">f", served.data, place)[0] for place in places
                )
                values = (_thousandths(power), _thousandths(energy))
                found[str(served.unit)][values] = served.at_s
        return found


def _patiently(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a limit: the comparison counts what is missing."""
    with suppress(AssertionError):
        wait_until(condition, SETTLE_S, each_s=0.5)


def _values(payload: dict[str, float]) -> Values:
    return tuple(round(payload[n] * 1000) if n in payload else None for n in ("power", "energy"))  # type: ignore[return-value]


def _thousandths(value: float) -> int:
    return round(round(value, 3) * 1000)


def _counts(actions: Iterable[str]) -> str:
    counts = Counter(actions)
    return ", ".join(f"{counts[action]} x {action}" for action in sorted(counts))


def run(
    broker: str, seconds: float, seed: int, *, database: str = "sqlite", group: bool = False
) -> Outcome:
    """Inject faults into a new pipeline, and return the outcome."""
    with ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(place))
        url = stack.enter_context(server()) if database == "postgresql" else None
        pipeline = stack.enter_context(Pipeline(directory, broker, database_url=url, group=group))
        chaos = Chaos(pipeline, seed)
        chaos.inject(seconds)
        return chaos.compare()


def main() -> None:
    """Run it on each broker; exit with 1 if a reading was lost, changed or invented."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long, per broker")
    parser.add_argument("--broker", choices=BROKERS, action="append")
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--group", action="store_true", help="two recorders (Mosquitto only)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    options = parser.parse_args()
    good = True
    for broker in options.broker or BROKERS:
        sys.stdout.write(
            f"{broker}: {options.seconds:.0f} s at {RATE * 60:.0f} readings a minute,"
            f" seed {options.seed}\n"
        )
        sys.stdout.flush()
        outcome = run(
            broker,
            options.seconds,
            options.seed,
            database=options.database,
            group=options.group,
        )
        good &= outcome.good
        sys.stdout.write(f"{broker}: {'good' if outcome.good else 'BAD'}: {outcome}\n")
    sys.exit(not good)


if __name__ == "__main__":
    main()
