"""Netting, from a simulated meter that counts phase by phase to the bill of one that nets."""

from datetime import UTC, datetime, timedelta

import peewee
import pytest

from contract.meter_settings import Billing
from contract.readings import Reading
from gateway_bridge.models import MODELS
from history import energy
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from simulator.device import SimulatedMeter

BEGIN = datetime(2026, 3, 16, 9, tzinfo=UTC)
HOURS = 5
COUNTERS = ("energy", "energy_import", "energy_export")


def measured(meter: SimulatedMeter, moment: datetime) -> dict[str, float]:
    values = meter.measure(moment.timestamp())
    return {name: round(values[name], 3) for name in COUNTERS}


@pytest.mark.parametrize(("every_s", "tolerance"), [(1, 0.001), (10, 0.01)])
def test_the_netted_bill_of_a_meter_is_what_one_that_nets_would_count(
    database: peewee.Database, every_s: int, tolerance: float
) -> None:
    per_phase, netting = SimulatedMeter(1, MODELS["sdm630"]), SimulatedMeter(1, MODELS["sdm630"])
    netting.netting = True
    moments = [BEGIN + timedelta(seconds=second) for second in range(0, HOURS * 3600 + 1, every_s)]
    Writer(database).write(Reading("1", ts, measured(per_phase, ts)) for ts in moments)
    assert Rollups(database).run(float("inf"))
    end = moments[-1] + timedelta(milliseconds=1)

    (own,) = energy.counted(database, "1", [BEGIN, end], Billing.PER_PHASE)
    (netted,) = energy.counted(database, "1", [BEGIN, end], Billing.NETTED)

    before, after = measured(netting, moments[0]), measured(netting, moments[-1])
    expected = [after[name] - before[name] for name in COUNTERS[1:]]
    assert [*netted] == pytest.approx(expected, rel=tolerance, abs=0.002)
    assert own.imported is not None
    assert own.imported > 1.3 * expected[0]
    assert own.imported - own.exported == pytest.approx(expected[0] - expected[1], abs=0.003)
