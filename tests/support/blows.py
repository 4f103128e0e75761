"""Blows for running parts: they are killed, frozen and damaged, in random order."""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple, Protocol

BACK_S = 30.0
"""Seconds that the clock is set back."""
KILL, ROB, RESTORE = "killed", "killed, its state deleted", "killed, an old history put back"
FREEZE, FILL, SET_BACK = "frozen", "disk full", "clock set back"
ORDER = (KILL, ROB, RESTORE, FREEZE, FILL, SET_BACK)
DEADLY = (KILL, ROB, RESTORE)
_NAMES = {"gateway_bridge": "bridge", "postgresql": "PostgreSQL"}


class Target(Protocol):
    """What is struck: parts with names, and what they depend on."""

    @property
    def names(self) -> tuple[str, ...]:
        """The parts."""

    @property
    def recorders(self) -> tuple[str, ...]:
        """Those that write the history."""

    def start(self, name: str) -> None:
        """Start a part that is not running."""

    def kill(self, name: str) -> None:
        """Kill a part."""

    def freeze(self, name: str, for_s: float) -> None:
        """Freeze a part for a while."""

    def forget_broker_state(self) -> None:
        """Delete the state of the broker."""

    def restore(self) -> None:
        """Replace the history by a copy."""

    def fill_disk(self, for_s: float) -> None:
        """Fill the disk of the history for a while."""

    def set_clock(self, by_s: float) -> None:
        """Set the clock, relative to the true time."""


class Blow(NamedTuple):
    """What was done to which parts at once, and when."""

    what: str
    parts: tuple[str, ...]
    at_s: float

    @property
    def kind(self) -> tuple[str, str]:
        """What was done, and to which parts: the same for either of two recorders."""
        others = [part for part in self.parts if not part.startswith("recorder")]
        names = sorted(_NAMES.get(part, part) for part in others)
        if self.what in (RESTORE, FILL, SET_BACK):
            names.append("recorders")  # whether there are one or two
        elif recorders := len(self.parts) - len(others):
            names.append("recorder" if recorders == 1 else "both recorders")
        return self.what, ", ".join(names)

    def __str__(self) -> str:
        return f"{self.what}: {' + '.join(self.parts)}"


class Striker:
    """Strikes blows, and records when."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._dice = random.Random(seed)
        self.blows: list[Blow] = []
        self.killed_s: dict[str, list[float]] = defaultdict(list)
        self.frozen_s: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.set_back_at_s: float | None = None

    def strike_for(self, seconds: float, kinds: list[str]) -> None:
        """Strike one blow after the other, each kind at least once if time allows."""
        ends_s = time.monotonic() + seconds
        left: list[str] = []
        while time.monotonic() < ends_s:
            left = left or self._dice.sample(kinds, len(kinds))
            kind = left.pop()
            if kind != SET_BACK or self.set_back_at_s is None:
                self.strike(kind, *self._parts_for(kind))

    def strike(self, kind: str, *parts: str) -> None:
        """Strike a blow, and start again what has died."""
        self.blows.append(Blow(kind, parts, time.time()))
        if kind in DEADLY:
            for name in parts:
                self.killed_s[name].append(time.time())
                self._target.kill(name)
        effects: dict[str, Callable[[], None]] = {
            ROB: self._target.forget_broker_state,
            RESTORE: self._target.restore,
            FILL: lambda: self._target.fill_disk(self._dice.uniform(1, 4)),
            SET_BACK: self._set_clock_back,
            FREEZE: lambda: self._freeze(*parts),
        }
        if effect := effects.get(kind):
            effect()
        time.sleep(self._dice.uniform(0.3, 2))
        for name in self._target.names:
            self._target.start(name)
        time.sleep(self._dice.uniform(0.2, 1.5))

    def _freeze(self, name: str) -> None:
        began_s = time.time()
        self._target.freeze(name, self._dice.uniform(0.5, 4))
        self.frozen_s[name].append((began_s, time.time()))

    def _set_clock_back(self) -> None:
        self.set_back_at_s = time.time()
        self._target.set_clock(-BACK_S)

    def _parts_for(self, kind: str) -> tuple[str, ...]:
        names, recorders = self._target.names, self._target.recorders
        if kind == KILL:
            return tuple(self._dice.sample(names, self._dice.choice((1, 1, 1, 2, 3))))
        if kind == FREEZE:
            return (self._dice.choice(names),)
        if kind == ROB:
            return ("broker",)
        return ("gateway_bridge", *recorders) if kind == SET_BACK else recorders
