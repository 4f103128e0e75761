"""How fast the web service answers over HTTP, beside its empty route.

    python benchmarks/rest.py

A history as dense as a user's: readings of 3 meters every 10 s over 30 days, with roll-ups, filled
by SQL. One client with a kept connection asks for each route in turn. Then it asks for the list of
1,000 meters with a history of their own: the first time, and from memory.
"""

import argparse
import json
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

import peewee

from benchmarks.figures import NAMES, Verdict, line, ms, title
from contract.times import epoch_ms
from history.database import migrate, open_database
from history.dialect import run
from history.rollups.dirty_buckets import COUNTERS
from history.rollups.levels import ROLLUPS
from history.tables import add_columns, quantity_id
from tests.support.parts import Part, free_port, listens, wait_until

METERS, DAYS, EVERY_MS = 3, 30, 10_000
ROLLED_UP = ("power", "power_l1", "energy", "energy_export")
END = datetime.now(UTC).replace(microsecond=0)
ROUNDS, EACH = 12, 30
LEAST_SHARE = 0.7
MANY, READINGS_OF_MANY = 1000, 50
FIRST_LIST_MS, LATER_LIST_MS = 300, 100


def filled(url: str) -> None:
    """Create the history."""
    database = open_database(url)
    migrate(database)
    with database.atomic():
        add_columns(database, NAMES)
        for meter in range(1, METERS + 1):
            _fill(database, meter)
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _fill(database: peewee.Database, meter: int) -> None:
    end, count = epoch_ms(END), DAYS * 86_400_000 // EVERY_MS
    begin = end - count * EVERY_MS
    run(
        database,
        "INSERT INTO meters (name, first_ts, last_ts, snapshots) VALUES (?, ?, ?, ?)",
        (str(meter), begin, end - EVERY_MS, True),
    )
    values = [
        f"i * {EVERY_MS} / 3600" if name in COUNTERS else f"i * {7919 + place} % 1000003"
        for place, name in enumerate(NAMES)
    ]
    run(
        database,
        "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        f"INSERT INTO readings_raw (meter, ts, {', '.join(NAMES)}) "
        f"SELECT {meter}, {begin} + i * {EVERY_MS}, {', '.join(values)} FROM n",
        (count - 1,),
    )
    for name in set(ROLLED_UP) & set(NAMES):
        delta = f"MAX({name}) - MIN({name})" if name in COUNTERS else "NULL"
        for level in ROLLUPS:
            run(
                database,
                "INSERT INTO rollup "
                "(level, meter, quantity, bucket, n, mean, min, max, last, delta) "
                f"SELECT {level}, meter, ?, ts / {level * 60_000} * {level * 60}, COUNT(*), "
                f"CAST(AVG({name}) AS BIGINT), MIN({name}), MAX({name}), MAX({name}), {delta} "
                "FROM readings_raw WHERE meter = ? GROUP BY 4",
                (quantity_id(database, name), meter),
            )


