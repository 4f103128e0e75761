"""Roll-ups of 5 minutes: what the readings lead to."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import sub

import peewee

from contract.times import format_time, from_epoch_ms
from history.dialect import Row, fetch, fetch_one
from history.rollups.buckets import Point, spans, summaries
from history.rollups.dirty_buckets import COUNTERS
from history.rollups.levels import DAY, FIVE_MINUTES, bucket_of
from history.rollups.meter_readings import MeterReadings
from history.rollups.netting import (
    EXPORT,
    IMPORT,
    NETTED_EXPORT,
    NETTED_IMPORT,
    Before,
    Counted,
    Flow,
    moves,
    split,
)
from history.tables import quantity_ids, stored_quantities

logger = logging.getLogger(__name__)

_COUNTERS = frozenset(COUNTERS)
_MOST_REPORTED = 1000


class FiveMinutes:
    """Computes the rows of 5 minutes from readings; it stores none.

    With `names`, it computes those of these quantities alone. With `logs_steps_back` it logs once a
    day that a counter has gone back.
    """

    def __init__(
        self,
        database: peewee.Database,
        names: Collection[str] | None = None,
        *,
        logs_steps_back: bool = False,
    ) -> None:
        self._database = database
        self._names = names
        self._logs_steps_back = logs_steps_back
        known = None if names is None else {*names, NETTED_IMPORT, NETTED_EXPORT}
        self._numbers = quantity_ids(database, known)
        self._reported: set[tuple[int, str, int]] = set()

    def computed(
        self, meter: int, begin: int, end: int, *, before_ms: int | None = None
    ) -> list[Row]:
        """Return the rows between two edges of 5 minutes (epoch s).

        With `before_ms`, readings from then on (epoch ms) are left out. A bucket without readings
        has no row: they may have been deleted.
        """
        readings = MeterReadings(self._database, meter)
        stored = stored_quantities(self._database)
        wanted = [name for name in stored if self._names is None or name in self._names]
        end_ms = end * 1000 if before_ms is None else before_ms
        sent = readings.between(wanted, begin * 1000, end_ms)
        if not sent:
            return []
        first = min(times[0] for times, _ in sent.values())
        before = readings.before(first, [name for name in sent if name in _COUNTERS])
        counted: dict[str, Counted] = {}
        by_id = {id(times): times for times, _ in sent.values()}  # most quantities share theirs
        spans_of = {key: spans(times) for key, times in by_id.items()}
        found: list[Row] = []
        for name, column in sent.items():
            times, values = column
            advances = None
            if name in _COUNTERS:
                advances = readings.steps(self._numbers[name], column, before.get(name))
                counted[name] = Counted(times, values, advances)
                self._report_steps_back(meter, name, times, advances)
            number = self._numbers[name]
            found += summaries(meter, number, spans_of[id(times)], values, advances)
        if IMPORT in counted and EXPORT in counted:
            last = _before_both(readings, self._numbers, counted, before)
            found += self._net(meter, begin, counted, last)
        return found

    def _net(
        self, meter: int, begin: int, counted: Mapping[str, Counted], before: Before | None
    ) -> Iterator[Row]:
        """Yield the rows of the netted counters from an edge (epoch s) on.

        They have no register: mean and extremes are 0, and `last` is the flow at the end.
        """
        found = moves(counted[IMPORT], counted[EXPORT], before)
        if not found.times:
            return
        flow = self._flow_before(meter, begin)
        for bucket, first, end in spans(found.times):
            *sums, flow = split(found, first, end, flow)
            for name, advance in zip((NETTED_IMPORT, NETTED_EXPORT), sums, strict=True):
                figures = (end - first, 0, 0, 0, flow.code, advance)
                yield FIVE_MINUTES, meter, self._numbers[name], bucket, *figures

    def _flow_before(self, meter: int, begin: int) -> Flow:
        """Return the flow at the end of the last bucket before an edge (epoch s).

        Rows after it may be those of readings that have become void.
        """
        row = fetch_one(
            self._database,
            "SELECT last FROM rollup WHERE level = ? AND meter = ? AND quantity = ? AND bucket < ? "
            "ORDER BY bucket DESC LIMIT 1",
            (FIVE_MINUTES, meter, self._numbers[NETTED_IMPORT], begin),
        )
        return Flow.decoded(row[0]) if row else Flow()

    def _report_steps_back(
        self, meter: int, name: str, times: Sequence[int], advances: Sequence[int]
    ) -> None:
        """Log a meter's counter once a day: one that steps back may do so at every reading."""
        if not self._logs_steps_back or min(advances) >= 0:
            return
        place = next(i for i, advance in enumerate(advances) if advance < 0)
        step = (meter, name, bucket_of(times[place], DAY))
        if step in self._reported:
            return
        if len(self._reported) >= _MOST_REPORTED:
            self._reported.clear()
        self._reported.add(step)
        meter_id = fetch(self._database, "SELECT name FROM meters WHERE id = ?", (meter,))[0][0]
        logger.warning(
            "meter %s: %s went back by %.3f at %s; such steps count negative",
            meter_id,
            name,
            -advances[place] / 1000,
            format_time(from_epoch_ms(times[place])),
        )


def _before_both(
    readings: MeterReadings,
    numbers: Mapping[str, int],
    counted: Mapping[str, Counted],
    before: Mapping[str, Point],
) -> Before | None:
    """Return the last reading with both counters before these, None if there is none."""
    if not {IMPORT, EXPORT} <= before.keys():
        return None
    times, values = zip(before[IMPORT], before[EXPORT], strict=True)
    if times[0] == times[1]:
        return Before(values)
    first = min(counted[IMPORT].times[0], counted[EXPORT].times[0])
    both = f"AND {IMPORT} IS NOT NULL AND {EXPORT} IS NOT NULL"
    row = readings.last_before(first, (IMPORT, EXPORT), both)
    if row is None:
        return None
    ts, *shown = row
    since = readings.between((IMPORT, EXPORT), ts + 1, first)
    advances = [
        sum(readings.steps(numbers[name], since[name], (ts, value))) if name in since else 0
        for name, value in zip((IMPORT, EXPORT), shown, strict=True)
    ]
    return Before((shown[0], shown[1]), sub(*advances))
