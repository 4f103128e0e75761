"""Wiring mistakes that the values of a meter show, and values that show none."""

import math
import random

import pytest

from gateway_bridge.meter.wiring import counter_mismatch, counter_step, idle_phases, suspicions
from gateway_bridge.models import MODELS
from simulator.device import SimulatedMeter, miswiring
from simulator.faults import Faults
from simulator.load import MONDAY, Phases

LATER_S = MONDAY + 100 * 7 * 86_400
"""A time at which the simulated meters have counted for years."""
LOAD: Phases = (complex(900, 200), complex(1200, 350), complex(700, 90))
SOLAR: Phases = (complex(-900, 120), complex(-1200, 150), complex(-800, 90))


def reading(phases: Phases, **changed: float) -> dict[str, float]:
    """A reading of a meter with the given complex power on its phases."""
    values: dict[str, float] = {"frequency": 50.0, "energy_import": 5000.0, "energy_export": 0.0}
    for name, load in zip(("l1", "l2", "l3"), phases, strict=True):
        values |= {
            f"voltage_{name}": 230.0,
            f"current_{name}": abs(load) / 230,
            f"power_{name}": load.real,
            f"reactive_power_{name}": load.imag,
            f"power_factor_{name}": load.real / abs(load),
        }
    values["power"] = sum(load.real for load in phases)
    values["current"] = sum(abs(load) for load in phases) / 230
    return values | changed


def turned(load: complex, degrees: float) -> complex:
    return load * complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))


def texts(values: dict[str, float], wiring: str = "3p4w") -> str:
    return "; ".join(each.text for each in suspicions(values, wiring=wiring))


@pytest.mark.parametrize("unit", [1, 2, 3, 4])
def test_a_week_of_a_correctly_wired_meter_raises_no_suspicion(unit: int) -> None:
    meter = SimulatedMeter(unit, MODELS["sdm630"])

    found = {
        each.text
        for minute in range(0, 7 * 1440, 53)
        for each in suspicions(meter.measure(LATER_S + 60 * minute), wiring="3p4w")
    }

    assert found == set()


@pytest.mark.parametrize("unit", [1, 2, 3])
@pytest.mark.parametrize("name", ["reversed-ct", "swapped-cts"])
def test_a_wrongly_wired_meter_is_suspected_whenever_its_load_is_large_enough(
    unit: int, name: str
) -> None:
    meter = SimulatedMeter(unit, MODELS["sdm630"])
    faults = Faults(random.Random(1))
    faults.switch_on(unit, name)
    found = loaded = 0
    for minute in range(0, 7 * 1440, 53):
        at_s = LATER_S + 60 * minute
        right = meter.measure(at_s)
        if min(right["power_l1"], right["power_l2"]) < 150:
            continue  # too little on one of the phases, or the sun shines
        loaded += 1
        wrong = meter.measure(at_s, miswiring(unit, faults))
        found += bool(suspicions(wrong, wiring="3p4w"))

    assert loaded > 10
    assert found >= 0.9 * loaded


def test_a_reversed_transformer_is_found_if_the_site_has_never_exported() -> None:
    [found] = suspicions(reading((LOAD[0], -LOAD[1], LOAD[2])), wiring="3p4w")

    assert found.text == (
        "L2 appears to export 1200 W while other phases import,"
        " and has never exported before: its current transformer is reversed"
    )
    assert found.remedy.startswith("turn the current transformer of L2 around")
    assert found.sure


def test_a_transformer_that_was_always_reversed_is_found_by_the_counters_of_its_phase() -> None:
    values = reading((LOAD[0], -LOAD[1], LOAD[2]), energy_export=2000)

    [found] = suspicions(values | {"energy_import_l2": 0.1, "energy_export_l2": 1900})

    assert "and has hardly ever imported: its current transformer is reversed" in found.text


def test_solar_power_on_all_phases_is_not_a_fault() -> None:
    assert texts(reading(SOLAR, energy_export=8000)) == ""


