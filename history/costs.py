"""What energy costs: the lines of a tariff for what a meter has counted. Pure arithmetic.

Energy is priced by the quarter-hour in which it was counted. What has no price is not free: it is
uncovered, and then the cost as a whole is not known.
"""

from calendar import isleap, monthrange
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import mul
from typing import Any, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo

from contract.times import epoch_ms, from_epoch_ms
from history.counters import QUARTER_S, Counters, Quarters
from history.periods import midnight_of
from history.prices import SCALE, Column
from history.tariffs import Rates

Kind = Literal["energy", "standing", "tax", "feed_in"]
_ORDER: tuple[Kind, ...] = ("energy", "standing", "tax", "feed_in")
_QUARTER = timedelta(seconds=QUARTER_S)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a bill; `price` is that of a `unit`: kWh, day, month, year, or % of `quantity`.

    Dynamic prices are one line, with their mean. What is paid for energy fed in is negative.
    """

    kind: Kind
    name: str
    unit: str
    price: float | None
    quantity: float
    amount: float


@dataclass(frozen=True, slots=True)
class Cost:
    """The lines of a bill, and the energy in kWh that has no price.

    `has_rates` is False before the first rates of the tariff.
    """

    lines: tuple[Line, ...] = ()
    uncovered: float = 0.0
    has_rates: bool = False

    @property
    def amount(self) -> float | None:
        """The sum of the lines; None where some energy has no price."""
        if self.uncovered or not self.has_rates:
            return None
        return sum(line.amount for line in self.lines)


class Segment(NamedTuple):
    """What a meter counted, in thousandths, between two times with the same rates and tiers.

    `rates` are None before the first of the tariff. `before` is what it has drawn until then in the
    month or year of the tiers.
    """

    start: datetime
    end: datetime
    rates: Rates | None
    imported: int
    exported: int
    before: int = 0


class Total:
    """What a period costs, collected segment by segment like the lines of a `Bill`."""

    def __init__(self) -> None:
        self.amount = 0.0
        self.has_rates = False
        self._uncovered = 0

    def add(self, *line: Any) -> float:
        """Add the amount of a line, the last of its figures; return it."""
        amount: float = line[-1]
        self.amount += amount
        return amount

    def add_uncovered(self, advance: int) -> None:
        """Add energy without a price, in thousandths of a kWh."""
        self._uncovered += advance

    @property
    def cost(self) -> float | None:
        """The sum; None where some energy has no price."""
        return None if self._uncovered or not self.has_rates else self.amount

    @property
    def uncovered(self) -> float:
        """The energy in kWh without a price."""
        return self._uncovered / 1000


class Bill:
    """The lines of a period, collected segment by segment."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Kind, str, str, float | None], tuple[float, float]] = {}
        self._uncovered = 0
        self.has_rates = False

    def add(
        self, kind: Kind, name: str, unit: str, price: float | None, quantity: float, amount: float
    ) -> float:
        """Add to the line of this name and price; return the amount."""
        before = self._lines.get((kind, name, unit, price), (0.0, 0.0))
        self._lines[kind, name, unit, price] = (before[0] + quantity, before[1] + amount)
        return amount

    def add_uncovered(self, advance: int) -> None:
        """Add energy without a price, in thousandths of a kWh."""
        self._uncovered += advance

    def cost(self) -> Cost:
        """Return the lines, by kind and in the order in which they were added."""
        lines = []
        for (kind, name, unit, price), (quantity, amount) in self._lines.items():
            shown = amount / quantity if price is None and quantity else price
            lines.append(Line(kind, name, unit, shown, quantity, amount))
        lines.sort(key=lambda line: _ORDER.index(line.kind))
        return Cost(tuple(lines), self._uncovered / 1000, self.has_rates)


