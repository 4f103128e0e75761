"""Readings: what is accepted on the wire, and the error messages for the rest."""

import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import PayloadError
from contract.quantities import BY_NAME, QUANTITIES, Quantity
from contract.readings import HIGHEST_SEQ, Reading, decode_reading, decode_scalar
from contract.times import epoch_ms, format_time
from contract.topics import METER_ID

NOW = datetime(2026, 11, 22, 19, 20, 31, 123000, UTC)
STATED = "2026-11-22T19:20:31.123Z"

wild_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
field_names = st.sampled_from(["meter_id", "ts", "seq", *list(BY_NAME)[:6]])
wild_bodies = st.dictionaries(field_names, wild_json).map(json.dumps)
plausible_values = st.dictionaries(
    st.sampled_from(QUANTITIES), st.floats(0, 1), min_size=1, max_size=8
).map(lambda drawn: {quantity.name: round(value, 3) for quantity, value in drawn.items()})
times = st.datetimes(datetime(2020, 1, 1), datetime(2026, 11, 22)).map(  # noqa: DTZ001
    lambda ts: ts.replace(microsecond=ts.microsecond // 1000 * 1000, tzinfo=UTC)
)
readings = st.builds(
    Reading,
    st.from_regex(METER_ID, fullmatch=True),
    times,
    plausible_values,
    st.none() | st.integers(0, HIGHEST_SEQ),
)


def decode(payload: bytes | str, meter_id: str | None = None) -> Reading:
    return decode_reading(payload, arrived=NOW, meter_id=meter_id)


def error_of(payload: bytes | str, meter_id: str | None = None) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        decode(payload, meter_id)
    return caught.value


# -- plain payloads, which are decoded without pydantic -----------------------------------------

plain_numbers = st.integers() | st.floats(allow_nan=True) | st.floats(-400, 400)


def numbers_of(quantity: Quantity) -> st.SearchStrategy[float]:
    edges = (quantity.kind.lowest, quantity.kind.highest)
    beside = [edge + by for edge in edges for by in (-1, -0.001, 0, 0.0, 0.001, 1)]
    return st.sampled_from(beside) | plain_numbers


usual_bodies = st.fixed_dictionaries(
    {},
    optional={
        "meter_id": st.from_regex(METER_ID, fullmatch=True) | st.integers() | wild_json,
        "ts": times.map(format_time) | plain_numbers | wild_json,
        "seq": st.sampled_from([-1, 0, 2**53 + 1, 2**63 - 1, 2**63, 2**64]) | wild_json,
        "nothing_of_ours": wild_json,
        **{q.name: numbers_of(q) | st.booleans() | st.none() for q in QUANTITIES[:6]},
    },
).flatmap(lambda body: st.permutations(list(body.items())))
numbers = (
    "0", "1", "-0", "-0.0", "1.5", "0.125", "230.4000", "1e2", "1E+2", "2e0", "1E400", "1e-400",
    "12345e-4", "5E-1", "0.1e1", "9007199254740993", "18446744073709551616", "1000000000.001", "01",
    "+1", "NaN", "Infinity", "-Infinity", ".5", "5.", "0x1", "1_0", "230.12349999999998", "-5",
)  # fmt: skip
texts = (
    '""', '"1"', '"m\\u0031"',
    '"\\ud800"', '"\\ud83d\\ude00"', '"\\""', '"\\x"', '"\t"', '"\x00"', '"é"',
    '"2026-11-22T19:20:31Z"', '"2026-11-22t19:20:31z"', '"2026-11-22 19:20:31+01:00"',
    '"2026-11-22é19:20:31Z"', '"20261122T192031Z"', '"2026-11-22T19:20:60Z"', '"2026-11-22"',
    '"2026-11-22T19:20:31.123456789Z"', '"2026-11-22T19:20:31,123Z"', '"2026-W47-7T19Z"',
    '"1795375231"', "1795375231", "1795375231.5", "1795375231123", "-1", "1e300",
)  # fmt: skip
others = ("null", "true", "false", "[]", "{}", '{"power": 1}', '[[1, "2"], null]', '["\x01"]', "")
names_as_text = st.sampled_from(
    ["meter_id", "ts", "seq", "voltage", "power", "p\\u006fwer", "Power", "x", "", "é", '\\"']
)
spaces = st.sampled_from(["", "", "", " ", "\n\t", "\x0b", "\ufeff", "/**/"])


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    """Return an object as any client may write it, JSON or nearly so."""
    values = st.sampled_from(numbers) | st.sampled_from(texts) | st.sampled_from(others)
    fields = draw(st.lists(st.tuples(names_as_text, values), max_size=5))
    space = draw(spaces)
    body = f",{space}".join(f'"{name}"{space}:{value}' for name, value in fields)
    return f"{space}{{{body}}}{draw(st.sampled_from(['', '', '', ' ', ',', '}', '{}']))}"


def verdict(payload: bytes, meter_id: str | None) -> tuple[object, ...]:
    """Return all that a payload leads to: the reading with types and order, or the error."""
    try:
        reading = decode(payload, meter_id)
    except PayloadError as error:
        return error.reason, str(error)
    return reading, list(map(repr, reading.values.items()))


def assert_both_agree(payload: bytes) -> None:
    for meter_id in (None, "1"):
        found = verdict(payload, meter_id)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("contract.readings._plain_payload", lambda *_: None)
            assert verdict(payload, meter_id) == found


@given(usual_bodies)
def test_both_decoders_agree_about_json(body: list[tuple[str, object]]) -> None:
    assert_both_agree(json.dumps(dict(body)).encode())
    assert_both_agree(json.dumps(dict(body), ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(json_texts())
def test_both_decoders_agree_about_what_is_nearly_json(text: str) -> None:
    assert_both_agree(text.encode())


@given(json_texts(), st.integers(0), st.binary(max_size=3))
def test_both_decoders_agree_about_damaged_json(text: str, place: int, damage: bytes) -> None:
    payload = text.encode()
    place %= len(payload)
    assert_both_agree(payload[:place] + damage + payload[place + len(damage) :])


@given(st.binary(max_size=40) | (wild_bodies | wild_json.map(json.dumps)).map(str.encode))
def test_both_decoders_agree_about_anything(payload: bytes) -> None:
    assert_both_agree(payload)


@given(st.integers(1, 12))
def test_both_decoders_agree_about_deep_json(exponent: int) -> None:
    deep = "[" * 2**exponent + "]" * 2**exponent
    assert_both_agree(f'{{"power": 1.5, "x": {deep}}}'.encode())
    assert_both_agree(f'{{"power": {deep}}}'.encode())


def test_a_payload_of_a_bridge_does_not_need_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading("1", NOW, {q.name: 0.125 for q in QUANTITIES}, 7)
    monkeypatch.setattr("contract.readings._PAYLOAD", None)

    assert decode(reading.encode()) == reading
    assert decode('{"ts": "2026-11-22T19:20:31.123Z", "power": 1}', "1").values == {"power": 1.0}


def test_the_smallest_body_is_a_reading_stamped_on_arrival() -> None:
    reading = decode(
        '{"meter_id": 1, "voltage": 230.5, "current": 5.2, "power": 1200.0, "energy": 1500.0}'
    )

    values = {"voltage": 230.5, "current": 5.2, "power": 1200.0, "energy": 1500.0}
    assert reading == Reading("1", NOW, values, stamped_on_arrival=True)


@given(readings)
def test_a_reading_comes_back_as_it_was_sent(reading: Reading) -> None:
    assert decode(reading.encode()) == reading


@given(st.binary() | wild_bodies | st.text())
def test_decoding_raises_nothing_but_a_payload_error(payload: bytes | str) -> None:
    with contextlib.suppress(PayloadError):
        assert decode(payload).values.keys() <= BY_NAME.keys()


@given(st.sampled_from(QUANTITIES), st.binary() | st.floats().map(lambda n: str(n).encode()))
def test_decoding_a_scalar_gives_a_plausible_number_or_an_error(
    quantity: Quantity, payload: bytes
) -> None:
    with contextlib.suppress(PayloadError):
        value = decode_scalar(quantity.name, payload)
        assert value is None or quantity.kind.lowest <= value <= quantity.kind.highest


@pytest.mark.parametrize(
    "ts",
    [
        f'"{STATED}"',
        '"2026-11-22T20:20:31.123+01:00"',
        '"2026-11-22 19:20:31.123+00:00"',
        "1795375231.123",
        "1795375231123",
    ],
)
def test_a_time_may_have_any_zone_or_be_an_epoch_number(ts: str) -> None:
    reading = decode(f'{{"ts":{ts},"meter_id":"1","power":1}}')

    assert (format_time(reading.ts), reading.stamped_on_arrival) == (STATED, False)


@pytest.mark.parametrize("ts", ["null", "0", '"1970-01-01T00:00:17Z"', '"2026-11-22T20:20:32Z"'])
def test_a_clock_that_is_not_set_is_replaced_by_the_time_of_arrival(ts: str) -> None:
    reading = decode(f'{{"ts":{ts},"meter_id":"1","power":1}}')

    assert (reading.ts, reading.stamped_on_arrival) == (NOW, True)


@pytest.mark.parametrize(
    ("payload", "reason", "message"),
    [
        ("", "bad_json", "JSON"),
        ("{", "bad_json", "JSON"),
        (b"\xff\xfe", "bad_json", "JSON"),
        ("[" * 5000, "bad_json", "JSON"),
        ("[1]", "not_an_object", "object"),
        ("{}", "bad_value", "meter_id: is missing"),
        ('{"meter_id":"1"}', "no_quantity", "no quantity"),
        ('{"meter_id":"1","power":null}', "no_quantity", "no quantity"),
        ('{"meter_id":"1","watts":1}', "no_quantity", "no quantity"),
        ('{"meter_id":"1","power":"1"}', "bad_value", "power: should be a valid number (got '1')"),
        ('{"meter_id":"1","power":true}', "bad_value", "power: should be a valid number"),
        ('{"meter_id":"1","power":NaN}', "bad_value", "power: should be a finite number"),
        ('{"meter_id":"1","power":1e999}', "bad_value", "power: should be a finite number"),
        ('{"meter_id":"1","voltage":-1}', "bad_value", "voltage: should be greater than"),
        ('{"meter_id":"a/b","power":1}', "bad_value", "meter_id: should be 1 to 32 letters"),
        ('{"meter_id":true,"power":1}', "bad_value", "meter_id: should be 1 to 32 letters"),
        ('{"meter_id":"1","ts":"yesterday","power":1}', "bad_ts", "ts: should be a time"),
        ('{"meter_id":"1","ts":"2026-11-22T19:20:31","power":1}', "bad_ts", "with a zone"),
        ('{"meter_id":"1","ts":1e300,"power":1}', "bad_ts", "ts: should be a time"),
        ('{"meter_id":"1","seq":-1,"power":1}', "bad_value", "seq: should be greater than"),
        ('{"power":1,"x":"' + "x" * 70000 + '"}', "too_large", "more than 65536 bytes"),
        (f'{{"meter_id":{"9" * 400},"power":1}}', "bad_value", "meter_id: should be 1 to 32"),
        (f'{{"meter_id":"1","ts":{"9" * 400},"power":1}}', "bad_ts", "ts: should be a time"),
        (f'{{"meter_id":"1","ts":{"9" * 5000},"power":1}}', "bad_json", "JSON"),
    ],
    ids=lambda text: str(text)[:40],
)
def test_an_error_names_its_field(payload: str, reason: str, message: str) -> None:
    error = error_of(payload)

    assert error.reason == reason
    assert message in str(error)


def test_every_field_that_is_wrong_is_named() -> None:
    error = error_of('{"meter_id":"1","power":"x","voltage":-5,"energy":1}')

    assert {field for field, _text in error.problems} == {"power", "voltage"}


def test_a_body_cannot_claim_another_meter_than_its_topic() -> None:
    error = error_of('{"meter_id":"2","power":1}', meter_id="1")

    assert error.reason == "id_mismatch"
    assert str(error) == "meter_id: is '2', but the topic is that of meter '1'"


def test_unknown_keys_are_ignored_and_numbers_keep_three_decimals() -> None:
    reading = decode('{"meter_id":"1","power":1.23456,"firmware":"1.0"}')

    assert reading.values == {"power": 1.235}


def test_a_reading_is_flat_json_in_the_order_of_the_contract() -> None:
    reading = Reading("1", NOW, {"voltage": 230.42, "power": 1234.5}, seq=48211)

    assert reading.encode() == (
        f'{{"ts":"{STATED}","meter_id":"1","seq":48211,"voltage":230.42,"power":1234.5}}'
    )


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"123", 123.0),
        (b" 230.4215 \r\n", 230.422),
        (b"-1.5e3", -1500.0),
        (b".5", 0.5),
        (b"", None),
        (b"nan", None),
        (b"unavailable", None),
    ],
)
def test_a_scalar_is_a_decimal_number_or_means_no_value(
    payload: bytes, value: float | None
) -> None:
    assert decode_scalar("power", payload) == value


@pytest.mark.parametrize(
    "payload", [b"on", b"12,5", b"0x10", b"1_000", b"1e400", b"inf", b"12 W", b"\xff", b"1" * 65]
)
def test_a_scalar_that_is_not_a_number_is_rejected(payload: bytes) -> None:
    with pytest.raises(PayloadError, match=r"^power: should be"):
        decode_scalar("power", payload)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)), st.integers(-840, 840))  # noqa: DTZ001
def test_the_stored_time_is_the_time_on_the_wire(ts: datetime, zone_minutes: int) -> None:
    zoned = ts.replace(tzinfo=UTC) + timedelta(minutes=zone_minutes)

    assert epoch_ms(zoned) == epoch_ms(datetime.fromisoformat(format_time(zoned)))
