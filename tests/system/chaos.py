"""Chaos: parts die in random order, and no reading is lost, stored twice or changed.

    python -m tests.system.chaos --seconds 120 --broker mosquitto --seed 7
    python -m tests.system.chaos --long

Three sources show what the history should contain: the bridge's journal, an independent
subscriber, and the responses of the simulated meters. A reading is stored twice when a meter has
more rows with the same values than it has answered with them, whatever their times.
"""

import argparse
import json
import os
import random
import sqlite3
import struct
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Set
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from contract.times import epoch_ms, parse_time
from gateway_bridge.models import MODELS
from tests.support.blows import (
    BACK_S,
    FILL,
    FREEZE,
    KILL,
    RESTORE,
    ROB,
    SET_BACK,
    Striker,
)
from tests.support.journals import journaled
from tests.support.outcome import KINDS, Fault, Outcome, table
from tests.support.parts import wait_until
from tests.support.pipeline import JOURNAL_S, RATE, Pipeline
from tests.support.postgresql import running

SETTLE_S = 90.0
"""What is not stored when nothing more has been stored for so long, is lost."""
NEAR_S = JOURNAL_S + 3
COMMIT_S = float(os.environ.get("COMMIT_INTERVAL", "30"))
"""Seconds that the recorder may have readings in memory."""
SLACK_S = 2.0
"""Seconds until a clock that is set is the one that all read."""
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
        self.striker = Striker(pipeline, seed)
        self._outcome = Outcome(title, seed, self.striker.blows)

    def inject(self, seconds: float) -> None:
        """Strike blows of each kind that this machine allows."""
        kinds = [KILL] * 3 + [FREEZE, ROB]
        if self._pipeline.has_file:
            kinds.append(RESTORE)
        if self._pipeline.disk:
            kinds.append(FILL)
        if self._pipeline.has_clock:
            kinds.append(SET_BACK)
        self.begin()
        self.striker.strike_for(seconds, kinds)

    def begin(self) -> None:
        """Wait for the first rows, and copy them."""
        wait_until(self._has_begun, what="the first rows")
        if self._pipeline.has_file:
            self._pipeline.back_up()

    def compare(self, settle_s: float = SETTLE_S) -> Outcome:
        """Wait until the history has all that is due, then compare every row."""
        began_s, written = time.time(), self._journal_size()
        wait_until(lambda: self._journal_size() > written, what="the journal to be written")
        journaled, received = self._journal(), self._received()
        doomed = {key for key in received.keys() - journaled.keys() if self._is_doomed(key)}
        due = journaled.keys() | received.keys() - doomed
        self._settle(due, settle_s)
        self._outcome.settled_s = time.time() - began_s
        rows = self._rows()
        _patiently(
            lambda: not rows.keys() - self._journal().keys() - self._unjournalled(rows), settle_s
        )
        for key in due - rows.keys():
            by = "the journal" if key in journaled else "the other subscriber"
            self._found("lost", by, key)
        gone = doomed - rows.keys()
        self._outcome.replaced = len(gone & self._pipeline.replaced)
        self._outcome.died_with_two = len(gone) - self._outcome.replaced
        journal, received = self._journal(), self._received()
        self._outcome.expected = len(due | doomed)
        self._outcome.stored = len(rows)
        self._outcome.same_moment = sum(len(values) - 1 for values in journal.values())
        self._look_for_wrong(rows, journal, received)
        self._ask_meters(rows, journal, began_s)
        self._look_for_repeated_numbers()
        return self._outcome

    def _settle(self, due: Set[Key], settle_s: float) -> None:
        """Wait until all is stored, or until nothing more has come for a while."""
        missing, since_s = len(due), time.monotonic()
        while missing and time.monotonic() - since_s < settle_s:
            time.sleep(0.5)
            if (now_missing := len(due - self._rows().keys())) < missing:
                missing, since_s = now_missing, time.monotonic()

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

    def _look_for_repeated_numbers(self) -> None:
        """Find readings with one number: the recorder would not miss the second of them."""
        numbered: dict[tuple[str, int], set[int]] = defaultdict(set)
        for kept in journaled(self._pipeline.journal):
            numbered[kept.meter, kept.seq].add(kept.ts)
        for payload in self._payloads():
            numbered[payload["meter_id"], payload["seq"]].add(_ts(payload))
        for (meter, _), times in numbered.items():
            for ts in sorted(times)[1:]:
                self._found("numbered twice", "the sequence number", (meter, ts))

    def _found(self, kind: str, by: str, key: Key, at_s: float | None = None) -> None:
        moment_s = self._moments(key)[-1] if at_s is None else at_s
        self._outcome.faults.append(Fault(kind, by, *key, moment_s))

    def _moments(self, key: Key) -> tuple[float, ...]:
        """Return the true times that a reading's may be: two, where a clock repeated itself."""
        at_s, set_back_at_s = key[1] / 1000, self.striker.set_back_at_s
        if set_back_at_s is None or at_s < set_back_at_s - BACK_S - SLACK_S:
            return (at_s,)
        if at_s > set_back_at_s + SLACK_S:
            return (at_s + BACK_S,)
        return at_s, at_s + BACK_S

    def _is_doomed(self, key: Key) -> bool:
        """Return whether two blows may have destroyed both copies of a reading.

        The bridge died before it wrote the reading, and the history was replaced by a copy that
        lacks it; or the broker died before the recorder had committed it, which takes longer where
        the recorder dies as well.
        """
        killed_s = self.striker.killed_s
        recorders = [s for name in self._pipeline.recorders for s in killed_s[name]]
        moments = [at_s for at_s in self._moments(key) if self._unwritten(at_s)]
        if moments and key in self._pipeline.replaced:
            return True
        return any(
            -1 < died_s - at_s < NEAR_S
            or (
                -1 < died_s - at_s < NEAR_S + COMMIT_S
                and any(abs(died_s - each_s) < NEAR_S for each_s in recorders)
            )
            for at_s in moments
            for died_s in killed_s["broker"]
        )

    def _unwritten(self, at_s: float) -> bool:
        """Return whether a bridge may have died before it wrote a reading into its journal."""
        return any(
            -1 < died_s - at_s < NEAR_S for died_s in self.striker.killed_s["gateway_bridge"]
        )

    def _unjournalled(self, rows: Iterable[Key]) -> set[Key]:
        """Return what a bridge may have read shortly before it died, without writing it."""
        return {key for key in rows if any(map(self._unwritten, self._moments(key)))}

    def _disturbed(self, at_s: float) -> bool:
        """Return whether a bridge that died or was frozen may have missed a response."""
        frozen = self.striker.frozen_s["gateway_bridge"]
        killed = [(died_s - NEAR_S, died_s) for died_s in self.striker.killed_s["gateway_bridge"]]
        return any(begin_s - 1 < at_s < end_s + 2 for begin_s, end_s in frozen + killed)

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
        for payload in self._payloads():
            found[payload["meter_id"], _ts(payload)].add(_values(payload))
        return found

    def _payloads(self) -> list[dict[str, Any]]:
        """Return what the other subscriber has received."""
        lines = self._pipeline.log.output.splitlines()
        return [json.loads(each) for each in lines if each.startswith("{") and each.endswith("}")]

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


def _patiently(condition: Callable[[], bool], settle_s: float) -> None:
    """Wait for a condition, with a limit: the comparison counts what is missing."""
    with suppress(AssertionError):
        wait_until(condition, settle_s, each_s=0.5)


def _ts(payload: dict[str, Any]) -> int:
    ts = parse_time(payload["ts"])
    assert ts
    return epoch_ms(ts)


def _values(payload: dict[str, Any]) -> Values:
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
    sys.stdout.write(f"\nblows: {'/'.join(KINDS)}\n\n{table(outcomes)}")
    sys.exit(not all(outcome.good for outcome in outcomes))


if __name__ == "__main__":
    main()
