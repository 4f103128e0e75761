"""Wiring diagnosis: mistakes in the installation of a meter, found in its own values. Pure.

Voltage, current and power of a phase must match, the phases must add up to the total, the angle
between voltage and current must be one that loads have, and the counters must follow the power.
A mismatch points to a current transformer that is reversed, on the wrong phase, or set to a wrong
ratio.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PHASES = ("l1", "l2", "l3")
LEAST_SHARE, LEAST_VA = 0.05, 20.0
"""Load of a phase, as a share of the highest and in VA, below which its wiring is not checked."""
TOLERANCE = 0.08
NEAR_DEG = 35.0
THIRD_DEG = 120.0
NEVER = 0.02
"""Share of the opposite counter below which a counter counts as never having run."""
FIRST_KWH = 1.0
STEPS = 4.0
"""Number of counter steps that a comparison of counters with power needs."""
COUNTERS = ("energy_import", "energy_export")

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A probable wiring mistake: `sure` if there is no harmless explanation."""

    text: str
    remedy: str
    sure: bool = True


def suspicions(values: Values, *, wiring: str | None = None) -> list[Suspicion]:
    """Return the mistakes that one reading shows, the most specific first.

    Missing quantities are skipped. Without a neutral (3p3w) there are no phases to compare.
    """
    found = [*_voltages(values, one_phase=wiring == "1p2w")]
    if wiring != "3p3w":
        swapped = list(_swapped(values))
        found += swapped or _reversed(values)
    return [*found, *_ratio(values), *_sums(values)]


def idle_phases(values: Values) -> list[str]:
    """Return the phases whose load is too small to check their wiring."""
    carrying = _loads(values)
    return [phase for phase in PHASES if f"power_{phase}" in values and phase not in carrying]


def _voltages(values: Values, *, one_phase: bool) -> Iterator[Suspicion]:
    volts = {phase: values[f"voltage_{phase}"] for phase in PHASES if f"voltage_{phase}" in values}
    highest = max(volts.values(), default=0.0)
    dead = [phase.upper() for phase, volt in volts.items() if volt < 0.5 * highest]
    if dead and not one_phase:
        names = " and ".join(dead)
        yield Suspicion(
            f"{names} {'has' if len(dead) == 1 else 'have'} no voltage, while another phase has"
            f" {highest:.0f} V",
            f"check the fuse and the wire of {names}; for a meter on one phase, set"
            " wiring = '1p2w', or the model if it is another one, in meters.toml",
        )
        return
    for name, (one, other) in {"l1_l2": (0, 1), "l2_l3": (1, 2), "l3_l1": (2, 0)}.items():
        between = values.get(f"voltage_{name}")
        if between is not None and len(volts) == 3 and between < 0.5 * highest:
            yield Suspicion(
                f"the voltage between {PHASES[one].upper()} and {PHASES[other].upper()} is only"
                f" {between:.0f} V: both terminals are on the same phase",
                "connect each voltage terminal to its own phase",
            )


def _loads(values: Values) -> dict[str, complex]:
    """Return the complex power (W + j var) of the phases whose load is large enough to check."""
    loads = {
        phase: complex(values[_of("power", phase)], values[_of("reactive_power", phase)])
        for phase in (PHASES if "power_l1" in values else ("",))
        if _of("power", phase) in values and _of("reactive_power", phase) in values
    }
    least = max(LEAST_VA, LEAST_SHARE * max(map(abs, loads.values()), default=0.0))
    return {phase: load for phase, load in loads.items() if abs(load) >= least}


def _swapped(values: Values) -> Iterator[Suspicion]:
    """Find two swapped transformers: their currents are 120° off, in opposite directions."""
    angles = {phase: _degrees(load) for phase, load in _loads(values).items()}
    for one, other in (("l1", "l2"), ("l2", "l3"), ("l3", "l1")):
        if one in angles and other in angles and _are_swapped(angles, one, other):
            shown = f"{angles[one]:+.0f}° and {angles[other]:+.0f}°"
            pair = f"{one.upper()} and {other.upper()}"
            yield Suspicion(
                f"{pair} are swapped: their currents are {shown} off their voltages",
                f"swap the current transformers (or the voltage wires) of {pair}",
            )
            return
    for turn in (THIRD_DEG, -THIRD_DEG):
        all_turned = all(_apart(angle, turn) < NEAR_DEG for angle in angles.values())
        if len(angles) == len(PHASES) and all_turned:
            yield Suspicion(
                f"every current is about {turn:+.0f}° off its voltage: each current transformer"
                " is one phase off",
                "move each current transformer (or each voltage wire) by one phase",
            )


def _are_swapped(angles: Mapping[str, float], one: str, other: str) -> bool:
    """Return whether the angles of two phases are 120° off, in opposite directions.

    On a site that exports, that is 60° off 180°. Loads can have such angles too, so the third
    phase must export as well.
    """
    if _opposite(angles[one], angles[other], THIRD_DEG):
        return True
    third = [angle for phase, angle in angles.items() if phase not in (one, other)]
    exports = bool(third) and _apart(third[0], 180) < NEAR_DEG
    return exports and _opposite(angles[one], angles[other], 180 - THIRD_DEG)


def _opposite(one: float, other: float, turn: float) -> bool:
    return any(
        _apart(one, sign * turn) < NEAR_DEG and _apart(other, -sign * turn) < NEAR_DEG
        for sign in (1, -1)
    )


