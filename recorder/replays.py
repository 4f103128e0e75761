"""Requests to bridges for readings that are missing here, and their answers.

A bridge is asked when it comes online, after we have (re)connected, and when a gap between the
numbers of its readings stays open. It answers in slices; the next slice is requested when the
last one is stored. Where requests do not help, they become rarer.

An answer says which readings no longer exist, so that only one to an open request is believed.
Anyone may invent bridges: of those that no meter of the history belongs to, the oldest are
forgotten. The infos of bridges, once a minute, bring back a real one.
"""

import contextlib
import itertools
import logging
import math
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from contract.replay import ReplayAnswer, Replayed, ReplayRequest
from history.errors import StorageError
from history.sequences import Gap, Numbers, Run
from recorder.storage import Storage
from service.reporting import OncePerKey

logger = logging.getLogger(__name__)

ONLINE_S = 0.5
"""Seconds from a bridge coming online to the request."""
ONLINE_AGAIN_S = 5.0
"""Shortest time between requests where a bridge comes online again and again."""
CONNECTED_S = 10.0
"""Seconds from our connecting to the request, where no bridge has come online."""
GAP_S = 5.0
"""Seconds that a gap must stay open: another recorder of the group may be about to fill it."""
GROUP_S = 15.0
"""Seconds between requests of a group without a gap: an absent member may get all of a meter."""
NEW_METER_S = 2.0
"""Seconds from the first reading of a meter whose bridge is unknown to the request."""
MOST_METERS = 50_000
ANSWER_S = 60.0
LONGEST_S = 60.0
"""Longest pause between requests that do not help; pauses begin with `GAP_S` and double."""
CALM_S = 300.0
"""Seconds without a request after which pauses begin with `GAP_S` again."""
MOST_TRIES = 10
"""Replays of the same readings after which they are abandoned: they cannot be stored."""
MOST_BRIDGES = 1000
MOST_OPEN = 8
"""Requests to a bridge whose answers are still accepted: a slow answer is no false one."""
MOST_REQUESTS = 50
"""Requests to send at a time."""
MOST_RUNS = 2000
"""Runs of numbers in a request that need not be sent; without them a reading comes twice."""


