"""/statements/: the files of `meterflow statement`, made by the web service."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import peewee
import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser

from contract.meter_settings import MeterSettings
from contract.readings import Reading
from history.meter_settings import change
from history.periods import Unit, start_of, start_of_next
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from tests.recorder.test_commands import Run, run
from tests.support.histories import BERLIN
from tests.support.parts import Part, free_port
from tests.support.web import make_client, parts

__all__ = ["run"]  # a fixture

BEGIN = datetime(2026, 10, 1, tzinfo=BERLIN).astimezone(UTC)
OCTOBER = "from=2026-10-01T00:00:00%2B02:00&to=2026-10-03T00:00:00%2B02:00"
TARIFFS = """
currency = "CHF"
[[tariff]]
valid_from = 2026-01-01
price = 0.25
[[tariff.standing]]
name = "base price"
per = "day"
price = 0.5
[[tariff]]
name = "other"
valid_from = 2026-01-01
price = 1
"""
Make = Callable[..., FlaskClient]


@pytest.fixture
def history(database: peewee.Database) -> str:
    """The URL of a history of two meters that count a kWh an hour."""
    Writer(database).write(
        Reading(meter, BEGIN + timedelta(minutes=10 * n), {"energy": round(500 + n / 6, 3)})
        for n in range(-6, 3 * 144)
        for meter in ("1", "flat")
    )
    assert Rollups(database).run(float("inf"))
    return f"sqlite:///{database.database}"


@pytest.fixture
def client(history: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tariffs.toml").write_text(TARIFFS)
    opened = make_client(history, timezone="Europe/Berlin")
    yield opened
    parts(opened).history.close()


def test_a_statement_has_its_lines_and_their_total(client: FlaskClient) -> None:
    answer = client.get(f"/statements/1?{OCTOBER}").json

    (found,) = answer["statements"]
    assert answer["house"] is None
    assert (found["meter_id"], found["since"], found["until"]) == (
        "1", "2026-10-01T00:00:00+02:00", "2026-10-03T00:00:00+02:00",
    )  # fmt: skip
    assert (found["imported"], found["currency"], found["total"]) == (48.0, "CHF", 13.0)
    assert [(item["name"], item["amount"]) for item in found["items"]] == [
        ("energy", 12.0), ("base price", 1.0),
    ]  # fmt: skip
    assert found["registers"][0]["opening"] == 499.833


def test_all_meters_or_some_have_a_statement_in_the_order_of_their_ids(client: FlaskClient) -> None:
    def ids(query: str) -> list[str]:
        found = client.get(f"/statements/?{OCTOBER}{query}").json["statements"]
        return [each["meter_id"] for each in found]

    assert ids("") == ["1", "flat"]
    assert ids("&meter=flat") == ["flat"]
    assert ids("&meter=flat,1,1") == ["1", "flat"]


def test_another_tariff_is_chosen_by_its_name(client: FlaskClient) -> None:
    (found,) = client.get(f"/statements/1?{OCTOBER}&tariff=other").json["statements"]

    assert (found["tariff"], found["total"]) == ("other", 48.0)


def test_the_house_has_its_figures_and_the_statement_of_its_bill(
    client: FlaskClient, database: peewee.Database
) -> None:
    without_roles = client.get(f"/statements/?{OCTOBER}&site=true").json
    change(database, "1", MeterSettings.model_validate({"role": "grid"}))
    change(database, "flat", MeterSettings.model_validate({"parent": "1"}))
    found = client.get(f"/statements/?{OCTOBER}&site=true").json
    change(database, "1", MeterSettings.model_validate({"role": "storage"}))
    change(database, "flat", MeterSettings.model_validate({"role": "storage"}))
    without_house = client.get(f"/statements/?{OCTOBER}&site=true")

    assert without_roles["house"]["billed"] == ["1", "flat"]
    assert [each["meter_id"] for each in found["statements"]] == found["house"]["billed"] == ["1"]
    assert found["house"]["figures"]["consumption"] == 48.0
    assert without_house.status_code == 404
    assert "no meter measures its consumption" in without_house.json["detail"]


@pytest.mark.parametrize("form", ["json", "csv", "html"])
def test_a_file_of_the_service_is_verified_by_the_command(
    client: FlaskClient, run: Run, tmp_path: Path, form: str
) -> None:
    answer = client.get(f"/statements/?{OCTOBER}&format={form}")
    (tmp_path / f"out.{form}").write_bytes(answer.data)

    verified = run("statement", "--verify", f"out.{form}")

    assert answer.mimetype.endswith(f"/{form}")
    assert f'filename="statement-all-2026-10-01.{form}"' in answer.headers["Content-Disposition"]
    assert verified.out.count("the history still says the same") == 2
    assert (verified.code, verified.err) == (0, "")


def test_the_form_is_what_the_client_accepts(client: FlaskClient) -> None:
    def of(accept: str) -> str:
        return client.get(f"/statements/1?{OCTOBER}", headers={"Accept": accept}).mimetype

    assert of("text/html,application/xhtml+xml,*/*;q=0.8") == "text/html"
    assert of("text/csv") == "text/csv"
    assert of("*/*") == "application/json"
    refused = client.get(f"/statements/1?{OCTOBER}", headers={"Accept": "image/png"})
    assert refused.status_code == 406
    assert "JSON, CSV and HTML" in refused.json["detail"]


def test_without_a_period_it_is_the_last_month(client: FlaskClient) -> None:
    (found,) = client.get("/statements/1").json["statements"]

    this = start_of(Unit.MONTH, datetime.now(UTC), BERLIN)
    last = start_of(Unit.MONTH, this - timedelta(seconds=1), BERLIN)
    assert datetime.fromisoformat(found["until"]) == this
    assert datetime.fromisoformat(found["since"]) == last


def test_a_history_without_meters_has_no_statements(tmp_path: Path) -> None:
    client = make_client(f"sqlite:///{tmp_path}/none.db")

    assert client.get("/statements/").json["statements"] == []
    assert "There are no meters" in client.get("/statements/?format=html").text
    assert client.get("/statements/1").status_code == 404


def test_more_than_a_request_may_take_is_left_to_the_command(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.statements.MOST_TOGETHER", timedelta(days=3))

    assert client.get(f"/statements/1?{OCTOBER}").status_code == 200
    refused = client.get(f"/statements/?{OCTOBER}")
    assert refused.status_code == 422
    assert "meterflow statement has no limit" in refused.json["detail"][0]["msg"]


def test_readings_that_wait_to_be_rolled_up_make_the_client_try_again(
    client: FlaskClient, database: peewee.Database
) -> None:
    late = Reading("1", BEGIN + timedelta(seconds=30), {"energy": 500.1})
    Writer(database).write([late])

    answer = client.get(f"/statements/1?{OCTOBER}")

    assert answer.status_code == 409
    assert "wait to be rolled up" in answer.json["detail"]


@pytest.mark.parametrize("form", ["html", "json", "csv"])
def test_what_is_complete_of_a_period_is_its_statement_so_far(
    client: FlaskClient, database: peewee.Database, run: Run, tmp_path: Path, form: str
) -> None:
    (whole,) = client.get(f"/statements/1?{OCTOBER}&so_far=true").json["statements"]
    late = Reading("1", BEGIN + timedelta(hours=24, minutes=25, seconds=30), {"energy": 524.45})
    Writer(database).write([late])

    (found,) = client.get(f"/statements/1?{OCTOBER}&so_far=true").json["statements"]
    path = tmp_path / f"so-far.{form}"
    path.write_bytes(client.get(f"/statements/1?{OCTOBER}&so_far=true&format={form}").data)
    verified = run("statement", "--verify", path.name)

    assert whole["runs_until"] is None
    # By hand: 24 kWh of a quarter each, and the standing charge of a day.
    assert (found["imported"], found["total"]) == (24.0, 24 * 0.25 + 0.5)
    assert (found["until"], found["runs_until"]) == (
        "2026-10-02T00:00:00+02:00", "2026-10-03T00:00:00+02:00",
    )  # fmt: skip
    assert verified.code == 0, verified.out
    assert ("not final: the period ends at 2026-10-03 00:00" in path.read_text()) == (
        form == "html"
    )


def test_the_running_month_has_a_statement(database: peewee.Database) -> None:
    now = datetime.now(UTC)
    month = start_of(Unit.MONTH, now, BERLIN)
    since = min(start_of(Unit.HOUR, now, BERLIN), month + timedelta(hours=2)) - timedelta(hours=3)
    number = (now - since) // timedelta(minutes=10)
    Writer(database).write(
        Reading("1", since + timedelta(minutes=10 * n), {"energy": n}) for n in range(number + 1)
    )
    assert Rollups(database).run(float("inf"))
    client = make_client(f"sqlite:///{database.database}", timezone="Europe/Berlin")

    answer = client.get("/statements/1?so_far=true")
    parts(client).history.close()

    if now - month < timedelta(hours=1):
        assert answer.status_code == 409
        assert "no hour is over" in answer.json["detail"]
    else:
        (found,) = answer.json["statements"]
        until, end = (datetime.fromisoformat(found[name]) for name in ("until", "runs_until"))
        assert datetime.fromisoformat(found["since"]) == month
        assert end == start_of_next(Unit.MONTH, month, BERLIN)
        assert abs(now - until) <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (f"/statements/none?{OCTOBER}", 404, "unknown meter 'none'"),
        (f"/statements/?{OCTOBER}&meter=1,none", 404, "unknown meter 'none'"),
        (f"/statements/?{OCTOBER}&meter=1,/", 422, "meter"),
        (f"/statements/?{OCTOBER}&tariff=none", 422, "one of default, other"),
        (f"/statements/?{OCTOBER}&site=true&meter=1", 422, "beside"),
        ("/statements/1?from=2026-10-02T00:00:00Z&to=2026-10-01T00:00:00Z", 422, "before `to`"),
        (f"/statements/1?{OCTOBER.replace('T00:00', 'T00:01', 1)}", 422, "start of a quarter-hour"),
        (
            "/statements/1?from=2026-10-01T00:00:00Z&to=2999-01-01T00:00:00Z",
            422,
            "not be in the future",
        ),
        ("/statements/1?from=1999-10-01T00:00:00Z", 422, "at most 10 years"),
        (
            "/statements/1?from=2998-10-01T00:00:00Z&to=2999-01-01T00:00:00Z&so_far=true",
            422,
            "not be in the future",
        ),
        (f"/statements/1?{OCTOBER}&format=pdf", 422, "format"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    client: FlaskClient, path: str, status: int, text: str
) -> None:
    answer = client.get(path)

    assert answer.status_code == status
    assert text in json.dumps(answer.json["detail"])


@pytest.mark.browser
def test_a_browser_shows_the_page_as_it_prints_it(
    history: str, tmp_path: Path, chromium: Browser
) -> None:
    errors: list[str] = []
    settings: dict[str, Any] = {
        "HTTP_PORT": free_port(), "MQTT_PORT": free_port(), "DATABASE_URL": history,
    }  # fmt: skip
    with (
        Part.module("web", directory=tmp_path, **settings) as web,
        closing(chromium.new_context()) as context,
    ):
        web.wait_for("listening")
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text))
        page.goto(f"http://127.0.0.1:{settings['HTTP_PORT']}/statements/1?{OCTOBER}")
        aligned = page.locator("td.number").first.evaluate("e => getComputedStyle(e).textAlign")

    assert (aligned, errors) == ("right", [])
