"""What a bridge's readings cost, and which scalars it publishes."""

import pytest

from gateway_bridge import capacity
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.site import site_from


def settings(**given: object) -> BridgeSettings:
    return BridgeSettings(modbus_host="127.0.0.1", **given)  # type: ignore[arg-type]


def test_readings_a_second_are_those_of_all_meters() -> None:
    site = site_from(settings(meter_ids="1,2,3", poll_interval=0.5))

    assert capacity.readings_per_s(site) == 6


@pytest.mark.parametrize(
    ("rate", "given", "scalars"),
    [(100, None, "all"), (100.1, None, "changed"), (1000, "all", "all"), (1, "off", "off")],
)
def test_above_a_hundred_readings_a_second_scalars_are_those_that_changed(
    rate: float, given: str | None, scalars: str
) -> None:
    assert capacity.scalars_of(settings(scalars=given), rate) == scalars


def test_a_load_near_the_limit_comes_with_its_remedy() -> None:
    share = capacity.core_share(1000, "changed", slowness=1.0)

    assert 0.3 < share <= capacity.FULL
    assert "several bridges" not in capacity.load_text(1000, share)
    assert "several bridges" in capacity.load_text(2000, 2 * share)
    assert capacity.core_share(1000, "changed", slowness=3.0) == pytest.approx(3 * share)


def test_the_speed_of_this_machine_is_a_ratio() -> None:
    assert 0.05 < capacity.slowness() < 100