class Pricing:
    """The prices of a tariff over the quarter-hours of a span.

    `prices` are those of each price list and column, as `history.prices` stores them. Standing
    charges accrue until `now`.
    """

    def __init__(
        self,
        zone: ZoneInfo,
        counters: Counters,
        quarters: Quarters,
        prices: Mapping[tuple[str, Column], Mapping[int, int]],
        now: datetime,
    ) -> None:
        self._zone, self._counters = zone, counters
        self._quarters, self._prices, self._now = quarters, prices, now
        self._dense: dict[tuple[str, Column], list[int | None]] = {}
        self._windows: dict[date, list[int]] = {}
        self._day: _Day | None = None

    def cost(self, segments: Iterable[Segment]) -> Cost:
        """Return what some segments cost together."""
        bill = Bill()
        for segment in segments:
            self._add(bill, segment)
        return bill.cost()

    def total(self, segments: Iterable[Segment]) -> Total:
        """Return the sum of what some segments cost."""
        total = Total()
        for segment in segments:
            self._add(total, segment)
        return total

    def _add(self, bill: Bill | Total, segment: Segment) -> None:
        rates = segment.rates
        if rates is None:
            bill.add_uncovered(segment.imported + segment.exported)
            return
        bill.has_rates = True
        net = self._add_energy(bill, rates, segment)
        for name, unit, price, quantity in self._standing(rates, segment):
            net += bill.add("standing", name, unit, price, quantity, price * quantity)
        kwh = segment.imported / 1000
        for tax in rates.taxes:
            if tax.per_kwh is not None and kwh:
                net += bill.add("tax", tax.name, "kWh", tax.per_kwh, kwh, tax.per_kwh * kwh)
        for tax in rates.taxes:
            if tax.percent is not None and net:
                bill.add("tax", tax.name, "%", tax.percent, net, net * tax.percent / 100)
        self._add_feed_in(bill, rates, segment)

    # -- energy --------------------------------------------------------------------------------

    def _add_energy(self, bill: Bill | Total, rates: Rates, segment: Segment) -> float:
        if rates.price_list:
            kwh, amount = self._dynamic(bill, rates.price_list, "price", segment)
            amount += rates.markup * kwh
            return bill.add("energy", "dynamic price", "kWh", None, kwh, amount)
        parts = self._by_window(rates, segment) if rates.windows else _by_tier(rates, segment)
        return sum(
            bill.add("energy", name, "kWh", price, advance / 1000, price * advance / 1000)
            for name, price, advance in parts
            if advance
        )

    def _add_feed_in(self, bill: Bill | Total, rates: Rates, segment: Segment) -> None:
        if not segment.exported:
            return
        if rates.price_list and rates.feed_in == "dynamic":
            kwh, amount = self._dynamic(bill, rates.price_list, "feed_in", segment)
            bill.add("feed_in", "feed-in", "kWh", None, kwh, -amount)
        else:
            kwh, price = segment.exported / 1000, 0.0 - rates.fixed_feed_in
            bill.add("feed_in", "feed-in", "kWh", price, kwh, price * kwh)

    def _dynamic(
        self, bill: Bill | Total, price_list: str, column: Column, segment: Segment
    ) -> tuple[float, float]:
        """Return the energy of a segment in kWh, and what it costs; without a price, neither."""
        counter = self._counters.imported if column == "price" else self._counters.exported
        span = epoch_ms(segment.start), epoch_ms(segment.end)
        advances = self._quarters.within(counter, *span)
        prices = self._quarters.marks(self._dense_prices(price_list, column), *span)
        if None in prices:
            known = [pair for pair in zip(advances, prices, strict=True) if pair[1] is not None]
            bill.add_uncovered(sum(advances) - sum(advance for advance, _ in known))
            advances, prices = [list(each) for each in zip(*known, strict=True)] or ([], [])
        return sum(advances) / 1000, sum(map(mul, advances, prices)) / (1000 * SCALE)

    def _dense_prices(self, price_list: str, column: Column) -> list[int | None]:
        key = price_list, column
        if key not in self._dense:
            self._dense[key] = list(map(self._prices[key].get, self._quarters.starts))
        return self._dense[key]

    def _by_window(self, rates: Rates, segment: Segment) -> list[tuple[str, float, int]]:
        """Return name, price and energy (thousandths) of each window, and of all other times."""
        span = epoch_ms(segment.start), epoch_ms(segment.end)
        totals = [0] * (len(rates.windows) + 1)
        places = self._quarters.marks(self._windows_of(rates), *span)
        advances = self._quarters.within(self._counters.imported, *span)
        for place, advance in zip(places, advances, strict=True):
            totals[place] += advance
        labels = [(window.text, window.price) for window in rates.windows]
        labels.append(("other times", rates.fixed))
        return [(*label, total) for label, total in zip(labels, totals, strict=True)]

    def _windows_of(self, rates: Rates) -> list[int]:
        """Return the place of each quarter-hour's window; that after the last for all other times.

        Local days of 24 hours are all like the first one of their weekday.
        """
        if rates.valid_from not in self._windows:
            begin = from_epoch_ms(self._quarters.begin * 1000)
            day, by_weekday = begin.astimezone(self._zone).date(), dict[int, list[int]]()
            midnight = midnight_of(day, self._zone)
            skipped = (begin - midnight) // _QUARTER
            found: list[int] = []
            while len(found) < skipped + self._quarters.number:
                day += _DAY
                following = midnight_of(day, self._zone)
                usual = by_weekday.get(day.weekday()) if following - midnight == _DAY else None
                windows = usual or _windows(rates, midnight, following, self._zone)
                if following - midnight == _DAY:
                    by_weekday[day.weekday()] = windows
                found += windows
                midnight = following
            self._windows[rates.valid_from] = found[skipped : skipped + self._quarters.number]
        return self._windows[rates.valid_from]

    # -- standing charges ----------------------------------------------------------------------

    def _standing(self, rates: Rates, segment: Segment) -> Iterator[tuple[str, str, float, float]]:
        """Yield name, unit, price and number of units of each charge; a day has an equal share."""
        end = min(segment.end, self._now)
        if not rates.standing or end <= segment.start:
            return
        units = {"day": 0.0, "month": 0.0, "year": 0.0}
        for day in self._days(segment.start, end):
            share = (min(end, day.end) - max(segment.start, day.start)) / (day.end - day.start)
            for unit, days in day.days.items():
                units[unit] += share / days
        for charge in rates.standing:
            if units[charge.per]:
                yield charge.name, charge.per, charge.price, units[charge.per]

    def _days(self, since: datetime, until: datetime) -> Iterator["_Day"]:
        """Yield the local days that a span touches; most spans lie in the day of the one before."""
        day = self._day
        if day is None or not day.start <= since < day.end:
            day = _Day.of(since.astimezone(self._zone).date(), self._zone)
        yield day
        while day.end < until:
            day = _Day.of(day.day + _DAY, self._zone)
            yield day
        self._day = day


