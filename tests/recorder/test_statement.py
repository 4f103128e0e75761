"""`meterflow statement`: the files that a person prints, sends, and verifies years later."""

import csv
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from contract.readings import Reading
from history.database import migrate, open_database
from history.readings_table import Writer
from history.rollups.replacements import replace_meter
from history.rollups.rollups import Rollups
from service import __version__
from tests.recorder.test_commands import HISTORY, Run, run, sql
from tests.support.histories import BERLIN
from tests.support.parts import CHROMIUM_OPTIONS, require

__all__ = ["run"]  # a fixture

BEGIN = datetime(2026, 10, 1, tzinfo=BERLIN).astimezone(UTC)
OCTOBER = ("--from", "2026-10-01", "--to", "2026-10-03")
TARIFFS = """
[[tariff]]
valid_from = 2026-01-01
price = 0.25
[[tariff.standing]]
name = "base <price>"
per = "day"
price = 0.5
[[tariff]]
name = "other"
valid_from = 2026-01-01
price = 1
"""


@pytest.fixture(autouse=True)
def history(tmp_path: Path) -> Path:
    """A history of two meters: three days of a kWh an hour, the second replaced in between."""
    database = open_database(f"sqlite:///{tmp_path / HISTORY}")
    migrate(database)
    Writer(database).write(
        Reading(meter, BEGIN + timedelta(minutes=10 * n), {"energy": round(500 + n / 6, 3)})
        for n in range(-6, 3 * 144)
        for meter in ("1", "2")
        if meter == "1" or n not in range(60, 90)
    )
    at = BEGIN + timedelta(minutes=900)
    replace_meter(database, "2", at, {"energy": 512.0}, {"energy": 514.0})
    assert Rollups(database).run(float("inf"))
    database.close()
    (tmp_path / "tariffs.toml").write_text(TARIFFS)
    return tmp_path / HISTORY


