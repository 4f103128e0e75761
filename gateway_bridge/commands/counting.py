"""Counting: whether a meter's counters and its power tell the same story. Pure.

A ratio that is wrong for current and power alike shows in no single reading. Over some seconds
it may: the counters of some meters follow another setting than the power does.
"""

import math
from collections.abc import Mapping

from gateway_bridge.commands.wiring import Suspicion

STEPS = 4.0
"""Of so many steps of the counters a comparison with the power must consist."""
COUNTERS = ("energy_import", "energy_export")


def against_counters(
    first: Mapping[str, float], last: Mapping[str, float], power_w: float, passed_s: float
) -> Suspicion | None:
    """Compare what the counters counted with the mean power over the same time.

    None where they agree, or where too little has passed to tell.
    """
    if any(name not in values for name in COUNTERS for values in (first, last)):
        return None
    counted_wh = 1000 * sum(
        sign * (last[name] - first[name]) for name, sign in zip(COUNTERS, (1, -1), strict=True)
    )
    expected_wh = power_w * passed_s / 3600
    step_wh = 1000 * max(counter_step(first), counter_step(last))
    if max(abs(counted_wh), abs(expected_wh)) < STEPS * step_wh:
        return None
    slack_wh = 2 * step_wh + 0.3 * max(abs(counted_wh), abs(expected_wh))
    if abs(counted_wh - expected_wh) <= slack_wh:
        return None
    return Suspicion(
        f"in {passed_s:.0f} s the counters counted {counted_wh:.1f} Wh, but the power says"
        f" {expected_wh:.1f} Wh",
        "check the ratio of the current transformers in the meter's menu against their plates, and"
        " that the model in the settings is the one installed",
    )


def counter_step(values: Mapping[str, float]) -> float:
    """Return in what steps the counters move, in kWh: of their decimals, and of a float32."""
    counters = [values[name] for name in COUNTERS if name in values]
    float_step = max((2.0 ** (math.frexp(value)[1] - 24) for value in counters), default=0.0)
    for step in (1.0, 0.1, 0.01, 0.001):
        if all(abs(value / step - round(value / step)) * step <= float_step for value in counters):
            return max(step, float_step)
    return float_step
