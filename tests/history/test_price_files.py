"""Files of dynamic prices: what they mean, and what is wrong in them."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.prices import KwhPrice
from history.errors import StorageError
from history.exchange.price_files import read_prices, write_csv, write_json
from tests.support.histories import BERLIN

NOON_S = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())


def read(directory: Path, text: str, name: str = "prices.csv", **more: object) -> dict[int, float]:
    path = directory / name
    path.write_text(text)
    found = read_prices(path, zone=BERLIN, **more)  # type: ignore[arg-type]
    return {(quarter - NOON_S) // 900: price.price for quarter, price in found.items()}


def test_the_distance_of_the_lines_is_how_long_a_price_applies(tmp_path: Path) -> None:
    text = "from,price\n2026-11-22T12:00Z,0.1\n2026-11-22T12:30Z,0.2\n2026-11-22T14:00Z,0.3\n"

    assert read(tmp_path, text) == {0: 0.1, 1: 0.1, 2: 0.2, 3: 0.2, 8: 0.3, 9: 0.3}


def test_a_file_for_people_has_local_times_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    text = "\ufeffStart;Price;Note\n2026-11-22 13:00;87,5;x\n2026-11-22 13:15;-3;y\n"

    assert read(tmp_path, text, per="MWh") == {0: pytest.approx(0.0875), 1: -0.003}


def test_the_hour_that_the_clocks_repeat_has_two_prices(tmp_path: Path) -> None:
    hours = ["01:00", "02:00", "02:00", "03:00"]
    text = "time,value\n" + "".join(f"2026-10-25 {h},{n}\n" for n, h in enumerate(hours))

    found = read(tmp_path, text)

    assert list(found.values()) == [n for n in range(4) for _ in range(4)]
    assert sorted(found) == list(range(min(found), min(found) + 16))


def test_a_json_file_is_what_is_sent_over_mqtt(tmp_path: Path) -> None:
    text = f'\n{{"minutes": 60, "prices": [{{"from": {NOON_S}, "price": 0.5}}]}}'

    assert read(tmp_path, text, name="prices.json") == dict.fromkeys(range(4), 0.5)


@given(
    st.dictionaries(
        st.integers(0, 100_000).map(lambda n: NOON_S + n * 900),
        st.builds(KwhPrice, st.floats(-9, 9), st.none() | st.floats(0, 9)),
        min_size=1,
        max_size=20,
    )
)
@pytest.mark.parametrize("name", ["prices.csv", "prices.json"])
def test_what_was_written_is_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, name: str, quarters: dict[int, KwhPrice]
) -> None:
    text = io.StringIO()
    (write_json if name.endswith("json") else write_csv)(text, quarters)
    path = tmp_path_factory.mktemp("prices") / name
    path.write_text(text.getvalue())

    assert read_prices(path, zone=BERLIN, minutes=15) == quarters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: should name the columns from and price (got nothing)"),
        ("day,price\n", "line 1: should name the columns from and price (got day, price)"),
        ("from,price\nyesterday,1\n", "line 2: from: should be a time"),
        ("from,price\n2026-11-22T12:00Z,1\n2026-11-22T13:00Z,x\n", "line 3: price: should be"),
        ("from,price\n2026-11-22T12:00Z,1\n2026-11-22T13:00Z,\n", "line 3: price: Field required"),
        ("from,price\n2026-11-22T12:07Z,1\n2026-11-22T12:37Z,1\n", "line 2: from: should be the"),
        ("from,price\n2026-11-22T12:00Z,1\n2026-11-22T12:20Z,1\n", "15, 30 or 60 minutes apart"),
        ("from,price\n2026-11-22T12:00Z,1\n", "15, 30 or 60 minutes apart"),
        ('{"minutes": 60}', "prices: Field required"),
        ("\x00{", "should name the columns"),
    ],
    ids=[
        "empty",
        "columns",
        "time",
        "price",
        "no price",
        "minute",
        "apart",
        "one",
        "JSON",
        "bytes",
    ],
)
def test_the_error_names_the_place_and_what_was_expected(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(StorageError) as error:
        read(tmp_path, text)

    assert message in str(error.value)
    assert "prices.csv" in str(error.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none\.csv: cannot be read: No such file"):
        read_prices(tmp_path / "none.csv", zone=BERLIN)
