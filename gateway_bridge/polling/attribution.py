"""Attribution: whose answer is this? Pure; the time is an argument.

Modbus has no sender in its answers. A gateway may forward an answer late, twice, or one that
another client requested. Where answers bear the id of their request, the transport recognizes
them. Where they do not, three rules apply, one before a request and two after its answer:

- choose: no request is as long as the one before it, nor as the last one that was answered, nor
  as one that another client has lately sent to this meter, nor as one whose answer may still
  arrive. A late, doubled or foreign answer then shows by its length.
- hold: the first answer of the right length may still be that to a request that another client sent
  just before. Then our own follows, as long and different, before the next request is answered and
  within the time that a request takes. So an answer is held until one of the two has passed.
- reject: if such a second answer has arrived, either may be ours, and neither counts.

The transport records what happens (sent, answered, stray, timed out, failed); `note` handles it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from gateway_bridge.meter.plan import Block
from gateway_bridge.modbus.frames import HOLDING, INPUT, NO_ANSWER, Frame
from gateway_bridge.modbus.transport import Answered, Late, LineEvent, Sent, Stray, Unanswered

FORGET_S = 600.0
"""Seconds for which a length that another client used is avoided."""
HOLD_SHARE = 1.5
"""After this many times the duration of a request no second answer follows any more."""
STRAYS_TO_REPORT = 5
"""Stray answers, with none of ours missing, that prove another client."""
OWED_S = 10.0
"""Seconds for which the length of a request without an answer is avoided where possible."""
MOST_UNSURE = 100
READS = (HOLDING, INPUT)


class Verdict(Enum):
    """What becomes of an answer."""

    ACCEPT = auto()
    HOLD = auto()
    REJECT = auto()


@dataclass(slots=True)
class Claim:
    """A claim on the answers of a unit, made before it is asked.

    `complete` starts the time for which the answers are held.
    """

    unit: int
    doubts: int
    answers: int = 0
    until_s: float = 0.0


class Attribution:
    """Decides whose answers are received on one line.

    `shared` is true once the gateway has handed us answers to another client. `exclusive` is for
    a serial line: nobody else can ask there.
    """

    def __init__(self, *, exclusive: bool = False) -> None:
        self.shared = False
        self._exclusive = exclusive
        self._ids: bool | None = None
        self._pending = False
        self._chosen: set[int] = set()
        self._sent_count = self._answered_count = 0
        self._answers = 0
        self._last: Frame | None = None
        self._chosen_s = 0.0
        self._open: set[tuple[int, int]] = set()
        """Unit and length of the requests on their way, of which one counts."""
        self._owed_s: dict[tuple[int, int], float] = {}
        """When those were sent whose answers may still arrive: another was first, or none was."""
        self._unsure: list[Stray] = []
        self._strays = 0
        self._doubts: Counter[int] = Counter()
        self._others_s: dict[tuple[int, int], float] = {}

    def choose(self, unit: int, requests: Sequence[Block], now_s: float) -> Block | None:
        """Return the request whose answer is the least like others, then the shortest.

        None where another client leaves no length that would distinguish our answer from its own.
        """
        self._chosen_s = now_s
        free = [request for request in requests if not self._is_others(unit, request, now_s)]
        chosen = min(free, key=partial(self._likeness, unit), default=None)
        taken = (self._sent_count, self._answered_count)
        if chosen and len(free) < len(requests) and chosen.count in taken:
            chosen = None
        self._chosen = {chosen.count} if chosen else set()
        return chosen

    def alternative(self, unit: int, requests: Sequence[Block], now_s: float) -> Block | None:
        """Return a second request for the case that the answer to the chosen one is late.

        None where its answer could be taken for another. It matters where answers bear ids, too:
        some gateways give the late answer to the first request as that to the second.
        """
        taken = self._chosen | {self._sent_count, self._answered_count}
        for request in requests:
            is_others = not self._ids and self._is_others(unit, request, now_s)
            is_owed = not self._ids and self._is_owed(unit, request)
            if not (request.count in taken or is_others or is_owed):
                self._chosen.add(request.count)
                return request
        return None

    def claim(self, unit: int) -> Claim | None:
        """Return a claim on what the unit is asked from now on; None where the ids suffice."""
        if self._ids or self._exclusive:
            return None
        return Claim(unit, self._doubts[unit])

    def complete(self, claim: Claim, request_s: float, now_s: float) -> None:
        """Record the last answer of a claim, to a request that takes `request_s`."""
        claim.answers, claim.until_s = self._answers, now_s + HOLD_SHARE * request_s

    def verdict(self, claim: Claim, now_s: float) -> Verdict:
        """Return what becomes of the answers of a complete claim."""
        if self._ids:
            return Verdict.ACCEPT
        if self._doubts[claim.unit] > claim.doubts:
            return Verdict.REJECT
        held = self._answers == claim.answers and now_s < claim.until_s
        return Verdict.HOLD if held else Verdict.ACCEPT

    def note(self, event: LineEvent) -> None:
        """Take in what has happened on the line."""
        self._ids = event.ids
        match event:
            case Sent():
                self._pending, self._sent_count = True, event.request.count
                self._open.add((event.request.unit, event.request.count))
            case Answered():
                self._answered(event.frame)
            case Stray():
                self._stray(event)
            case Late():
                self._owed_s.pop((event.frame.unit, event.frame.count), None)
            case Unanswered():
                self._unanswered(event)

    def _answered(self, frame: Frame) -> None:
        self._answers += 1
        self._last, self._pending = frame, False
        if frame.count in self._chosen:
            self._answered_count = frame.count
        self._chosen = set()
        self._open.discard((frame.unit, frame.count))
        self._owe()
        if frame.exception in NO_ANSWER:
            self._strays = 0
        for stray in self._unsure:
            self._foreign(stray)
        self._unsure.clear()

    def _unanswered(self, event: Unanswered) -> None:
        """Forget the strays received so far: one may have been our answer, damaged."""
        self._pending, self._chosen = False, set()
        self._unsure.clear()
        if event.timed_out:
            self._owe()
            if not event.misfit:
                self._strays = 0
        self._open.clear()

    def _owe(self) -> None:
        """Note that the answers to the requests on their way may still arrive."""
        self._owed_s |= dict.fromkeys(self._open, self._chosen_s)
        self._open.clear()

    def _stray(self, event: Stray) -> None:
        frame, last = event.frame, self._last
        what = frame.unit, frame.count
        is_new = frame.pdu[0] in READS and (last is None or frame.content != last.content)
        if is_new and last and what == (last.unit, last.count):
            self._doubts[frame.unit] += 1
        if what in self._owed_s:
            del self._owed_s[what]
        elif is_new and not self._pending:
            self._foreign(event)
        elif is_new and len(self._unsure) < MOST_UNSURE:
            self._unsure.append(event)

    def _foreign(self, event: Stray) -> None:
        """Note an answer to another client."""
        if not self._ids:
            self._others_s[event.frame.unit, event.frame.count] = event.at_s
        self._strays += 1
        self.shared = self.shared or self._strays >= STRAYS_TO_REPORT

    def _likeness(self, unit: int, request: Block) -> tuple[bool, bool, bool, int]:
        return (
            request.count == self._sent_count,
            request.count == self._answered_count,
            self._is_owed(unit, request),
            request.count,
        )

    def _is_owed(self, unit: int, request: Block) -> bool:
        owed_s = self._owed_s.get((unit, request.count))
        return owed_s is not None and self._chosen_s - owed_s < OWED_S

    def _is_others(self, unit: int, request: Block, now_s: float) -> bool:
        seen_s = self._others_s.get((unit, request.count))
        return seen_s is not None and now_s - seen_s < FORGET_S