class Client:
    """A client that keeps its connection, as a front end does."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str) -> bytes:
        """Return the body of a response with status 200."""
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")
        return body

    def times(self, paths: Sequence[str], rounds: int = ROUNDS) -> list[float]:
        """Return the median seconds of each path, asked in turn."""
        taken: list[list[float]] = [[] for _ in paths]
        for _ in range(rounds):
            for times, path in zip(taken, paths, strict=True):
                self.get(path)
                for _ in range(EACH):
                    began_s = time.perf_counter()
                    self.get(path)
                    times.append(time.perf_counter() - began_s)
        return [median(times) for times in taken]


def chart(days: float, points: int, **more: str) -> str:
    """Return the path of a chart of the last days."""
    since = END - timedelta(days=days)
    query = {"quantities": "power", "from": since.isoformat(), "to": END.isoformat()}
    return f"/meters/1/series?{urlencode({**query, 'points': points, **more})}"


EMPTY = "/healthz"
ROUTES: tuple[tuple[str, str, float], ...] = (
    ("newest reading of a meter", "/readings/1?limit=1", 1.5),
    ("24 hours at 500 points", chart(1, 500), 4),
    ("30 days at 1,000 points", chart(30, 1000), 6),
    ("energy of the last days", "/meters/1/energy", 3),
    ("all meters", "/meters/", 3),
)
POINTS = {1: 500, 2: 1000}
"""The points that a route has to return, by its place."""


def many_meters(directory: Path) -> tuple[float, float]:
    """Return the seconds for the list of a thousand meters, the first time and the next ones."""
    url = f"sqlite:///{directory}/many.db"
    database = open_database(url)
    migrate(database)
    begin = epoch_ms(END) - READINGS_OF_MANY * EVERY_MS
    end = begin + (READINGS_OF_MANY - 1) * EVERY_MS
    numbers = "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
    with database.atomic():
        add_columns(database, NAMES)
        run(
            database,
            f"{numbers} INSERT INTO meters (id, name, first_ts, last_ts, snapshots) "
            f"SELECT i + 1, 'm' || i, {begin}, {end}, 1 FROM n",
            (MANY - 1,),
        )
        run(
            database,
            f"{numbers} INSERT INTO readings_raw (meter, ts, {', '.join(NAMES)}) "
            f"SELECT i % {MANY} + 1, {begin} + i / {MANY} * {EVERY_MS}, "
            f"{', '.join('i' for _ in NAMES)} FROM n",
            (MANY * READINGS_OF_MANY - 1,),
        )
    database.close()
    http = free_port()
    settings = {"DATABASE_URL": url, "HTTP_PORT": http, "MQTT_PORT": free_port()}
    with Part.module("web", directory=directory, **settings):
        wait_until(lambda: listens(http), what="the web service")
        client = Client(http)
        client.get("/readings/m1?limit=1")
        began_s = time.perf_counter()
        found = json.loads(client.get("/meters/"))
        first_s = time.perf_counter() - began_s
        if len(found) != MANY:
            raise RuntimeError(f"/meters/: {len(found)} meters instead of {MANY}")
        return first_s, client.times(["/meters/"], rounds=2)[0]


def main() -> None:
    """Fill, start, measure and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name, ExitStack() as stack:
        directory = Path(name).absolute()
        url = f"sqlite:///{directory}/energy_meters.db"
        filled(url)
        mqtt, http = free_port(), free_port()
        stack.enter_context(Part.module("broker", directory=directory, MQTT_PORT=mqtt))
        wait_until(lambda: listens(mqtt), what="the broker")
        settings: dict[str, Any] = {"DATABASE_URL": url, "HTTP_PORT": http, "MQTT_PORT": mqtt}
        stack.enter_context(Part.module("web", directory=directory, **settings))
        wait_until(lambda: listens(http), what="the web service")
        client = Client(http)
        empty_s, *taken = client.times([EMPTY, *(path for _, path, _ in ROUTES)])
        points = {n: len(json.loads(client.get(ROUTES[n][1]))["ts"]) for n in POINTS}
        first_s, later_s = many_meters(directory)
    title(f"REST: {METERS} meters, a reading every {EVERY_MS / 1000:g} s, {DAYS} days, SQLite")
    line("empty route", ms(empty_s), f"{1 / empty_s:.0f} requests/s")
    verdict = Verdict()
    for n, ((what, _, most_ms), taken_s) in enumerate(zip(ROUTES, taken, strict=True)):
        beside = f"{empty_s / taken_s:.0%} of the empty route's rate"
        ok = taken_s * 1000 <= most_ms
        verdict.figure(what, ms(taken_s), beside, f"<= {most_ms:g} ms", ok=ok)
        if n in POINTS:
            ok = points[n] == POINTS[n]
            verdict.figure("    points", f"{points[n]}", "", f"= {POINTS[n]}", ok=ok)
    share = empty_s / taken[0]
    beside = "newest reading, of the empty route's rate"
    reach = f">= {LEAST_SHARE:.0%}"
    verdict.figure("share of the rate", f"{share:.0%}", beside, reach, ok=share >= LEAST_SHARE)
    for what, taken_s, most_ms in (
        (f"{MANY:,} meters, the first time", first_s, FIRST_LIST_MS),
        (f"{MANY:,} meters from memory", later_s, LATER_LIST_MS),
    ):
        ok = taken_s * 1000 <= most_ms
        verdict.figure(what, ms(taken_s), "", f"<= {most_ms} ms", ok=ok)
    verdict.end()


if __name__ == "__main__":
    main()
