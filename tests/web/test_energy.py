"""Energy over REST: periods by the site's clock, their cost, and the running one."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import peewee
import pytest
from flask.testing import FlaskClient

from contract.meter_settings import Billing, MeterSettings
from contract.readings import Reading
from history.meter_settings import change
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from service.errors import SettingsError
from tests.support.parts import free_port
from web import create_app
from web.context import KEY
from web.settings import WebSettings

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
Make = Callable[..., FlaskClient]


@pytest.fixture
def history(database: peewee.Database) -> str:
    """The URL of a history in March and of today: a meter that counts 0.5 kWh each half hour."""
    start = datetime(2026, 3, 27, 23, tzinfo=UTC)
    steps = [start + timedelta(minutes=30 * i) for i in range(48 * 4)]
    recent = [NOW - timedelta(minutes=30 * i) for i in range(48 * 3, -1, -1)]
    Writer(database).write(
        Reading("1", ts, {"power": 1000.0 + i, "energy": i / 2})
        for i, ts in enumerate([*steps, *recent])
    )
    assert Rollups(database).run(float("inf"))
    return f"sqlite:///{database.database}"


@pytest.fixture
def make(history: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes clients of a site in Berlin."""
    monkeypatch.chdir(tmp_path)
    opened: list[FlaskClient] = []

    def make_client(**settings: Any) -> FlaskClient:
        known = {"database_url": history, "mqtt_port": free_port(), "timezone": "Europe/Berlin"}
        app = create_app(WebSettings(_env_file=None, **(known | settings)))
        opened.append(app.test_client())
        return opened[-1]

    yield make_client
    for client in opened:
        client.application.extensions[KEY].history.close()


MARCH = "from=2026-03-28T12:00:00%2B01:00&to=2026-03-30T12:00:00%2B02:00"


def test_days_are_those_of_the_site(make: Make) -> None:
    answer = make().get(f"/meters/1/energy?{MARCH}").json

    assert answer["timezone"] == "Europe/Berlin"
    assert answer["currency"] is None
    assert answer["periods"] == [
        {
            "from": begin,
            "to": end,
            "imported": kwh,
            "exported": None,
            "cost": None,
            "uncovered": None,
        }
        for begin, end, kwh in [
            ("2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00", 23.5),
            ("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00", 23.0),
            ("2026-03-30T00:00:00+02:00", "2026-03-31T00:00:00+02:00", 24.0),
        ]
    ]


def test_prices_of_a_file_make_costs(make: Make, tmp_path: Path) -> None:
    (tmp_path / "tariffs.toml").write_text("[[tariff]]\nvalid_from = 2026-01-01\nprice = 0.5\n")

    answer = make().get(f"/meters/1/energy?{MARCH}").json

    assert answer["currency"] == "EUR"
    assert [period["cost"] for period in answer["periods"]] == [11.75, 11.5, 12.0]


@pytest.mark.parametrize("address", ["/meters/1/energy", "/site/energy"])
def test_costs_can_be_left_out(make: Make, tmp_path: Path, address: str) -> None:
    (tmp_path / "tariffs.toml").write_text("[[tariff]]\nvalid_from = 2026-01-01\nprice = 0.5\n")
    client = make()

    with_costs = client.get(f"{address}?{MARCH}").json
    without = client.get(f"{address}?{MARCH}&costs=false").json

    assert with_costs["periods"][0]["cost"] == 11.75
    assert without["currency"] == "EUR"
    assert [period["cost"] for period in without["periods"]] == [None, None, None]
    assert [period["imported"] for period in without["periods"]] == [23.5, 23.0, 24.0]


