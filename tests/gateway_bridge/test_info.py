"""The info of a meter: how it is read, how well it responds, and what its wiring looks like."""

from dataclasses import replace

import pytest

from gateway_bridge.meter.state import Identity, PolledMeter
from gateway_bridge.publishing.info import meter_info
from gateway_bridge.site.site import Meter
from tests.gateway_bridge.test_wiring import LOAD, reading
from tests.support.polling import FAST_COST, MODEL


@pytest.fixture
def meter() -> PolledMeter:
    quantities = tuple(MODEL.registers)
    return PolledMeter(Meter("1", 1, MODEL, "Meter 1", 1.0, 30.0, quantities), FAST_COST)


def test_the_info_has_the_blocks_and_how_often_each_is_read(meter: PolledMeter) -> None:
    blocks = meter_info(meter, "house", "line 1")["blocks"]

    assert {block["interval"] for block in blocks} == {1.0, 30.0}
    assert sum(block["count"] for block in blocks if block["interval"] == 1.0) == sum(
        block.count for block in meter.live
    )


def test_the_info_has_what_happened_on_the_line(meter: PolledMeter) -> None:
    meter.state.readings, meter.state.timeouts, meter.state.held = 9, 1, 2

    info = meter_info(meter, "house", "line 1")

    assert info["link"] == {"readings": 9, "timeouts": 1, "faults": 0, "held": 2}
    assert info["gateway"] == "line 1"


def test_another_meter_than_configured_is_reported_once(meter: PolledMeter) -> None:
    meter.config = replace(meter.config, serial="21001043")
    assert meter_info(meter, "house", "line 1")["serial"] == "21001043"

    events = [meter.introduce(Identity(serial="21001026")) for _ in range(2)]

    assert events[1] == ()
    assert events[0][0].startswith("has the serial number 21001026, but the settings say 21001043")
    assert meter_info(meter, "house", "line 1")["serial"] == "21001026"


def test_a_reversed_transformer_is_in_the_info(meter: PolledMeter) -> None:
    l1, l2, l3 = LOAD
    meter.state.values = reading((l1, -l2, l3))

    (found,) = meter_info(meter, "house", "line 1")["wiring_check"]["suspicions"]

    assert "its current transformer is reversed" in found["text"]
    assert "turn the current transformer of L2 around" in found["remedy"]


def test_a_phase_without_load_is_named_as_unchecked(meter: PolledMeter) -> None:
    l1, l2, _ = LOAD
    meter.state.values = reading((l1, l2, complex(1, 0)))

    check = meter_info(meter, "house", "line 1")["wiring_check"]

    assert check == {"suspicions": [], "idle": ["l3"]}


def test_values_that_cannot_tell_about_the_wiring_are_no_verdict(meter: PolledMeter) -> None:
    assert "wiring_check" not in meter_info(meter, "house", "line 1")
    meter.state.values = {"power": 5.0, "power_l1": 5.0}
    assert "wiring_check" not in meter_info(meter, "house", "line 1")
