"""The past of the homestead: what its meters would have measured, with seasons and weather.

`python -m simulator.past DAYS UNTIL ID ID ID ID` prints it as CSV, for meters of these ids; UNTIL
is in seconds since 1970.

The week that the simulator repeats is today's. Further back its curves grow and shrink with the
season and the weather of the day, and the counters lead to those that the simulator shows now.
"""

import math
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from contract.times import format_time
from gateway_bridge.models import MODELS
from simulator.device import SimulatedMeter
from simulator.load import HOMESTEAD, MINUTES, MONDAY, SUMS, Phases, week_of

STEPS = ((20 * 60, 5), (2 * 86_400, 60), (60 * 86_400, 900))
"""The seconds between readings, up to an age: the traces of a quarter of an hour have no holes."""
LONGEST_STEP_S = 3600
"""The seconds between older readings, which have no phases."""
SETTLED_DAYS = 20
"""From so many days back on, season and weather count in full."""
COLUMNS = (
    "ts", "meter_id", "power", "power_l1", "power_l2", "power_l3", "energy_import", "energy_export",
)  # fmt: skip

_PARTS = SUMS[HOMESTEAD[0]]


def rows(ids: Mapping[str, str], days: int, until_s: int, shift_s: int = 0) -> Iterator[str]:
    """Yield lines of CSV, oldest first: the readings of meters, by the profile of each.

    `shift_s` is what the site's clock is ahead of UTC: the curves follow it.
    """
    yield ",".join(COLUMNS)
    end_s = until_s - until_s % STEPS[0][1]
    begin_s = end_s - days * 86_400
    begin_s -= begin_s % LONGEST_STEP_S
    counters = _first_counters(begin_s, end_s, shift_s)
    for at_s, step_s, powers in _steps(begin_s, end_s, shift_s):
        ts = format_time(datetime.fromtimestamp(at_s, UTC))
        for profile, meter_id in ids.items():
            phases = powers[profile]
            counted = counters[profile]
            _count(counted, phases, step_s)
            old = step_s == LONGEST_STEP_S
            values = ",," if old else ",".join(f"{phase:.1f}" for phase in phases)
            yield f"{ts},{meter_id},{sum(phases):.1f},{values},{counted[0]:.3f},{counted[1]:.3f}"


Powers = dict[str, tuple[float, float, float]]


def _steps(begin_s: int, end_s: int, shift_s: int) -> Iterator[tuple[int, int, Powers]]:
    """Yield the end of each step, its seconds, and the mean power of each profile in it."""
    means = {
        step_s: {part: _means(part, _minutes(step_s)) for part in _PARTS}
        for step_s in (*(step_s for _, step_s in STEPS), LONGEST_STEP_S)
    }
    at_s, day, factors = begin_s, None, {}
    while at_s < end_s:
        ages = (step_s for age_s, step_s in STEPS if at_s >= end_s - age_s and at_s % step_s == 0)
        step_s = next(ages, LONGEST_STEP_S)
        local_s = at_s + shift_s
        if local_s // 86_400 != day:
            day = local_s // 86_400
            factors = _factors(day, (end_s - at_s) / 86_400 / SETTLED_DAYS)
        minute = (local_s - MONDAY) // 60 % MINUTES
        powers: Powers = {}
        for part in _PARTS:
            l1, l2, l3 = means[step_s][part][minute // _minutes(step_s)]
            factor = factors[part]
            powers[part] = l1.real * factor, l2.real * factor, l3.real * factor
        l1, l2, l3 = map(sum, zip(*powers.values(), strict=True))
        powers[HOMESTEAD[0]] = l1, l2, l3
        at_s += step_s
        yield at_s, step_s, powers


def _minutes(step_s: int) -> int:
    return max(1, step_s // 60)


def _means(part: str, step: int) -> list[Phases]:
    """Return the mean power of each step of so many minutes in a week."""
    minutes = week_of(part, 1).minutes
    return [_mean(minutes[at : at + step]) for at in range(0, MINUTES, step)]


def _mean(minutes: Sequence[Phases]) -> Phases:
    l1, l2, l3 = (sum(phases) / len(minutes) for phases in zip(*minutes, strict=True))
    return l1, l2, l3


def _factors(day: int, back: float) -> dict[str, float]:
    """Return by how much a day differs from that of the week; `back` is 0 now, 1 when settled."""
    dice = random.Random(f"weather {day}")
    winter = math.cos(math.tau * (day % 365.2425 - 15) / 365.2425)
    holiday = winter > 0.95 and dice.random() < 0.4
    settled = {
        "household": 1.1 + 0.15 * winter + dice.uniform(-0.15, 0.2),
        "solar": (0.6 - 0.36 * winter) * dice.uniform(0.25, 1.05),
        "heat pump": max(0.12, 0.55 + 0.6 * winter) * dice.uniform(0.8, 1.2),
        "workshop": 0.15 if holiday else dice.uniform(0.75, 1.15),
    }
    weight = min(1.0, back)
    return {part: 1 + weight * (factor - 1) for part, factor in settled.items()}


def _first_counters(begin_s: int, end_s: int, shift_s: int) -> dict[str, list[float]]:
    """Return import and export in kWh with which the meters must begin, to end at today's."""
    counters = {}
    for unit, profile in enumerate(HOMESTEAD, start=1):
        meter = SimulatedMeter(unit, MODELS["sdm630"])
        meter.follow(profile)
        values = meter.measure(end_s + shift_s)
        counters[profile] = [values["energy_import"], values["energy_export"]]
    gains = {profile: [0.0, 0.0] for profile in HOMESTEAD}
    for _, step_s, powers in _steps(begin_s, end_s, shift_s):
        for profile in HOMESTEAD:
            _count(gains[profile], powers[profile], step_s)
    return {
        profile: [now - gain for now, gain in zip(counters[profile], gains[profile], strict=True)]
        for profile in HOMESTEAD
    }


def _count(counted: list[float], phases: tuple[float, float, float], step_s: int) -> None:
    for phase in phases:
        counted[phase < 0] += abs(phase) * step_s / 3_600_000


if __name__ == "__main__":
    _, days, until, *ids = sys.argv
    past = rows(dict(zip(HOMESTEAD, ids, strict=True)), int(days), int(until), -time.timezone)
    sys.stdout.writelines(f"{row}\n" for row in past)
