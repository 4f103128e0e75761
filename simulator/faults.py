"""What can be wrong with meters, lines and gateways: each fault is a switch.

A fault is switched on for one unit or for the whole gateway (unit None), for every request or
for a share of them, for good or for a number of times. What each does stands in `FAULTS`;
where it does it, in `bus.py` (the meter), `answers.py` (the frame) and `gateway.py` (the rest).
"""

import random
from dataclasses import dataclass
from typing import Literal

from contract.errors import MeterflowError

Scope = Literal["meter", "gateway"]


class SimulatorError(MeterflowError):
    """Raised when a simulator is asked for something it does not have."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One fault: what it does, its number N when none is given and at most, where it applies."""

    meaning: str
    argument: float = 0.0
    scope: Scope = "meter"
    highest: float = 1e6


FAULTS = {
    # the meter
    "dead": FaultKind("the meter does not answer"),
    "slow": FaultKind("the meter takes N seconds longer, and the line waits", 1.0),
    "exception": FaultKind("the meter answers with Modbus exception N", 2, highest=255),
    "limit": FaultKind("the meter refuses requests for more than N registers", 50),
    "strict-holes": FaultKind("the meter refuses blocks with an undefined register"),
    "twin": FaultKind("a second meter has the same unit id: collisions, and two sets of values"),
    "nan": FaultKind("every value is not-a-number"),
    "inf": FaultKind("every value is infinite"),
    "zero": FaultKind("every value is 0"),
    "counter-zero": FaultKind("every counter is 0"),
    "counter-back": FaultKind("every counter is N lower than it was", 1.0),
    "jump": FaultKind("every counter is N higher than it can be", 1000),
    "reversed-ct": FaultKind(
        "the current transformer of phase N is the wrong way round", 1, highest=3
    ),
    "swapped-cts": FaultKind("the current transformers of L1 and L2 are exchanged"),
    "ct-ratio": FaultKind("every current and power is N times what flows", 0.2),
    # the answer
    "late": FaultKind("the answer is handed on N seconds late, while the line goes on", 1.5),
    "late-after-next": FaultKind("the answer is handed on when the next request has come"),
    "stale": FaultKind("the answer is the one to the request before"),
    "wrong-function": FaultKind("the answer bears another function code"),
    "wrong-unit": FaultKind("the answer bears another unit id"),
    "fewer": FaultKind("the answer has N registers too few", 2, highest=125),
    "more": FaultKind("the answer has N registers too many", 2, highest=125),
    "byte-count": FaultKind("the answer announces N bytes more than it has", 4, highest=255),
    "wrong-transaction": FaultKind("the answer bears another transaction id (Modbus TCP)"),
    "transaction-0": FaultKind("the answer bears transaction id 0 (Modbus TCP)"),
    "protocol": FaultKind("the answer bears protocol id N (Modbus TCP)", 7, highest=65535),
    "bad-crc": FaultKind("the answer has a wrong CRC (RTU)"),
    "split": FaultKind("the second half of the answer comes N seconds after the first", 0.05),
    "duplicate": FaultKind("the answer comes twice"),
    "garbage": FaultKind("N random bytes precede the answer", 5, highest=5000),
    "close": FaultKind("the gateway closes the connection instead of answering"),
    "reset": FaultKind("the gateway resets the connection while the answer is awaited"),
    # the gateway
    "refuse": FaultKind("the gateway accepts no connection", scope="gateway"),
    "accept-reset": FaultKind("the gateway accepts and resets at once", scope="gateway"),
    "silent": FaultKind("the gateway accepts and never answers", scope="gateway"),
    "client-limit": FaultKind("the gateway closes connections beyond N", 1, scope="gateway"),
    "kick": FaultKind("the gateway drops the oldest connection beyond N", 1, scope="gateway"),
    "idle-close": FaultKind("the gateway closes after N idle seconds", 5, scope="gateway"),
    "queue-full": FaultKind("beyond N waiting requests: exception 6", 1, scope="gateway"),
    "unsolicited": FaultKind("bytes nobody asked for, every N seconds", 1, scope="gateway"),
    "cache": FaultKind("the gateway answers repeats from memory for N seconds", 5, scope="gateway"),
    "to-all": FaultKind("every client gets every answer (no multi-host)", scope="gateway"),
}


@dataclass(slots=True)
class Fault:
    """A fault that is on: its number, the share of requests it strikes, how often yet."""

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
        """Switch a fault on for a unit, or for the gateway and all its units (unit None)."""
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
        """Switch one fault off, or all of a unit (or of the gateway)."""
        if name is not None:
            kind_of(name)
        gone = [key for key in self._on if key[0] == unit and name in (None, key[1])]
        for key in gone:
            del self._on[key]

    def number(self, name: str) -> float | None:
        """Return the number of a fault of the gateway, None while it is off."""
        fault = self._on.get((None, name))
        return fault.argument if fault else None

    def strikes(self, unit: int, name: str) -> float | None:
        """Decide whether a fault strikes this request; return its number if it does."""
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
    """Return a fault's kind; raises SimulatorError for a name that is none."""
    if name not in FAULTS:
        raise SimulatorError(f"no fault {name!r}; known: {', '.join(FAULTS)}")
    return FAULTS[name]


def faults_help() -> str:
    """Return the table of faults for --help."""
    lines = []
    for name, kind in FAULTS.items():
        number = f" (N={kind.argument:g})" if "N" in kind.meaning.split("None")[0] else ""
        whose = " [gateway]" if kind.scope == "gateway" else ""
        lines.append(f"  {name:<18} {kind.meaning}{number}{whose}")
    return "\n".join(lines)