def _reversed(values: Values) -> Iterator[Suspicion]:
    """Find reversed transformers: their phases appear to export."""
    loads = _loads(values)
    backwards = [phase for phase, load in loads.items() if load.real < 0]
    if not backwards:
        return
    if len(backwards) == len(loads) > 1:
        if _never(values, "energy_import", "energy_export"):
            yield Suspicion(
                "every phase exports, and the meter has hardly ever imported: supply and load of"
                " the meter are swapped, or all current transformers are reversed",
                "turn the transformers around, or set invert = true for this meter in meters.toml;"
                " no change is needed if it measures a solar plant",
                sure=False,
            )
        return
    others = " while other phases import" if len(loads) > len(backwards) else ""
    for phase in backwards:
        yield from _one_reversed(values, phase, loads[phase], others)


def _one_reversed(values: Values, phase: str, load: complex, others: str) -> Iterator[Suspicion]:
    up = phase.upper() or "the meter"
    text = f"{up} appears to export {-load.real:.0f} W{others}"
    remedy = f"turn the current transformer of {up} around, or swap its two wires (k and l)"
    counter = _of("energy_export", phase)
    exported = values.get(counter, values.get("energy_export"))
    if exported is not None and exported < FIRST_KWH <= values.get("energy_import", 0):
        yield Suspicion(
            f"{text}, and has never exported before: its current transformer is reversed",
            f"{remedy}; no change is needed if a solar plant has just been connected",
        )
    elif _never(values, _of("energy_import", phase), _of("energy_export", phase)):
        yield Suspicion(
            f"{text}, and has hardly ever imported: its current transformer is reversed", remedy
        )
    elif load.imag < -LEAST_SHARE * abs(load):
        yield Suspicion(
            f"{text}, and its reactive power is negative too: its current transformer may be"
            " reversed",
            f"{remedy}; no change is needed if a solar inverter feeds {up} alone",
            sure=False,
        )


def _never(values: Values, counter: str, other: str) -> bool:
    """Return whether a counter has hardly run compared with another; False for a new meter."""
    one, two = values.get(counter), values.get(other)
    return one is not None and two is not None and two >= FIRST_KWH and one < NEVER * two


def _ratio(values: Values) -> Iterator[Suspicion]:
    """Check that voltage x current x power factor equals power."""
    factors = {}
    for phase in (*PHASES, ""):
        found = [
            values.get(_of(name, phase)) for name in ("voltage", "current", "power_factor", "power")
        ]
        if None in found or (not phase and "voltage_l1" in values):
            continue
        volt, ampere, factor, power = (value or 0.0 for value in found)
        made = abs(volt * ampere * factor)
        if max(made, abs(power)) >= LEAST_VA:
            factors[phase] = abs(power) / made if made else math.inf
    wrong = {phase: factor for phase, factor in factors.items() if abs(factor - 1) > TOLERANCE}
    if wrong:
        shown = ", ".join(
            f"{phase.upper() or 'the meter'} by a factor of {factor:.2f}"
            for phase, factor in wrong.items()
        )
        yield Suspicion(
            f"the power differs from voltage times current times power factor: {shown}",
            "set the ratio on the current transformers' nameplates in the meter's menu, the same"
            " for all of them; if the ratio is right, correct the model in the settings",
        )


def _sums(values: Values) -> Iterator[Suspicion]:
    """Check that the phases add up to the total."""
    for name, unit in (("power", "W"), ("current", "A")):
        parts = [values.get(f"{name}_{phase}") for phase in PHASES]
        whole = values.get(name)
        if whole is None or any(part is None for part in parts):
            continue
        total = sum(part for part in parts if part is not None)
        scale = sum(abs(part) for part in parts if part is not None)
        least = LEAST_VA if unit == "W" else LEAST_VA / 230
        if abs(whole - total) > max(least, TOLERANCE * scale):
            yield Suspicion(
                f"the phases add up to {total:.1f} {unit}, but the meter reports"
                f" {whole:.1f} {unit}",
                "check the system type in the meter's menu (1p2w, 3p3w, 3p4w) and the model in"
                " the settings",
            )


def counter_mismatch(
    first: Mapping[str, float], last: Mapping[str, float], power_w: float, passed_s: float
) -> Suspicion | None:
    """Compare the energy that the counters counted with the mean power over the same time.

    Some meters apply the transformer ratio to the power but not to the counters; no single reading
    shows that. Returns None if they match, or if the time is too short to tell.
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
        f"in {passed_s:.0f} s the counters counted {counted_wh:.1f} Wh, but the power corresponds"
        f" to {expected_wh:.1f} Wh",
        "compare the current transformer ratio in the meter's menu with the transformers'"
        " nameplates, and check the model in the settings",
    )


def counter_step(values: Mapping[str, float]) -> float:
    """Return the step of the counters in kWh, from their decimals and the precision of float32."""
    counters = [values[name] for name in COUNTERS if name in values]
    float_step = max((2.0 ** (math.frexp(value)[1] - 24) for value in counters), default=0.0)
    for step in (1.0, 0.1, 0.01, 0.001):
        if all(abs(value / step - round(value / step)) * step <= float_step for value in counters):
            return max(step, float_step)
    return float_step


def _of(name: str, phase: str) -> str:
    """Return the quantity of a phase, or that of a single-phase meter."""
    return f"{name}_{phase}" if phase else name


def _degrees(load: complex) -> float:
    return math.degrees(math.atan2(load.imag, load.real))


def _apart(one: float, other: float) -> float:
    return abs((one - other + 180) % 360 - 180)
