"""Dynamic prices on their way into the history: over MQTT, and from files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from history.database import migrate, open_database
from tests.recorder.test_commands import HISTORY, Run, run
from tests.recorder.test_recorder import rows, start
from tests.support.parts import Part, wait_until
from tests.support.plain_client import PlainClient

__all__ = ["run"]  # a fixture

STORED = "SELECT tariff, quarter, price / 1e8, feed_in FROM tariff_prices ORDER BY tariff, quarter"
NOON_S = 1_795_348_800
TOPIC = "meters/_tariff/spot/prices"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return tmp_path / "recorder" / "energy_meters.db"


@pytest.fixture
def history_file(tmp_path: Path) -> Path:
    """An empty history where commands look for it."""
    database = open_database(f"sqlite:///{tmp_path / HISTORY}")
    migrate(database)
    database.close()
    return tmp_path / HISTORY


@pytest.fixture
def recorder(broker_port: int, history: Path) -> Iterator[Part]:
    with start(broker_port, history) as part:
        yield part


@pytest.fixture
def client(broker_port: int) -> Iterator[PlainClient]:
    with PlainClient(broker_port) as connected:
        yield connected


def price_list(*prices: float, **more: Any) -> str:
    given = [{"from": NOON_S + n * 1800, "price": price} for n, price in enumerate(prices)]
    return json.dumps({"minutes": 30, "prices": given, **more})


@pytest.mark.usefixtures("recorder")
def test_published_prices_are_stored_by_the_quarter_hour(
    client: PlainClient, history: Path
) -> None:
    client.publish(TOPIC, price_list(0.25, 0.5), retain=True)

    expected = [("spot", NOON_S + n * 900, price, None)
                for n, price in enumerate([0.25, 0.25, 0.5, 0.5])]  # fmt: skip
    wait_until(lambda: rows(history, STORED) == expected)

    client.publish(TOPIC, price_list(-100, per="MWh"), retain=True)
    wait_until(lambda: [row[2] for row in rows(history, STORED)] == [-0.1, -0.1, 0.5, 0.5])


def test_retained_prices_reach_a_recorder_that_starts_later(
    broker_port: int, client: PlainClient, history: Path
) -> None:
    client.publish(TOPIC, price_list(0.25), retain=True)

    with start(broker_port, history):
        wait_until(lambda: len(rows(history, STORED)) == 2)


@pytest.mark.usefixtures("recorder")
def test_invalid_prices_are_rejected_and_say_why(client: PlainClient, history: Path) -> None:
    client.publish(TOPIC, "", retain=True)
    client.publish(TOPIC, price_list(0.25, minutes=45))

    rejected = "SELECT topic, reason, detail FROM rejected_messages"
    wait_until(lambda: rows(history, rejected))
    ((topic, reason, detail),) = rows(history, rejected)
    assert (topic, reason) == (TOPIC, "bad_value")
    assert "minutes: should be 15, 30 or 60 (got 45)" in str(detail)
    assert rows(history, STORED) == []


# -- commands ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("history_file")
def test_prices_go_into_the_history_and_out_again(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(
        "from,price,feed_in\n2026-11-22 12:00,250,50\n2026-11-22 13:00,150,\n"
    )

    imported = run("prices", "import", "in.csv", "--tariff", "spot", "--per", "MWh")
    listed = run("prices", "list", "--json")
    exported = run("prices", "export", "-", "--tariff", "spot", "--from", "2026-11-22T12:45")

    assert imported.code == listed.code == exported.code == 0
    assert "8 quarter-hours of spot, 2026-11-22 12:00:00" in imported.out
    assert 'dynamic = "spot"' in imported.out
    assert json.loads(listed.out)[0] == {
        "tariff": "spot",
        "from": "2026-11-22T11:00:00.000Z",
        "to": "2026-11-22T13:00:00.000Z",
        "quarter_hours": 8,
        "missing": 0,
    }
    assert exported.out.splitlines()[:3] == [
        "from,price,feed_in",
        "2026-11-22T11:45:00.000Z,0.25,0.05",
        "2026-11-22T12:00:00.000Z,0.15,",
    ]


@pytest.mark.usefixtures("history_file")
def test_an_import_says_nothing_of_tariffs_that_use_the_prices(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("from,price\n2026-11-22 12:00,1\n2026-11-22 13:00,2\n")
    (tmp_path / "tariffs.toml").write_text(
        '[[tariff]]\nvalid_from = 2026-01-01\ndynamic = "spot"\n'
    )

    assert "tariff uses" not in run("prices", "import", "in.csv", "--tariff", "spot").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "none.csv", "--tariff", "spot"), "none.csv: cannot be read"),
        (("import", "none.csv", "--tariff", "a b"), "--tariff a b: should be 1 to 32 letters"),
        (("import", "none.csv"), "--tariff"),
        (("export", "-", "--tariff", "none"), "prices none: there are none"),
        (("export", "x.txt", "--tariff", "none"), "x.txt: should end with .csv or .json"),
        ((), "import|export|list"),
    ],
)
@pytest.mark.usefixtures("history_file")
def test_a_mistake_is_one_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run("prices", *arguments)

    assert result.code in {1, 2}
    assert message in result.err
    assert "Traceback" not in result.err
