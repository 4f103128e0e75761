"""The house: what its meters measure together, by their roles and parents.

The net flow of a meter (import less export) is that of its children and of the rest that none of
them measures. The house consumes what comes from the grid and from production, less what is
exported and stored. A flow that is not known is None, and so is all that depends on it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from math import ceil, inf
from statistics import median
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import peewee

from contract.meter_settings import Role, cycle
from history import energy
from history.dialect import fetch
from history.energy import Figures, MeterEnergy, Span, Spans
from history.hierarchy import Flow, Site, are_standing, site_of, standing
from history.periods import Unit, edges, start_of
from history.rollups.levels import DAY
from history.series import columns
from history.tables import Meter, quantity_id, read_meters, stored_quantities
from history.tariffs import Tariffs

EXPORT = "energy_export"
TOLERANCE = 0.02
"""Share of the energy by which meters of class 1 may differ from one another."""
TOLERANCE_KWH = 0.05
POWERS = ("consumption", "grid", "production", "storage", "consumers", "rest")
"""The flows of a house that a chart shows."""
MOST_POINTS = 1000
GAP = 2.5
"""Multiple of the usual distance of points from which there is a gap between two of them."""

# -- the balance -------------------------------------------------------------------------------


class Balance(NamedTuple):
    """The flows of a house; None where one is not known, or no meter has that role.

    `grid` is positive while the house imports, `storage` while energy is stored. `rest` is the
    consumption that no consumer's meter measures; `rests` has, for each meter with children, what
    none of them measures.
    """

    grid: Flow
    production: Flow
    storage: Flow
    consumption: Flow
    consumers: Flow
    rest: Flow
    rests: dict[str, Flow]


def balance(site: Site, nets: Mapping[str, Flow]) -> Balance:
    """Return the flows of a house from the net flow of each meter.

    Without a meter of the grid, the house consumes what the meters of its consumers measure.
    """
    flows = {
        role: _sum(
            _less(nets.get(name), map(nets.get, others)) if others else nets.get(name)
            for name, others in parts
        )
        for role, parts in site.parts.items()
    }
    grid, consumers = flows.get(Role.GRID), flows.get(Role.CONSUMER)
    others = [flows[role] for role in (Role.PRODUCTION, Role.STORAGE) if role in flows]
    consumption = _less(grid, others) if Role.GRID in flows else consumers
    return Balance(
        grid,
        _less(0.0, [flows.get(Role.PRODUCTION)]),
        flows.get(Role.STORAGE),
        consumption,
        consumers,
        _less(consumption, [consumers]) if Role.GRID in flows else None,
        {
            name: _less(nets.get(name), [nets.get(child) for child in node.children])
            for name, node in site.nodes.items()
            if node.children
        },
    )


def _sum(flows: Iterable[Flow]) -> Flow:
    """Return the sum; None where there is nothing to add, or anything is unknown."""
    given = list(flows)
    if not given or None in given:
        return None
    return round(sum(given), 6)  # type: ignore[arg-type]  # none of them is None


def _less(flow: Flow, others: Iterable[Flow]) -> Flow:
    """Return a flow less others; None where anything is unknown."""
    if flow is None:
        return None
    given = list(others)
    return None if None in given else round(flow - sum(given), 6)  # type: ignore[arg-type]


# -- energy ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HousePeriod:
    """The energy of a house in a period, in kWh, and that of its meters; None where unknown.

    `billed` are the meters whose cost is that of the house: the grid's, or without one those of
    the consumers.
    """

    start: datetime
    end: datetime
    site: Site
    meters: dict[str, Figures]
    balance: Balance
    imported: Flow
    exported: Flow
    charged: Flow
    discharged: Flow
    billed: tuple[Figures, ...]

    @property
    def cost(self) -> float | None:
        """What the house pays, less what it is paid for its export."""
        return _sum(period.cost for period in self.billed)

    @property
    def uncovered(self) -> Flow:
        """The energy that has no price; None without prices."""
        return _sum(each.uncovered for each in self.billed)

    @property
    def self_consumed(self) -> Flow:
        """The production that was not exported."""
        if self.balance.production is None or self.exported is None:
            return None
        return round(max(self.balance.production - self.exported, 0), 6)

    @property
    def self_consumption(self) -> float | None:
        """The share of the production that was not exported."""
        return _share(self.self_consumed, self.balance.production)

    @property
    def self_sufficiency(self) -> float | None:
        """The share of the consumption that was not imported; None without production."""
        if self.balance.production is None:
            return None
        return _share(_less(self.balance.consumption, [self.imported]), self.balance.consumption)


@dataclass(frozen=True, slots=True)
class HouseComparison:
    """The running period, the one before up to the same point, and the whole of it."""

    now: HousePeriod
    before_so_far: HousePeriod
    before: HousePeriod


NoteKind = Literal[
    "parent_unknown",
    "parents_circle",
    "children_exceed",
    "production_imports",
    "no_export",
    "no_price",
]


@dataclass(frozen=True, slots=True)
class Note:
    """What a person should look at: a meter, and a sentence about it.

    A page in another language makes its own sentence from `kind`, `kwh` and `other`, which is the
    parent of the meter, or the path of its parents.
    """

    meter_id: str
    text: str
    kind: NoteKind
    kwh: float | None = None
    other: str | None = None


def house(site: Site, start: datetime, end: datetime, meters: Mapping[str, Figures]) -> HousePeriod:
    """Return the energy of a house in a period from that of its meters."""
    known = {name: meters[name] for name in site.nodes}
    nets = {
        name: node.net(known[name].imported, known[name].exported)
        for name, node in site.nodes.items()
    }
    stored = [
        _charges(known[name], _less(nets[name], map(nets.get, others)), is_whole=not others)
        for name, others in site.parts.get(Role.STORAGE, [])
    ]
    grid = [known[name] for name, _ in site.parts.get(Role.GRID, [])]
    return HousePeriod(
        start,
        end,
        site,
        known,
        balance(site, nets),
        _sum(period.imported for period in grid),
        _sum(period.exported for period in grid),
        _sum(charged for charged, _ in stored),
        _sum(discharged for _, discharged in stored),
        tuple(known[name] for name in site.billed),
    )


def _charges(period: Figures, own: Flow, *, is_whole: bool) -> tuple[Flow, Flow]:
    """Return what was stored and released; only the difference where other meters lie below."""
    if is_whole:
        return period.imported, None if period.imported is None else period.exported or 0.0
    return (None, None) if own is None else (max(own, 0.0), max(-own, 0.0))


@dataclass(frozen=True)
class Meters:
    """The meters of the history; those `without_export` have never counted an export."""

    all: Sequence[Meter]
    without_export: Collection[str] = ()
    _sites: dict[tuple[bool, ...], Site] = field(default_factory=dict)

    def site(self, since: datetime, until: datetime, now: datetime) -> Site:
        """Return the site in a period."""
        there = are_standing(self.all, since, until, now)
        if there not in self._sites:
            self._sites[there] = site_of(standing(self.all, there), self.without_export)
        return self._sites[there]


def read(database: peewee.Database) -> Meters:
    """Return the meters of the history."""
    meters = read_meters(database)
    if EXPORT not in stored_quantities(database):
        return Meters(meters, {meter.name for meter in meters})
    rows = fetch(
        database,
        "SELECT name FROM meters m WHERE NOT EXISTS (SELECT 1 FROM rollup "
        "WHERE level = ? AND meter = m.id AND quantity = ?) AND (SELECT "
        f"{EXPORT} FROM readings_raw WHERE meter = m.id ORDER BY ts DESC LIMIT 1) IS NULL",
        (DAY, quantity_id(database, EXPORT)),
    )
    return Meters(meters, {name for (name,) in rows})


class HouseEnergy:
    """Energy and cost of the house, within one snapshot of the database.

    `tariff` is the name of another tariff than those of the meters. Standing charges accrue until
    `now`. Without `each_cost`, only the meters of the house's own bill have one, which is faster.
    """

    def __init__(
        self,
        database: peewee.Database,
        meters: Meters,
        zone: ZoneInfo,
        now: datetime,
        *,
        tariffs: Tariffs | None = None,
        tariff: str | None = None,
        each_cost: bool = True,
    ) -> None:
        self._meters, self._zone, self._now = meters, zone, now.astimezone(UTC)
        self._each_cost = each_cost
        billed = site_of(meters.all).billed if tariffs else []
        self._of = {
            each.name: MeterEnergy(
                database, each, zone, energy.chosen(tariffs, each.name, tariff, billed), now
            )
            for each in meters.all
        }

    def between(self, moments: Sequence[datetime]) -> list[HousePeriod]:
        """Return what each period between a moment and the next has."""
        spans = Spans(list(pairwise(moments)))
        priced = self._priced(spans.spans)
        found = {n: each.figures(spans, costs=n in priced) for n, each in self._of.items()}
        return self._periods(spans.spans, found)

    def periods(self, unit: Unit, since: datetime, until: datetime) -> list[HousePeriod]:
        """Return what each period has that `since` to `until` touches."""
        return self.between(edges(unit, since, until, self._zone))

    def compare(self, unit: Unit) -> HouseComparison:
        """Return the running period beside the one before it, as `energy.compare` for a meter."""
        start = start_of(unit, self._now, self._zone)
        spans = energy.running(unit, start, self._now, self._zone)
        priced = self._priced(spans)
        found = {
            name: each.figures(Spans(each.running(unit)), costs=name in priced)
            for name, each in self._of.items()
        }
        return HouseComparison(*self._periods(spans, found))

    def _priced(self, spans: Sequence[Span]) -> Collection[str]:
        """Return the meters to compute costs of."""
        if self._each_cost:
            return self._of.keys()
        sites = (self._meters.site(start, end, self._now) for start, end in spans)
        return {name for site in sites for name in site.billed}

    def _periods(
        self, spans: Sequence[Span], found: Mapping[str, Sequence[Figures]]
    ) -> list[HousePeriod]:
        result = []
        for place, (start, end) in enumerate(spans):
            site = self._meters.site(start, end, self._now)
            there = {name: found[name][place] for name in site.nodes}
            local = start.astimezone(self._zone), end.astimezone(self._zone)
            result.append(house(site, *local, there))
        return result


def _share(part: Flow, whole: Flow) -> float | None:
    """Return a part as a share from 0 to 1; None where there is no whole."""
    if part is None or whole is None or whole <= 0:
        return None
    return round(min(max(part / whole, 0), 1), 4)


# -- what does not fit -------------------------------------------------------------------------


def notes(meters: Sequence[Meter], found: Sequence[HousePeriod]) -> list[Note]:
    """Return what a person should look at: parents and figures that do not fit."""
    return [
        *_about_parents(meters),
        *_about_children(found),
        *_about_directions(found),
        *_about_exports(found),
        *_about_prices(found),
    ]


def _about_parents(meters: Sequence[Meter]) -> list[Note]:
    parents, result = {meter.name: meter.parent for meter in meters}, []
    for name, parent in parents.items():
        if parent and parent not in parents:
            text = f"its parent {parent!r} has no readings"
            result.append(Note(name, text, "parent_unknown", other=parent))
        elif circle := cycle(parents, name):
            path = " → ".join(circle)
            text = f"its parents lead in a circle ({path})"
            result.append(Note(name, text, "parents_circle", other=path))
    return result


def _about_children(found: Sequence[HousePeriod]) -> list[Note]:
    """Return a note for each meter whose children measure more than itself."""
    rests, flows = dict[str, float](), dict[str, float]()
    for period in found:
        for name, rest in period.balance.rests.items():
            if rest is not None:
                ids = (name, *period.site.nodes[name].children)
                rests[name] = rests.get(name, 0.0) + rest
                flows[name] = flows.get(name, 0.0) + sum(
                    (period.meters[each].imported or 0) + (period.meters[each].exported or 0)
                    for each in ids
                )
    return [
        Note(
            name,
            f"the meters below it measure {-rest:,.2f} kWh more than it does; "
            "check their parents and roles",
            "children_exceed",
            -rest,
        )
        for name, rest in rests.items()
        if -rest > TOLERANCE * flows[name] + TOLERANCE_KWH
    ]


def _about_directions(found: Sequence[HousePeriod]) -> list[Note]:
    """Return a note for each production meter that counts what it produces as import."""
    nets = dict[str, float]()
    for period in found:
        for node in period.site.tops(Role.PRODUCTION):
            counted = period.meters[node.meter_id]
            net = node.net(counted.imported, counted.exported) or 0.0
            nets[node.meter_id] = nets.get(node.meter_id, 0.0) + net
    return [
        Note(
            name,
            f"its role is production, but it imported {net:,.2f} kWh more than it exported; "
            "if its supply and load are swapped, set invert = true in meters.toml",
            "production_imports",
            net,
        )
        for name, net in nets.items()
        if net > 1.0
    ]


def _about_exports(found: Sequence[HousePeriod]) -> list[Note]:
    """Return a note for each meter of the grid that cannot count what a house feeds in."""
    sites = {id(period.site): period for period in found}
    return [
        Note(
            node.meter_id,
            "it counts no export; what the house feeds in, if it does, is shown as consumption",
            "no_export",
        )
        for period in sites.values()
        if {Role.PRODUCTION, Role.STORAGE} & {*period.site.parts}
        for node in period.site.tops(Role.GRID)
        if not node.counts_export and period.meters[node.meter_id].imported is not None
    ]


def _about_prices(found: Sequence[HousePeriod]) -> list[Note]:
    """Return a note for each meter of the house's bill that has counted energy without a price."""
    uncovered = dict[str, float]()
    for period in found:
        for name, figures in zip(period.site.billed, period.billed, strict=True):
            uncovered[name] = uncovered.get(name, 0.0) + (figures.uncovered or 0.0)
    return [
        Note(
            name,
            f"{kwh:,.2f} kWh have no price, so that the cost is not known; see /tariffs/",
            "no_price",
            kwh,
        )
        for name, kwh in uncovered.items()
        if kwh > 0
    ]