def test_the_bill_of_a_meter_is_netted_if_it_is_set_so_and_both_counts_are_there(
    make: Make, database: peewee.Database, tmp_path: Path
) -> None:
    (tmp_path / "tariffs.toml").write_text("[[tariff]]\nvalid_from = 2026-01-01\nprice = 0.5\n")
    start = datetime(2026, 3, 28, 11, tzinfo=UTC)
    Writer(database).write(
        Reading(
            "house",
            start + timedelta(minutes=5 * n),
            # Each 5 minutes one phase draws 0.2 kWh, and another exports 0.05 kWh.
            {"energy": n / 5, "energy_import": n / 5, "energy_export": n / 20},
        )
        for n in range(25)
    )
    assert Rollups(database).run(float("inf"))
    path = "/meters/house/energy?period=hour&counters=true&from=2026-03-28T12:00:00Z"
    path += "&to=2026-03-28T13:00:00Z"

    def hour() -> dict[str, Any]:
        answer = make().get(path).json
        return {"billing": answer["billing"], **answer["periods"][0]}

    own = hour()
    change(database, "house", MeterSettings(billing=Billing.NETTED))
    netted = hour()

    assert (own["billing"], own["imported"], own["exported"]) == ("per_phase", 2.4, 0.6)
    assert (netted["billing"], netted["imported"], netted["exported"]) == ("netted", 1.8, 0.0)
    for found in (own, netted):
        assert found["per_phase"] == {"imported": 2.4, "exported": 0.6}
        assert found["netted"] == {"imported": 1.8, "exported": 0.0}
    assert (own["cost"], netted["cost"]) == (1.2, 0.9)


TWO = """
[meters]
2 = "cheap"
[[tariff]]
valid_from = 2026-01-01
price = 0.5
[[tariff.standing]]
per = "day"
price = 1
[[tariff]]
name = "cheap"
valid_from = 2026-01-01
price = 0.1
[[tariff]]
name = "spot"
valid_from = 2026-01-01
dynamic = true
"""


def test_another_tariff_says_what_it_would_have_cost(make: Make, tmp_path: Path) -> None:
    (tmp_path / "tariffs.toml").write_text(TWO)
    client = make()

    own = client.get(f"/meters/1/energy?{MARCH}&lines=true").json
    other = client.get(f"/meters/1/energy?{MARCH}&tariff=cheap").json

    assert (own["tariff"], other["tariff"]) == ("default", "cheap")
    assert [period["cost"] for period in own["periods"]] == [12.75, 12.5, 13.0]
    assert [period["cost"] for period in other["periods"]] == [2.35, 2.3, 2.4]
    assert own["periods"][0]["lines"] == [
        {
            "kind": "energy",
            "name": "energy",
            "unit": "kWh",
            "price": 0.5,
            "quantity": 23.5,
            "amount": 11.75,
        },
        {
            "kind": "standing",
            "name": "standing charge",
            "unit": "day",
            "price": 1.0,
            "quantity": 1.0,
            "amount": 1.0,
        },
    ]
    assert "lines" not in other["periods"][0]


def test_energy_without_a_price_is_stated_instead_of_a_cost(make: Make, tmp_path: Path) -> None:
    (tmp_path / "tariffs.toml").write_text(TWO)

    answer = make().get(f"/meters/1/energy?{MARCH}&tariff=spot").json

    assert [(p["cost"], p["uncovered"]) for p in answer["periods"]] == [
        (None, 23.5),
        (None, 23.0),
        (None, 24.0),
    ]


def test_running_day_comes_with_the_day_before(make: Make) -> None:
    running = make().get("/meters/1/energy").json["running"]

    assert running["before_so_far"]["imported"] == pytest.approx(running["now"]["imported"], abs=1)
    assert running["before"]["imported"] == pytest.approx(24, abs=1)


def test_what_was_read_since_the_last_roll_up_is_in_both_answers(
    make: Make, database: peewee.Database
) -> None:
    before = make().get("/meters/1/energy?period=year").json["running"]["now"]["imported"]
    ts = datetime.now(UTC) + timedelta(seconds=5)  # the device's clock is a little ahead
    Writer(database).write([Reading("1", ts, {"power": 1.0, "energy": 168.25})])

    answer = make().get("/meters/1/energy?period=year").json

    assert answer["periods"][-1]["imported"] == answer["running"]["now"]["imported"]
    assert answer["running"]["now"]["imported"] == before + 0.25


@pytest.mark.parametrize(
    ("period", "count"),
    [("quarter_hour", 96), ("hour", 24), ("day", 7), ("week", 4), ("month", 11), ("year", 5)],
)
def test_newest_periods_are_the_default_range(make: Make, period: str, count: int) -> None:
    periods = make().get(f"/meters/1/energy?period={period}").json["periods"]

    assert count <= len(periods) <= count + 1
    assert datetime.fromisoformat(periods[-1]["to"]) >= NOW


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/meters/nobody/energy", 404),
        ("/meters/1/energy?period=fortnight", 422),
        ("/meters/1/energy?tariff=none", 422),
        ("/meters/1/energy?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", 422),
        ("/meters/1/energy?period=hour&from=2000-01-01T00:00:00Z", 422),
    ],
)
def test_invalid_request_is_refused(make: Make, path: str, status: int) -> None:
    answer = make().get(path)

    assert answer.status_code == status
    assert answer.json["detail"]