@dataclass(slots=True)
class _Conversation:
    """The state of the requests to one bridge; times are those of the monotonic clock."""

    request: str = ""
    open: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_OPEN))
    """Requests without an answer."""
    trusted: bool = False
    """Whether meters of the history belong to the bridge."""
    due_s: float | None = None
    answer_due_s: float | None = None
    pause_s: float = GAP_S
    not_before_s: float = -math.inf
    asked_s: float = -math.inf
    passed: dict[str, int] = field(default_factory=dict)
    """By meter, the number after which the next slice begins, whether or not gaps precede it."""
    tries: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By meter, a number and how often the readings after it were sent and are still missing."""

    @property
    def idle(self) -> bool:
        """Whether no request is due and no answer is awaited."""
        return self.due_s is None and self.answer_due_s is None

    def close(self, request: str) -> bool:
        """Return whether a request was open, and close it."""
        was_open = request in self.open
        if was_open:
            self.open.remove(request)
        return was_open

    def count_tries(self, answers: Mapping[str, Replayed], missing: Collection[str]) -> None:
        """Note how far the bridge has sent, and what is missing though it was sent."""
        for name, replayed in answers.items():
            self.passed[name] = replayed.upto
            before, count = self.tries.pop(name, (replayed.after, 0))
            if name in missing and replayed.sent:
                self.tries[name] = (replayed.after, count + 1 if before == replayed.after else 1)

    def ask_at(self, time_s: float) -> None:
        """Schedule a request, or keep an earlier one."""
        self.due_s = time_s if self.due_s is None else min(self.due_s, time_s)

    def ask_again(self, time_s: float) -> None:
        """Schedule a request after a pause that doubles each time."""
        if time_s - self.not_before_s > CALM_S:
            self.pause_s = GAP_S
        time_s = max(time_s, self.not_before_s)
        self.ask_at(time_s)
        self.not_before_s = time_s + self.pause_s * random.uniform(0.8, 1.2)
        self.pause_s = min(self.pause_s * 2, LONGEST_S)


class Replays:
    """Decides when to request which readings. For one thread only.

    Readings on the shared topics of a group would go to any of its recorders: with `direct` they
    are sent to the one that has requested them.
    """

    def __init__(self, name: str, storage: Storage, *, direct: bool) -> None:
        self._name, self._direct = name, direct
        self._storage = storage
        self._conversations: dict[str, _Conversation] = {}
        self._gaps: dict[str, tuple[Gap, float]] = {}
        self._reported_lost = OncePerKey()
        self._asked_for = OncePerKey(MOST_METERS)
        self._replaced = storage.replaced
        self.connected = threading.Event()
        """Set, by any thread, when the connection to the broker has been made."""
        self.asked = 0
        self.lost = 0
        """Counts gaps that no bridge could fill."""

    def handle_status(self, bridge: str, *, online: bool) -> None:
        """Handle the status of a bridge."""
        known = self._conversations.get(bridge)
        conversation = self._conversation(bridge) if online else known
        if conversation is None:
            return
        conversation.answer_due_s = conversation.due_s = None
        conversation.passed.clear()
        if online:
            now_s = time.monotonic()
            conversation.ask_at(max(now_s + ONLINE_S, conversation.asked_s + ONLINE_AGAIN_S))

    def handle_info(self, bridge: str) -> None:
        """Ask a bridge that is not known yet: it publishes its info once a minute."""
        if bridge not in self._conversations and (conversation := self._conversation(bridge)):
            conversation.ask_at(time.monotonic() + ONLINE_S)

    def handle_numbered(self, meters: Iterable[str]) -> None:
        """Schedule a request for meters that number their readings and whose bridge is unknown.

        An answer that came before a meter's first row did not name its bridge. Each is asked for
        once: a device without a journal may number its readings, too.
        """
        new = [meter for meter in meters if self._asked_for.is_first(meter)]
        if new:
            for conversation in self._conversations.values():
                conversation.ask_at(time.monotonic() + NEW_METER_S)

    def handle_answer(self, bridge: str, answer: ReplayAnswer, give_up: threading.Event) -> None:
        """Handle the answer of a bridge; the readings it sent before are stored by now.

        An answer to no open request changes nothing.
        """
        conversation = self._conversations.get(bridge)
        if conversation is None or answer.recorder != self._name:
            return
        if not conversation.close(answer.request):
            logger.debug("bridge %s: answer to no request of ours ignored", bridge)
            return
        tries = conversation.tries
        abandoned = {name for name, (_, count) in tries.items() if count >= MOST_TRIES}
        settled = self._storage.settle(bridge, answer.meters, abandoned, give_up)
        if settled is None:
            return
        conversation.count_tries(answer.meters, settled.missing)
        self._report_lost(bridge, settled.lost)
        self._trust(bridge, conversation)
        if answer.request == conversation.request:  # else following both would be two conversations
            self._continue(conversation, more=answer.more, missing=bool(settled.missing))

    def _trust(self, bridge: str, conversation: _Conversation) -> None:
        """Trust a bridge that meters of the history belong to."""
        if not conversation.trusted:
            with contextlib.suppress(StorageError):
                conversation.trusted = bridge in self._storage.bridges()

    def _continue(self, conversation: _Conversation, *, more: bool, missing: bool) -> None:
        """Schedule the next request of a conversation, where one is needed."""
        now_s = time.monotonic()
        conversation.answer_due_s = None
        if more:
            conversation.ask_at(now_s)
            return
        conversation.passed.clear()
        if missing or conversation.tries:
            conversation.ask_again(now_s + GAP_S)

    def may_ask(self) -> bool:
        """Return whether a request may be due, so that what has arrived must be stored before."""
        now_s = time.monotonic()
        asks_for = {gap.bridge for gap, since_s in self._gaps.values() if now_s >= since_s + GAP_S}
        return any(
            (each.idle and bridge in asks_for) or (each.due_s is not None and now_s >= each.due_s)
            for bridge, each in self._conversations.items()
        )

    def due_requests(self) -> list[tuple[str, ReplayRequest]]:
        """Return bridges and the requests to publish now; none while the database is in trouble."""
        requests: list[tuple[str, ReplayRequest]] = []
        with contextlib.suppress(StorageError):
            now_s = time.monotonic()
            if self.connected.is_set():
                self._begin_again(now_s)
                self.connected.clear()
            if self._replaced != self._storage.replaced:
                self._start_over(now_s)
            self._look_for_gaps(now_s)
            due = [pair for pair in self._conversations.items() if self._is_due(pair[1], now_s)]
            due.sort(key=lambda pair: not pair[1].trusted)
            for bridge, conversation in due[:MOST_REQUESTS]:
                requests.append((bridge, self._request(bridge, conversation, now_s)))
        return requests

    def _start_over(self, now_s: float) -> None:
        """Ask all bridges, as after a start: another history was opened, which may be empty."""
        self._replaced = self._storage.replaced
        self._gaps.clear()
        self._asked_for = OncePerKey(MOST_METERS)
        self._reported_lost = OncePerKey()
        trusted = self._storage.bridges()
        for bridge in self._conversations:
            # Answers to requests from before say nothing about this history.
            self._conversations[bridge] = _Conversation(trusted=bridge in trusted)
            self._conversations[bridge].ask_at(now_s + ONLINE_S)

    def _begin_again(self, now_s: float) -> None:
        """Schedule a request to each known bridge, after a connection was made."""
        for bridge in self._storage.bridges():
            if conversation := self._conversation(bridge):
                conversation.trusted = True
        for conversation in self._conversations.values():
            conversation.answer_due_s = None
            if conversation.due_s is not None and conversation.due_s <= now_s:
                conversation.due_s = None  # of the last connection; a bridge's status comes soon
            conversation.ask_at(now_s + CONNECTED_S)

    def _look_for_gaps(self, now_s: float) -> None:
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
            conversation = self._conversation(bridge)
            if conversation and conversation.idle and self._still_open(bridge, uptos):
                conversation.ask_again(now_s)

    def _still_open(self, bridge: str, uptos: dict[str, int]) -> bool:
        """Return whether no other recorder of the group has filled these gaps meanwhile."""
        stored = self._storage.numbers(bridge)
        return any(
            name in stored and stored[name].above and stored[name].upto == upto
            for name, upto in uptos.items()
        )

    def _is_due(self, conversation: _Conversation, now_s: float) -> bool:
        if conversation.answer_due_s is not None:
            if now_s >= conversation.answer_due_s:
                conversation.answer_due_s = None
                conversation.passed.clear()
                conversation.ask_again(now_s)
            return False
        if self._direct and now_s >= conversation.asked_s + GROUP_S:
            conversation.ask_at(now_s)
        return conversation.due_s is not None and now_s >= conversation.due_s

    def _request(self, bridge: str, conversation: _Conversation, now_s: float) -> ReplayRequest:
        numbers = self._storage.numbers(bridge)
        after = {name: stored.upto for name, stored in numbers.items() if stored.upto}
        for name, upto in conversation.passed.items():
            after[name] = max(upto, after.get(name, 0))
        have = _have(self._storage.unclaimed(MOST_RUNS) | numbers)
        conversation.request = uuid.uuid4().hex
        conversation.open.append(conversation.request)
        conversation.due_s, conversation.answer_due_s = None, now_s + ANSWER_S
        conversation.asked_s = now_s
        self.asked += 1
        return ReplayRequest(
            recorder=self._name,
            request=conversation.request,
            after=after,
            have=have,
            direct=self._direct,
        )

    def _conversation(self, bridge: str) -> _Conversation | None:
        """Return the conversation with a bridge; None where there is no room for another one."""
        conversation = self._conversations.get(bridge)
        if conversation is None and self._has_room():
            conversation = self._conversations[bridge] = _Conversation()
        return conversation

    def _has_room(self) -> bool:
        """Return whether there is room for another bridge; the oldest unknown one makes room."""
        if len(self._conversations) >= MOST_BRIDGES:
            unknown = (name for name, each in self._conversations.items() if not each.trusted)
            oldest = next(unknown, None)
            if oldest is None:
                return False
            del self._conversations[oldest]
        return True

    def _report_lost(self, bridge: str, meters: frozenset[str]) -> None:
        self.lost += len(meters)
        new = [meter for meter in sorted(meters) if self._reported_lost.is_first(meter)]
        if new:
            shown = ", ".join(new[:10]) + (" …" if len(new) > 10 else "")
            logger.warning(
                "bridge %s: no longer has the readings of meter %s that are missing here; the gap "
                "remains; see JOURNAL_HOURS",
                bridge,
                shown,
            )


def _have(numbers: Mapping[str, Numbers]) -> dict[str, list[Run]]:
    """Return the runs of numbers that have arrived above gaps, up to a limit in all."""
    runs = ((name, run) for name, each in numbers.items() for run in each.above)
    have: dict[str, list[Run]] = {}
    for name, run in itertools.islice(runs, MOST_RUNS):
        have.setdefault(name, []).append(run)
    return have