def test_on_a_site_that_exports_a_reversed_transformer_is_only_a_warning() -> None:
    [found] = suspicions(reading((-LOAD[0], LOAD[1], LOAD[2]), energy_export=8000))

    assert not found.sure
    assert "its current transformer may be reversed" in found.text


def test_a_meter_that_has_only_exported_may_need_to_be_inverted() -> None:
    values = reading(SOLAR, energy_import=3, energy_export=4000)

    [found] = suspicions(values)

    assert "invert = true" in found.remedy
    assert not found.sure


@pytest.mark.parametrize("phases", [LOAD, SOLAR], ids=["importing", "exporting"])
@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (2, 0)])
def test_two_swapped_phases_are_found(phases: Phases, pair: tuple[int, int]) -> None:
    one, other = pair
    seen = list(phases)
    seen[one], seen[other] = turned(phases[other], 120), turned(phases[one], -120)

    found = texts(reading((seen[0], seen[1], seen[2]), energy_export=8000))

    assert f"L{one + 1} and L{other + 1} are swapped" in found


def test_transformers_that_are_one_phase_off_are_found() -> None:
    found = texts(reading((turned(LOAD[0], 120), turned(LOAD[1], 120), turned(LOAD[2], 120))))

    assert "each current transformer is one phase off" in found


def test_a_wrong_ratio_of_one_phase_is_reported_with_its_factor() -> None:
    values = reading(LOAD)
    values |= {"power_l3": 5 * values["power_l3"], "power": values["power"]}

    assert (
        "the power differs from voltage times current times power factor: L3 by a factor of 5.00"
        in texts(values)
    )


def test_phases_that_do_not_add_up_are_reported() -> None:
    assert "the phases add up to 2800.0 W, but the meter reports 900.0 W" in texts(
        reading(LOAD, power=900)
    )


def test_a_phase_without_voltage_is_found() -> None:
    found = texts(reading(LOAD, voltage_l2=3.0))

    assert "L2 has no voltage, while another phase has 230 V" in found


def test_two_terminals_on_one_phase_are_found() -> None:
    values = reading(LOAD, voltage_l1_l2=1.0, voltage_l2_l3=398.0, voltage_l3_l1=398.0)

    assert "the voltage between L1 and L2 is only 1 V" in texts(values)


def test_phases_without_load_are_not_checked() -> None:
    values = reading((LOAD[0], complex(-3, 1), complex(2, 0)))

    assert texts(values) == ""
    assert idle_phases(values) == ["l2", "l3"]


def test_without_a_neutral_the_phases_are_not_compared() -> None:
    assert texts(reading((LOAD[0], -LOAD[1], LOAD[2])), wiring="3p3w") == ""


def test_a_single_phase_meter_is_checked_too() -> None:
    values = {
        "voltage": 230.0,
        "current": 5.0,
        "power": -1000.0,
        "reactive_power": -100.0,
        "power_factor": -0.87,
        "energy_import": 900.0,
        "energy_export": 0.0,
    }

    assert "the meter appears to export 1000 W" in texts(values, wiring="1p2w")


def counters(imported: float, exported: float = 0.0) -> dict[str, float]:
    return {"energy_import": imported, "energy_export": exported}


@pytest.mark.parametrize(
    ("value", "step"), [(7583.0, 1), (7583.4, 0.1), (7583.47, 0.01), (12.345, 0.001)]
)
def test_the_step_of_a_counter_follows_from_its_decimals(value: float, step: float) -> None:
    assert counter_step(counters(value)) == pytest.approx(step)


def test_counters_that_follow_the_power_raise_no_suspicion() -> None:
    first, last = counters(100.001), counters(100.007)

    assert counter_mismatch(first, last, 2100, 10) is None


def test_counters_that_count_another_power_are_reported() -> None:
    found = counter_mismatch(counters(100.001), counters(100.031), 2000, 10)

    assert found is not None
    assert found.text == (
        "in 10 s the counters counted 30.0 Wh, but the power corresponds to 5.6 Wh"
    )


def test_counters_that_have_hardly_moved_prove_nothing() -> None:
    assert counter_mismatch(counters(100.01), counters(100.02), 100, 10) is None
