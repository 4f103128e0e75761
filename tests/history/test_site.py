"""The house: its balance closes for every hierarchy, and what is unknown stays unknown."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.meter_settings import MeterSettings, Role
from contract.readings import Reading
from history.energy import Figures
from history.hierarchy import site_of
from history.meter_settings import change
from history.periods import Unit
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from history.site import (
    HouseEnergy,
    HousePeriod,
    house,
    notes,
    powers,
    read,
    resampled,
    series,
)
from history.tables import Meter
from tests.history.test_hierarchy import meter
from tests.support.histories import BERLIN

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
STEPS = 4


def counted(
    imported: float | None, exported: float | None = None, cost: float | None = None
) -> Figures:
    return Figures(imported, exported, cost, None if cost is None else 0.0)


def of(meters: list[Meter], **found: Figures) -> HousePeriod:
    return house(site_of(meters), NOON, NOON + HOUR, found)


# -- a house whose true flows are known --------------------------------------------------------


@dataclass
class Load:
    """A point of an installation: what it draws itself at each step, and what lies below it."""

    role: Role
    flows: list[int]
    metered: bool
    below: list["Load"] = field(default_factory=list)
    name: str = ""

    def through(self, step: int) -> int:
        """Return what flows through the point at a step: its own flow and all below."""
        return self.flows[step] + sum(load.through(step) for load in self.below)


def loads(role: Role, flow: st.SearchStrategy[int], metered: st.SearchStrategy[bool]) -> Callable:
    def made(below: list[Load], flows: list[int], is_metered: bool) -> Load:
        return Load(role, flows, is_metered, below)

    def strategy(below: st.SearchStrategy[list[Load]]) -> st.SearchStrategy[Load]:
        return st.builds(made, below, st.lists(flow, min_size=STEPS, max_size=STEPS), metered)

    return strategy


always = st.just(True)
consumers = loads(Role.CONSUMER, st.integers(0, 3000), st.booleans())
producers = loads(Role.PRODUCTION, st.integers(-5000, 10), always)
batteries = loads(Role.STORAGE, st.integers(-3000, 3000), always)
trees = st.recursive(
    consumers(st.just([])) | producers(st.just([])) | batteries(st.just([])),
    lambda inner: st.one_of(
        *(kind(st.lists(inner, max_size=3)) for kind in (consumers, producers, batteries))
    ),
    max_leaves=8,
)
grids = loads(Role.GRID, st.integers(0, 500), always)
houses = grids(st.lists(trees, max_size=4))


def installed(load: Load, above: Role = Role.GRID) -> list[Load]:
    """Meter and name the points of an installation, and return them all.

    No flow of a producer or battery hides a consumer without a meter.
    """
    load.metered |= above in {Role.PRODUCTION, Role.STORAGE}
    here = load.role if load.metered else above
    every = [load, *(each for inner in load.below for each in installed(inner, here))]
    for number, each in enumerate(every):
        each.name = f"m{number}"
    return every


def meters_of(load: Load, parent: str | None = None) -> list[Meter]:
    """Return the meters of an installation; the parent of each is the next meter above it."""
    here = load.name if load.metered else parent
    below = [each for inner in load.below for each in meters_of(inner, here)]
    return [meter(load.name, load.role, parent), *below] if load.metered else below


def counters(load: Load, steps: range) -> Figures:
    """Return what a meter counts that nets its phases: each step is import or export."""
    net = [load.through(step) for step in steps]
    exported = -sum(min(each, 0) for each in net)
    return counted(float(sum(max(each, 0) for each in net)), float(exported))


@given(houses)
def test_the_balance_of_a_house_closes(root: Load) -> None:
    everything = installed(root)
    meters = meters_of(root)

    for steps in [range(STEPS), *(range(a, b) for a, b in pairwise(range(STEPS + 1)))]:

        def true(*roles: Role, steps: range = steps) -> float:
            return sum(
                load.flows[step] for load in everything if load.role in roles for step in steps
            )

        found = house(
            site_of(meters),
            NOON,
            NOON + HOUR,
            {load.name: counters(load, steps) for load in everything if load.metered},
        )
        flows = found.balance
        has = {load.role for load in everything}

        assert flows.grid == sum(root.through(step) for step in steps)
        assert flows.consumption == true(Role.CONSUMER, Role.GRID)
        assert flows.production == (-true(Role.PRODUCTION) if Role.PRODUCTION in has else None)
        assert flows.storage == (true(Role.STORAGE) if Role.STORAGE in has else None)
        assert found.imported - found.exported + (flows.production or 0) == (
            flows.consumption + (found.charged or 0) - (found.discharged or 0)
        )
        for name, rest in flows.rests.items():
            node = found.site.nodes[name]
            net = {each: p.imported - p.exported for each, p in found.meters.items()}
            assert net[name] == sum(net[child] for child in node.children) + rest
        if flows.consumers is not None:
            assert flows.consumption == flows.consumers + flows.rest


@given(houses, st.data())
def test_what_depends_on_an_unknown_meter_is_unknown(root: Load, data: st.DataObject) -> None:
    metered = [load for load in installed(root) if load.metered]
    silent = data.draw(st.sampled_from(metered))
    site = site_of(meters_of(root))
    found = {load.name: counters(load, range(STEPS)) for load in metered}

    def figures(of_it: Figures) -> dict[int, float | None]:
        period = house(site, NOON, NOON + HOUR, {**found, silent.name: of_it})
        *flows, rests = period.balance
        more = (period.imported, period.exported, period.charged, period.discharged)
        return dict(enumerate([*flows, *rests.values(), *more]))

    before = figures(found[silent.name])
    moved = figures(counted(found[silent.name].imported + 64, found[silent.name].exported))
    unknown = figures(counted(None))

    for name, value in unknown.items():
        assert value in (None, before[name])
        assert value is None or moved[name] == before[name]


# -- what is absent, unknown or does not fit ---------------------------------------------------


def test_a_single_meter_is_the_whole_house() -> None:
    found = of([meter("a")], a=counted(5.0, 2.0, 1.2))

    assert (found.imported, found.exported, found.balance.consumption) == (5.0, 2.0, 3.0)
    assert found.balance.production is None
    assert (found.self_consumption, found.self_sufficiency) == (None, None)
    assert (found.cost, found.uncovered) == (1.2, 0.0)


def test_a_house_with_solar_power_knows_how_much_of_it_is_its_own() -> None:
    found = of(
        [meter("a", "grid"), meter("b", "production", "a"), meter("c", "consumer", "a")],
        a=counted(2.0, 3.0, 0.5),
        b=counted(0.0, 8.0, 9.9),
        c=counted(4.0),
    )

    assert found.balance.consumption == 7.0
    assert (found.self_consumed, found.self_consumption) == (5.0, 0.625)
    assert found.self_sufficiency == pytest.approx(5 / 7, abs=1e-4)
    assert (found.balance.consumers, found.balance.rest) == (4.0, 3.0)
    assert found.balance.rests == {"a": 3.0}
    assert found.cost == 0.5


def test_shares_stay_between_nothing_and_all() -> None:
    meters = [meter("a", "grid"), meter("b", "production"), meter("c", "storage")]
    night = of(meters, a=counted(5.0, 0.0), b=counted(0.01, 0.0), c=counted(4.0, 0.0))
    battery_to_grid = of(meters, a=counted(0.0, 5.0), b=counted(0.0, 1.0), c=counted(0.0, 6.0))

    assert (night.balance.production, night.self_consumption) == (-0.01, None)
    assert night.self_sufficiency == 0.0
    assert (battery_to_grid.self_consumption, battery_to_grid.self_sufficiency) == (0.0, 1.0)


def test_a_producer_that_counts_no_export_counts_what_it_produces_as_import() -> None:
    site = site_of([meter("a", "grid"), meter("b", "production")], without_export={"b"})

    found = house(site, NOON, NOON + HOUR, {"a": counted(1.0, 0.0), "b": counted(3.0)})
    now = powers(site, {"a": 100.0, "b": 300.0})

    assert (found.balance.production, found.balance.consumption) == (3.0, 4.0)
    assert (now.production, now.consumption) == (300.0, 400.0)
    assert powers(site, {"a": 100.0, "b": -300.0}) == now


def test_without_a_meter_of_the_grid_the_house_is_what_its_consumers_measure() -> None:
    meters = [meter("a"), meter("b"), meter("c", None, "b")]

    found = of(meters, a=counted(1.0, cost=0.3), b=counted(2.0, cost=0.6), c=counted(0.5, cost=9))

    assert (found.balance.consumption, found.balance.grid, found.balance.rest) == (3.0, None, None)
    assert found.cost == pytest.approx(0.9)
    assert found.balance.rests == {"b": 1.5}


def test_a_house_without_meters_knows_nothing() -> None:
    found = of([])

    assert (found.balance.consumption, found.imported, found.cost) == (None, None, None)
    assert found.balance.rests == {}


def test_children_that_exceed_their_parent_are_noted_beyond_the_accuracy_of_meters() -> None:
    meters = [meter("a", "grid"), meter("b", "consumer", "a"), meter("c", "consumer", "a")]

    close = of(meters, a=counted(10.0), b=counted(6.0), c=counted(4.3))
    wrong = of(meters, a=counted(10.0), b=counted(6.0), c=counted(4.6))

    assert notes(meters, [close, close]) == []
    (note,) = notes(meters, [wrong])
    assert note.meter_id == "a"
    assert note.text.startswith("the meters below it measure 0.60 kWh more than it does")


def test_a_producer_that_imports_is_noted() -> None:
    meters = [meter("a", "grid"), meter("b", "production")]

    (note,) = notes(meters, [of(meters, a=counted(1.0, 0.0), b=counted(8.0, 0.1))])

    assert note.meter_id == "b"
    assert "it imported 7.90 kWh more than it exported" in note.text


def test_a_meter_of_the_grid_that_counts_no_export_is_noted_beside_a_roof() -> None:
    meters = [meter("a", "grid"), meter("b", "production", "a")]
    found = {"a": counted(1.0), "b": counted(0.0, 8.0)}

    def noted(*without_export: str, given: list[Meter] = meters) -> list[str]:
        period = house(site_of(given, without_export), NOON, NOON + HOUR, found)
        return [note.meter_id for note in notes(given, [period])]

    assert noted("a") == ["a"]
    assert noted() == []
    assert noted("a", given=meters[:1]) == []


def test_energy_of_the_bill_without_a_price_is_noted() -> None:
    meters = [meter("a", "grid"), meter("b", "consumer", "a")]
    unpriced = counted(10.0)._replace(uncovered=2.5)

    assert notes(meters, [of(meters, a=counted(10.0, cost=3.0), b=unpriced)]) == []
    (note,) = notes(meters, [of(meters, a=unpriced, b=counted(1.0))] * 2)
    assert (note.meter_id, note.kind, note.kwh) == ("a", "no_price", 5.0)
    assert note.text.startswith("5.00 kWh have no price")


def test_parents_that_do_not_fit_are_noted() -> None:
    meters = [meter("a", None, "x"), meter("b", None, "c"), meter("c", None, "b")]

    assert [(note.meter_id, note.text) for note in notes(meters, [])] == [
        ("a", "its parent 'x' has no readings"),
        ("b", "its parents lead in a circle (b → c → b)"),
        ("c", "its parents lead in a circle (c → b → c)"),
    ]


# -- in a history ------------------------------------------------------------------------------

DATABASES = ("sqlite", "postgresql")
MIDNIGHT = datetime(2026, 3, 28, tzinfo=BERLIN).astimezone(UTC)


def settled(database: peewee.Database, meter_id: str, **settings: str) -> None:
    change(database, meter_id, MeterSettings.model_validate(settings, strict=False))


@pytest.fixture
def solar_house(database: peewee.Database) -> peewee.Database:
    """Three days of a house, every 10 minutes: 600 W of its own, 900 W of sun from 8 to 16 h UTC.

    A heat pump draws 240 W of the 600; its meter came on the second day.
    """
    totals = {"main": [50.0, 0.0], "roof": [0.0, 7.0], "pump": [0.0, 0.0]}
    written = []
    for step in range(3 * 144):
        ts = MIDNIGHT + timedelta(minutes=10 * step)
        sun = 900.0 if 8 <= (ts - timedelta(minutes=10)).hour < 16 else 0.0
        for name, power in (("main", 600.0 - sun), ("roof", -sun), ("pump", 240.0)):
            totals[name][power < 0] += abs(power) / 6000
            values = {"power": power, "energy": totals[name][0], "energy_export": totals[name][1]}
            if name != "pump":
                written.append(Reading(name, ts, values))
            elif step >= 144:
                written.append(Reading(name, ts, {"power": power, "energy": totals[name][0]}))
    Writer(database).write(written)
    assert Rollups(database).run(float("inf"))
    settled(database, "main", role="grid")
    settled(database, "roof", role="production", parent="main")
    settled(database, "pump", parent="main")
    return database


def test_periods_of_a_house_add_up_also_on_a_day_of_23_hours(
    solar_house: peewee.Database,
) -> None:
    end = MIDNIGHT + timedelta(hours=24 + 23 + 24)
    meters = read(solar_house)

    def found(unit: Unit) -> list[HousePeriod]:
        return HouseEnergy(solar_house, meters, BERLIN, end).periods(unit, MIDNIGHT, end)

    days, hours = found(Unit.DAY), found(Unit.HOUR)

    assert [day.balance.consumption for day in days] == pytest.approx([14.3, 13.8, 14.4], abs=0.101)
    assert [len([h for h in hours if h.start.day == day]) for day in (28, 29, 30)] == [24, 23, 24]
    for day in days:
        within = [hour for hour in hours if day.start <= hour.start < day.end]
        for name in ("consumption", "grid", "production", "rest"):
            parts = [getattr(hour.balance, name) for hour in within]
            if None not in parts:
                assert getattr(day.balance, name) == pytest.approx(sum(parts))
    assert days[0].balance.consumers is None
    assert days[2].balance.rest == pytest.approx(360 * 24 / 1000, abs=0.1)
    assert days[2].self_consumed == pytest.approx(600 * 8 / 1000, abs=0.01)
    assert notes(meters.all, days) == []


def test_the_running_day_of_a_house_is_compared_with_the_one_before(
    solar_house: peewee.Database,
) -> None:
    noon = MIDNIGHT + timedelta(hours=35)  # of the day of 23 hours

    found = HouseEnergy(solar_house, read(solar_house), BERLIN, noon).compare(Unit.DAY)

    assert found.now.start.day == 29
    assert found.now.balance.consumption == pytest.approx(11 * 0.6, abs=0.11)
    assert found.before_so_far.balance.consumption == pytest.approx(11 * 0.6, abs=0.11)
    assert found.before.balance.consumption == pytest.approx(24 * 0.6, abs=0.11)


def test_the_power_of_a_house_is_a_series(solar_house: peewee.Database) -> None:
    since, now = MIDNIGHT, MIDNIGHT + timedelta(days=3)

    found = series(solar_house, since, now, 72, now)

    assert len(found.ts) == 72
    noon = 13
    assert found.columns["consumption"][noon] == 600.0
    assert (found.columns["grid"][noon], found.columns["production"][noon]) == (-300.0, 900.0)
    assert found.columns["consumers"][noon] is None
    assert found.columns["rest"][noon + 48] == 360.0
    assert found.columns["storage"] == [None] * 72
    assert found.meters["pump"][noon + 48] == 240.0


def test_a_meter_that_is_silent_is_a_gap_and_not_nothing(solar_house: peewee.Database) -> None:
    since = MIDNIGHT + timedelta(days=2)
    solar_house.execute_sql("DELETE FROM readings_raw WHERE meter = 2")
    solar_house.execute_sql("DELETE FROM rollup WHERE meter = 2")

    meters, now = read(solar_house), since + 22 * HOUR
    (day,) = HouseEnergy(solar_house, meters, BERLIN, now).periods(Unit.DAY, since, since + HOUR)

    assert day.balance.grid is not None
    assert (day.balance.production, day.balance.consumption) == (None, None)


# -- slices ------------------------------------------------------------------------------------


def test_points_last_until_the_next_and_gaps_stay_gaps() -> None:
    ts = [0.0, 10.0, 20.0, 60.0, 70.0]

    assert resampled(ts, [1.0, 2.0, 3.0, 4.0, 5.0], 0.0, 10.0, 9) == [
        1.0, 2.0, 3.0, None, None, None, 4.0, 5.0, None,
    ]  # fmt: skip


def test_a_point_that_begins_before_the_slices_counts_for_what_lies_in_them() -> None:
    assert resampled([-5.0, 1.0, 7.0], [4.0, 10.0, 10.0], 0.0, 12.0, 1) == [9.5]


@given(
    step=st.integers(1, 60),
    width=st.integers(1, 60),
    shift=st.integers(0, 59),
    value=st.floats(-5000, 5000),
)
def test_a_steady_power_is_steady_in_slices_of_any_width(
    step: int, width: int, shift: int, value: float
) -> None:
    ts = [float(shift + n * step) for n in range(120 // step + 2)]

    found = resampled(ts, [value] * len(ts), 60.0, width, 60 // width)

    assert found == [round(value, 3)] * (60 // width)
