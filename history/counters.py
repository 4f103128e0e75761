"""By how much the counters of a meter advanced between any moments, up to its newest reading.

Sums come from days and hours; where a moment lies within an hour, the rest comes from
quarter-hours, 5 minutes and readings. What is not kept so fine counts to the later span: sums over
several spans stay exact. Buckets that wait for their roll-up are counted from the readings, by the
rules of the roll-ups.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, pairwise, repeat
from typing import NamedTuple, TypeVar

import peewee

from contract.meter_settings import Billing
from history.dialect import dialect_of, fetch, fetch_one, placeholders
from history.rollups.five_minutes import FiveMinutes
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR, start_of, width_s
from history.rollups.netting import EXPORT, IMPORT, NETTED_EXPORT, NETTED_IMPORT
from history.tables import quantity_ids, stored_quantities
from history.voids import void_spans

MOST_WAITING = 288
"""Buckets to count from readings, the newest: a day. More wait only after a large import."""
_NEAR_S = width_s(HOUR)
"""Distance of two buckets up to which what lies between them is read with them."""
_MOST_PER_QUERY = 4000
_MOST_HOURS = 4
"""Hours in a span, on average, up to which they are read rather than added up in the database."""
QUARTER_S = width_s(QUARTER_HOUR)
QUARTER_MS = QUARTER_S * 1000


T = TypeVar("T")


class Counters(NamedTuple):
    """The quantities that count what a meter draws and what it feeds in."""

    imported: str = "energy"
    exported: str = EXPORT

    @property
    def registers(self) -> "Counters":
        """The counters that the meter itself shows, of which netted ones are computed."""
        return Counters(IMPORT) if self.imported == NETTED_IMPORT else self


class Counted(NamedTuple):
    """A number of readings, and by how many thousandths a counter advanced at them."""

    readings: int
    advance: int

    def plus(self, other: "Counted", sign: int = 1) -> "Counted":
        """Return the sum with another, or with `sign` -1 the difference."""
        return Counted(self.readings + sign * other.readings, self.advance + sign * other.advance)


_NOTHING = Counted(0, 0)
_READ = {NETTED_IMPORT: (IMPORT, EXPORT), NETTED_EXPORT: (IMPORT, EXPORT)}
"""The counters that a netted one is computed from."""

Range = tuple[int, int, int]
"""A level, a bucket of it, and the bucket before which it ends."""


def counters_of(database: peewee.Database, meter: int, billing: Billing | None = None) -> Counters:
    """Return the counters that are the bill of a meter, or would be by another way of `billing`.

    That of consumption is `energy`, else `energy_import`; of both, the one that the meter has sent
    over the longer time. Where its bill is netted, the netted counters are it, once there are any.
    """
    edges = (
        f"(SELECT {{}}(bucket) FROM rollup WHERE level = {DAY} AND meter = {meter} "
        "AND quantity = (SELECT id FROM quantities WHERE name = '{}'))"
    )
    names = ("energy", "energy_import")
    lasts = [f"{edges.format('MAX', name)} - {edges.format('MIN', name)} + 1" for name in names]
    ((energy, energy_import, netted, own),) = fetch(
        database,
        f"SELECT {', '.join(lasts)}, {edges.format('MIN', NETTED_IMPORT)}, "
        f"(SELECT COALESCE(billing, info_billing) FROM meters WHERE id = {meter})",
    )
    if (billing or own) == Billing.NETTED and netted is not None:
        return Counters(NETTED_IMPORT, NETTED_EXPORT)
    if energy is None and energy_import is None:
        stored = stored_quantities(database)
        shown = [f"{name} IS NOT NULL" if name in stored else "false" for name in names]
        newest = f"SELECT {', '.join(shown)} FROM readings_raw WHERE meter = ? ORDER BY ts DESC"
        energy, energy_import = fetch_one(database, f"{newest} LIMIT 1", (meter,)) or (1, 0)
    return Counters(imported=names[(energy_import or 0) > (energy or 0)])


class Quarters(NamedTuple):
    """The advances of counters by quarter-hour, `number` of them from `begin` (epoch s) on.

    `begun` has what they advanced by from the beginning of a quarter-hour to a moment (epoch ms)
    within it. The energy of the quarter-hours in `spread` is known by the hour alone.
    """

    begin: int
    number: int
    advances: Mapping[str, Sequence[int]]
    begun: Mapping[int, Mapping[str, int]]
    spread: Collection[int]

    @property
    def starts(self) -> range:
        """The starts of the quarter-hours in epoch seconds."""
        return range(self.begin, self.begin + self.number * QUARTER_S, QUARTER_S)

    def within(self, name: str, since: int, until: int) -> list[int]:
        """Return the advances of the quarter-hours between two moments (epoch ms).

        The part of a quarter-hour on this side of a moment within it comes last, negative for the
        first moment.
        """
        ends = ((since, -1), (until, 1))
        begun = [sign * self.begun[ms][name] for ms, sign in ends if ms in self.begun]
        return [*self.advances[name][self._place(since) : self._place(until)], *begun]

    def marks(self, column: Sequence[T], since: int, until: int) -> list[T]:
        """Return what a column has for each of these quarter-hours, in the same order."""
        begun = [column[self._place(ms)] for ms in (since, until) if ms in self.begun]
        return [*column[self._place(since) : self._place(until)], *begun]

    def _place(self, ms: int) -> int:
        return (ms // QUARTER_MS * QUARTER_S - self.begin) // QUARTER_S


class Advances:
    """The advances of some counters of one meter, within one snapshot of the database."""

    def __init__(self, database: peewee.Database, meter: int, names: Collection[str]) -> None:
        self._database = database
        self._meter = meter
        self._numbers = quantity_ids(database, names)
        self._begun_at_moments: dict[int, dict[str, Counted]] = {}

    def between(self, moments: Sequence[int]) -> dict[str, list[int | None]]:
        """Return each counter's advance between each moment (epoch ms) and the next.

        It is in thousandths; None where there was no reading.
        """
        cuts = [start_of(ms // 1000, FIVE_MINUTES) for ms in moments]
        hours = [start_of(cut, HOUR) for cut in cuts]
        found = self._until_the_cuts(hours, cuts)
        for place, (ms, cut) in enumerate(zip(moments, cuts, strict=True)):
            if ms > cut * 1000:
                for name, computed in self._begun_at(cut, ms).items():
                    _move_earlier(found[name], place, computed)
        for name, changes in self._waiting.items():
            for bucket, change in changes.items():
                _add(found[name], bisect_right(cuts, bucket) - 1, change)
        return {
            name: [counted.advance if counted.readings else None for counted in sums]
            for name, sums in found.items()
        }

    def _until_the_cuts(
        self, hours: Sequence[int], cuts: Sequence[int]
    ) -> dict[str, list[Counted]]:
        """Return what each counter advanced by between each cut and the next, by the roll-ups.

        `hours` are those in which the cuts lie.
        """
        is_dense = hours[-1] - hours[0] <= _MOST_HOURS * len(hours) * width_s(HOUR)
        whole = [] if is_dense else list(self._whole(hours))
        parts = list(_since_the_hour(cuts))
        found = {}
        for name, counted in self._rolled_up([each for _, each in (*whole, *parts)]).items():
            nothing = [_NOTHING] * (len(hours) - 1)
            sums = found[name] = self._by_hour(name, hours) if is_dense else nothing
            for (place, _), part in zip(whole, counted, strict=False):
                _add(sums, place, part)
            for (place, _), part in zip(parts, counted[len(whole) :], strict=True):
                _move_earlier(sums, place, part)
        return found

    def _whole(self, hours: Sequence[int]) -> Iterator[tuple[int, Range]]:
        """Yield the ranges between each of these hours and the next, with its place.

        The days within a range are read instead of their hours, where days are kept as long.
        """
        for place, (begin, end) in enumerate(pairwise(hours)):
            days = start_of(begin + width_s(DAY) - 1, DAY), start_of(end, DAY)
            if not (self._has_days and days[0] < days[1]):
                days = (end, end)
            for level, a, b in ((HOUR, begin, days[0]), (DAY, *days), (HOUR, days[1], end)):
                if a < b:
                    yield place, (level, a, b)

    @cached_property
    def _has_days(self) -> bool:
        """Whether the days of these counters begin as early as their hours."""
        first = (
            "(SELECT MIN(bucket) FROM rollup WHERE level = {} "
            f"AND meter = {self._meter} AND quantity = {{}})"
        )
        firsts = [
            fetch_one(
                self._database, f"SELECT {first.format(DAY, each)}, {first.format(HOUR, each)}"
            )
            or (None, None)
            for each in self._numbers.values()
        ]
        return all(hour is None or (day is not None and day <= hour) for day, hour in firsts)

    def _begun_at(self, cut: int, ms: int) -> dict[str, Counted]:
        """Return what each counter advanced by from an edge of 5 minutes until a moment (epoch ms).

        What is netted there depends on what waits to be rolled up before it.
        """
        if ms not in self._begun_at_moments:
            end = cut + width_s(FIVE_MINUTES)
            runs = self._runs if _READ.keys() & self._numbers.keys() else ()
            begin = next((begin for begin, last in runs if begin <= cut < last), cut)
            computed = self._computed(begin, end, before_ms=ms)
            self._begun_at_moments[ms] = {
                name: buckets[cut] for name, buckets in computed.items() if cut in buckets
            }
        return self._begun_at_moments[ms]

    def quarters(self, moments: Sequence[int], names: Collection[str] | None = None) -> Quarters:
        """Return the advances of the quarter-hours from the first moment to the last (epoch ms).

        An hour of which only the sum is left is spread evenly over its quarter-hours. With `names`
        only these counters are read.
        """
        begin = start_of(moments[0] // 1000, QUARTER_HOUR)
        end = start_of(-(-moments[-1] // 1000) + QUARTER_S - 1, QUARTER_HOUR)
        hours = start_of(begin, HOUR), start_of(end + width_s(HOUR) - 1, HOUR)
        whole = self._rolled_up([each for _, each in self._whole(hours)])
        found: dict[str, list[int]] = {}
        spread: set[int] = set()
        for name in self._numbers if names is None else names:
            stored = self._buckets(QUARTER_HOUR, name, *hours)
            undivided: dict[int, int] = {}
            if sum(stored.values()) != sum(part.advance for part in whole[name]):
                undivided = self._undivided(stored, name, *hours)
                spread.update(undivided)
            dense = found[name] = list(map(stored.get, range(begin, end, QUARTER_S), repeat(0)))
            for bucket, advance in chain(undivided.items(), self._changes(name)):
                if begin <= bucket < end:
                    dense[(bucket - begin) // QUARTER_S] += advance
        begun = self._begun([ms for ms in moments if ms % QUARTER_MS])
        return Quarters(begin, (end - begin) // QUARTER_S, found, begun, spread)

    def measured_quarters(self, name: str, since: int, until: int) -> dict[int, int]:
        """Return the advance of each quarter-hour between two of them (epoch s) with readings."""
        found = self._buckets(QUARTER_HOUR, name, since, until)
        for bucket, change in self._changes(name):
            quarter = start_of(bucket, QUARTER_HOUR)
            if since <= quarter < until:
                found[quarter] = found.get(quarter, 0) + change
        return found

    def _begun(self, moments: Sequence[int]) -> dict[int, dict[str, int]]:
        """Return what each counter advanced by from the beginning of a quarter to each moment."""
        cuts = sorted({*moments, *(ms - ms % QUARTER_MS for ms in moments)})
        sums = self.between(cuts) if cuts else {}
        found = {}
        for ms in moments:
            part = slice(cuts.index(ms - ms % QUARTER_MS), cuts.index(ms))
            found[ms] = {
                name: sum(advance or 0 for advance in advances[part])
                for name, advances in sums.items()
            }
        return found

    def _changes(self, name: str) -> Iterator[tuple[int, int]]:
        return ((bucket, change.advance) for bucket, change in self._waiting[name].items())

    def _buckets(self, level: int, name: str, begin: int, end: int) -> dict[int, int]:
        """Return the advances of the buckets of a level between two times (epoch s)."""
        columns = dialect_of(self._database).fetch_columns(
            ("bucket", "delta"),
            "rollup WHERE level = ? AND meter = ? AND quantity = ? AND bucket >= ? AND bucket < ?",
            (level, self._meter, self._numbers[name], begin, end),
            "bucket",
        )
        found = dict(zip(*columns, strict=True))
        for at, bucket, change in self._running[name]:
            if at == level and begin <= bucket < end:
                found[bucket] = found.get(bucket, 0) + change.advance
        return found

    def _undivided(
        self, quarters: Mapping[int, int], name: str, begin: int, end: int
    ) -> dict[int, int]:
        """Return the quarter-hours of the hours that have none, each with a quarter of the hour."""
        hours = self._buckets(HOUR, name, begin, end)
        divided = {start_of(quarter, HOUR) for quarter in quarters}
        found = {}
        for hour, advance in hours.items():
            if advance and hour not in divided:
                cuts = [advance * part // 4 for part in range(5)]
                for part, (a, b) in enumerate(pairwise(cuts)):
                    found[hour + part * QUARTER_S] = b - a
        return found

    def _by_hour(self, name: str, hours: Sequence[int]) -> list[Counted]:
        """Return what a counter advanced by between each of these hours and the next, hour by hour.

        Where spans have few hours that is faster than a sum in the database for each.
        """
        readings, advances = [0] * (len(hours) - 1), [0] * (len(hours) - 1)
        for bucket, n, advance in self._hours(name, hours[0], hours[-1]):
            place = bisect_right(hours, bucket) - 1
            readings[place] += n
            advances[place] += advance
        return list(map(Counted, readings, advances))

    def _hours(self, name: str, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield start, number of readings and advance of the hours between two of them."""
        columns = dialect_of(self._database).fetch_columns(
            ("bucket", "n", "delta"),
            "rollup WHERE level = ? AND meter = ? AND quantity = ? AND bucket >= ? AND bucket < ?",
            (HOUR, self._meter, self._numbers[name], begin, end),
            "bucket",
        )
        yield from zip(*columns, strict=True)
        for at, bucket, change in self._running[name]:
            if at == HOUR and begin <= bucket < end:
                yield bucket, *change

    def _rolled_up(self, ranges: Sequence[Range]) -> dict[str, list[Counted]]:
        """Return what each counter advanced by in each range, by the roll-ups."""
        found = self._stored_sums(ranges)
        for name, changes in self._running.items():
            for level, bucket, change in changes:
                for place, (at, begin, end) in enumerate(ranges):
                    if at == level and begin <= bucket < end:
                        _add(found[name], place, change)
        return found

    @cached_property
    def _running(self) -> dict[str, list[tuple[int, int, Counted]]]:
        """Return, by counter, how the rows of running buckets (level, start) differ from theirs."""
        rows = fetch(
            self._database,
            "SELECT minutes, bucket FROM rollup_running WHERE meter = ? AND minutes IN (?, ?, ?)",
            (self._meter, QUARTER_HOUR, HOUR, DAY),
        )
        ranges = [
            (at, bucket, bucket + width_s(level))
            for level, bucket in rows
            for at in (FIVE_MINUTES, level)
        ]
        return {
            name: [
                (*row, fine.plus(stored, -1))
                for row, fine, stored in zip(rows, sums[::2], sums[1::2], strict=True)
            ]
            for name, sums in self._stored_sums(ranges).items()
        }

    def _stored_sums(self, ranges: Sequence[Range]) -> dict[str, list[Counted]]:
        """Return the sums of the rows in each range."""
        sums = ", ".join(
            "(SELECT SUM(n) || ' ' || SUM(delta) FROM rollup WHERE level = part.level "
            f"AND meter = {self._meter} AND quantity = {number} "
            "AND bucket >= part.a AND bucket < part.b)"
            for number in self._numbers.values()
        )
        found: dict[str, list[Counted]] = {name: [] for name in self._numbers}
        for begin in range(0, len(ranges), _MOST_PER_QUERY):
            some = ranges[begin : begin + _MOST_PER_QUERY]
            rows = ", ".join(f"({n}, {level}, {a}, {b})" for n, (level, a, b) in enumerate(some))
            statement = (
                f"WITH part (place, level, a, b) AS (VALUES {rows}) "
                f"SELECT place, {sums} FROM part ORDER BY place"
            )
            for _, *texts in fetch(self._database, statement):
                for name, text in zip(found, texts, strict=True):
                    found[name].append(Counted(*map(int, text.split())) if text else _NOTHING)
        return found

    @cached_property
    def _dirty(self) -> list[int]:
        """The buckets that wait to be computed, in order."""
        rows = fetch(
            self._database,
            "SELECT bucket FROM rollup_dirty WHERE meter = ? ORDER BY bucket DESC LIMIT ?",
            (self._meter, MOST_WAITING),
        )
        return sorted(bucket for (bucket,) in rows)

    @cached_property
    def _runs(self) -> list[tuple[int, int]]:
        """The times in which these buckets lie, each to be read at once."""
        width = width_s(FIVE_MINUTES)
        apart = [b - a > _NEAR_S for a, b in pairwise(self._dirty)]
        cuts = [place for place, is_apart in enumerate(apart, start=1) if is_apart]
        edges = [0, *cuts, len(self._dirty)] if self._dirty else []
        return [(self._dirty[a], self._dirty[b - 1] + width) for a, b in pairwise(edges)]

    @cached_property
    def _waiting(self) -> dict[str, dict[int, Counted]]:
        """Return, by counter and bucket, how the roll-ups change that wait to be computed."""
        found: dict[str, dict[int, Counted]] = {name: {} for name in self._numbers}
        for begin, end in self._runs:
            for name, computed in self._computed(begin, end).items():
                found[name] |= computed
        void = self._void(self._dirty)
        for name, computed in found.items():
            for bucket in void:
                computed.setdefault(bucket, _NOTHING)
            for bucket, stored in self._stored(name, list(computed)):
                computed[bucket] = computed[bucket].plus(stored, -1)
        return found

    def _void(self, buckets: Sequence[int]) -> list[int]:
        """Return the buckets in which readings are void, so that their roll-ups may disappear."""
        spans = void_spans(self._database, self._meter) if buckets else []
        width = width_s(FIVE_MINUTES)
        return [
            bucket
            for bucket in buckets
            if any(begin < (bucket + width) * 1000 and bucket * 1000 < end for begin, end in spans)
        ]

    @cached_property
    def _five_minutes(self) -> FiveMinutes:
        names = {raw for name in self._numbers for raw in _READ.get(name, (name,))}
        return FiveMinutes(self._database, names)

    def _computed(
        self, begin: int, end: int, before_ms: int | None = None
    ) -> dict[str, dict[int, Counted]]:
        """Return, by counter and bucket, what the readings between two edges (epoch s) lead to."""
        rows = self._five_minutes.computed(self._meter, begin, end, before_ms=before_ms)
        of_number = {number: name for name, number in self._numbers.items()}
        found: dict[str, dict[int, Counted]] = {}
        for _, _, number, bucket, readings, *_, advance in rows:
            if number in of_number:
                found.setdefault(of_number[number], {})[bucket] = Counted(readings, advance)
        return found

    def _stored(self, name: str, buckets: Sequence[int]) -> list[tuple[int, Counted]]:
        if not buckets:
            return []
        rows = fetch(
            self._database,
            "SELECT bucket, n, delta FROM rollup WHERE level = ? AND meter = ? AND quantity = ? "
            f"AND bucket IN ({placeholders(buckets)})",
            (FIVE_MINUTES, self._meter, self._numbers[name], *buckets),
        )
        return [(bucket, Counted(n, delta)) for bucket, n, delta in rows]


def _since_the_hour(cuts: Sequence[int]) -> Iterator[tuple[int, Range]]:
    """Yield the ranges from the beginning of an hour to each cut within it, with its place."""
    for place, cut in enumerate(cuts):
        hour, quarter = start_of(cut, HOUR), start_of(cut, QUARTER_HOUR)
        if quarter > hour:
            yield place, (QUARTER_HOUR, hour, quarter)
        if cut > quarter:
            yield place, (FIVE_MINUTES, quarter, cut)


def _add(sums: list[Counted], place: int, part: Counted, sign: int = 1) -> None:
    if 0 <= place < len(sums):
        sums[place] = sums[place].plus(part, sign)


def _move_earlier(sums: list[Counted], place: int, part: Counted) -> None:
    """Move a part from the span that begins at a moment to the one that ends there."""
    _add(sums, place - 1, part)
    _add(sums, place, part, -1)
