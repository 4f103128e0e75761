"""The faults of meters, lines and gateways: each is a switch.

A fault is switched on for one unit id or for the whole gateway (None), for every request or for a
share of them, permanently or for a number of times. `FAULTS` describes them. They strike in
`device.py` and `bus.py` (the meter), `frames.py` (the answer) and `gateway.py` (the rest).
"""

import random
from dataclasses import dataclass
from typing import Literal

from contract.errors import MeterflowError

Scope = Literal["meter", "gateway"]


class SimulatorError(MeterflowError):
    """Raised when a simulator does not have what is requested."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A fault: what it does, its default number N, where it applies, and the highest N."""

    meaning: str
    argument: float = 0.0
    scope: Scope = "meter"
    highest: float = 1e6


def _gateway(meaning: str, argument: float = 0.0) -> FaultKind:
    return FaultKind(meaning, argument, scope="gateway")


FAULTS = {
    # the meter
    "dead": FaultKind("the meter does not respond"),
    "slow": FaultKind("the meter responds N seconds later, and the line waits", 1.0),
    "exception": FaultKind("the meter responds with Modbus exception N", 2, highest=255),
    "limit": FaultKind("the meter refuses requests for more than N registers", 50),
    "strict-holes": FaultKind("the meter refuses blocks with an undefined register"),
    "twin": FaultKind("a second meter has the same unit id: collisions, two sets of values"),
    "nan": FaultKind("every value is not a number (NaN)"),
    "inf": FaultKind("every value is infinite"),
    "zero": FaultKind("every value is 0"),
    "counter-zero": FaultKind("every counter is 0"),
    "counter-back": FaultKind("every counter is lower by N", 1.0),
    "jump": FaultKind("every counter is higher by N", 1000),
    "reversed-ct": FaultKind("the current transformer of phase N is reversed", 1, highest=3),
    "swapped-cts": FaultKind("the current transformers of L1 and L2 are swapped"),
    "ct-ratio": FaultKind("every current and power is N times the real one", 0.2),
    # the answer
    "late": FaultKind("the response arrives N seconds late, while the line goes on", 1.5),
    "late-after-next": FaultKind("the response arrives after the next request"),
    "stale": FaultKind("the response is that to the previous request"),
    "wrong-function": FaultKind("the response has another function code"),
    "wrong-unit": FaultKind("the response has another unit id"),
    "fewer": FaultKind("the response has N registers too few", 2, highest=125),
    "more": FaultKind("the response has N registers too many", 2, highest=125),
    "byte-count": FaultKind("the response announces N bytes more than it has", 4, highest=255),
    "wrong-transaction": FaultKind("the response has another transaction id (Modbus TCP)"),
    "transaction-0": FaultKind("the response has transaction id 0 (Modbus TCP)"),
    "protocol": FaultKind("the response has protocol id N (Modbus TCP)", 7, highest=65535),
    "bad-crc": FaultKind("the response has a wrong CRC (RTU)"),
    "split": FaultKind("the second half of the response arrives N seconds later", 0.05),
    "duplicate": FaultKind("the response arrives twice"),
    "garbage": FaultKind("N random bytes precede the response", 5, highest=5000),
    "close": FaultKind("the gateway closes the connection instead of responding"),
    "reset": FaultKind("the gateway resets the connection instead of responding"),
    # the gateway
    "refuse": _gateway("the gateway refuses connections"),
    "accept-reset": _gateway("the gateway accepts connections and resets them"),
    "silent": _gateway("the gateway accepts connections and never responds"),
    "client-limit": _gateway("the gateway closes new connections beyond N", 1),
    "kick": _gateway("the gateway closes the oldest connection beyond N", 1),
    "idle-close": _gateway("the gateway closes connections idle for N seconds", 5),
    "queue-full": _gateway("the gateway returns exception 6 beyond N waiting requests", 1),
    "unsolicited": _gateway("the gateway sends unsolicited bytes every N seconds", 1),
    "cache": _gateway("the gateway responds to repeated requests from memory for N seconds", 5),
    "to-all": _gateway("the gateway sends every response to every client"),
}


@dataclass(slots=True)
class Fault:
    """A fault that is on: its number, the share of requests it strikes, how often it still does."""

    argument: float
    share: float = 1.0
    times: int | None = None


class Faults:
    """The faults that are on, and the dice that decide when one strikes."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self._on: dict[tuple[int | None, str], Fault] = {}

    def switch_on(
        self,
        unit: int | None,
        name: str,
        argument: float | None = None,
        *,
        share: float = 1.0,
        times: int | None = None,
    ) -> None:
        """Switch a fault on for a unit id, or for the gateway and all its meters (None)."""
        kind = kind_of(name)
        if unit is not None and kind.scope == "gateway":
            raise SimulatorError(f"{name} is a fault of the gateway, not of unit {unit}")
        number = kind.argument if argument is None else argument
        if not 0 <= number <= kind.highest:
            raise SimulatorError(
                f"{name} takes a number from 0 to {kind.highest:g}, not {number:g}"
            )
        self._on[unit, name] = Fault(number, share, times)

    def switch_off(self, unit: int | None, name: str | None = None) -> None:
        """Switch one fault off, or all of a unit id (None: of the gateway)."""
        if name is not None:
            kind_of(name)
        gone = [key for key in self._on if key[0] == unit and name in (None, key[1])]
        for key in gone:
            del self._on[key]

    def number(self, name: str) -> float | None:
        """Return the number N of a fault of the gateway, None while it is off."""
        fault = self._on.get((None, name))
        return fault.argument if fault else None

    def strikes(self, unit: int, name: str) -> float | None:
        """Decide whether a fault strikes this request; return its number N if it does."""
        if not self._on:
            return None
        for key in ((unit, name), (None, name)):
            fault = self._on.get(key)
            if fault and (fault.share >= 1 or self.dice.random() < fault.share):
                self._count(key, fault)
                return fault.argument
        return None

    def _count(self, key: tuple[int | None, str], fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                del self._on[key]


def kind_of(name: str) -> FaultKind:
    """Return the kind of a fault; raises SimulatorError for an unknown name."""
    if name not in FAULTS:
        raise SimulatorError(f"unknown fault {name!r}; known: {', '.join(FAULTS)}")
    return FAULTS[name]


def faults_help(scope: Scope) -> str:
    """Return the table of the faults of a scope for --help."""
    lines = []
    for name, kind in FAULTS.items():
        if kind.scope != scope:
            continue
        number = f" (N={kind.argument:g})" if " N " in f" {kind.meaning} " else ""
        lines.append(f"  {name:<18} {kind.meaning}{number}")
    return "\n".join(lines)
