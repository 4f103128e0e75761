"""Chaos: parts die in random order, and no reading is lost, stored twice or changed.

    python -m tests.system.chaos --seconds 120 --broker mosquitto --seed 7
    python -m tests.system.chaos --long

Three sources show what the history should contain: the bridge's journal, an independent
subscriber, and the responses of the simulated meters. A reading is stored twice when a meter has
more rows with the same values than it has answered with them, whatever their times.
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
from pathlib import Path
from typing import NamedTuple

from contract.times import epoch_ms, parse_time
from gateway_bridge.models import MODELS
from tests.support.blows import KINDS, Blow, Fault, Outcome, table
from tests.support.journals import journaled
from tests.support.parts import wait_until
from tests.support.pipeline import JOURNAL_S, RATE, Pipeline
from tests.support.postgresql import running

SETTLE_S = 90.0
NEAR_S = JOURNAL_S + 3
BACK_S = 30.0
"""Seconds that the clock is set back."""
KILL, FREEZE, FILL, SET_BACK = "kill", "freeze", "disk full", "clock set back"
ROB, RESTORE = "kill, state deleted", "kill, history restored"
DEADLY = (KILL, ROB, RESTORE)
BROKERS = ("mosquitto", "embedded")
DATABASES = ("sqlite", "postgresql")

Key = tuple[str, int]
"""A meter and epoch ms."""
Values = tuple[int | None, int | None]
"""Power and energy in thousandths."""


class SetUp(NamedTuple):
    """What a run is made of."""

    broker: str
    database: str = "sqlite"
    group: bool = False

    def __str__(self) -> str:
        words = {"mosquitto": "Mosquitto", "sqlite": "SQLite", "postgresql": "PostgreSQL"}
        names = [words.get(each, each) for each in (self.broker, self.database)]
        return ", ".join([*names, "two recorders"] if self.group else names)


LONG = (
    SetUp("mosquitto"),
    SetUp("embedded"),
    SetUp("mosquitto", group=True),
    SetUp("mosquitto", "postgresql", group=True),
    SetUp("embedded", "postgresql"),
)
LONG_S = 360.0
"""Seconds of blows for each of them: half an hour in all."""


class Chaos:
    """Injects faults into a pipeline, then compares the readings."""

    def __init__(self, pipeline: Pipeline, title: str, seed: int) -> None:
        self._pipeline = pipeline
        self._dice = random.Random(seed)
        self._outcome = Outcome(title, seed)
        self._killed_s: dict[str, list[float]] = defaultdict(list)
        self._disturbances: list[tuple[float, float]] = []
        self._clock_s = 0.0
        self._set_back_at_s = 0.0

    def inject(self, seconds: float) -> None:
        """Strike one blow after the other, each kind at least once if time allows."""
        kinds = [KILL] * 3 + [FREEZE, ROB]
        if self._pipeline.has_file:
            kinds.append(RESTORE)
        if self._pipeline.disk:
            kinds.append(FILL)
        if self._pipeline.has_clock:
            kinds.append(SET_BACK)
        self.begin()
        ends_s = time.monotonic() + seconds
        left: list[str] = []
        while time.monotonic() < ends_s:
            left = left or self._dice.sample(kinds, len(kinds))
            kind = left.pop()
            if kind != SET_BACK or not self._clock_s:
                self.strike(kind, *self._parts_for(kind))

    def begin(self) -> None:
        """Wait for the first rows, and copy them."""
        wait_until(self._has_begun, what="the first rows")
        if self._pipeline.has_file:
            self._pipeline.back_up()

    def strike(self, kind: str, *parts: str) -> None:
        """Strike a blow, and start again what has died."""
        self._outcome.blows.append(Blow(kind, parts, time.time()))
        if kind in DEADLY:
            for name in parts:
                self._die(name)
        effects: dict[str, Callable[[], None]] = {
            ROB: self._pipeline.forget_broker_state,
            RESTORE: self._pipeline.restore,
            FILL: lambda: self._pipeline.fill_disk(self._dice.uniform(1, 4)),
            SET_BACK: self._set_clock_back,
            FREEZE: lambda: self._freeze(*parts),
        }
        if effect := effects.get(kind):
            effect()
        time.sleep(self._dice.uniform(0.3, 2))
        for name in self._pipeline.names:
            self._pipeline.start(name)
        time.sleep(self._dice.uniform(0.2, 1.5))

    def _parts_for(self, kind: str) -> tuple[str, ...]:
        names = self._pipeline.names
        if kind == KILL:
            return tuple(self._dice.sample(names, self._dice.choice((1, 1, 1, 2, 3))))
        if kind == FREEZE:
            return (self._dice.choice(names),)
        if kind == ROB:
            return ("broker",)
        recorders = self._pipeline.recorders
        return ("gateway_bridge", *recorders) if kind == SET_BACK else recorders

    def compare(self) -> Outcome:
        """Wait until the history contains the whole journal, then compare every row."""
        began_s, written = time.time(), self._journal_size()
        wait_until(lambda: self._journal_size() > written, what="the journal to be written")
        expected = self._journal()
        _patiently(lambda: expected.keys() <= self._rows().keys())
        self._outcome.settled_s = time.time() - began_s
        rows = self._rows()
        _patiently(lambda: not rows.keys() - self._journal().keys() - self._unjournalled(rows))
        journal, received = self._journal(), self._received()
        self._outcome.expected = len(expected.keys() | received.keys())
        self._outcome.stored = len(rows)
        self._outcome.same_moment = sum(len(values) - 1 for values in journal.values())
        self._look_for_lost(rows, expected, journal, received)
        self._look_for_wrong(rows, journal, received)
        self._ask_meters(rows, journal, began_s)
        return self._outcome

    def _look_for_lost(
        self,
        rows: dict[Key, Values],
        expected: dict[Key, set[Values]],
        journal: dict[Key, set[Values]],
        received: dict[Key, set[Values]],
    ) -> None:
        for key in expected.keys() - rows.keys():
            self._found("lost", "the journal", key)
        # Received, but not in the journal: the bridge was killed before it wrote. If the broker
        # also died before the recorder had it, that is one crash more than is guaranteed.
        for key in received.keys() - journal.keys() - rows.keys():
            if self._two_died(key[1] / 1000):
                self._outcome.died_with_two += 1
            elif key[1] / 1000 < time.time() - NEAR_S - self._clock_s:
                self._found("lost", "the other subscriber", key)

    def _look_for_wrong(
        self,
        rows: dict[Key, Values],
        journal: dict[Key, set[Values]],
        received: dict[Key, set[Values]],
    ) -> None:
        known = {
            key: journal.get(key, set()) | received.get(key, set())
            for key in journal.keys() | received.keys()
        }
        for key, values in rows.items():
            if key in known and values not in known[key]:
                self._found("changed", "journal and subscriber", key)
        for key in rows.keys() - known.keys() - self._unjournalled(rows):
            self._found("from nowhere", "journal and subscriber", key)

    def _ask_meters(
        self, rows: dict[Key, Values], journal: dict[Key, set[Values]], began_s: float
    ) -> None:
        """Compare with the meters: each answer is stored once, and no row is without an answer."""
        served = self._served()
        self._outcome.served = sum(map(len, served.values()))
        times = Counter((meter, values) for (meter, _), values in rows.items())
        for key, values in rows.items():
            answers = served[key[0]].get(values)
            if not answers:
                self._found("from nowhere", "the meter", key)
            elif times[key[0], values] > len(answers):
                self._found("twice", "the meter", key)
                times[key[0], values] -= 1
        # With the clock set back, a reading may have a moment that an earlier one has taken.
        taken = {(key[0], each) for key in journal.keys() & rows.keys() for each in journal[key]}
        for meter, answers_of in served.items():
            for values, answers in answers_of.items():
                at_s = answers[-1]
                stored = (meter, values) in times or (meter, values) in taken
                if not stored and began_s > at_s and not self._disturbed(at_s):
                    self._found("lost", "the meter", (meter, round(at_s * 1000)), at_s)

    def _found(self, kind: str, by: str, key: Key, at_s: float | None = None) -> None:
        fault = Fault(kind, by, *key, self._true_s(key[1] / 1000) if at_s is None else at_s)
        self._outcome.faults.append(fault)

    def _true_s(self, at_s: float) -> float:
        """Return the true time of a reading's time, which the clock that was set back gave it."""
        true_s = at_s + self._clock_s
        return true_s if true_s >= self._set_back_at_s else at_s

    def _two_died(self, at_s: float) -> bool:
        return all(
            any(-1 < killed_s - at_s < NEAR_S + self._clock_s for killed_s in self._killed_s[name])
            for name in ("gateway_bridge", "broker")
        )

    def _unjournalled(self, rows: Iterable[Key]) -> set[Key]:
        """Return what a bridge may have read shortly before it died, without writing it."""
        return {
            key
            for key in rows
            for killed_s in self._killed_s["gateway_bridge"]
            if -1 < killed_s - key[1] / 1000 < NEAR_S + self._clock_s
        }

    def _disturbed(self, at_s: float) -> bool:
        """Return whether a bridge that died or was frozen may have missed a response."""
        return any(begin_s - NEAR_S < at_s < end_s + 2 for begin_s, end_s in self._disturbances)

    def _die(self, name: str) -> None:
        self._killed_s[name].append(time.time())
        if name == "gateway_bridge":
            self._disturbances.append((time.time(), time.time()))
        self._pipeline.kill(name)

    def _freeze(self, name: str) -> None:
        began_s = time.time()
        self._pipeline.freeze(name, self._dice.uniform(0.5, 4))
        if name == "gateway_bridge":
            self._disturbances.append((began_s, time.time()))

    def _set_clock_back(self) -> None:
        self._clock_s, self._set_back_at_s = BACK_S, time.time()
        self._pipeline.set_clock(-BACK_S)

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

    def _served(self) -> dict[str, dict[Values, list[float]]]:
        """Return what each meter has answered, and at which times."""
        registers = MODELS["sdm630"].registers
        found: dict[str, dict[Values, list[float]]] = defaultdict(lambda: defaultdict(list))
        for served in list(self._pipeline.meters.simulator.statistics.served):
            places = [(registers[n].address - served.address) * 2 for n in ("power", "energy")]
            if all(0 <= place <= len(served.data) - 4 for place in places):
                power, energy = (
                    struct.unpack_from(">f", served.data, place)[0] for place in places
                )
                values = (_thousandths(power), _thousandths(energy))
                found[str(served.unit)][values].append(served.at_s)
        return found


