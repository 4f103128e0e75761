"""Wiring: what a meter's own values say about how it was installed. Pure.

Voltage, current and power of a phase must fit together, the phases must add up to the whole, and
the angle between voltage and current must be one that consumers have. What does not fit points to
a current transformer the wrong way round, on the wrong phase, or set to a wrong ratio.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PHASES = ("l1", "l2", "l3")
LEAST_SHARE, LEAST_VA = 0.05, 20.0
"""A phase that carries less than this says nothing about its wiring."""
TOLERANCE = 0.08
NEAR_DEG = 35.0
THIRD_DEG = 120.0
NEVER = 0.02
"""A counter below this share of its opposite has never really run."""
FIRST_KWH = 1.0

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something about the wiring: `sure` where nothing harmless explains it as well."""

    text: str
    remedy: str
    sure: bool = True


def suspicions(values: Values, *, wiring: str | None = None) -> list[Suspicion]:
    """Return what one reading says is wrong, the most telling first.

    Only what is there is looked at; without a neutral (3p3w) there are no phases to compare.
    """
    found = [*_voltages(values, one_phase=wiring == "1p2w")]
    if wiring != "3p3w":
        exchanged = list(_exchanged(values))
        found += exchanged or _reversed(values)
    return [*found, *_ratio(values), *_sums(values)]


def unjudged(values: Values) -> list[str]:
    """Return the phases that carry too little to say how they are wired."""
    carrying = _loads(values)
    return [phase for phase in PHASES if f"power_{phase}" in values and phase not in carrying]


def _voltages(values: Values, *, one_phase: bool) -> Iterator[Suspicion]:
    volts = {phase: values[f"voltage_{phase}"] for phase in PHASES if f"voltage_{phase}" in values}
    highest = max(volts.values(), default=0.0)
    dead = [phase.upper() for phase, volt in volts.items() if volt < 0.5 * highest]
    if dead and not one_phase:
        yield Suspicion(
            f"{' and '.join(dead)} without voltage, while another phase has {highest:.0f} V",
            f"check fuse and wire of {' and '.join(dead)}; a meter on one phase wants"
            " wiring = '1p2w' in meters.toml",
        )
        return
    for name, (one, other) in {"l1_l2": (0, 1), "l2_l3": (1, 2), "l3_l1": (2, 0)}.items():
        between = values.get(f"voltage_{name}")
        if between is not None and len(volts) == 3 and between < 0.5 * highest:
            yield Suspicion(
                f"there are only {between:.0f} V between {PHASES[one].upper()} and"
                f" {PHASES[other].upper()}: both are connected to the same phase",
                "connect each voltage terminal to a phase of its own",
            )


def _loads(values: Values) -> dict[str, complex]:
    """Return the complex power (W + j var) of the phases that carry enough to judge by."""
    loads = {
        phase: complex(values[_of("power", phase)], values[_of("reactive_power", phase)])
        for phase in (PHASES if "power_l1" in values else ("",))
        if _of("power", phase) in values and _of("reactive_power", phase) in values
    }
    least = max(LEAST_VA, LEAST_SHARE * max(map(abs, loads.values()), default=0.0))
    return {phase: load for phase, load in loads.items() if abs(load) >= least}


def _exchanged(values: Values) -> Iterator[Suspicion]:
    """Look for two transformers on one another's phase: each current is a third of a turn off."""
    angles = {phase: _degrees(load) for phase, load in _loads(values).items()}
    for one, other in (("l1", "l2"), ("l2", "l3"), ("l3", "l1")):
        if one in angles and other in angles and _are_exchanged(angles, one, other):
            shown = f"{angles[one]:+.0f}° and {angles[other]:+.0f}°"
            pair = f"{one.upper()} and {other.upper()}"
            yield Suspicion(
                f"{pair} are swapped: their currents are {shown} off their voltages",
                f"exchange the current transformers (or the voltages) of {pair}",
            )
            return
    for turn in (THIRD_DEG, -THIRD_DEG):
        all_turned = all(_apart(angle, turn) < NEAR_DEG for angle in angles.values())
        if len(angles) == len(PHASES) and all_turned:
            yield Suspicion(
                f"every current is about {turn:+.0f}° off its voltage: each current transformer"
                " sits one phase on",
                "move the current transformers (or the voltages) on by one phase",
            )