class _Day(NamedTuple):
    """A local day, and how many of its kind each unit of a standing charge has."""

    day: date
    start: datetime
    end: datetime
    days: dict[str, int]

    @classmethod
    def of(cls, day: date, zone: ZoneInfo) -> Self:
        """Return the day of a date."""
        days = {
            "day": 1,
            "month": monthrange(day.year, day.month)[1],
            "year": 366 if isleap(day.year) else 365,
        }
        return cls(day, midnight_of(day, zone), midnight_of(day + _DAY, zone), days)


def _windows(rates: Rates, begin: datetime, end: datetime, zone: ZoneInfo) -> list[int]:
    """Return the place of the window of each quarter-hour of a local day."""
    locals_ = (
        (begin + number * _QUARTER).astimezone(zone) for number in range((end - begin) // _QUARTER)
    )
    others = len(rates.windows)
    return [
        next((n for n, window in enumerate(rates.windows) if window.contains(local)), others)
        for local in locals_
    ]


def _by_tier(rates: Rates, segment: Segment) -> list[tuple[str, float, int]]:
    """Return name, price and energy (thousandths) of the tiers that a segment goes through."""
    if not rates.tiers:
        return [("energy", rates.fixed, segment.imported)]
    begin, end = segment.before, segment.before + segment.imported
    parts, above = [], 0
    for tier in rates.tiers:
        limit = round(tier.up_to * 1000)
        parts.append((f"up to {tier.up_to:g} kWh a {tier.per}", tier.price, (above, limit)))
        above = limit
    parts.append((f"above {above / 1000:g} kWh", rates.fixed, (above, max(end, begin, above))))
    return [
        (name, price, _cut(end, *limits) - _cut(begin, *limits)) for name, price, limits in parts
    ]


def _cut(value: int, lowest: int, highest: int) -> int:
    return min(max(value, lowest), highest)