def _patiently(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a limit: the comparison counts what is missing."""
    with suppress(AssertionError):
        wait_until(condition, SETTLE_S, each_s=0.5)


def _values(payload: dict[str, float]) -> Values:
    return tuple(round(payload[n] * 1000) if n in payload else None for n in ("power", "energy"))  # type: ignore[return-value]


def _thousandths(value: float) -> int:
    return round(round(value, 3) * 1000)


def run(set_up: SetUp, seconds: float, seed: int) -> Outcome:
    """Inject faults into a new pipeline, and return the outcome."""
    with ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(place))
        server = None
        if set_up.database == "postgresql":
            server = stack.enter_context(running(synchronous=True))
        pipeline = stack.enter_context(
            Pipeline(directory, set_up.broker, postgresql=server, group=set_up.group)
        )
        chaos = Chaos(pipeline, str(set_up), seed)
        chaos.inject(seconds)
        return chaos.compare()


def main() -> None:
    """Run it on each broker; exit with 1 if a reading is not stored once and unchanged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long, per broker (60)")
    parser.add_argument("--broker", choices=BROKERS, action="append")
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--group", action="store_true", help="two recorders (Mosquitto only)")
    parser.add_argument("--long", action="store_true", help=f"{len(LONG)} runs of {LONG_S:.0f} s")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    options = parser.parse_args()
    set_ups: Iterable[SetUp] = LONG
    if not options.long:
        brokers = options.broker or BROKERS
        set_ups = [SetUp(broker, options.database, options.group) for broker in brokers]
    seconds = options.seconds or (LONG_S if options.long else 60)
    outcomes = []
    for set_up in set_ups:
        sys.stdout.write(
            f"{set_up}: {seconds:.0f} s at {RATE * 60:.0f} readings a minute, seed {options.seed}\n"
        )
        sys.stdout.flush()
        outcomes.append(run(set_up, seconds, options.seed))
        sys.stdout.write(f"{'good' if outcomes[-1].good else 'BAD'}: {outcomes[-1]}\n")
    sys.stdout.write(f"\nblows: {' / '.join(KINDS)}\n\n{table(outcomes)}")
    sys.exit(not all(outcome.good for outcome in outcomes))


if __name__ == "__main__":
    main()
