"""What a meter cannot have counted is held back, reported once, and accepted when polls agree."""

import pytest

from gateway_bridge.meter.plausibility import AGREE_FOR_S, ZERO_AGREES_FOR_S, Gate

LIVE = ("voltage", "power", "energy")


def reading(energy: float, voltage: float = 230.0, power: float = 500.0) -> dict[str, float]:
    return {"voltage": voltage, "power": power, "energy": energy}


@pytest.fixture
def gate() -> Gate:
    """A gate that has believed 1000 kWh."""
    gate = Gate()
    assert gate.judge(reading(1000), LIVE, 0).values == reading(1000)
    return gate


@pytest.mark.parametrize(
    ("energy", "says"),
    [(0, "a counter reads 0"), (990, "a counter fell"), (1500, "rose faster than its wires")],
)
def test_a_counter_that_cannot_be_is_held_back_and_the_rest_goes_out(
    gate: Gate, energy: float, says: str
) -> None:
    verdict = gate.judge(reading(energy), LIVE, 10)

    assert verdict.values == {"voltage": 230.0, "power": 500.0}
    assert verdict.held == 1
    assert says in verdict.events[0]
    assert f"energy ({energy:g} after 1000.000 kWh)" in verdict.events[0]
    assert gate.judge(reading(1000.001), LIVE, 20).values["energy"] == 1000.001


def test_what_three_phases_of_100_amperes_can_carry_is_believed(gate: Gate) -> None:
    assert gate.judge(reading(1000 + 75), LIVE, 3600).values["energy"] == 1075
    assert "energy" not in gate.judge(reading(1075 + 95), LIVE, 7200).values


def test_bigger_transformers_may_count_faster() -> None:
    gate = Gate(max_current_a=1000)
    gate.judge(reading(1000), LIVE, 0)

    assert gate.judge(reading(1700), LIVE, 3600).values["energy"] == 1700


def test_a_counter_set_back_is_believed_when_several_polls_agree(gate: Gate) -> None:
    held = [gate.judge(reading(5 + n / 1000), LIVE, 10 + n) for n in range(3)]
    believed = gate.judge(reading(5.01), LIVE, 10 + AGREE_FOR_S)

    assert all("energy" not in verdict.values for verdict in held)
    assert sum(len(verdict.events) for verdict in held) == 1
    assert believed.values["energy"] == 5.01
    assert "accepted, several polls agree" in believed.events[0]


def test_values_that_do_not_agree_with_one_another_are_never_believed(gate: Gate) -> None:
    wild = [gate.judge(reading(value), LIVE, 10.0 * n) for n, value in enumerate([3, 700, 40] * 9)]

    assert all("energy" not in verdict.values for verdict in wild)


def test_a_counter_at_0_is_doubted_for_a_minute(gate: Gate) -> None:
    for second in range(10, int(ZERO_AGREES_FOR_S)):
        assert "energy" not in gate.judge(reading(0), LIVE, second).values

    assert gate.judge(reading(0), LIVE, 11 + ZERO_AGREES_FOR_S).values["energy"] == 0


def test_an_import_counter_at_0_from_the_start_is_doubted_an_export_counter_is_not() -> None:
    values = {"voltage": 230.0, "energy_import": 0.0, "energy_export": 0.0}

    verdict = Gate().judge(values, values, 0)

    assert verdict.values == {"voltage": 230.0, "energy_export": 0.0}


@pytest.mark.parametrize("now_s", [1, 100, 10_000])
def test_an_answer_of_zeros_alone_is_not_a_reading(gate: Gate, now_s: float) -> None:
    verdict = gate.judge(reading(0, voltage=0, power=0), LIVE, now_s)

    assert verdict.values == {}
    assert verdict.held == 3


def test_an_idle_meter_may_have_no_current_and_no_power() -> None:
    values = {"voltage": 230.0, "current": 0.0, "power": 0.0}

    assert Gate().judge(values, values, 0).values == values


def test_values_not_a_number_or_out_of_range_are_left_out_and_reported(gate: Gate) -> None:
    verdict = gate.judge({"voltage": -5.0, "energy": 1000.0}, LIVE, 10)

    assert verdict.values == {"energy": 1000.0}
    assert set(verdict.events) == {
        "left out, out of range: voltage (-5 V)",
        "left out, not a number: power",
    }


@pytest.mark.parametrize("volts", [1.6e-33, -2e-41, 3e-7])
def test_what_the_registers_of_another_model_seem_to_say_is_no_reading(volts: float) -> None:
    gate = Gate()

    verdict = gate.judge(reading(0, voltage=volts, power=57.25), LIVE, 0)

    assert (verdict.values, verdict.held) == ({}, 3)
    assert "check its model in the settings: voltage" in verdict.events[0]
    assert gate.judge(reading(0, voltage=volts, power=57.25), LIVE, 10).events == ()


def test_a_standing_fault_is_reported_once(gate: Gate) -> None:
    events = [gate.judge(reading(0), LIVE, second).events for second in range(10, 50)]

    assert sum(map(len, events)) == 1


def test_another_meter_starts_again(gate: Gate) -> None:
    gate.forget()

    assert gate.judge(reading(3), LIVE, 10).values["energy"] == 3