def test_a_page_shows_registers_costs_and_what_is_remarkable(run: Run, tmp_path: Path) -> None:
    assert run("statement", *OCTOBER, "--meter", "2", "--output", "out.html").code == 0

    page = (tmp_path / "out.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page.partition("<script")[0]).split())
    for shown in (
        "2026-10-01 00:00 to 2026-10-03 00:00 (Europe/Berlin)",
        "Energy 499.833 kWh 547.833 kWh 46.000 kWh",
        "Energy 46.000 kWh 0.25 11.50",
        "Base &lt;price&gt; 2 days 0.50 1.00",
        "Total 12.50",
        "The meter was replaced on 2026-10-01 15:00: Energy ended at 512.000 kWh and began again",
        "No readings from 2026-10-01 10:00 to 2026-10-01 15:00",
    ):
        assert shown in text


def test_the_share_of_a_yearly_charge_can_be_multiplied_by_hand(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tariffs.toml").write_text(
        TARIFFS.replace('"day"', '"year"').replace("0.5", "1200")
    )
    run("statement", *OCTOBER, "--meter", "1", "--output", "out.html")

    page = (tmp_path / "out.html").read_text().partition("<script")[0]
    row = re.findall(r"<td>Base.*?</td>(.*?)</tr>", page)[0]
    quantity, price, amount = re.findall(r'class="number">([0-9.,]+)', row)
    assert round(float(quantity) * float(price.replace(",", "")), 2) == float(amount) == 6.58


@pytest.mark.parametrize("form", ["html", "csv", "json"])
def test_a_file_is_verified_by_the_history(run: Run, tmp_path: Path, form: str) -> None:
    name = f"out.{form}"
    run("statement", *OCTOBER, "--format", form, "--output", name)

    verified = run("statement", "--verify", name)
    assert (verified.code, verified.out.count("the history still says the same")) == (0, 2)

    (tmp_path / "tariffs.toml").write_text(TARIFFS.replace("0.25", "0.26"))
    changed = run("statement", "--verify", name)
    assert changed.code == 1
    assert "meter 1: the history has changed since: tariff" in changed.out
    if form != "csv":
        assert "total 13.0 is now 13.48 EUR" in changed.out


@pytest.mark.parametrize("form", ["html", "csv", "json"])
def test_a_file_that_was_changed_by_hand_is_found(run: Run, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"out.{form}"
    run("statement", *OCTOBER, "--meter", "1", "--format", form, "--output", path.name)
    path.write_text(path.read_text().replace("12.0", "11.0"))

    result = run("statement", "--verify", path.name)

    assert result.code == 1
    assert "text was changed after it was made" in result.out


def test_a_changed_history_is_named(run: Run, history: Path) -> None:
    run("statement", *OCTOBER, "--meter", "1", "--format", "json", "--output", "out.json")
    sql(history, "UPDATE rollup SET delta = delta + 1000 WHERE meter = 1 AND level IN (15, 60) "
        f"AND bucket = {int(BEGIN.timestamp())}")  # fmt: skip

    result = run("statement", "--verify", "out.json")

    assert result.code == 1
    assert "the history has changed since: energy" in result.out
    assert "imported 48.0 is now 49.0 kWh" in result.out


def test_a_new_name_is_no_change_of_the_file(run: Run) -> None:
    run("statement", *OCTOBER, "--meter", "1", "--output", "out.html")
    run("meter", "1", "--name", "Attic", "--serial", "4711")

    result = run("statement", "--verify", "out.html")

    assert result.code == 1
    assert "the history has changed since: name and serial number" in result.out
    assert "text was changed" not in result.out


def test_what_tiers_counted_before_a_period_is_part_of_what_it_rests_on(
    run: Run, tmp_path: Path, history: Path
) -> None:
    tiers = "\n[[tariff.tier]]\nup_to = 20\nper = 'month'\nprice = 0.1\n"
    (tmp_path / "tariffs.toml").write_text(TARIFFS.split("[[tariff.st")[0] + tiers)
    second_day = ("--from", "2026-10-02", "--to", "2026-10-03", "--meter", "1")
    run("statement", *second_day, "--output", "out.html")
    same = run("statement", "--verify", "out.html")
    sql(history, "UPDATE rollup SET delta = delta - 900 WHERE meter = 1 AND level IN (15, 60) "
        f"AND bucket = {int(BEGIN.timestamp())}")  # fmt: skip
    changed = run("statement", "--verify", "out.html")

    assert same.code == 0
    assert changed.code == 1
    assert "the history has changed since: energy before, for its tiers" in changed.out


@pytest.mark.parametrize("form", ["html", "json"])
def test_a_file_of_another_version_is_compared_by_its_figures(
    run: Run, tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"out.{form}"
    run("statement", *OCTOBER, "--meter", "1", "--format", form, "--output", path.name)
    older = path.read_text().replace(f'"version":"{__version__}"', '"version":"0.0.9"')
    older = older.replace(f'"version": "{__version__}"', '"version": "0.0.9"')
    path.write_text(older)
    untouched = run("statement", "--verify", path.name)
    path.write_text(older.replace("12.0", "11.0"))
    touched = run("statement", "--verify", path.name)

    assert (untouched.code, touched.code) == (0, 1)
    assert "was made by version 0.0.9" in untouched.out
    assert "its text was changed after it was made: items" in touched.out


def test_a_landlord_gets_a_file_for_each_meter_and_a_table_of_all(run: Run, tmp_path: Path) -> None:
    result = run("statement", *OCTOBER, "--each-meter", "--directory", "flats")

    assert result.code == 0
    names = {path.name for path in (tmp_path / "flats").iterdir()}
    assert names == {"1.html", "2.html", "_all.csv"}
    with (tmp_path / "flats" / "_all.csv").open() as file:
        totals = {row["meter"]: row["amount"] for row in csv.DictReader(file)
                  if row["kind"] == "total"}  # fmt: skip
    assert totals == {"1": "13.0", "2": "12.5"}
    assert run("statement", "--verify", "flats/2.html").code == 0
    assert run("statement", "--verify", "flats/_all.csv").code == 0


def test_a_meter_named_all_keeps_its_file_beside_the_table_of_all(
    run: Run, tmp_path: Path, history: Path
) -> None:
    sql(history, "UPDATE meters SET name = 'all' WHERE name = '2'")

    run("statement", *OCTOBER, "--each-meter", "--directory", "flats", "--format", "csv")

    meters = {}
    for path in (tmp_path / "flats").iterdir():
        with path.open() as file:
            meters[path.name] = {row["meter"] for row in csv.DictReader(file)}
    assert meters == {"1.csv": {"1"}, "all.csv": {"all"}, "_all.csv": {"1", "all"}}


@pytest.mark.parametrize("form", ["html", "csv", "json"])
def test_the_house_has_its_figures_beside_the_statement_of_its_bill(
    run: Run, tmp_path: Path, history: Path, form: str
) -> None:
    run("meter", "1", "--role", "grid")
    run("meter", "2", "--parent", "1", "--name", "Flat")
    name = f"house.{form}"

    assert run("statement", *OCTOBER, "--site", "--format", form, "--output", name).code == 0
    verified = run("statement", "--verify", name)
    sql(history, "UPDATE meters SET role = 'production' WHERE name = '2'")
    changed = run("statement", "--verify", name)

    assert verified.code == 0
    assert "the house: the history still says the same" in verified.out
    assert "meter 1: the history still says the same" in verified.out
    assert changed.code == 1
    assert "the house: the history has changed since: roles" in changed.out
    if form == "json":
        found = json.loads((tmp_path / name).read_text())
        assert found["house"]["billed"] == ["1"]
        assert found["house"]["figures"]["consumption"] == pytest.approx(48, abs=0.01)
        assert found["house"]["figures"]["not measured at consumers"] == pytest.approx(2, abs=0.01)
        assert [each["meter_id"] for each in found["statements"]] == ["1"]


@pytest.mark.parametrize(
    ("since", "until", "why"),
    [
        ("2026-09-01", "2026-09-02", "There are no readings in the period"),
        ("2026-10-02", "2026-10-03", "The tariff has no prices in the period yet"),
    ],
)
def test_a_total_that_is_not_known_has_a_reason(
    run: Run, tmp_path: Path, since: str, until: str, why: str
) -> None:
    valid_from = "2026-01-01" if since < "2026-10" else "2027-01-01"
    (tmp_path / "tariffs.toml").write_text(TARIFFS.replace("2026-01-01", valid_from))
    run("statement", "--from", since, "--to", until, "--meter", "1", "--output", "out.html")

    page = (tmp_path / "out.html").read_text().partition("<script")[0]

    assert "not known</td>" in page
    assert why in page


def test_another_tariff_is_chosen_by_its_name(run: Run) -> None:
    result = run("statement", *OCTOBER, "--format", "json", "--meter", "1", "--tariff", "other")

    (found,) = json.loads(result.out)["statements"]
    assert (found["tariff"], found["total"]) == ("other", 48.0)


def test_without_tariffs_a_statement_has_energy_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tariffs.toml").unlink()

    run("statement", *OCTOBER, "--output", "out.html")

    assert "<h2>Cost</h2>" not in (tmp_path / "out.html").read_text()
    assert run("statement", "--verify", "out.html").code == 0


def test_a_name_is_no_formula_to_a_spreadsheet(run: Run, tmp_path: Path) -> None:
    run("meter", "1", "--name", "=HYPERLINK(1)")
    run("statement", *OCTOBER, "--format", "csv", "--output", "out.csv")

    with (tmp_path / "out.csv").open() as file:
        names = {row["value"] for row in csv.DictReader(file) if row["kind"] == "name"}
    assert names == {"'=HYPERLINK(1)", "2"}
    assert run("statement", "--verify", "out.csv").code == 0


@pytest.mark.parametrize("form", ["html", "csv", "json"])
def test_a_history_without_meters_has_no_statements(
    run: Run, tmp_path: Path, history: Path, form: str
) -> None:
    history.unlink()
    database = open_database(f"sqlite:///{history}")
    migrate(database)
    database.close()

    result = run("statement", *OCTOBER, "--format", form, "--output", "out")

    assert result.code == 1
    assert "there are no meters in the history" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--from and --to: are missing"),
        (("--from", "2026-10-02", "--to", "2026-10-01"), "--from 2026-10-02: should be before"),
        (("--from", "2026-10-02", "--to", "2999-10-01"), "should not be in the future"),
        (("--from", "2026-10-02T12:07", "--to", "2026-10-03"), "start of a quarter-hour"),
        ((*OCTOBER, "--meter", "9"), "meter 9: has no history"),
        ((*OCTOBER, "--tariff", "none"), "tariff 'none': is not in tariffs.toml; it has: default"),
        ((*OCTOBER, "--each-meter"), "should be given together"),
        ((*OCTOBER, "--site", "--meter", "1"), "--site: stands for the meters of the house"),
        (("--verify", "none.html"), "none.html: cannot be read"),
        (("--verify", "tariffs.toml"), "tariffs.toml: is not a statement"),
        (("--verify", HISTORY), f"{HISTORY}: is not a statement"),
    ],
)
def test_a_mistake_is_one_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run("statement", *arguments)

    assert result.code in {1, 2}
    assert message in result.err
    assert "Traceback" not in result.err


@pytest.mark.browser
def test_each_statement_prints_on_a_page_of_its_own(run: Run, tmp_path: Path) -> None:
    run("statement", *OCTOBER, "--output", "out.html")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=require("chromium"), args=CHROMIUM_OPTIONS
        )
        page = browser.new_page()
        page.goto((tmp_path / "out.html").as_uri())
        printed = page.pdf(prefer_css_page_size=True)
        browser.close()

    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2
    assert re.search(rb"/MediaBox \[0 0 59[45][.0-9]* 84[12]", printed)  # A4 in points
