"""A short chaos on either broker; `make chaos` is the long one."""

import os
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.blows import KILL, Blow
from tests.support.outcome import Fault, Outcome, table
from tests.support.parts import require, wait_until
from tests.support.pipeline import METERS, Pipeline
from tests.system import chaos

FAULTS_S = 6
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10_000))


@pytest.mark.timeout(300)  # a reading that is missing is waited for longer than others
def test_no_reading_is_lost_stored_twice_or_changed_whichever_part_dies() -> None:
    require("mosquitto")

    with ThreadPoolExecutor() as both:
        set_ups = [chaos.SetUp(broker) for broker in chaos.BROKERS]
        started = [both.submit(chaos.run, set_up, FAULTS_S, SEED) for set_up in set_ups]
        outcomes = [each.result() for each in started]

    for outcome in outcomes:
        assert outcome.good, f"CHAOS_SEED={SEED}: {outcome}"
        assert outcome.stored > 20, outcome


def test_the_comparison_notices_what_is_lost_stored_twice_changed_or_invented(
    tmp_path: Path,
) -> None:
    with Pipeline(tmp_path, "embedded", small_disk=False) as pipeline:
        it = chaos.Chaos(pipeline, "", SEED)
        it.begin()
        query = "SELECT name, ts FROM readings_raw JOIN meters ON id = meter ORDER BY ts"
        wait_until(lambda: len(pipeline.rows(query)) >= len(METERS), what="a row of each meter")
        lost, doubled, changed = pipeline.rows(query)[:3]
        with closing(sqlite3.connect(pipeline.history, timeout=30)) as database, database:
            _change(database, "DELETE FROM readings_raw", lost)
            _change(database, "UPDATE readings_raw SET power = power + 1000000", changed)
            _change(database, "CREATE TEMP TABLE copy AS SELECT * FROM readings_raw", doubled)
            database.execute("UPDATE copy SET ts = ts - 1")
            database.execute("INSERT INTO readings_raw SELECT * FROM copy")

        found = {(fault.kind, fault.meter) for fault in it.compare(settle_s=1).faults}

    for kind, (meter, _) in (
        ("lost", lost),
        ("twice", doubled),
        ("changed", changed),
        ("from nowhere", doubled),
    ):
        assert (kind, meter) in found


def _change(database: sqlite3.Connection, statement: str, row: tuple[str, int]) -> None:
    where = " WHERE meter = (SELECT id FROM meters WHERE name = ?) AND ts = ?"
    database.execute(statement + where, row)


def test_a_run_that_fails_names_the_reading_the_comparison_and_the_blows_around_it() -> None:
    blows = [
        Blow(KILL, ("broker", "gateway_bridge"), 1000.0),
        Blow(KILL, ("recorder_2",), 1100.0),
    ]
    outcome = Outcome("Mosquitto", 7, blows, [Fault("lost", "the journal", "4", 1001_500, 1001.5)])

    assert str(outcome).splitlines()[1] == (
        "lost: meter 4 at 1970-01-01T00:16:41.500Z (1001500), as the journal shows;"
        " blows: -1.5 s killed: broker + gateway_bridge"
    )
    assert "| killed | bridge, broker | 1: 1/0/0/0 |" in table([outcome])
    assert "| killed | recorder | 1: 0/0/0/0 |" in table([outcome])