def _are_exchanged(angles: Mapping[str, float], one: str, other: str) -> bool:
    """Tell whether two phases' angles are a third of a turn off, one forwards, one backwards.

    Where the site feeds in, that makes 60 degrees of 180; which consumers could have as well, so
    that the third phase must feed in too.
    """
    if _opposite(angles[one], angles[other], THIRD_DEG):
        return True
    third = [angle for phase, angle in angles.items() if phase not in (one, other)]
    feeds_in = bool(third) and _apart(third[0], 180) < NEAR_DEG
    return feeds_in and _opposite(angles[one], angles[other], 180 - THIRD_DEG)


def _opposite(one: float, other: float, turn: float) -> bool:
    return any(
        _apart(one, sign * turn) < NEAR_DEG and _apart(other, -sign * turn) < NEAR_DEG
        for sign in (1, -1)
    )


def _reversed(values: Values) -> Iterator[Suspicion]:
    """Look for a transformer the wrong way round: its phase seems to feed in."""
    loads = _loads(values)
    backwards = [phase for phase, load in loads.items() if load.real < 0]
    if not backwards:
        return
    if len(backwards) == len(loads) > 1:
        if _never(values, "energy_import", "energy_export"):
            yield Suspicion(
                "every phase feeds in, and hardly anything was ever drawn: the meter is fed from"
                " below, or all current transformers are the wrong way round",
                "turn them round, or write invert = true for this meter in meters.toml (nothing"
                " is wrong if it measures a solar plant)",
                sure=False,
            )
        return
    others = " while other phases draw" if len(loads) > len(backwards) else ""
    for phase in backwards:
        yield from _one_reversed(values, phase, loads[phase], others)


def _one_reversed(values: Values, phase: str, load: complex, others: str) -> Iterator[Suspicion]:
    up = phase.upper() or "the meter"
    text = f"{up} seems to feed in {-load.real:.0f} W{others}"
    remedy = f"turn the current transformer of {up} round, or exchange its two wires (k and l)"
    counter = _of("energy_export", phase)
    fed_in = values.get(counter, values.get("energy_export"))
    if fed_in is not None and fed_in < FIRST_KWH <= values.get("energy_import", 0):
        yield Suspicion(
            f"{text}, and has never fed in before: it is reversed",
            f"{remedy}; nothing is wrong if a solar plant has just been connected",
        )
    elif _never(values, _of("energy_import", phase), _of("energy_export", phase)):
        yield Suspicion(f"{text}, and {up} has hardly ever drawn: it is reversed", remedy)
    elif load.imag < -LEAST_SHARE * abs(load):
        yield Suspicion(
            f"{text}, and its reactive power runs backwards too: it may be reversed",
            f"{remedy}; nothing is wrong if a solar inverter feeds {up} alone",
            sure=False,
        )


def _never(values: Values, counter: str, other: str) -> bool:
    """Tell whether a counter has hardly run beside another; a new meter says nothing yet."""
    one, two = values.get(counter), values.get(other)
    return one is not None and two is not None and two >= FIRST_KWH and one < NEVER * two


def _ratio(values: Values) -> Iterator[Suspicion]:
    """Look whether U · I · PF is P."""
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
            f"{phase.upper() or 'the meter'} by {factor:.2f}" for phase, factor in wrong.items()
        )
        yield Suspicion(
            f"the power is not voltage times current times power factor: {shown}",
            "set the same ratio for all current transformers in the meter's menu, as on their"
            " plates; if it is right there, the model in the settings is another one",
        )


def _sums(values: Values) -> Iterator[Suspicion]:
    """Look whether the phases add up to the whole."""
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
                f"the phases add up to {total:.1f} {unit}, the meter says {whole:.1f} {unit}",
                "check the system type in the meter's menu (1p2w, 3p3w, 3p4w) and the model in"
                " the settings",
            )


def _of(name: str, phase: str) -> str:
    """Return the quantity of a phase, or that of a meter with one phase only."""
    return f"{name}_{phase}" if phase else name


def _degrees(load: complex) -> float:
    return math.degrees(math.atan2(load.imag, load.real))


def _apart(one: float, other: float) -> float:
    return abs((one - other + 180) % 360 - 180)