def test_wrong_prices_end_the_start_with_an_error_message(make: Make, tmp_path: Path) -> None:
    (tmp_path / "tariffs.toml").write_text("[[tariff]]\nprice = 0.5\n")

    with pytest.raises(SettingsError, match=r"tariffs.toml: tariff.0.valid_from: field required"):
        make()
    with pytest.raises(SettingsError, match=r"none.toml"):
        make(tariffs_file=Path("none.toml"))


def test_a_chart_can_have_its_extremes(make: Make) -> None:
    answer = make().get(f"/meters/1/series?quantities=power&extremes=true&points=10&{MARCH}").json

    assert answer["level"] == 60
    assert list(answer) == ["level", "ts", "power", "power_min", "power_max"]
    assert all(
        low < mean < high
        for low, mean, high in zip(
            *(answer[f"power{e}"] for e in ("_min", "", "_max")), strict=True
        )
    )


# -- peaks -------------------------------------------------------------------------------------


def test_peaks_are_those_of_the_months_of_the_site(make: Make, database: peewee.Database) -> None:
    start = datetime(2026, 2, 27, 23, tzinfo=UTC)
    Writer(database).write(
        Reading("2", start + timedelta(minutes=n), {"energy": (n + 4 * max(n - 60, 0)) / 60})
        for n in range(120)
    )
    assert Rollups(database).run(float("inf"))

    answer = make().get("/meters/2/peaks?from=2026-02-01T00:00:00Z&to=2026-03-15T00:00:00Z").json

    assert (answer["timezone"], answer["running"]) == ("Europe/Berlin", None)
    february, march = answer["months"][-2:]
    assert february == {
        "from": "2026-02-01T00:00:00+01:00",
        "to": "2026-03-01T00:00:00+01:00",
        "power": pytest.approx(5000),
        "at": "2026-02-28T00:15:00.000Z",
    }
    assert march["power"] is None
    assert march["at"] is None


def test_the_running_quarter_hour_is_projected(make: Make, database: peewee.Database) -> None:
    now = datetime.now(UTC)
    Writer(database).write(
        Reading("2", now - timedelta(seconds=10 * n), {"energy": 9 - n / 360, "power": 1000.0})
        for n in range(-3, 180)  # its clock is a little ahead
    )

    running = make().get("/meters/2/peaks").json["running"]

    assert running["projected"] == pytest.approx(1000, abs=25)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/meters/nobody/peaks", 404),
        ("/meters/1/peaks?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", 422),
        ("/meters/1/peaks?from=2001-03-02T00:00:00Z", 422),
    ],
)
def test_invalid_requests_for_peaks_are_refused(make: Make, path: str, status: int) -> None:
    assert make().get(path).status_code == status


def test_csv_has_what_each_way_of_billing_counts(make: Make) -> None:
    lines = make().get(f"/meters/1/energy?{MARCH}&counters=true&format=csv").text.splitlines()

    assert lines[0] == (
        "from,to,imported,exported,cost,uncovered,per_phase_imported,per_phase_exported,"
        "netted_imported,netted_exported"
    )
    assert lines[1].endswith("+01:00,23.5,,,,23.5,,,")


def test_energy_comes_as_csv_that_is_sent_again_only_when_it_has_changed(make: Make) -> None:
    client = make()
    answer = client.get(f"/meters/1/energy?{MARCH}", headers={"Accept": "text/csv"})
    known = {"Accept": "text/csv", "If-None-Match": answer.headers["ETag"]}

    assert answer.text.splitlines()[:2] == [
        "from,to,imported,exported,cost,uncovered",
        "2026-03-28T00:00:00+01:00,2026-03-29T00:00:00+01:00,23.5,,,",
    ]
    assert len(answer.text.splitlines()) == 4
    assert client.get(f"/meters/1/energy?{MARCH}", headers=known).status_code == 304
