"""Asks bridges for readings that are missing here, and takes note of what they say.

A bridge is asked when it comes online, when we have (re)connected, and when a gap between the
numbers of its readings stays open. It answers in slices; the next one is asked for when the last
one is stored. Where asking does not help, it is done less and less often.
"""

import contextlib
import logging
import math
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from contract import topics
from contract.replay import ReplayAnswer, ReplayRequest
from history.errors import StorageError
from history.sequences import Gap
from recorder.storage import Storage

logger = logging.getLogger(__name__)

ONLINE_S = 0.5
"""A bridge that has just come online is asked so long after."""
CONNECTED_S = 10.0
"""So long after we have connected, where no bridge has said that it is online."""
GAP_S = 5.0
"""A gap that stays open so long is asked for; others of a group may be about to fill it."""
GROUP_S = 15.0
"""In a group also asked without a gap: all of a meter's readings may go to who is away."""
ANSWER_S = 60.0
LONGEST_S = 60.0
"""Where asking does not help, the pauses between grow from `GAP_S` to this."""
CALM_S = 300.0
"""When nothing was missing for so long, a new gap is asked for at once again."""
MOST_TRIES = 10
"""What was sent so often and still is not here cannot be stored: it is let go."""
MOST_BRIDGES = 1000


@dataclass(slots=True)
class _Talk:
    """Where we are with one bridge; times are those of the monotonic clock."""

    request: str = ""
    due_s: float | None = None
    answer_due_s: float | None = None
    pause_s: float = GAP_S
    not_before_s: float = -math.inf
    asked_s: float = -math.inf
    passed: dict[str, int] = field(default_factory=dict)
    """Up to where to go on asking in this conversation, whatever was missing before."""
    tries: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How often a meter has lacked what comes after a number although it was sent."""

    @property
    def idle(self) -> bool:
        """Whether nothing was asked, and nothing is to be."""
        return self.due_s is None and self.answer_due_s is None

    def ask_at(self, time_s: float) -> None:
        """Ask then, or earlier where that is due already."""
        self.due_s = time_s if self.due_s is None else min(self.due_s, time_s)

    def ask_again(self, time_s: float) -> None:
        """Ask then, or after a pause that grows with each time."""
        if time_s - self.not_before_s > CALM_S:
            self.pause_s = GAP_S
        time_s = max(time_s, self.not_before_s)
        self.ask_at(time_s)
        self.not_before_s = time_s + self.pause_s * random.uniform(0.8, 1.2)
        self.pause_s = min(self.pause_s * 2, LONGEST_S)


class Replays:
    """Sees to it that what is missing comes; `publish` sends a request. For one thread only.

    What a group shares would come to any of its recorders: the one that asks has it sent `direct`.
    """

    def __init__(
        self, name: str, storage: Storage, publish: Callable[[str, str], object], *, direct: bool
    ) -> None:
        self._name, self._direct = name, direct
        self._storage = storage
        self._publish = publish
        self._talks: dict[str, _Talk] = {}
        self._gaps: dict[str, tuple[Gap, float]] = {}
        self._lost_of: set[str] = set()
        self.connected = threading.Event()
        """To be set, by any thread, when the connection to the broker has been made."""
        self.asked = 0
        self.lost = 0
        """Counts gaps that nobody could fill."""

    def bridge_is(self, bridge: str, online: bool) -> None:
        """Take note of a bridge's status."""
        talk = self._talk(bridge)
        if talk is None:
            return
        talk.answer_due_s = talk.due_s = None
        talk.passed.clear()
        if online:
            talk.ask_at(time.monotonic() + ONLINE_S)

    def answered(self, bridge: str, answer: ReplayAnswer, give_up: threading.Event) -> None:
        """Take note of what a bridge has sent; what it sent before has been stored by now."""
        talk = self._talk(bridge)
        if talk is None or answer.recorder != self._name:
            return
        let_go = {name for name, (_, tries) in talk.tries.items() if tries >= MOST_TRIES}
        settled = self._storage.settle(bridge, answer.meters, let_go, give_up)
        if settled is None:
            return
        for name, told in answer.meters.items():
            talk.passed[name] = told.upto
            before, tries = talk.tries.pop(name, (told.after, 0))
            if name in settled.missing and told.sent:
                talk.tries[name] = (told.after, tries + 1 if before == told.after else 1)
        self._tell_lost(bridge, settled.lost)
        if answer.request != talk.request:
            return  # to an earlier one: going on after both would be two conversations
        now_s = time.monotonic()
        talk.answer_due_s = None
        if answer.more:
            talk.ask_at(now_s)
            return
        talk.passed.clear()
        if settled.missing or talk.tries:
            talk.ask_again(now_s + GAP_S)

    def see_to_gaps(self) -> None:
        """Ask whoever is to be asked now; where the database is in trouble, later."""
        with contextlib.suppress(StorageError):
            now_s = time.monotonic()
            if self.connected.is_set():
                self._connected(now_s)
                self.connected.clear()
            self._notice_gaps(now_s)
            for bridge, talk in self._talks.items():
                self._see_to(bridge, talk, now_s)

    def _connected(self, now_s: float) -> None:
        for bridge in self._storage.bridges():
            self._talk(bridge)
        for talk in self._talks.values():
            talk.answer_due_s = None
            if talk.due_s is not None and talk.due_s <= now_s:
                talk.due_s = None  # from before; a bridge that is there says so in a moment
            talk.ask_at(now_s + CONNECTED_S)

    def _notice_gaps(self, now_s: float) -> None:
        gaps = self._storage.gaps()
        self._gaps = {
            name: known if (known := self._gaps.get(name)) and known[0] == gap else (gap, now_s)
            for name, gap in gaps.items()
        }
        open_ones: dict[str, dict[str, int]] = {}
        for name, (gap, since_s) in self._gaps.items():
            if now_s >= since_s + GAP_S:
                open_ones.setdefault(gap.bridge, {})[name] = gap.upto
        for bridge, uptos in open_ones.items():
            talk = self._talk(bridge)
            if talk and talk.idle and self._still_open(bridge, uptos):
                talk.ask_again(now_s)

    def _still_open(self, bridge: str, uptos: dict[str, int]) -> bool:
        """Look whether another recorder of our group has not filled these gaps meanwhile."""
        there = self._storage.numbers(bridge)
        return any(
            name in there and there[name].above and there[name].upto == upto
            for name, upto in uptos.items()
        )

    def _see_to(self, bridge: str, talk: _Talk, now_s: float) -> None:
        if talk.answer_due_s is not None:
            if now_s >= talk.answer_due_s:
                talk.answer_due_s = None
                talk.passed.clear()
                talk.ask_again(now_s)
            return
        if self._direct and now_s >= talk.asked_s + GROUP_S:
            talk.ask_at(now_s)
        if talk.due_s is not None and now_s >= talk.due_s:
            self._ask(bridge, talk)
            talk.due_s, talk.answer_due_s, talk.asked_s = None, now_s + ANSWER_S, now_s

    def _ask(self, bridge: str, talk: _Talk) -> None:
        numbers = self._storage.numbers(bridge)
        after = {name: there.upto for name, there in numbers.items() if there.upto}
        for name, upto in talk.passed.items():
            after[name] = max(upto, after.get(name, 0))
        talk.request = uuid.uuid4().hex[:12]
        request = ReplayRequest(
            recorder=self._name, request=talk.request, after=after, direct=self._direct
        )
        self._publish(topics.bridge(bridge, "replay"), request.encode())
        self.asked += 1

    def _talk(self, bridge: str) -> _Talk | None:
        if bridge not in self._talks and len(self._talks) < MOST_BRIDGES:
            self._talks[bridge] = _Talk()
        return self._talks.get(bridge)

    def _tell_lost(self, bridge: str, meters: frozenset[str]) -> None:
        self.lost += len(meters)
        new = meters - self._lost_of
        self._lost_of |= new
        if new:
            shown = ", ".join(sorted(new)[:10]) + (" …" if len(new) > 10 else "")
            logger.warning(
                "bridge %s: no longer has readings of meter %s that are missing here;"
                " the gap stays (see JOURNAL_HOURS)",
                bridge,
                shown,
            )