# -- power -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SiteSeries:
    """Mean powers of a house and of its meters in W, at times in epoch seconds."""

    ts: list[float]
    columns: dict[str, list[Flow]]
    meters: dict[str, list[Flow]]


def powers(site: Site, measured: Mapping[str, Flow]) -> Balance:
    """Return the flows of a house from the power of each meter, in W."""
    nets = dict(measured)
    for name, node in site.nodes.items():
        power = nets.get(name)
        if power is not None and node.role is Role.PRODUCTION and not node.counts_export:
            nets[name] = -abs(power)
    return balance(site, nets)


def series(
    database: peewee.Database, since: datetime, until: datetime, points: int, now: datetime
) -> SiteSeries:
    """Return the power of the house in `points` equal slices from `since` to `until`."""
    site = read(database).site(since, until, now)
    begin, width = since.timestamp(), (until - since).total_seconds() / points
    measured, most = {}, max(points, min(2 * points, MOST_POINTS))
    for name in site.nodes:
        chart = columns(database, name, ["power"], since, until, points, most)
        measured[name] = resampled(chart["ts"], chart["power"], begin, width, points)
    flows = [
        powers(site, {name: values[place] for name, values in measured.items()})
        for place in range(points)
    ]
    ts = [round(begin + place * width, 3) for place in range(points)]
    found = {name: [getattr(each, name) for each in flows] for name in POWERS}
    return SiteSeries(ts, found, measured)


def resampled(
    ts: Sequence[float | None], values: Sequence[Flow], begin: float, width: float, number: int
) -> list[Flow]:
    """Return the means of a quantity in equal slices, from its points at other times.

    A point lasts until the next one, or as long as usual where a gap follows. A slice of which less
    than half is known is None.
    """
    points = [(at, value) for at, value in zip(ts, values, strict=True) if at is not None]
    usual = median([b - a for (a, _), (b, _) in pairwise(points)] or [width])
    totals, known = [0.0] * number, [0.0] * number
    longest = GAP * usual
    for (at, value), (after, _) in pairwise([*points, (inf, None)]):
        lasts = after - at if after - at <= longest else usual
        if value is None:
            continue
        first, last = (at - begin) / width, (at + lasts - begin) / width
        inside = int(first)
        if first >= 0 and last <= inside + 1 <= number:  # most points lie within a slice
            totals[inside] += (last - first) * value
            known[inside] += last - first
            continue
        for place in range(max(inside, 0), min(ceil(last), number)):
            share = min(last, place + 1) - max(first, place)
            totals[place] += share * value
            known[place] += share
    return [
        round(total / share, 3) if share >= 0.5 else None
        for total, share in zip(totals, known, strict=True)
    ]
