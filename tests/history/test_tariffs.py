"""Tariffs: what a kWh costs at any moment, and what a period cost."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import peewee
import pytest

from contract.readings import Reading
from history import energy
from history.periods import Unit
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from history.tariffs import Tariffs
from service.errors import SettingsError
from tests.support.postgresql import BOTH

DATABASES = BOTH

BERLIN = ZoneInfo("Europe/Berlin")
PRICES = """
currency = "EUR"

[[tariff]]
valid_from = 2026-03-01
price = 0.40
feed_in = 0.10

[[tariff.window]]
from = "22:00"
to = "06:00"
days = ["mon", "tue", "wed", "thu", "fri"]
price = 0.20

[[tariff.window]]
from = "00:00"
to = "24:00"
days = ["sun"]
price = 0.30

[[tariff]]
valid_from = 2026-01-01
price = 0.50
"""


@pytest.fixture
def tariffs(tmp_path: Path) -> Tariffs:
    return load(tmp_path, PRICES)


def load(directory: Path, text: str) -> Tariffs:
    path = directory / "tariffs.toml"
    path.write_text(text)
    return Tariffs.load(path)


def berlin(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=BERLIN)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("moment", "price"),
    [
        (berlin(2025, 12, 31, 23, 59), None),
        (berlin(2026, 1, 1), 0.50),
        (berlin(2026, 2, 28, 23), 0.50),
        (berlin(2026, 3, 2, 21, 59), 0.40),  # a Monday
        (berlin(2026, 3, 2, 22), 0.20),
        (berlin(2026, 3, 3, 5, 59), 0.20),
        (berlin(2026, 3, 3, 6), 0.40),
        (berlin(2026, 3, 7, 5), 0.20),  # what began on Friday goes on
        (berlin(2026, 3, 7, 23), 0.40),
        (berlin(2026, 3, 8, 0), 0.30),  # Sunday
        (berlin(2026, 3, 8, 23, 59), 0.30),
        (berlin(2026, 3, 9, 5), 0.40),  # what would have begun on Sunday does not
    ],
    ids=str,
)
def test_the_price_of_a_moment(tariffs: Tariffs, moment: datetime, price: float | None) -> None:
    assert tariffs.default.price_at(moment.astimezone(UTC), BERLIN) == price


def test_what_is_paid_for_export(tariffs: Tariffs) -> None:
    assert tariffs.default.feed_in_at(berlin(2026, 2, 1), BERLIN) == 0
    assert tariffs.default.feed_in_at(berlin(2026, 4, 1), BERLIN) == 0.10


def test_prices_change_only_at_the_moments_returned(tariffs: Tariffs) -> None:
    since, until = berlin(2026, 2, 27), berlin(2026, 4, 3)

    tariff = tariffs.default
    changes = [since, *tariff.changes(since, until, BERLIN), until]

    moment, at = since.astimezone(UTC), 0
    while moment < until:
        at += moment >= changes[at + 1].astimezone(UTC)
        assert tariffs.default.price_at(moment, BERLIN) == tariffs.default.price_at(
            changes[at], BERLIN
        )
        moment += timedelta(minutes=15)


def fill(database: peewee.Database) -> list[Reading]:
    """Store a week of 1 kW drawn and half a kW fed in, over the change to summer time."""
    start = berlin(2026, 3, 27).astimezone(UTC)
    readings = [
        Reading("1", start + timedelta(minutes=10 * i), {"energy": i / 6, "energy_export": i / 12})
        for i in range(7 * 144)
    ]
    rounded = [
        Reading(r.meter_id, r.ts, {n: round(v, 3) for n, v in r.values.items()}) for r in readings
    ]
    Writer(database).write(rounded)
    assert Rollups(database).run(float("inf"))
    return rounded


def test_cost_is_energy_times_the_price_of_its_time(
    database: peewee.Database, tariffs: Tariffs
) -> None:
    readings = fill(database)

    days = energy.periods(
        database, "1", Unit.DAY, readings[0].ts, readings[-1].ts, BERLIN, tariffs=tariffs
    )

    costs = dict.fromkeys((day.start.date() for day in days), 0.0)
    for before, after in pairwise(readings):
        tariff = tariffs.default.at(after.ts, BERLIN)
        assert tariff is not None
        local = after.ts.astimezone(BERLIN)
        bought = after.values["energy"] - before.values["energy"]
        sold = after.values["energy_export"] - before.values["energy_export"]
        costs[local.date()] += bought * tariff.price_at(local) - sold * tariff.fixed_feed_in
    assert [day.cost for day in days] == pytest.approx(list(costs.values()), abs=1e-5)


def test_a_changed_price_needs_nothing_else(database: peewee.Database, tmp_path: Path) -> None:
    fill(database)
    since, until = berlin(2026, 3, 30), berlin(2026, 3, 31)

    def cost(price: float) -> float | None:
        text = f"[[tariff]]\nvalid_from = 2026-01-01\nprice = {price}\n"
        tariffs = load(tmp_path, text)
        (day,) = energy.periods(database, "1", Unit.DAY, since, until, BERLIN, tariffs=tariffs)
        return day.cost

    assert cost(0.25) == pytest.approx(24 * 0.25, abs=0.001)
    assert cost(0.5) == pytest.approx(24 * 0.5, abs=0.001)


def test_before_the_first_price_there_is_no_cost(database: peewee.Database, tmp_path: Path) -> None:
    fill(database)
    tariffs = load(tmp_path, "[[tariff]]\nvalid_from = 2027-01-01\nprice = 1\n")

    (day,) = energy.periods(
        database, "1", Unit.DAY, berlin(2026, 3, 30), berlin(2026, 3, 31), BERLIN, tariffs=tariffs
    )

    assert day.imported == pytest.approx(24, abs=0.001)
    assert day.cost is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[tariff]]\nvalid_from = 2026-01-01\n", "tariff.0.price: field required"),
        ("currency = 'EUR'\n", "tariff: field required"),
        ("price = ", "Invalid value"),
        (PRICES.replace("sun", "someday"), "tariff.0.window.1.days.0: input should be 'mon'"),
        (PRICES.replace("22:00", "25:00"), "tariff.0.window.0.from: input should be"),
        (PRICES.replace("feed_in", "feedin"), "tariff.0.feedin: extra inputs are not permitted"),
    ],
    ids=["no price", "no tariff", "no TOML", "weekday", "time", "misspelt"],
)
def test_the_error_names_what_is_wrong_in_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text)

    assert message in str(error.value)
    assert "tariffs.toml" in str(error.value)


def test_a_missing_file_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        Tariffs.load(tmp_path / "none.toml")


NAMED = """
{site}
[meters]
7 = "heat-pump"
[[tariff]]
name = "house"
valid_from = 2026-01-01
price = 0.3
[[tariff]]
name = "heat-pump"
valid_from = 2026-01-01
price = 0.2
[[tariff]]
name = "market"
valid_from = 2026-01-01
dynamic = true
"""


@pytest.mark.parametrize(("site", "others"), [("", "house"), ("site = 'market'", "market")])
def test_a_meter_has_the_tariff_that_it_or_the_site_picks_else_the_first(
    tmp_path: Path, site: str, others: str
) -> None:
    tariffs = load(tmp_path, NAMED.format(site=site))

    assert list(tariffs.named) == ["house", "heat-pump", "market"]
    assert tariffs.of("7").name == "heat-pump"
    assert tariffs.of("1").name == others


BEGINNING = "[[tariff]]\nvalid_from = 2026-01-01\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dynamic = true\nprice = 1\n", "tariff.0.price: should not stand in a dynamic tariff"),
        ("price = 1\nmarkup = 1\n", "tariff.0.dynamic: field required for a markup"),
        ("price = 1\nfeed_in = 'dynamic'\n", "tariff.0.dynamic: field required"),
        ("price = nan\n", "tariff.0.price: input should be a finite number (got nan)"),
        ("price = 1\nname = 'a b'\n", "tariff.0.name: should be 1 to 32 letters"),
        ("price = 1\n[[tariff.tax]]\npercent = 1\nper_kwh = 1\n", "tariff.0.tax.0: should have"),
        ("price = 1\n[[tariff.standing]]\nper = 'week'\nprice = 1\n",
         "tariff.0.standing.0.per: input should be 'day', 'month' or 'year' (got 'week')"),
        ("price = 1\n[[tariff.tier]]\nper = 'month'\nup_to = 0\nprice = 1\n",
         "tariff.0.tier.0.up_to: input should be greater than 0 (got 0)"),
        ("price = 1\n" + "[[tariff.tier]]\nper = 'month'\nup_to = 5\nprice = 1\n" * 2,
         "tariff.0.tier: up_to should rise from one to the next"),
        ("price = 1\n" + BEGINNING + "price = 2\n",
         "tariff.1.valid_from: another tariff of the name 'default' begins on 2026-01-01"),
    ],
)  # fmt: skip
def test_the_error_names_the_place_and_what_was_expected(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, BEGINNING + text)

    assert message in str(error.value)


@pytest.mark.parametrize("head", ["site = 'x'\n", "[meters]\n1 = 'x'\n"])
def test_a_tariff_that_is_picked_must_be_there(tmp_path: Path, head: str) -> None:
    with pytest.raises(SettingsError, match=r"should be one of default \(got 'x'\)"):
        load(tmp_path, head + BEGINNING + "price = 1\n")
